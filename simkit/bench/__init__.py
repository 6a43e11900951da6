"""Measurements: the cold-read benchmark and the simulator's own speed."""
