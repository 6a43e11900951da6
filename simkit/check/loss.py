"""What is wrong with a state that no order explains: the smallest change to the expected order that gives it.

Looks for it among the operations since the last state that fitted, in this order: one that must be there is missing
(DUR-1), a tail of them is (DUR-1), one took effect although it was refused, was rolled back or failed before it was
durable (DUR-2), one is there in part (DUR-1 when it must be there, else DUR-2), a stored value was altered (VAL-1).
What must be there was acknowledged, or failed at a point where it was durable. Only names things: the state is a
violation whatever is found here. The search is bounded, because a report need not be perfect and must not take minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simkit.check.dump import State, encode_rows, encode_state
from simkit.check.operations import Operation, Timeline
from simkit.check.oracle import Oracle, TransactionLost
from simkit.check.walk import Mismatch

_CANDIDATES_MAX = 64
_WORK_MAX = 200_000
_STATES_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Loss:
    """Which invariant a state breaks, and by what."""

    invariant: str
    sentence: str
    operations: tuple[Operation, ...] = ()


def diagnose(timeline: Timeline, order: Sequence[Operation], mismatch: Mismatch, oracle: Oracle) -> Loss:
    """Names what makes the observed state differ from the one that `order` makes."""
    before, segment = list(order[: mismatch.since]), list(order[mismatch.since :])
    fresh = f"a fresh instance ({mismatch.observed.when})"
    refused = [
        operation
        for operation in timeline.operations
        if not operation.may_have_effect and not operation.kept_in_part and operation.invoked_at < mismatch.at
    ][-_CANDIDATES_MAX:]
    taken = {operation.number for operation in order}
    absent = [
        operation
        for operation in timeline.operations
        if operation.unknown and operation.number not in taken and operation.invoked_at < mismatch.at
    ][-_CANDIDATES_MAX:]
    search = _Search(oracle, before, mismatch)
    with oracle.session():
        search.prepare()
        for lost in [op for op in reversed(segment) if op.durable][:_CANDIDATES_MAX]:
            if search.gives([op for op in segment if op is not lost]):
                was = "was acknowledged" if lost.acknowledged else "failed after it was durable"
                return Loss("DUR-1", f"{lost.title} {was}, and {fresh} does not find it", (lost,))
        tail = search.lost_tail(segment)
        if tail:
            return Loss(
                "DUR-1",
                f"{len(tail)} {_kind(tail)} operation(s), from {tail[0].title} on, are missing in what {fresh} finds",
                tail,
            )
        for ghost in reversed(refused):
            if search.gives(_placed(segment, ghost)):
                return Loss("DUR-2", f"{ghost.title} {_why_not(ghost)}, and {fresh} finds it all the same", (ghost,))
        for torn, others in _torn(segment, [*absent, *refused]):
            if search.gives(others):
                invariant = "DUR-1" if torn.durable else "DUR-2"
                return Loss(
                    invariant, f"{torn.title} is not wholly there in what {fresh} finds, only a part of it is", (torn,)
                )
        altered = _altered(timeline, mismatch, search.values)
    if altered is not None:
        return Loss("VAL-1", f"{fresh} finds a value that was never stored: {altered}")
    unknown = tuple(op for op in [*segment, *absent] if op.unknown)
    earlier = search.earlier_state(before)
    if earlier is not None:
        return Loss(
            "DUR-1", f"{fresh} finds the database as it was before {earlier.title}, which was there once", (earlier,)
        )
    if unknown:
        return Loss(
            "DUR-2",
            f"{fresh} finds a state that no choice of the unacknowledged operations explains: "
            + ", ".join(op.title for op in unknown[:4]),
            unknown,
        )
    return Loss("DUR-1", f"{fresh} finds another state than the acknowledged operations make")


def _kind(operations: Iterable[Operation]) -> str:
    return "acknowledged" if all(operation.acknowledged for operation in operations) else "durable"


def _why_not(operation: Operation) -> str:
    """Why an operation cannot have had any effect."""
    if operation.rollback:
        return "was rolled back"
    return "failed before it was durable" if operation.settled else "was refused"


class _Search:
    """Tries orders after the last state that fitted. `values` are all cell values seen in any state tried."""

    def __init__(self, oracle: Oracle, before: list[Operation], mismatch: Mismatch) -> None:
        self._oracle = oracle
        self._before = before
        self._found = encode_state(mismatch.observed.state)
        self._mark = 0
        self._work = 0
        self.values: set[bytes] = set()

    def prepare(self) -> None:
        for operation in self._before:
            self._oracle.apply(operation)
        self._mark = self._oracle.mark()
        self._note(self._oracle.state())

    def gives(self, order: Iterable[Operation]) -> bool:
        """Whether `order` leads to the observed state."""
        if self._work > _WORK_MAX:
            return False
        oracle = self._oracle
        try:
            for operation in order:
                self._work += 1
                oracle.apply(operation)
        except TransactionLost:
            self._work = _WORK_MAX + 1  # the session is gone
            return False
        state = oracle.state()
        oracle.back(self._mark)
        self._note(state)
        return encode_state(state) == self._found

    def lost_tail(self, segment: Sequence[Operation]) -> tuple[Operation, ...]:
        """The operations that must be there after the newest version of the segment that is the observed state."""
        if self._work > _WORK_MAX:
            return ()
        oracle = self._oracle
        last = len(segment) - _STATES_MAX
        newest = None
        for version, operation in enumerate(segment):
            if version >= last:
                state = oracle.state()
                self._note(state)
                if encode_state(state) == self._found:
                    newest = version
            oracle.apply(operation)
        oracle.back(self._mark)
        if newest is None:
            return ()
        return tuple(operation for operation in segment[newest:] if operation.durable)

    def earlier_state(self, before: Sequence[Operation]) -> Operation | None:
        """The operation before which the database was what was observed, long ago."""
        last = len(before) - _STATES_MAX
        newest = None
        with self._oracle.session():
            for version, operation in enumerate(before):
                if version >= last and encode_state(self._oracle.state()) == self._found:
                    newest = operation
                self._oracle.apply(operation)
        return newest

    def _note(self, state: State) -> None:
        self.values.update(encode_rows(((value,),)) for _, _, rows in state for row in rows for value in row)


def _placed(order: Sequence[Operation], operation: Operation) -> list[Operation]:
    """`order` with one more operation, where it stands by its position."""
    before = [other for other in order if other.position < operation.position]
    return [*before, operation, *order[len(before) :]]


def _torn(segment: Sequence[Operation], absent: Sequence[Operation]) -> Iterator[tuple[Operation, list[Operation]]]:
    """Orders in which one operation of several statements took effect with some of them only."""
    for operation in reversed([*absent, *segment][-_CANDIDATES_MAX:]):
        count = len(operation.statements)
        if not 2 <= count <= 5:
            continue
        others = [other for other in segment if other is not operation]
        for size in range(1, count):
            for kept in itertools.combinations(operation.statements, size):
                yield operation, _placed(others, replace(operation, statements=kept, answers={}))


def _altered(timeline: Timeline, mismatch: Mismatch, seen: set[bytes]) -> str | None:
    """A cell with a value that nobody stored and no state had, where a client's own value belongs."""
    stored = {
        encode_rows(((value,),))
        for operation in timeline.operations
        for _, params in operation.statements
        for value in params.values()
    }
    found = {name: rows for name, _, rows in mismatch.observed.state}
    for name, _, expected in mismatch.expected:
        rows = found.get(name, ())
        if len(rows) != len(expected):
            return None
        missing = _without(expected, rows)
        unexpected = _without(rows, expected)
        for right_row, wrong_row in zip(missing, unexpected, strict=False):
            differing = [(r, w) for r, w in zip(right_row, wrong_row, strict=False) if _code(r) != _code(w)]
            for right, wrong in differing:
                if _code(right) in stored and _code(wrong) not in stored and _code(wrong) not in seen:
                    return f"{wrong!r} instead of {right!r} in {name}"
    return None


def _without(rows: Sequence[tuple[Any, ...]], others: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    codes = {encode_rows((row,)) for row in others}
    return [row for row in rows if encode_rows((row,)) not in codes]


def _code(value: Any) -> bytes:
    return encode_rows(((value,),))
