"""The walk: runs the operations of a history on the oracle in a serial order, and looks at everything on the way.

Checks ISO-1, ISO-2 and VAL-1 by what clients saw, and gives DUR-1 and DUR-2 the state that an observation should have found.
Version v of the database is its state after the first v operations of the order. A read is judged at every
version it may have seen: not older than what was acknowledged before it began, not newer than what was durable when
it ended. An instance that was superseded while it ran may serve what it cached, as long as it is one version.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from simkit.check.dump import State, encode_state
from simkit.check.events import OK, UNKNOWN, InstanceOpened, StateObserved
from simkit.check.operations import Operation
from simkit.check.oracle import Oracle
from simkit.depot.events import InstanceAllocated
from simkit.kernel import Record


@dataclass(frozen=True)
class Mismatch:
    """An observation that differs from the state of the order at that place."""

    at: int
    observed: StateObserved
    expected: State
    version: int


@dataclass
class Read:
    """A read to be judged. `last_difference` says why no version fitted so far."""

    operation: Operation
    oldest: int = 0
    newest: int = 0
    matched: bool = False
    last_difference: str = ""


@dataclass
class Walk:
    """What came out of one walk."""

    order: list[Operation]
    mismatch: Mismatch | None = None
    wrong_answers: list[tuple[Operation, str]] = field(default_factory=list)
    unexplained: list[Read] = field(default_factory=list)


def is_read(operation: Operation) -> bool:
    """Whether an operation only looked: every statement answered with columns, changed nothing, and no commit followed."""
    return (
        operation.committed_at is None
        and len(operation.answers) == len(operation.statements)
        and all(answer.columns and not answer.changes for answer in operation.answers.values())
    )


def trial(operation: Operation) -> bool:
    """Whether an operation left no effect but saw something: a read, or one that was rolled back or refused half way."""
    if not operation.answers:
        return False
    return is_read(operation) or operation.rollback or operation.outcome not in (OK, UNKNOWN)


def walk(history: Sequence[Record], operations: Sequence[Operation], order: list[Operation], oracle: Oracle) -> Walk:
    """Goes through `order` version by version. Stops at the first observation that does not fit."""
    result = Walk(order)
    end = len(history)
    observations = [(index, event) for index, event in enumerate(history) if isinstance(event, StateObserved)]
    reads = _windows(history, operations, order, end)
    starting: dict[int, list[Read]] = {}
    for read in reads:
        starting.setdefault(read.oldest, []).append(read)
    open_reads: list[Read] = []
    next_observation = 0
    with oracle.session():
        for version in range(len(order) + 1):
            boundary = order[version].position(end) if version < len(order) else end
            open_reads.extend(starting.get(version, ()))
            open_reads = _judge(open_reads, version, oracle, result)
            while next_observation < len(observations) and observations[next_observation][0] <= boundary:
                at, observed = observations[next_observation]
                next_observation += 1
                expected = oracle.state()
                if encode_state(expected) != encode_state(observed.state):
                    result.mismatch = Mismatch(at, observed, expected, version)
                    return result
            if version < len(order):
                difference = oracle.apply(order[version])
                if difference is not None:
                    result.wrong_answers.append((order[version], difference))
    result.unexplained = [read for read in reads if not read.matched]
    return result


def hinted_order(operations: Sequence[Operation], end: int) -> list[Operation]:
    """The order in which commits became durable: acknowledged operations, and unknown ones that reached the depot's log."""
    effective = [
        operation
        for operation in operations
        if operation.may_have_effect
        and not is_read(operation)
        and (operation.acknowledged or operation.committed_at is not None)
    ]
    return sorted(effective, key=lambda operation: (operation.position(end), operation.number))


def _judge(open_reads: list[Read], version: int, oracle: Oracle, result: Walk) -> list[Read]:
    """Tries the open reads at this version; returns those that may still match a later one."""
    remaining = []
    for read in open_reads:
        mark = oracle.mark()
        difference = oracle.apply(read.operation, len(read.operation.answers))
        oracle.back(mark)
        oracle.forget(mark)
        if difference is None:
            read.matched = True
            continue
        read.last_difference = difference
        if version < read.newest:
            remaining.append(read)
    return remaining


def _windows(
    history: Sequence[Record], operations: Sequence[Operation], order: list[Operation], end: int
) -> list[Read]:
    """Each read with the oldest and newest version that it may have seen."""
    reads = [Read(operation) for operation in operations if trial(operation)]
    if not reads:
        return reads
    allocations = [index for index, event in enumerate(history) if isinstance(event, InstanceAllocated)]
    opened = _opened_at(history)
    positions = [operation.position(end) for operation in order]
    acknowledged = [
        operation.ended_at if operation.acknowledged and operation.ended_at is not None else end for operation in order
    ]
    for read in reads:
        operation = read.operation
        ended = operation.ended_at if operation.ended_at is not None else end
        read.newest = _count_below(positions, ended)
        seen_from = operation.invoked_at
        superseded = [index for index in allocations if opened.get(operation.instance, 0) < index < ended]
        if superseded:
            seen_from = min(seen_from, superseded[0])
        read.oldest = min(_last_below(acknowledged, seen_from, read.newest), read.newest)
    return reads


def _opened_at(history: Sequence[Record]) -> dict[str, int]:
    """The index at which each instance's generation was allocated."""
    allocated: dict[int, int] = {}
    opened: dict[str, int] = {}
    for index, event in enumerate(history):
        if isinstance(event, InstanceAllocated):
            allocated[event.generation] = index
        elif isinstance(event, InstanceOpened):
            opened[event.instance] = allocated.get(event.generation, index)
    return opened


def _count_below(ascending: list[int], bound: int) -> int:
    """How many entries lie below `bound`."""
    return bisect_left(ascending, bound)


def _last_below(values: list[int], bound: int, within: int) -> int:
    """The number of leading entries up to and with the last one below `bound`, among the first `within`."""
    for index in range(within - 1, -1, -1):
        if values[index] < bound:
            return index + 1
    return 0
