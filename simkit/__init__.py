"""Deterministic simulation of real SQLite over a simulated remote page store.

One integer replays any interleaving of reads, writes, faults, crashes and closes. The packages below this
one are layers: a lower one never imports a higher one. This module holds the version, its only source, and
imports nothing, so that asking for it is cheap.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
