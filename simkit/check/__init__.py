"""Checks over the history of a run, one for each invariant."""
