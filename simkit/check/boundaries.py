"""What became of commits that a fault let fail, where the point of the fault tells (`simkit.depot.fault_points`).

Before the point of no return the commit is absent, after it it is there, whatever its client was told; where only the
store knows, it is as unknown as any. A commit that the network doubled may arrive again, so nothing is certain of it.

SQLite answers a failed commit with another one, which puts the old pages back. It is sent by the same task with no
statement begun in between; then an operation whose first commit is absent is absent for certain, and one whose first
commit is there stays there as long as no other one of its commits became durable.
"""

from __future__ import annotations

from simkit.check.events import StatementStarted
from simkit.depot.events import FaultFired, NetworkDisturbed
from simkit.depot.fault_points import Boundary, FaultPoint
from simkit.kernel import Record

ABSENT = "absent"
THERE = "there"

_CERTAIN = {Boundary.PRE_DURABLE: ABSENT, Boundary.POST_DURABLE: THERE}


class Boundaries:
    """Follows the commit requests of a history, by operation."""

    def __init__(self) -> None:
        #: by request: ABSENT or THERE, and the index of the fault that tells
        self._told: dict[int, tuple[str, int]] = {}
        self._doubled: set[int] = set()
        #: operations whose later commits are not SQLite's answer to the first one that failed
        self._began_again: set[int] = set()

    def disturbed(self, index: int, event: Record) -> None:
        """A fault fired, or the network disturbed a message."""
        if isinstance(event, NetworkDisturbed):
            if event.what == "duplicated":
                self._doubled.add(event.request)
        elif isinstance(event, FaultFired) and event.action == "fail" and event.point.startswith("commit."):
            told = _CERTAIN.get(FaultPoint(event.point).boundary)
            if told is not None:
                self._told.setdefault(event.request, (told, index))

    def statement(self, event: StatementStarted, first_request: int) -> None:
        """An operation began a statement, after it sent its first commit."""
        if first_request in self._told and not event.rollback:
            self._began_again.add(event.operation)

    def outcome(self, operation: int, first_request: int, applied: list[tuple[int, int]]) -> tuple[str, int]:
        """What is certain of an operation: ABSENT, THERE or "", and the index of the fault that tells."""
        told, index = self._told.get(first_request, ("", -1))
        if first_request in self._doubled or operation in self._began_again:
            return "", -1
        if told == THERE and any(request != first_request for request, _ in applied):
            return "", -1
        return told, index
