"""ISO-1, ISO-2, VAL-1: what statements saw.

Answers that fit no version of their window are looked up in older ones: found there they were stale (ISO-1). Otherwise
they mix versions or show what was never committed (ISO-2), unless a cell that should hold a client's own value holds
one that nobody stored and no version ever had: then the value was altered on its way (VAL-1). A statement that was
refused, and that SQLite refuses at no version of its window, got a wrong answer as well. Where commits do not say for
whom they were sent, and no order explains the answers, it cannot be told which one is wrong (ISO-1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simkit.check.dump import State, encode_rows
from simkit.check.operations import Operation, Timeline
from simkit.check.oracle import WRONGLY_REFUSED, Oracle, TransactionLost
from simkit.check.verdict import Violation
from simkit.check.walk import Suspect, Walk

CHECK = "answers"
REFUSALS = "refusals"
_REPORTED_MAX = 10
_STATES_MAX = 2_000


@dataclass(slots=True)
class _Finding:
    suspect: Suspect
    stale: int | None = None
    #: (found, right) cells of stored columns that differ at a version of the window
    cells: list[tuple[Any, Any]] = field(default_factory=list)


def check_answers(timeline: Timeline, explained: Walk, oracle: Oracle) -> list[Violation]:
    """One violation for each operation whose answers no allowed version gives; the first ten only, in order of time.

    Nothing is said of answers since the last state that fitted, when a state does not fit.
    """
    if explained.unordered:
        sentence = "no serial order explains what was read, though some explain every state that a fresh instance found"
        return [Violation("ISO-1", CHECK, sentence, timeline.history[-1].at)]
    suspects = sorted(explained.suspects, key=lambda suspect: timeline.time_of(suspect.operation))[:_REPORTED_MAX]
    if not suspects:
        return []
    findings = [_Finding(suspect) for suspect in suspects]
    order = explained.order
    stored = _Values()
    for operation in timeline.operations:
        for _, params in operation.statements:
            stored.add(params.values())
    seen = _look(findings, order, oracle)
    more = len(explained.suspects) - len(suspects)
    details = (f"and {more} more operations with wrong answers",) if more else ()
    return [_violation(timeline, finding, order, stored, seen, details) for finding in findings]


def _look(findings: Sequence[_Finding], order: Sequence[Operation], oracle: Oracle) -> _Values:
    """Goes through the versions once more, comparing each suspect with all up to its newest. Returns all values."""
    newest = max(finding.suspect.newest for finding in findings)
    oldest = min(finding.suspect.oldest for finding in findings)
    seen = _Values()
    try:
        with oracle.session():
            for version in range(min(newest, len(order)) + 1):
                near = version >= oldest - _STATES_MAX
                if near:
                    seen.add_state(oracle.state())
                for finding in findings:
                    suspect = finding.suspect
                    if near and version < suspect.oldest and oracle.attempt(suspect.operation) is None:
                        finding.stale = version
                    elif suspect.oldest <= version <= suspect.newest:
                        finding.cells.extend(_differing_cells(suspect.operation, oracle, seen))
                if version < len(order):
                    oracle.apply(order[version])
    except TransactionLost:
        pass  # what was seen so far is enough to name the suspects
    return seen


def _differing_cells(operation: Operation, oracle: Oracle, seen: _Values) -> list[tuple[Any, Any]]:
    """Cells of stored columns that differ from the present version, answer by answer as the transaction went."""
    cells: list[tuple[Any, Any]] = []
    mark = oracle.mark()
    for index in sorted(operation.answers):
        answer = operation.answers[index]
        expected = oracle.rows(operation, index)
        if expected is None:
            continue
        rows, stored = expected
        seen.add(value for row in rows for value in row)
        if len(rows) != len(answer.rows):
            continue
        for right_row, found_row in zip(rows, answer.rows, strict=True):
            for right, found, is_stored in zip(right_row, found_row, stored, strict=False):
                if is_stored and _code(right) != _code(found):
                    cells.append((found, right))
    oracle.back(mark)
    oracle.forget(mark)
    return cells


def _violation(
    timeline: Timeline,
    finding: _Finding,
    order: Sequence[Operation],
    stored: _Values,
    seen: _Values,
    details: tuple[str, ...],
) -> Violation:
    suspect = finding.suspect
    operation = suspect.operation
    altered = next(
        (cell for cell in finding.cells if cell[1] in stored and cell[0] not in stored and cell[0] not in seen), None
    )
    if finding.stale is not None:
        invariant = "ISO-1"
        missed = next((op for op in order[finding.stale :] if op.acknowledged), None)
        sentence = (
            f"{operation.title} saw version {finding.stale} of the database, older than "
            f"{missed.title if missed is not None else 'one'} that was acknowledged before it began"
        )
    elif altered is not None:
        invariant = "VAL-1"
        sentence = f"{operation.title} got a value that was never stored: {altered[0]!r} instead of {altered[1]!r}"
    else:
        invariant = "ISO-2"
        window = (
            f"version {suspect.oldest}"
            if suspect.oldest == suspect.newest
            else f"any of the versions {suspect.oldest} to {suspect.newest}"
        )
        sentence = f"{operation.title} does not fit {window}: {suspect.difference}"
    return Violation(
        invariant,
        REFUSALS if suspect.difference.startswith(WRONGLY_REFUSED) else CHECK,
        sentence,
        timeline.time_of(operation),
        (operation.client,),
        (operation.number,),
        details,
    )


class _Values:
    """Values, told apart by type and every bit."""

    def __init__(self) -> None:
        self._codes: set[bytes] = set()

    def add(self, values: Any) -> None:
        self._codes.update(_code(value) for value in values)

    def add_state(self, state: State) -> None:
        for _, _, rows in state:
            for row in rows:
                self.add(row)

    def __contains__(self, value: object) -> bool:
        return _code(value) in self._codes


def _code(value: Any) -> bytes:
    return encode_rows(((value,),))
