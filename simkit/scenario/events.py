"""What the world puts into the history about depot and operator, beside the events that checks are made for.

No check reads these: they explain a run and its picture. What is judged is in `simkit.check.events`.
"""

from __future__ import annotations

from simkit.kernel import Record


class OperatorFailed(Record, frozen=True, gc=False, tag=True):
    """A step of the operator came to nothing; the next one is done all the same.

    Attributes:
        step: its position among the steps of the plan, from 0.
        action, name: what it was, as the plan has it.
        error: the code of the depot's error, or "restore_point_not_made" when an earlier step made none.
    """

    step: int
    action: str
    name: str
    error: str
    message: str


class ForkObserved(Record, frozen=True, gc=False, tag=True):
    """What a fresh instance finds in a fork when all is done.

    Attributes:
        integrity: rows of PRAGMA integrity_check; empty when it could not be read.
        error: "" or why it could not be read.
    """

    database: str
    generation: int
    integrity: tuple[str, ...]
    error: str = ""


class DepotMeasured(Record, frozen=True, gc=False, tag=True):
    """How much the depot holds at the end of a run with compaction: rows of the store, bytes of keys and values."""

    rows: int
    stored_bytes: int
