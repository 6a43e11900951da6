"""The walk: runs the operations of a history on the oracle in a serial order, and looks at everything on the way.

Checks ISO-1, ISO-2 and VAL-1 by what clients saw, and gives DUR-1 and DUR-2 the state that an observation should have
found. Version v of the database is its state after the first v operations of the order. A read is judged at every
version it may have seen: not older than what was acknowledged before it began, not newer than what was durable when
it ended. An instance that was superseded while it ran may serve what it cached, as long as it is one version. A refusal
is an answer: the statement must be refused at such a version, too.

The walk goes from observation to observation. Equal states have equal futures, so once an observation fits, nothing
before it is looked at again: where one does not fit, only the unacknowledged operations since the last are chosen
anew (`simkit.check.choices`). Where that search ends before it is whole and nothing fitted, the walk claims nothing of
the place: of wrong answers it keeps silent, and at a state that does not fit it ends. Each operation runs once and each
read once for every version of its window, which is linear in the history for any bounded number of clients.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from simkit.check.choices import NEAREST, Choice, ChoiceSearch, Distance, rows_apart
from simkit.check.dump import State, encode_state
from simkit.check.events import FAILED, StateObserved
from simkit.check.operations import Operation, Timeline, only_looked
from simkit.check.oracle import NOT_COMMITTED, Oracle

_ROWS_PER_OPERATION = 10
"""Rows of a state that are compared in the time of one operation."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An observation that differs from the state of the order at that place.

    `since` and `version` delimit the operations of the order since the last observation that fitted.
    """

    at: int
    observed: StateObserved
    expected: State
    since: int
    version: int


@dataclass(eq=False, slots=True)
class Read:
    """A read to be judged: it saw a version that was current later than `fresh_from` and existed before `ended`.

    `idle` ones were acknowledged without a commit, and must change nothing at the version that they saw.
    """

    operation: Operation
    fresh_from: int
    ended: int
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Suspect:
    """An operation whose answers fit no version that it may have seen: those from `oldest` to `newest`."""

    operation: Operation
    difference: str
    oldest: int
    newest: int


@dataclass(slots=True)
class Walk:
    """What came out of one walk: the order it took, and what did not fit.

    `never_committed` are the numbers of acknowledged operations that change the database and have no commit to show.
    `unordered`: the order was a guess, others explain every state, and none explains what was read as well.
    """

    order: list[Operation] = field(default_factory=list)
    mismatch: Mismatch | None = None
    never_committed: set[int] = field(default_factory=set)
    suspects: list[Suspect] = field(default_factory=list)
    unordered: bool = False


_Pending = tuple[Read, int, str]
"""A read that fitted no version so far, the first version it was tried at, and what differed at the last."""


@dataclass(slots=True)
class _Task:
    """What is to be explained between observations, from `version` on. `candidates` may be part of it or not."""

    certain: list[Operation]
    candidates: list[Operation]
    version: int
    end: int
    observed: StateObserved | None
    pending: list[_Pending]
    reads: list[Read]


@dataclass(slots=True)
class _Segment:
    """How one choice explains it. `expected` is the state that the choice makes, when another was observed.

    `doubtful`: it has faults, and a choice without any may be among those that were not tried.
    """

    order: list[Operation]
    suspects: list[Suspect] = field(default_factory=list)
    pending: list[_Pending] = field(default_factory=list)
    expected: State | None = None
    doubtful: bool = False


class Walker:
    """Walks one timeline.

    Parameters:
        forced: numbers of acknowledged operations without a commit that are to be taken as effective.
        excluded: numbers of operations that had no effect for certain.
    """

    def __init__(
        self,
        timeline: Timeline,
        oracle: Oracle,
        forced: frozenset[int] = frozenset(),
        excluded: frozenset[int] = frozenset(),
    ) -> None:
        self._timeline = timeline
        self._oracle = oracle
        self._certain: list[Operation] = []
        self._unknown: list[Operation] = []
        self._reads: list[Read] = []
        self._next_read = 0
        self._sort_operations(forced, excluded)
        #: the unacknowledged operations that are part of the order, so far or by their hint
        self._chosen = {operation.number for operation in self._unknown if operation.hinted}

    def walk(self) -> Walk:
        """Goes through the whole history. Stops at the first observation that nothing explains.

        There is no mismatch to show for it where the search for an explanation was not whole.
        """
        result = Walk()
        timeline, oracle, chosen = self._timeline, self._oracle, self._chosen
        pending: list[_Pending] = []
        waiting: list[Operation] = []
        next_certain = next_unknown = 0
        with oracle.session():
            for end, observed in [*timeline.observations, (timeline.end, None)]:
                since, next_certain = next_certain, _beyond(self._certain, next_certain, end)
                first, next_unknown = next_unknown, _beyond(self._unknown, next_unknown, end)
                unknown = self._unknown[first:next_unknown]
                task = _Task(
                    self._certain[since:next_certain],
                    [operation for operation in [*waiting, *unknown] if operation.invoked_at < end],
                    len(result.order),
                    end,
                    observed,
                    pending,
                    self._reads_before(end),
                )
                segment = self._explain(task, [operation for operation in unknown if operation.number in chosen])
                result.order.extend(segment.order)
                result.never_committed.update(
                    suspect.operation.number for suspect in segment.suspects if suspect.difference == NOT_COMMITTED
                )
                if segment.expected is not None:
                    assert observed is not None
                    if segment.doubtful:
                        return result
                    result.mismatch = Mismatch(end, observed, segment.expected, task.version, len(result.order))
                    return result
                if segment.doubtful:
                    pending = []
                else:
                    result.suspects.extend(segment.suspects)
                    pending = segment.pending
                waiting = [
                    op for op in [*waiting, *unknown] if op.number not in chosen and timeline.may_commit_after(op, end)
                ]
        return result

    def _explain(self, task: _Task, hinted: list[Operation]) -> _Segment:
        """Walks a segment with the hinted choice; if anything is wrong with it, with every other choice."""
        if not task.candidates:
            return self._segment(task, task.certain)
        oracle, chosen = self._oracle, self._chosen
        mark = oracle.mark()
        best = self._segment(task, _merge(task.certain, hinted))
        if best.suspects or best.expected is not None:
            best = self._search(task, best, mark)
        oracle.forget(mark)
        chosen.difference_update(operation.number for operation in task.candidates)
        chosen.update(operation.number for operation in best.order)
        return best

    def _search(self, task: _Task, first: _Segment, mark: int) -> _Segment:
        """The segment with the choice that fits best: first of all the observation, then the answers."""
        oracle, candidates = self._oracle, task.candidates
        self._chosen.difference_update(operation.number for operation in candidates)

        def run(choice: Choice) -> _Segment:
            oracle.back(mark)
            return self._segment(task, _merge(task.certain, [op for op in candidates if op.number in choice]))

        rows = sum(len(content) for _, _, content in task.observed.state) if task.observed is not None else 0
        effort = len(task.certain) + len(candidates) + rows // _ROWS_PER_OPERATION
        numbers = [operation.number for operation in candidates]
        initial = frozenset(numbers).intersection(operation.number for operation in first.order)
        found = ChoiceSearch(lambda choice: _distance(task, run(choice)), effort).run(
            numbers,
            [op.number for op in candidates if op.applied] if self._timeline.attributed else numbers,
            initial,
            _distance(task, first),
        )
        best = run(found.choice)
        best.doubtful = not found.whole
        return best

    def _segment(self, task: _Task, order: list[Operation]) -> _Segment:
        """Runs `order` from the present state, judging reads at each version, and compares with the observation."""
        oracle, end, reads = self._oracle, task.end, task.reads
        result = _Segment(order)
        taken = self._chosen.union(operation.number for operation in order) if task.candidates else self._chosen
        active = list(task.pending)
        next_read = 0
        for version, operation in enumerate([*order, None], task.version):
            border = operation.position if operation is not None else end
            while next_read < len(reads) and reads[next_read].fresh_from < border:
                active.append((reads[next_read], version, ""))
                next_read += 1
            if active:
                active = self._judge(active, version, border, operation is None, taken, result)
            if operation is not None:
                difference = oracle.apply(operation)
                if difference is not None:
                    result.suspects.append(Suspect(operation, difference, version, version))
        result.pending = active
        if task.observed is not None:
            expected = oracle.state()
            if encode_state(expected) != encode_state(task.observed.state):
                result.expected = expected
        return result

    def _judge(
        self, active: list[_Pending], version: int, border: int, last: bool, taken: set[int], result: _Segment
    ) -> list[_Pending]:
        """Tries the active reads at this version; returns those that may still match a later one."""
        remaining = []
        for entry in active:
            read, oldest, before = entry
            operation = read.operation
            if last and read.ended > border:
                remaining.append(entry)  # its window goes on: the same version is tried again after the observation
                continue
            if operation.number in taken:
                continue  # an unacknowledged operation that is judged at its own place in the order
            difference = self._oracle.attempt(operation, read.idle)
            if difference is None:
                continue
            if before == NOT_COMMITTED:
                difference = before
            if read.ended > border:
                remaining.append((read, oldest, difference))
            else:
                result.suspects.append(Suspect(operation, difference, oldest, version))
        return remaining

    def _reads_before(self, end: int) -> list[Read]:
        """The reads that saw something first in the segment that ends here."""
        first = self._next_read
        while self._next_read < len(self._reads) and self._reads[self._next_read].fresh_from < end:
            self._next_read += 1
        return self._reads[first : self._next_read]

    def _sort_operations(self, forced: frozenset[int], excluded: frozenset[int]) -> None:
        oracle = self._oracle
        reads: list[tuple[Operation, bool]] = []
        for operation in self._timeline.operations:
            if operation.number in excluded:
                continue
            if operation.acknowledged:
                if only_looked(operation):
                    reads.append((operation, False))
                elif operation.applied or operation.number in forced:
                    self._certain.append(operation)
                elif operation.answers:
                    reads.append((operation, True))
            elif operation.durable:
                self._certain.append(operation)
            elif operation.unknown:
                if not oracle.reads_only(operation):
                    self._unknown.append(operation)
                if operation.answers:
                    reads.append((operation, False))
            elif operation.kept_in_part:
                self._certain.append(operation)
            elif operation.refused_at >= 0 or (
                operation.answers and (operation.rollback or operation.outcome == FAILED or operation.settled)
            ):
                reads.append((operation, False))
        self._certain.sort(key=_place)
        self._unknown.sort(key=_place)
        if reads:
            self._set_windows(reads)

    def _set_windows(self, reads: list[tuple[Operation, bool]]) -> None:
        """Gives each read its window, and sorts them by the beginning of it."""
        timeline = self._timeline
        told = sorted(
            (operation.ended_at, operation.position)
            for operation in self._certain
            if operation.acknowledged and operation.ended_at is not None
        )
        told_at = [ended_at for ended_at, _ in told]
        freshest = list(itertools.accumulate((position for _, position in told), max))
        allocations = timeline.allocations
        observed_at = [index for index, _ in timeline.observations]
        for operation, idle in reads:
            ended = operation.ended_at if operation.ended_at is not None else timeline.end
            seen_from = operation.invoked_at
            opened = timeline.opened.get(operation.instance, operation.invoked_at)
            superseded = bisect_left(allocations, opened + 1)
            if superseded < len(allocations):
                seen_from = min(seen_from, allocations[superseded])
            known = bisect_left(told_at, seen_from)
            fresh_from = freshest[known - 1] if known else -1
            # What a fresh instance found is as good as acknowledged, too.
            found = bisect_left(observed_at, seen_from)
            if found:
                fresh_from = max(fresh_from, observed_at[found - 1])
            self._reads.append(Read(operation, fresh_from, ended, idle))
        self._reads.sort(key=lambda read: (read.fresh_from, read.operation.number))


def _place(operation: Operation) -> tuple[int, int]:
    return operation.position, operation.number


def _beyond(operations: list[Operation], start: int, end: int) -> int:
    """The index of the first operation from `start` on that stands after `end`."""
    while start < len(operations) and operations[start].position <= end:
        start += 1
    return start


def _merge(certain: list[Operation], chosen: Sequence[Operation]) -> list[Operation]:
    return sorted([*certain, *chosen], key=_place) if chosen else certain


def _distance(task: _Task, segment: _Segment) -> Distance:
    """How far a segment is from what was seen in it."""
    if segment.expected is None:
        return NEAREST[0], len(segment.suspects)
    assert task.observed is not None
    return rows_apart(segment.expected, task.observed.state), len(segment.suspects)
