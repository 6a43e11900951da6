"""DUR-1, DUR-2: what a fresh instance finds is what was acknowledged, plus each unacknowledged operation wholly or not at all.

The order in which commits became durable is the first explanation tried. Where it does not fit an observed state, every
other choice of the unacknowledged operations is tried before anything is reported; an operation that the depot counts as
committed but that nobody was told about may be absent. If none fits, the report names what is lost or half there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from simkit.check.dump import differences, encode_state
from simkit.check.events import StateObserved, StateUnreadable
from simkit.check.operations import Operation
from simkit.check.oracle import Oracle
from simkit.check.verdict import Violation
from simkit.check.walk import Mismatch, Walk, hinted_order, is_read, walk
from simkit.kernel import Record

CHECK = "durable-state"
_UNKNOWN_MAX = 8
"""Unacknowledged operations whose choices are all tried: at most 2 to this power."""


def explain(history: Sequence[Record], operations: Sequence[Operation], oracle: Oracle) -> Walk:
    """The walk along an order that explains every observed state; if there is none, the walk of the first attempt."""
    end = len(history)
    first = walk(history, operations, hinted_order(operations, end), oracle)
    if first.mismatch is None:
        return first
    certain = [operation for operation in operations if operation.acknowledged and not is_read(operation)]
    unknown = [
        operation
        for operation in operations
        if operation.may_have_effect and not operation.acknowledged and not is_read(operation)
    ]
    for chosen in _choices(unknown):
        order = sorted([*certain, *chosen], key=lambda operation: (operation.position(end), operation.number))
        if order == first.order:
            continue
        attempt = walk(history, operations, order, oracle)
        if attempt.mismatch is None:
            return attempt
    return first


def check_durability(
    history: Sequence[Record], operations: Sequence[Operation], explained: Walk, oracle: Oracle
) -> list[Violation]:
    """Violations in what fresh instances found, including databases that cannot be read or are damaged."""
    violations = [
        Violation(
            "DUR-1",
            CHECK,
            f"a fresh instance cannot read the database ({event.when}): {event.error}",
            event.at,
        )
        for event in history
        if isinstance(event, StateUnreadable)
    ]
    violations.extend(
        Violation(
            "DUR-2",
            "integrity",
            f"PRAGMA integrity_check of a fresh instance ({event.when}) reports: {event.integrity[0]}",
            event.at,
            details=event.integrity[1:],
        )
        for event in history
        if isinstance(event, StateObserved) and event.integrity != ("ok",)
    )
    if explained.mismatch is not None:
        violations.append(_report(history, operations, explained, explained.mismatch, oracle))
    return violations


def check_holds(
    history: Sequence[Record], expected: Sequence[tuple[str, tuple[tuple[object, ...], ...]]]
) -> list[Violation]:
    """DUR-2 from the scenario's own words: queries whose answer no crash may change. `expected` are (sql, rows)."""
    violations = []
    for event in history:
        if isinstance(event, StateObserved):
            for (sql, rows), found in zip(expected, event.holds, strict=True):
                if found != rows:
                    violations.append(
                        Violation(
                            "DUR-2",
                            "holds",
                            f"a fresh instance ({event.when}) answers {list(found)} to {sql!r}, which must be {list(rows)}",
                            event.at,
                        )
                    )
    return violations


def _choices(unknown: Sequence[Operation]) -> Iterable[tuple[Operation, ...]]:
    """Every subset of the unacknowledged operations, small ones first; of the last ones only, if there are too many."""
    free, fixed = unknown[-_UNKNOWN_MAX:], [op for op in unknown[:-_UNKNOWN_MAX] if op.committed_at is not None]
    for size in range(len(free) + 1):
        for chosen in itertools.combinations(free, size):
            yield (*fixed, *chosen)


def _report(
    history: Sequence[Record], operations: Sequence[Operation], explained: Walk, mismatch: Mismatch, oracle: Oracle
) -> Violation:
    """Names the operation that is lost or wrongly there, if leaving it out or adding it explains the state."""
    observed = mismatch.observed
    details = tuple(differences(mismatch.expected, observed.state))
    applied = explained.order[: mismatch.version]
    found = encode_state(observed.state)
    for lost in reversed(applied):
        if lost.acknowledged and _gives(oracle, [op for op in applied if op is not lost], found):
            return Violation(
                "DUR-1",
                CHECK,
                f"{lost.title} was acknowledged, and a fresh instance ({observed.when}) does not find it",
                observed.at,
                (lost.client,),
                (lost.number,),
                details,
            )
    for length in range(len(applied) - 1, -1, -1):
        if _gives(oracle, applied[:length], found):
            lost_tail = [op for op in applied[length:] if op.acknowledged]
            if lost_tail:
                return Violation(
                    "DUR-1",
                    CHECK,
                    f"{len(lost_tail)} acknowledged operations, from {lost_tail[0].title} on, are missing in what a "
                    f"fresh instance ({observed.when}) finds",
                    observed.at,
                    tuple(dict.fromkeys(op.client for op in lost_tail)),
                    tuple(op.number for op in lost_tail),
                    details,
                )
    refused = [op for op in operations if not op.may_have_effect and op.invoked_at < mismatch.at]
    for ghost in reversed(refused):
        if _gives(oracle, [*applied, ghost], found):
            return Violation(
                "DUR-2",
                CHECK,
                f"{ghost.title} was {'rolled back' if ghost.rollback else 'refused'}, and a fresh instance "
                f"({observed.when}) finds it all the same",
                observed.at,
                (ghost.client,),
                (ghost.number,),
                details,
            )
    unknown = [
        op
        for op in operations
        if op.may_have_effect and not op.acknowledged and op.invoked_at < mismatch.at and not is_read(op)
    ]
    if unknown:
        return Violation(
            "DUR-2",
            CHECK,
            f"a fresh instance ({observed.when}) finds a state that no choice of the unacknowledged operations explains: "
            + ", ".join(op.title for op in unknown[:4]),
            observed.at,
            tuple(dict.fromkeys(op.client for op in unknown)),
            tuple(op.number for op in unknown),
            details,
        )
    return Violation(
        "DUR-1",
        CHECK,
        f"a fresh instance ({observed.when}) finds another state than the acknowledged operations make",
        observed.at,
        details=details,
    )


def _gives(oracle: Oracle, order: Iterable[Operation], found: bytes) -> bool:
    with oracle.session():
        for operation in order:
            oracle.apply(operation)
        return encode_state(oracle.state()) == found
