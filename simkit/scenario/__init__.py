"""Scenario files, the plans drawn from them, and the world that runs one plan."""
