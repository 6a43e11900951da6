"""Compaction: manager, hot compacter and reclaimer of each branch, as processes in simulated time."""

from __future__ import annotations

from simkit.depot.core import Core


class Compaction:
    """The compaction processes of one depot."""

    def __init__(self, core: Core) -> None:
        self._core = core
