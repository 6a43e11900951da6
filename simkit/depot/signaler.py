"""CompactionSignaler: the only way in which anybody wakes compaction."""

from __future__ import annotations

from typing import Protocol

from simkit.depot.keys import BranchKeys


class CompactionSignaler(Protocol):
    """Publishes wakes. A wake may get lost; whoever sends it never waits for compaction."""

    def wake(self, keys: BranchKeys, txid: int, lag: int) -> None:
        """Tells the manager of a branch that deltas are available."""
