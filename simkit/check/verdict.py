"""What a check says: a violation names the invariant, one sentence, and who was involved; silence is nothing found."""

from __future__ import annotations

import msgspec

INVARIANTS: dict[str, str] = {
    "DUR-1": "every acknowledged commit is there after any crash, reload or takeover",
    "DUR-2": "an unacknowledged commit is wholly there or wholly absent",
    "DUR-3": "xSync returns only after the depot acknowledged the commit",
    "ISO-1": "no statement sees a version older than one acknowledged before it began",
    "ISO-2": "a statement sees exactly one committed version",
    "VAL-1": "values come back bit for bit",
    "PROG-2": "at quiescence nobody waits whose condition holds, and nobody waits in a circle",
    "PROG-3": "every run ends within its bounds of steps and simulated time",
    "DET-1": "the same decisions give the same history",
}
"""The invariants that are checked now, each with what must hold."""


class Violation(msgspec.Struct, frozen=True):
    """An invariant that does not hold in one history.

    Attributes:
        invariant: its id, a key of `INVARIANTS`.
        check: the name of the check that found it.
        sentence: what happened, in one sentence.
        at: simulated time in nanoseconds of the event that shows it.
        tasks: names of the tasks involved.
        operations: numbers of the operations involved.
        details: further lines, such as differing rows.
    """

    invariant: str
    check: str
    sentence: str
    at: int
    tasks: tuple[str, ...] = ()
    operations: tuple[int, ...] = ()
    details: tuple[str, ...] = ()
