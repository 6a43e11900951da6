"""DUR-1, DUR-2: a fresh instance finds what was acknowledged, and each unacknowledged operation wholly or not at all.

The order in which commits became durable is the first explanation tried. Where it does not fit an observed state,
every other choice of the unacknowledged operations is tried before anything is reported, and where commits do not say
for whom they were sent, every other order. If none fits, the report names what is lost, half there, or there although
it was refused. Where a search was too long to end, nothing is reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.dump import differences
from simkit.check.loss import diagnose
from simkit.check.operations import Timeline
from simkit.check.oracle import Oracle, TransactionLost
from simkit.check.orders import Explained, OrderSearch
from simkit.check.verdict import Violation
from simkit.check.walk import Suspect, Walk, Walker

CHECK = "durable-state"
_EXCLUDED_MAX = 1000
_ROUNDS_MAX = 20
Holds = Sequence[tuple[str, tuple[tuple[object, ...], ...]]]


def explain(timeline: Timeline, oracle: Oracle) -> Walk:
    """The walk along an order that explains every observed state; without one, up to the first it cannot explain."""
    forced: frozenset[int] = frozenset()
    excluded: dict[int, TransactionLost] = {}
    rounds = 0
    while True:
        try:
            walk = Walker(timeline, oracle, forced, frozenset(excluded)).walk()
        except TransactionLost as lost:
            number = lost.operation.number
            if number in excluded or len(excluded) >= _EXCLUDED_MAX:
                raise
            excluded[number] = lost
            continue
        rounds += 1
        if not walk.never_committed or rounds >= _ROUNDS_MAX:
            break
        forced |= walk.never_committed | _without_commit(timeline)
    walk.suspects.extend(
        Suspect(
            lost.operation, f"it was acknowledged, but here SQLite rolls it back: {lost.__cause__}", 0, len(walk.order)
        )
        for lost in excluded.values()
        if lost.operation.acknowledged
    )
    if (walk.mismatch is not None or walk.suspects) and _another_order(timeline, oracle):
        walk.mismatch = None
        walk.suspects.clear()
    elif timeline.guessed and walk.mismatch is not None:
        walk.unordered = OrderSearch(timeline, oracle, reads=False).run() is Explained.YES
    return walk


def _another_order(timeline: Timeline, oracle: Oracle) -> bool:
    """Whether an order that the commits do not show explains everything, or may do so.

    They show none where nobody says for whom they were sent, and where one commit carries several operations. The
    latter looks like a loss, so it has to be found and cannot just be possible.
    """
    if timeline.guessed:
        return OrderSearch(timeline, oracle).run() is not Explained.NO
    return bool(_without_commit(timeline)) and OrderSearch(timeline, oracle).run() is Explained.YES


def _without_commit(timeline: Timeline) -> frozenset[int]:
    """Acknowledged operations that changed rows and have no commit: the system does not tell which commit is whose."""
    return frozenset(
        operation.number
        for operation in timeline.operations
        if operation.acknowledged
        and not operation.applied
        and any(answer.changes for answer in operation.answers.values())
    )


def check_durability(timeline: Timeline, explained: Walk, oracle: Oracle) -> list[Violation]:
    """Violations in what fresh instances found, including databases that cannot be read or are damaged."""
    violations = [
        Violation(
            "DUR-1",
            CHECK,
            f"a fresh instance cannot read the database ({event.when}): {event.error}",
            event.at,
        )
        for event in timeline.unreadable
    ]
    violations.extend(
        Violation(
            "DUR-2",
            "integrity",
            f"PRAGMA integrity_check of a fresh instance ({event.when}) reports: {event.integrity[0]}",
            event.at,
            details=event.integrity[1:],
        )
        for _, event in timeline.observations
        if event.integrity != ("ok",)
    )
    mismatch = explained.mismatch
    if mismatch is not None and not explained.unordered:
        loss = diagnose(timeline, explained.order, mismatch, oracle)
        violations.append(
            Violation(
                loss.invariant,
                CHECK,
                loss.sentence,
                mismatch.observed.at,
                tuple(dict.fromkeys(operation.client for operation in loss.operations)),
                tuple(operation.number for operation in loss.operations),
                tuple(differences(mismatch.expected, mismatch.observed.state)),
            )
        )
    return violations


def check_holds(timeline: Timeline, expected: Holds) -> list[Violation]:
    """DUR-2 from the scenario's own words: queries whose answer no crash may change. `expected` are (sql, rows).

    Numbers are compared as numbers here: a scenario may write 8000 for a sum that SQLite gives as 8000.0.
    """
    violations = []
    for _, event in timeline.observations:
        for (sql, rows), found in zip(expected, event.holds, strict=False):
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
