"""CompactionSignaler: the only way in which anybody wakes compaction (COMP-2).

A wake is a message: it arrives later, and whoever sends it never waits for what it causes. That compaction comes about
although a wake was lost rests on the dirty marker, which is in the store, and on a manager that looks at dirty branches
from time to time. A real manager looks whether there is a marker or not; here the looks that would find none are not
simulated, which is what `marked` is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simkit.depot.keys import BranchKeys
from simkit.kernel import Happening, Kernel
from simkit.kernel.units import MILLISECOND

WAKE_NS = 1 * MILLISECOND
"""What a wake takes to arrive."""


class CompactionSignaler(Protocol):
    """Publishes wakes. A wake may get lost; whoever sends it never waits for compaction."""

    def wake(self, keys: BranchKeys, txid: int, lag: int) -> None:
        """Tells the manager of a branch that deltas are available."""

    def marked(self, keys: BranchKeys) -> None:
        """A commit that marked the branch dirty is durable. No message: the branch's manager starts to look at it every
        now and then, whether a wake is sent for this commit or not, and whether it arrives or not.
        """


class WakeMessages:
    """Sends each wake as a message of its own. `deliver` is called with the branch when one arrives."""

    def __init__(
        self, kernel: Kernel, deliver: Callable[[BranchKeys], None], watch: Callable[[BranchKeys], None]
    ) -> None:
        self._kernel = kernel
        self._deliver = deliver
        self._watch = watch
        self._under_way: dict[int, Happening] = {}
        self._sent = 0

    @property
    def under_way(self) -> int:
        """Wakes that have been sent and have not arrived."""
        return len(self._under_way)

    def wake(self, keys: BranchKeys, txid: int, lag: int) -> None:
        """Sends the wake. Returns at once."""
        self._sent += 1
        number = self._sent

        def arrive(_: object) -> None:
            del self._under_way[number]
            self._deliver(keys)

        self._under_way[number] = self._kernel.stage(WAKE_NS, arrive, "wake", f"compaction of branch {keys.number}")

    def marked(self, keys: BranchKeys) -> None:
        """Has the manager of the branch look at it from time to time."""
        self._watch(keys)

    def forget(self) -> None:
        """No wake that is under way arrives any more."""
        for message in self._under_way.values():
            message.revoke()
        self._under_way.clear()
