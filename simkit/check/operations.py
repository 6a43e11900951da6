"""The client operations of a history, put together from their events in one pass.

`position` orders the operations that took effect. It is the index in the history of the moment that made the operation
durable, or of the acknowledgement where that came first: what a client was told of must be visible from then on
(ISO-1). An operation that nobody was told of may have taken effect or not (DUR-2); `hinted` is the first guess. Its
first commit request decides: when that one failed, whatever was committed later for the same operation was SQLite's
rollback. Where the point of a fault tells what became of its commit, it is not unknown but `settled`
(`simkit.check.boundaries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simkit.check.boundaries import ABSENT, THERE, Boundaries
from simkit.check.events import (
    FAILED,
    OK,
    UNKNOWN,
    InstanceOpened,
    OperationEnded,
    OperationInvoked,
    StatementReturned,
    StatementStarted,
    StateObserved,
    StateUnreadable,
)
from simkit.check.refusable import foreign_keys_said, refused_by_meaning, tunes
from simkit.depot.events import CommitApplied, CommitRequested, FaultFired, InstanceAllocated, NetworkDisturbed
from simkit.kernel import Record


@dataclass(eq=False, slots=True)
class Operation:
    """One operation. All `..._at` and `position` are indices into the history.

    Attributes:
        ended_at: None while it runs at the end of the history.
        position: where it stands among the others, if it took effect.
        answers: by number of the statement.
        requested: number of its first commit request, -1 when it sent none.
        applied: (request, index) of each of its commits that became durable.
        foreign_keys: whether its connection enforces them.
        failed_at: the statement that was refused, -1 when that is not known.
        several: a text of it may hold several statements.
        tuned: a PRAGMA may have changed what connections of its instance refuse.
        settled: ABSENT or THERE when its client was told nothing certain and a fault tells all the same, else "".
        settled_at: the index of that fault.
    """

    number: int
    client: str
    instance: str
    name: str
    kind: str
    statements: tuple[tuple[str, dict[str, Any]], ...]
    rollback: bool
    invoked_at: int
    outcome: str = UNKNOWN
    error: str = ""
    ended_at: int | None = None
    position: int = 0
    answers: dict[int, StatementReturned] = field(default_factory=dict)
    requested: int = -1
    applied: list[tuple[int, int]] = field(default_factory=list)
    foreign_keys: bool = False
    failed_at: int = -1
    several: bool = False
    tuned: bool = False
    settled: str = ""
    settled_at: int = -1

    @property
    def acknowledged(self) -> bool:
        """Its client was told that it took effect."""
        return self.outcome == OK and not self.rollback

    @property
    def durable(self) -> bool:
        """It must be there: it was acknowledged, or failed where it was durable already."""
        return self.acknowledged or self.settled == THERE

    @property
    def unknown(self) -> bool:
        """Nobody can tell whether it took effect."""
        return self.outcome == UNKNOWN and not self.rollback and not self.settled

    @property
    def may_have_effect(self) -> bool:
        """It took effect, or nobody can say that it did not."""
        return self.outcome in (OK, UNKNOWN) and not self.rollback and self.settled != ABSENT

    @property
    def kept_in_part(self) -> bool:
        """It was refused, and yet a commit of it became durable: INSERT OR FAIL keeps the rows before the bad one."""
        return self.outcome == FAILED and self.kind == "statement" and bool(self.applied)

    @property
    def refused_at(self) -> int:
        """The statement whose refusal must follow from what it says and the database holds; -1 when there is none."""
        if self.outcome != FAILED or self.failed_at != len(self.answers) or self.tuned:
            return -1
        return self.failed_at if refused_by_meaning(self.error, self.several) else -1

    @property
    def hinted(self) -> bool:
        """The first guess: an acknowledged operation took effect, another one when its first commit request did."""
        if self.durable:
            return True
        return any(request == self.requested or self.requested < 0 for request, _ in self.applied)

    @property
    def title(self) -> str:
        return f"operation {self.number} ({self.name} of {self.client})"


@dataclass(slots=True)
class Timeline:
    """What the checks of states and answers need of a history.

    Attributes:
        operations: in the order of their invocation.
        observations: (index, event) of each state that a fresh instance found.
        allocations: the index of each moment at which the database changed hands.
        opened: the index at which each instance's generation was allocated.
        committed: whether anything became durable.
        guessed: the index of each commit that nobody claims and an operation may have sent.
    """

    history: Sequence[Record]
    operations: list[Operation]
    observations: list[tuple[int, StateObserved]]
    unreadable: list[StateUnreadable]
    allocations: list[int]
    opened: dict[str, int]
    committed: bool = False
    guessed: list[int] = field(default_factory=list)

    @property
    def attributed(self) -> bool:
        """Whether every commit has its operation for certain."""
        return self.committed and not self.guessed

    def may_commit_after(self, operation: Operation, index: int) -> bool:
        """Whether a commit after that moment may be the operation's."""
        if not self.committed or any(applied > index for _, applied in operation.applied):
            return True
        return bool(self.guessed) and self.guessed[-1] > index

    @property
    def end(self) -> int:
        return len(self.history)

    def time_of(self, operation: Operation) -> int:
        """Simulated nanoseconds at which the operation ended, or began if it never did."""
        index = operation.ended_at if operation.ended_at is not None else operation.invoked_at
        return self.history[index].at


