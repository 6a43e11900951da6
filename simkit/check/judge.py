"""The judge: runs the chosen checks over one history."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from simkit.check.acknowledgement import check_acknowledgement
from simkit.check.durability import check_durability, check_holds, explain
from simkit.check.isolation import check_answers
from simkit.check.operations import operations_of
from simkit.check.oracle import Oracle
from simkit.check.progress import check_progress
from simkit.check.verdict import Violation
from simkit.kernel import Record

Holds = Sequence[tuple[str, tuple[tuple[object, ...], ...]]]


def judge(history: Sequence[Record], invariants: Collection[str], oracle: Oracle, holds: Holds = ()) -> list[Violation]:
    """Every violation of the chosen invariants, in the order of simulated time. Empty: none was found."""
    operations = operations_of(history)
    explained = explain(history, operations, oracle)
    found = [
        *check_acknowledgement(history),
        *check_progress(history),
        *check_durability(history, operations, explained, oracle),
        *check_holds(history, holds),
        *check_answers(history, operations, explained, oracle),
    ]
    chosen = [violation for violation in found if violation.invariant in invariants]
    return sorted(chosen, key=lambda violation: violation.at)
