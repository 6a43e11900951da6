"""Which runs to try, and what to do with one that failed: shrink, explain, replay."""