def timeline_of(history: Sequence[Record]) -> Timeline:
    """Reads a history once."""
    operations: dict[int, Operation] = {}
    timeline = Timeline(history, [], [], [], [], {})
    generations: dict[int, int] = {}
    enforcing = _ForeignKeys()
    tuned: set[str] = set()
    unclaimed: list[tuple[int, CommitApplied]] = []
    boundaries: Boundaries | None = None
    for index, event in enumerate(history):
        kind = event.__class__
        if kind is OperationInvoked:
            assert isinstance(event, OperationInvoked)
            operations[event.operation] = _begin(event, index)
            enforcing.invoked(operations[event.operation])
            if any(tunes(sql) for sql, _ in event.statements):
                tuned.add(event.instance)
        elif kind is StatementReturned:
            assert isinstance(event, StatementReturned)
            operations[event.operation].answers[event.index] = event
        elif kind is OperationEnded:
            assert isinstance(event, OperationEnded)
            operation = operations[event.operation]
            operation.outcome, operation.error, operation.ended_at = event.outcome, event.error, index
            operation.failed_at, operation.tuned = event.failed_at, operation.instance in tuned
            if event.outcome == OK:
                enforcing.ended(operation)
        elif kind is StatementStarted:
            assert isinstance(event, StatementStarted)
            if event.operation in operations:
                enforcing.statement(operations[event.operation], event.handle)
                if boundaries is not None:
                    boundaries.statement(event, operations[event.operation].requested)
        elif kind is CommitRequested:
            assert isinstance(event, CommitRequested)
            if event.operation in operations and operations[event.operation].requested < 0:
                operations[event.operation].requested = event.request
        elif kind is CommitApplied:
            assert isinstance(event, CommitApplied)
            timeline.committed = True
            if event.operation in operations:
                operations[event.operation].applied.append((event.request, index))
            else:
                unclaimed.append((index, event))
        elif kind is StateObserved:
            assert isinstance(event, StateObserved)
            timeline.observations.append((index, event))
        elif kind is StateUnreadable:
            assert isinstance(event, StateUnreadable)
            timeline.unreadable.append(event)
        elif kind is FaultFired or kind is NetworkDisturbed:
            boundaries = boundaries or Boundaries()
            boundaries.disturbed(index, event)
        elif kind is InstanceAllocated:
            assert isinstance(event, InstanceAllocated)
            timeline.allocations.append(index)
            generations[event.generation] = index
        elif kind is InstanceOpened:
            assert isinstance(event, InstanceOpened)
            timeline.opened[event.instance] = generations.get(event.generation, index)
    timeline.operations = list(operations.values())
    if boundaries is not None:
        _settle(timeline.operations, boundaries)
    if unclaimed:
        timeline.guessed = _attribute(unclaimed, timeline.operations, len(history))
    for operation in timeline.operations:
        operation.position = _position(operation, len(history))
    return timeline


