"""What a run is shown as: terminal, HTML, trace, JUnit."""
