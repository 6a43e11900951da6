"""The judge: runs the chosen checks over one history."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from simkit.check.acknowledgement import check_acknowledgement
from simkit.check.durability import Holds, check_durability, check_holds, explain
from simkit.check.isolation import check_answers
from simkit.check.operations import timeline_of
from simkit.check.oracle import Oracle
from simkit.check.progress import check_progress
from simkit.check.verdict import Violation
from simkit.kernel import Record

_GUESSES_TRIED_MAX = 40
_BY_WALKING = ("DUR-1", "DUR-2", "ISO-1", "ISO-2", "VAL-1")


def judge(history: Sequence[Record], invariants: Collection[str], oracle: Oracle, holds: Holds = ()) -> list[Violation]:
    """Every violation of the chosen invariants, in the order of simulated time. Empty: none was found."""
    found = [*check_acknowledgement(history), *check_progress(history)]
    if any(invariant in invariants for invariant in _BY_WALKING):
        found += _by_walking(history, oracle, holds)
    chosen = [violation for violation in found if violation.invariant in invariants]
    return sorted(chosen, key=lambda violation: violation.at)


def _by_walking(history: Sequence[Record], oracle: Oracle, holds: Holds) -> list[Violation]:
    """What the serial order of the operations shows; nothing, if any order that could have been explains all."""
    first, guesses = _walk_once(history, oracle, holds, -1)
    if first:
        for flip in range(min(guesses, _GUESSES_TRIED_MAX)):
            other, _ = _walk_once(history, oracle, holds, flip)
            if not other:
                return []
    return first


def _walk_once(history: Sequence[Record], oracle: Oracle, holds: Holds, flip: int) -> tuple[list[Violation], int]:
    timeline = timeline_of(history, flip)
    explained = explain(timeline, oracle)
    found = [
        *check_durability(timeline, explained, oracle),
        *check_holds(timeline, holds),
        *check_answers(timeline, explained, oracle),
    ]
    return found, timeline.guesses