def _settle(operations: list[Operation], boundaries: Boundaries) -> None:
    """Tells of operations of unknown outcome what is certain all the same."""
    for operation in operations:
        if operation.unknown and not operation.several and operation.requested >= 0:
            operation.settled, operation.settled_at = boundaries.outcome(
                operation.number, operation.requested, operation.applied
            )


def _attribute(commits: list[tuple[int, CommitApplied]], operations: list[Operation], end: int) -> list[int]:
    """Gives commits that nobody claims to operations of their instance: a guess, as good as any.

    A system that runs statements in tasks of its own, and does not say for whom (`Kernel.working_for`), leaves such
    commits. Answers mostly go out in the order of the work, so a commit goes to the operation under way that ended
    first, and to one that its client gave up only when there is no other. Returns the indices of those commits that may
    have been sent for an operation.
    """
    waiting = [
        operation
        for operation in operations
        if operation.may_have_effect and not operation.applied and not only_looked(operation)
    ]
    waiting.sort(key=lambda operation: (operation.ended_at or end, operation.number))
    guessed = []
    for index, event in commits:
        begun = [op for op in waiting if op.invoked_at < index and op.instance == event.instance]
        under_way = [operation for operation in begun if index < (operation.ended_at or end)]
        given_up = [operation for operation in begun if operation.unknown]
        chosen = next(iter(under_way or given_up), None)
        if chosen is not None:
            chosen.applied.append((event.request, index))
            waiting.remove(chosen)
            guessed.append(index)
    return guessed


def only_looked(operation: Operation) -> bool:
    """Whether every statement of an operation was answered with columns and changed nothing."""
    return (
        not operation.several
        and len(operation.answers) == len(operation.statements)
        and all(answer.columns and not answer.changes for answer in operation.answers.values())
    )


def _begin(event: OperationInvoked, index: int) -> Operation:
    return Operation(
        event.operation,
        event.client,
        event.instance,
        event.name,
        event.kind,
        event.statements,
        event.rollback,
        index,
        several=event.several,
    )


def _position(operation: Operation, end: int) -> int:
    ended_at = operation.ended_at if operation.ended_at is not None else end
    if not operation.applied:
        return operation.settled_at if operation.settled == THERE else ended_at
    if operation.acknowledged:
        # A system may have tried more than once before it acknowledged.
        within = [index for _, index in operation.applied if index < ended_at]
        return within[-1] if within else ended_at
    for request, index in operation.applied:
        if request == operation.requested:
            return index
    return operation.applied[-1][1]


class _ForeignKeys:
    """Which operations run where `PRAGMA foreign_keys = ON` was said.

    It counts for the connection that ran it. Where the system does not tell which one ran what, it counts for the
    operations that its instance begins afterwards.
    """

    def __init__(self) -> None:
        self._instances: dict[str, bool] = {}
        self._handles: dict[tuple[str, int], bool] = {}
        #: PRAGMAs that did not say which connection ran them
        self._unplaced: dict[int, bool] = {}

    def invoked(self, operation: Operation) -> None:
        if self._instances:
            operation.foreign_keys = self._instances.get(operation.instance, False)
        said = foreign_keys_said(operation.statements[0][0]) if operation.kind == "statement" else None
        if said is not None:
            self._unplaced[operation.number] = said

    def statement(self, operation: Operation, handle: int) -> None:
        if self._unplaced or self._handles:
            place = operation.instance, handle
            said = self._unplaced.pop(operation.number, None)
            if said is not None:
                self._handles[place] = said
            else:
                operation.foreign_keys = self._handles.get(place, operation.foreign_keys)

    def ended(self, operation: Operation) -> None:
        said = self._unplaced.pop(operation.number, None) if self._unplaced else None
        if said is not None:
            self._instances[operation.instance] = said
