"""Reads files of sqllogictest: records of statements and queries with what they have to give.

A file is a sequence of records, set apart by empty lines; a line before a record that starts with `#` is a comment.

    statement ok                        statement error
    CREATE TABLE t(a INTEGER)           INSERT INTO missing VALUES(1)

    query IT rowsort label-1            a letter for each column: I integer, R real, T text
    SELECT a, b FROM t                  nosort, rowsort or valuesort; queries of one label give the same
    ----
    1                                   one value a line, or: 30 values hashing to 3c13dee48d9356ae19af2515e05e6b54
    one

`hash-threshold N`, `halt`, and `skipif NAME` and `onlyif NAME` before a record. What is none of this is an error with
file and line; nothing is guessed. Two liberties that newer files take are known: a statement that has to fail may name
a part of the message after `----`, and `query` without `----` only has to succeed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from simkit.conformance.results import Unusable

SortMode = Literal["nosort", "rowsort", "valuesort"]

SORT_MODES: dict[str, SortMode] = {"nosort": "nosort", "rowsort": "rowsort", "valuesort": "valuesort"}
COLUMN_TYPES = "IRT"
RECORD_WORDS = ("statement", "query", "hash-threshold", "halt", "skipif", "onlyif")

_HASHED = re.compile(r"(\d+) values hashing to ([0-9a-f]{32})")
_SEPARATOR = "----"


class ReadError(Unusable):
    """A file is not of the format. The message begins with file and line."""

    def __init__(self, file: Path, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")


@dataclass(frozen=True)
class Conditions:
    """For which engines a record counts: not for those of `skip`, and for no others than `only`, if there are any."""

    skip: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def reason_against(self, engine: str) -> str | None:
        """Why this engine leaves the record out, or None."""
        if engine in self.skip:
            return f"the file says skipif {engine}"
        if self.only and engine not in self.only:
            return f"the file says onlyif {', '.join(self.only)}"
        return None


@dataclass(frozen=True)
class Statement:
    """SQL that has to succeed, or has to fail with `message` in what it says."""

    line: int
    conditions: Conditions
    sql: str
    fails: bool
    message: str = ""


@dataclass(frozen=True)
class Query:
    """SQL that has to give these values.

    Attributes:
        expected: the values, row after row, as text; None when a hash or nothing is expected.
        hashed: (number of values, MD5 of them), or None.
    """

    line: int
    conditions: Conditions
    sql: str
    types: str
    sort: SortMode
    label: str
    expected: tuple[str, ...] | None
    hashed: tuple[int, str] | None


@dataclass(frozen=True)
class HashThreshold:
    """From more values than this on, a generated file holds hashes. Tells a reader nothing it needs."""

    line: int
    conditions: Conditions
    values: int


@dataclass(frozen=True)
class Halt:
    """The file ends here."""

    line: int
    conditions: Conditions


LogicRecord = Statement | Query | HashThreshold | Halt


def looks_like_logic(text: str) -> bool:
    """Whether the first line that says anything opens a record."""
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            return words[0] in RECORD_WORDS
    return False


def read_logic(file: Path) -> list[LogicRecord]:
    """All records of a file. Raises `ReadError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReadError(file, 1, f"not text in UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ReadError(file, 1, f"cannot be read: {error.strerror}") from None
    return [record for block in _blocks(text) for record in _records(file, block)]


def _blocks(text: str) -> Iterator[list[tuple[int, str]]]:
    """Lines with their numbers, by blocks between empty lines, without comments before them."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        content = line.rstrip("\r")
        if content.strip():
            # Within a record `#` is a value, or SQL.
            if block or not content.startswith("#"):
                block.append((number, content))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _records(file: Path, block: list[tuple[int, str]]) -> Iterator[LogicRecord]:
    skip: list[str] = []
    only: list[str] = []
    last = block[0]
    while block:
        last, body, block = block[0], block[1:], []
        line, content = last
        words = content.partition("#")[0].split()
        conditions = Conditions(tuple(skip), tuple(only))
        match words:
            case []:
                block = body
                continue
            case ["skipif", engine]:
                skip.append(engine)
                block = body
                continue
            case ["onlyif", engine]:
                only.append(engine)
                block = body
                continue
            case ["statement", "ok" | "error" as outcome, *_]:
                yield _statement(file, line, conditions, outcome == "error", body)
            case ["query", types, *rest]:
                yield _query(file, line, conditions, types, rest, body)
            case ["halt"]:
                yield Halt(line, conditions)
                block = body
            case ["hash-threshold", count] if count.isdecimal():
                yield HashThreshold(line, conditions, int(count))
                block = body
            case _:
                raise ReadError(file, line, f"`{content}` opens no record; one of {', '.join(RECORD_WORDS)} does")
        skip, only = [], []
    if skip or only:
        line, content = last
        raise ReadError(file, line, f"`{content}` stands before nothing; a record follows it without an empty line")


def _statement(file: Path, line: int, conditions: Conditions, fails: bool, body: list[tuple[int, str]]) -> Statement:
    sql, rest = _split(body)
    if not sql:
        raise ReadError(file, line, "a statement without SQL; it stands on the lines below")
    if rest and not fails:
        raise ReadError(file, rest[0][0], "`statement ok` gives nothing, so `----` has no place here; use `query`")
    return Statement(line, conditions, sql, fails, "\n".join(content for _, content in rest or ()))


def _query(
    file: Path, line: int, conditions: Conditions, types: str, rest: list[str], body: list[tuple[int, str]]
) -> Query:
    unknown = [letter for letter in types if letter not in COLUMN_TYPES]
    if unknown:
        raise ReadError(file, line, f"column type {unknown[0]!r} is none of {', '.join(COLUMN_TYPES)}")
    sort: SortMode = "nosort"
    if rest and rest[0] in SORT_MODES:
        sort, rest = SORT_MODES[rest[0]], rest[1:]
    if len(rest) > 1:
        raise ReadError(file, line, f"`{rest[0]}` is no sort mode; one of {', '.join(SORT_MODES)}, then a label")
    sql, values = _split(body)
    if not sql:
        raise ReadError(file, line, "a query without SQL; it stands on the lines below")
    label = rest[0] if rest else ""
    if values is None:
        return Query(line, conditions, sql, types, sort, label, None, None)
    hashed = _HASHED.fullmatch(values[0][1].strip()) if len(values) == 1 else None
    if hashed is not None:
        return Query(line, conditions, sql, types, sort, label, None, (int(hashed[1]), hashed[2]))
    if len(values) % len(types):
        raise ReadError(
            file, line, f"{len(values)} values do not fill rows of {len(types)} columns; one value stands on a line"
        )
    return Query(line, conditions, sql, types, sort, label, tuple(content for _, content in values), None)


def _split(body: list[tuple[int, str]]) -> tuple[str, list[tuple[int, str]] | None]:
    """The SQL, and the lines after `----`; None without one."""
    for index, (_, content) in enumerate(body):
        if content.strip() == _SEPARATOR:
            return "\n".join(line for _, line in body[:index]), body[index + 1 :]
    return "\n".join(line for _, line in body), None
