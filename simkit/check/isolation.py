"""ISO-1, ISO-2, VAL-1: what statements saw.

A read that fits no version of its window is looked up in older ones: found there it was stale (ISO-1). Otherwise the answer mixes
versions (ISO-2), unless a cell that should hold a stored value holds one that nobody ever stored: then the
value was altered on its way (VAL-1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from simkit.check.dump import encode_rows
from simkit.check.operations import Operation
from simkit.check.oracle import Oracle
from simkit.check.verdict import Violation
from simkit.check.walk import Read, Walk
from simkit.kernel import Record

CHECK = "answers"


def check_answers(
    history: Sequence[Record], operations: Sequence[Operation], explained: Walk, oracle: Oracle
) -> list[Violation]:
    """One violation for each operation whose answers no allowed version gives."""
    if explained.mismatch is not None:
        return []  # without an order that explains the states there is nothing to judge answers by
    violations = []
    for operation, difference in explained.wrong_answers:
        version = explained.order.index(operation)
        violations.append(_judge(history, operations, operation, difference, explained.order, version, version, oracle))
    for read in explained.unexplained:
        violations.append(_judge_read(history, operations, read, explained.order, oracle))
    return violations


def _judge_read(
    history: Sequence[Record], operations: Sequence[Operation], read: Read, order: list[Operation], oracle: Oracle
) -> Violation:
    operation = read.operation
    stale = _matching_version(operation, order[: read.oldest], oracle)
    if stale is not None:
        missed = order[stale] if stale < len(order) else None
        return Violation(
            "ISO-1",
            CHECK,
            f"{operation.title} saw version {stale}, older than {missed.title if missed else 'what'} "
            "that was acknowledged before it began",
            _time(history, operation),
            (operation.client,),
            (operation.number,),
        )
    return _judge(history, operations, operation, read.last_difference, order, read.oldest, read.newest, oracle)


def _judge(
    history: Sequence[Record],
    operations: Sequence[Operation],
    operation: Operation,
    difference: str,
    order: list[Operation],
    oldest: int,
    newest: int,
    oracle: Oracle,
) -> Violation:
    altered = _altered_value(operations, operation, order[:newest], oracle)
    if altered is not None:
        return Violation(
            "VAL-1",
            CHECK,
            f"{operation.title} got a value that was never stored: {altered}",
            _time(history, operation),
            (operation.client,),
            (operation.number,),
        )
    window = f"version {oldest}" if oldest == newest else f"any of the versions {oldest} to {newest}"
    return Violation(
        "ISO-2",
        CHECK,
        f"{operation.title} does not fit {window}: {difference}",
        _time(history, operation),
        (operation.client,),
        (operation.number,),
    )


def _matching_version(operation: Operation, order: Sequence[Operation], oracle: Oracle) -> int | None:
    """The newest version among those before the end of `order` at which every answer fits."""
    found = None
    with oracle.session():
        for version, earlier in enumerate(order):
            mark = oracle.mark()
            if oracle.apply(operation, len(operation.answers)) is None:
                found = version
            oracle.back(mark)
            oracle.forget(mark)
            oracle.apply(earlier)
    return found


def _altered_value(
    operations: Sequence[Operation], operation: Operation, order: Sequence[Operation], oracle: Oracle
) -> str | None:
    """A cell whose right value was stored by somebody while the value found never was, in a row that is otherwise there."""
    with oracle.session():
        stored = _typed(value for _, _, rows in oracle.state() for row in rows for value in row)
        for earlier in order:
            oracle.apply(earlier)
        stored |= _typed(value for _, _, rows in oracle.state() for row in rows for value in row)
        stored |= _typed(value for other in operations for _, params in other.statements for value in params.values())
        for index, (sql, params) in enumerate(operation.statements):
            answer = operation.answers.get(index)
            try:
                expected = oracle.run(sql, params)
            except apsw.Error:
                return None
            if answer is None or expected is None or len(expected.rows) != len(answer.rows):
                continue
            for expected_row, found_row in zip(expected.rows, answer.rows, strict=True):
                for right, wrong in zip(expected_row, found_row, strict=False):
                    if _type(right) in stored and _type(wrong) not in stored:
                        return f"{wrong!r} instead of {right!r}"
    return None


def _typed(values: Iterable[Any]) -> set[bytes]:
    return {_type(value) for value in values}


def _type(value: Any) -> bytes:
    return encode_rows(((value,),))


def _time(history: Sequence[Record], operation: Operation) -> int:
    index = operation.ended_at if operation.ended_at is not None else operation.invoked_at
    return history[index].at
