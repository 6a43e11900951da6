"""The registry of deliberate breakages that the checks must catch."""
