"""Runs a file of sqllogictest and judges its records one by one.

Values are rendered as the format wants them: NULL as `NULL`; integers in decimal, a text in an integer column as the
number it begins with; reals with three digits; an empty text as `(empty)`, and `@` for every byte of a text that is no
printable ASCII character. After the last record the instance crashes, a new one opens the database, and two more cases
are judged: its integrity, and that it holds what was committed.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw

from simkit.conformance.logic_reader import Halt, HashThreshold, LogicRecord, Query, Statement, read_logic
from simkit.conformance.results import Failure, FileResult
from simkit.conformance.subject import Subject, VfsKind, digest_of, run_on

ENGINE = "sqlite"

_NUMBER_PREFIX = re.compile(r"\s*([+-]?\d+)")
_REAL_PREFIX = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1
_SHOWN_VALUES = 8
_HALTED = "the file says halt before"
_NO_VALUES = "the file gives no values to compare with"


def run_logic(file: Path, name: str, kind: VfsKind) -> FileResult:
    """Runs the file on a new database. Raises `ReadError` for what is not of the format."""
    result = FileResult(name)
    records = read_logic(file)
    started = time.perf_counter()
    result.commits = run_on(kind, lambda subject: LogicRun(subject, result).run(records))
    result.depot_files = 1 if kind == "depot" else 0
    result.wall_s = time.perf_counter() - started
    return result


class _NothingToCompare(Exception):
    """A query that the file gives no values for gave some, or failed: the original runner compares nothing then."""


class LogicRun:
    """One run of a file's records; what comes out goes into `result`."""

    def __init__(self, subject: Subject, result: FileResult) -> None:
        self._subject = subject
        self._connection = subject.connection
        self._result = result
        #: hash of the values, and the line, of the first query of each label
        self._labels: dict[str, tuple[str, int]] = {}

    def run(self, records: Sequence[LogicRecord]) -> None:
        result = self._result
        for position, record in enumerate(records):
            if isinstance(record, HashThreshold):
                continue
            against = record.conditions.reason_against(ENGINE)
            if isinstance(record, Halt):
                if against is None:
                    rest = sum(isinstance(later, Statement | Query) for later in records[position + 1 :])
                    result.skipped[_HALTED] += rest
                    break
            elif against is not None:
                result.skipped[against] += 1
            else:
                self._judge(record)
        self._close()

    def _judge(self, record: Statement | Query) -> None:
        try:
            why = self._statement(record) if isinstance(record, Statement) else self._query(record)
        except _NothingToCompare:
            self._result.skipped[_NO_VALUES] += 1
        else:
            self._note(f"line {record.line}", why)

    def _note(self, case: str, why: str | None) -> None:
        if why is None:
            self._result.passed += 1
        else:
            self._result.failures.append(Failure(case, why))

    def _statement(self, record: Statement) -> str | None:
        try:
            self._connection.execute(record.sql).fetchall()
        except apsw.Error as error:
            if not record.fails:
                return f"has to succeed, but: {_told(error)}"
            if record.message and record.message.lower() not in str(error).lower():
                return f"has to fail with {record.message!r}, but: {_told(error)}"
            return None
        return "has to fail, and succeeded" if record.fails else None

    def _query(self, record: Query) -> str | None:
        try:
            cursor = self._connection.execute(record.sql)
            rows = cursor.fetchall()
        except apsw.Error as error:
            if record.expected == ():
                raise _NothingToCompare from error
            return f"has to succeed, but: {_told(error)}"
        if rows and record.expected == ():
            raise _NothingToCompare
        widths = {len(row) for row in rows} - {len(record.types)}
        if widths:
            return f"has to give {len(record.types)} columns ({record.types}), gave {widths.pop()}"
        values = sorted_values(render_rows(rows, record.types), record)
        digest = hash_values(values)
        why = _compare(record, values, digest)
        if why is None and record.label:
            first, line = self._labels.setdefault(record.label, (digest, record.line))
            if first != digest:
                why = f"gave other values than line {line} of the same label {record.label}"
        return why

    def _close(self) -> None:
        connection = self._connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        committed = digest_of(connection)
        closing = self._subject.reopen()
        self._note(
            "integrity after a crash",
            None if closing.integrity == ("ok",) else "PRAGMA integrity_check says: " + "; ".join(closing.integrity),
        )
        self._note(
            "content after a crash",
            None if closing.digest == committed else "a new instance finds other rows than the last one committed",
        )


def render_rows(rows: Iterable[Sequence[object]], types: str) -> list[tuple[str, ...]]:
    """The values of rows as text, each by the letter of its column."""
    return [tuple(map(render_value, row, types)) for row in rows]


def render_value(value: object, column_type: str) -> str:
    """One value as the format writes it."""
    if value is None:
        return "NULL"
    if column_type == "I":
        return str(as_integer(value))
    if column_type == "R":
        return f"{as_real(value):.3f}"
    text = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if 32 <= byte <= 126 else "@" for byte in text) or "(empty)"


def as_integer(value: object) -> int:
    """What SQLite's integer conversion of a column makes of a value."""
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        bounded = max(min(value, 2.0**64), -(2.0**64))
        return 0 if math.isnan(value) else max(min(int(bounded), _INTEGER_MAX), _INTEGER_MIN)
    match = _NUMBER_PREFIX.match(_text_of(value))
    return max(min(int(match[1]), _INTEGER_MAX), _INTEGER_MIN) if match else 0


def as_real(value: object) -> float:
    """What SQLite's real conversion of a column makes of a value."""
    if isinstance(value, int | float):
        return float(value)
    match = _REAL_PREFIX.match(_text_of(value))
    return float(match[1]) if match else 0.0


def sorted_values(rows: list[tuple[str, ...]], record: Query) -> list[str]:
    """The values in the order in which the record compares them."""
    if record.sort == "rowsort":
        rows = sorted(rows)
    values = [value for row in rows for value in row]
    return sorted(values) if record.sort == "valuesort" else values


def hash_values(values: Iterable[str]) -> str:
    """The MD5 of values with an end of line after each."""
    return hashlib.md5("".join(f"{value}\n" for value in values).encode(), usedforsecurity=False).hexdigest()


def _compare(record: Query, values: list[str], digest: str) -> str | None:
    if record.hashed is not None:
        if record.hashed == (len(values), digest):
            return None
        return (
            f"expected {record.hashed[0]} values hashing to {record.hashed[1]}, got {len(values)} hashing to {digest}"
        )
    if record.expected is None or list(record.expected) == values:
        return None
    return f"expected {_shown(record.expected)}, got {_shown(values)}"


def _shown(values: Sequence[str]) -> str:
    more = f", and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
    return f"[{', '.join(values[:_SHOWN_VALUES])}{more}]"


def _text_of(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _told(error: apsw.Error) -> str:
    return f"{type(error).__name__}: {error}"
