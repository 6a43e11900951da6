"""What the simulator itself costs, measured as ratios within one run. `python -m simkit.bench`."""
