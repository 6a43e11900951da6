"""What a history was to those who lived in it: a rollback makes commits undone, and begins another past.

A database that goes on at an earlier commit never had what came after that, for whoever comes later. So a history with
rollbacks is judged once for each: first as it was up to the first rollback, then for each rollback what led to the
commit that it went back to and what followed, up to the next one. Branches tell what that is, also when a rollback goes
back to something that an earlier one undid. Forks are other databases; what is done to them is left out.

In a later past, operations before the rollback count only by their commits: those without one on the way to the present
are left out, as are reads of instances from before it, and what fresh instances found then; all that was judged in its
own time. An operation may have several commits: SQLite puts right what a failed one left before it does anything else.
When a rollback goes back to between them, or commits do not say for whom they were sent, it cannot be told what is
undone, and the past that follows is not judged. A history without rollbacks and forks is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.events import (
    OK,
    UNKNOWN,
    InstanceOpened,
    OperationEnded,
    OperationInvoked,
    StatementReturned,
    StateObserved,
    StateUnreadable,
)
from simkit.depot.events import CommitApplied, DatabaseForked, DatabaseRolledBack, InstanceAllocated
from simkit.depot.request import DATABASE_ID
from simkit.kernel import Record

_UNBOUNDED = 1 << 62


def epochs_of(history: Sequence[Record]) -> list[Sequence[Record]]:
    """The pasts of the main database, each as a history of its own."""
    rollbacks, strangers = _mark(history)
    if strangers:
        history = [event for event in history if not _is_stranger(event, strangers)]
        rollbacks, _ = _mark(history)
    if not rollbacks:
        return [history]
    found: list[Sequence[Record]] = [history[: rollbacks[0]]]
    for begin, end in zip(rollbacks, [*rollbacks[1:], len(history)], strict=True):
        past = _Past(history[:end], begin).events()
        if past is not None:
            found.append(past)
    return found


def _mark(history: Sequence[Record]) -> tuple[list[int], frozenset[int]]:
    """Where the database was rolled back, and the requests for other databases, -1 for other allocations."""
    rollbacks: list[int] = []
    strangers: set[int] = set()
    for index, event in enumerate(history):
        kind = event.__class__
        if kind is CommitApplied:
            assert isinstance(event, CommitApplied)
            if event.database != DATABASE_ID:
                strangers.add(event.request)
        elif kind is InstanceAllocated:
            assert isinstance(event, InstanceAllocated)
            if event.database != DATABASE_ID:
                strangers.add(-1)
        elif kind is DatabaseRolledBack:
            assert isinstance(event, DatabaseRolledBack)
            if event.database == DATABASE_ID:
                rollbacks.append(index)
    return rollbacks, frozenset(strangers)


def _is_stranger(event: Record, strangers: frozenset[int]) -> bool:
    """Whether an event is about another database."""
    if isinstance(event, InstanceAllocated):
        return event.database != DATABASE_ID
    request = getattr(event, "request", None)
    return request is not None and request in strangers


class _Past:
    """What a history was after the rollback at an index."""

    def __init__(self, history: Sequence[Record], begin: int) -> None:
        self._history = history
        self._begin = begin
        event = history[begin]
        assert isinstance(event, DatabaseRolledBack)
        self._caps = _caps(history, event.branch)
        #: operations and requests with a commit on the way to the present
        self._operations: set[int] = set()
        self._requests: set[int] = set()
        #: operations with a commit that is undone
        self._undone: set[int] = set()
        #: instances from before the rollback
        self._superseded: set[str] = set()
        #: operations that nothing of is kept
        self._left_out: set[int] = set()

    def events(self) -> list[Record] | None:
        """The events of it; None when it cannot be told which they are."""
        self._find_commits()
        if self._operations & self._undone or not self._find_operations():
            return None
        return [event for index, event in enumerate(self._history) if self._belongs(index, event)]

    def _find_commits(self) -> None:
        allocated: dict[int, int] = {}
        for index, event in enumerate(self._history):
            kind = event.__class__
            if kind is CommitApplied:
                assert isinstance(event, CommitApplied)
                if self._is_kept(index, event):
                    self._operations.add(event.operation)
                    self._requests.add(event.request)
                elif event.operation >= 0:
                    self._undone.add(event.operation)
            elif kind is InstanceAllocated:
                assert isinstance(event, InstanceAllocated)
                allocated[event.generation] = index
            elif kind is InstanceOpened:
                assert isinstance(event, InstanceOpened)
                if allocated.get(event.generation, index) < self._begin:
                    self._superseded.add(event.instance)

    def _is_kept(self, index: int, event: CommitApplied) -> bool:
        return index > self._begin or event.txid <= self._caps.get(event.branch, 0)

    def _find_operations(self) -> bool:
        """Finds the operations to leave out. False: some of them may have commits that nobody claims."""
        unclaimed = any(
            event.operation < 0 for event in self._history[: self._begin] if isinstance(event, CommitApplied)
        )
        committed = {event.operation for event in self._history if isinstance(event, CommitApplied)}
        changed: set[int] = set()
        undone: set[int] = set()
        for index, event in enumerate(self._history):
            kind = event.__class__
            if kind is OperationInvoked:
                assert isinstance(event, OperationInvoked)
                if event.rollback:
                    undone.add(event.operation)
                early = index < self._begin or event.instance in self._superseded
                if early and event.operation not in self._operations:
                    self._left_out.add(event.operation)
            elif kind is StatementReturned:
                assert isinstance(event, StatementReturned)
                if event.changes:
                    changed.add(event.operation)
            elif kind is OperationEnded:
                assert isinstance(event, OperationEnded)
                number = event.operation
                if number in self._left_out and number not in committed and number not in undone:
                    if event.outcome == OK and number in changed:
                        return False
                    if event.outcome == UNKNOWN and unclaimed:
                        return False
        return True

    def _belongs(self, index: int, event: Record) -> bool:
        if isinstance(event, CommitApplied):
            return self._is_kept(index, event) and event.operation not in self._left_out
        if index < self._begin and isinstance(event, StateObserved | StateUnreadable):
            return False
        operation = getattr(event, "operation", None)
        if not isinstance(operation, int):
            return True  # also what a task waits for is called an operation
        if operation >= 0:
            return operation not in self._left_out
        request = getattr(event, "request", None)
        if request is not None:
            return index > self._begin or request in self._requests
        return index > self._begin and getattr(event, "instance", "") not in self._superseded


def _caps(history: Sequence[Record], branch: int) -> dict[int, int]:
    """By branch up to which commit it belongs to the past of this one."""
    derived = {
        event.branch: (event.parent, event.txid)
        for event in history
        if isinstance(event, DatabaseForked | DatabaseRolledBack)
    }
    caps = {branch: _UNBOUNDED}
    cap = _UNBOUNDED
    while branch in derived:
        branch, txid = derived[branch]
        cap = min(cap, txid)
        caps[branch] = cap
    return caps
