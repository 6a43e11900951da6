"""Measured round trips from a CSV file, one request a row.

Columns, by the names in the first line and in any order: `kind` (a request kind of `simkit.depot.latency`) and
`milliseconds` are needed; `pages`, `request_bytes` and `response_bytes` may be missing or empty. Other columns are
left out, and so are rows of other kinds, which are counted. How many pages a request carried is taken from `pages`,
else from the bytes that went in the direction of the pages: whole pages only, so that a few bytes around each one do
not count.

A row that cannot be read ends it all with its line: a measurement with a hole is not a smaller measurement.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from io import StringIO

import msgspec

from simkit.depot.latency import REQUEST_KINDS
from simkit.kernel.units import MILLISECOND

ROWS_MAX = 1_000_000
MILLISECONDS_MAX = 1e9
COLUMNS = ("kind", "pages", "request_bytes", "response_bytes", "milliseconds")

_BYTES_COLUMN = {"get_pages": "response_bytes", "commit": "request_bytes", "open": "response_bytes"}


class RoundTripsInvalid(ValueError):
    """A text holds no round trips that can be used. `line` counts from 1."""

    def __init__(self, file_name: str, line: int, message: str) -> None:
        super().__init__(file_name, line, message)
        self.file_name = file_name
        self.line = line
        self.message = message

    def __str__(self) -> str:
        return f"{self.file_name}:{self.line}: {self.message}"


class Measured(msgspec.Struct, frozen=True):
    """The requests of one kind.

    Attributes:
        durations_ns: how long each took.
        pages: how many pages each carried, None when that is unknown for any of them.
        pages_from: which column told, for people.
    """

    kind: str
    durations_ns: tuple[int, ...]
    pages: tuple[int, ...] | None
    pages_from: str


class RoundTrips(msgspec.Struct, frozen=True):
    """What a file holds: the requests by kind, and how many rows had a kind that a profile does not know."""

    measured: tuple[Measured, ...]
    left_out: dict[str, int]


def parse_round_trips(text: str, file_name: str, page_size: int) -> RoundTrips:
    """The round trips in `text`; `page_size` is in bytes. Raises `RoundTripsInvalid`."""
    reader = csv.reader(StringIO(text), strict=True)
    durations: dict[str, list[int]] = {kind: [] for kind in REQUEST_KINDS}
    pages: dict[str, list[int | None]] = {kind: [] for kind in REQUEST_KINDS}
    sources: dict[str, set[str]] = {kind: set() for kind in REQUEST_KINDS}
    left_out: dict[str, int] = {}
    try:
        columns = _columns(next(reader, []), file_name)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            cells = _Cells(file_name, reader.line_num, columns, row)
            kind = cells.text("kind")
            if kind not in durations:
                cells.milliseconds()
                left_out[kind] = left_out.get(kind, 0) + 1
                continue
            count, source = cells.pages(kind, page_size)
            durations[kind].append(cells.milliseconds())
            pages[kind].append(count)
            sources[kind].add(source)
            if len(durations[kind]) > ROWS_MAX:
                raise RoundTripsInvalid(file_name, reader.line_num, f"more than {ROWS_MAX} rows of kind {kind}")
    except csv.Error as error:
        raise RoundTripsInvalid(file_name, max(reader.line_num, 1), f"not CSV: {error}") from None
    measured = tuple(
        _measured(kind, durations[kind], pages[kind], sources[kind]) for kind in REQUEST_KINDS if durations[kind]
    )
    if not measured:
        known = ", ".join(REQUEST_KINDS)
        found = f"it has only {', '.join(sorted(left_out))}" if left_out else "it has no rows"
        raise RoundTripsInvalid(file_name, max(reader.line_num, 1), f"no row is of a kind {known}: {found}")
    return RoundTrips(measured, dict(sorted(left_out.items())))


def _columns(header: list[str], file_name: str) -> dict[str, int]:
    names = [cell.strip().lower().removeprefix("\ufeff") for cell in header]
    expected = f"the first line names the columns, such as {','.join(COLUMNS)}"
    for needed in ("kind", "milliseconds"):
        if needed not in names:
            raise RoundTripsInvalid(file_name, 1, f"there is no column {needed}; {expected}")
    for name in COLUMNS:
        if names.count(name) > 1:
            raise RoundTripsInvalid(file_name, 1, f"the column {name} is there twice; {expected}")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _measured(kind: str, durations_ns: list[int], pages: list[int | None], sources: set[str]) -> Measured:
    known = [count for count in pages if count is not None]
    complete = len(known) == len(pages)
    pages_from = " and ".join(sorted(sources)) if complete else "not known for every row"
    return Measured(kind, tuple(durations_ns), tuple(known) if complete else None, pages_from)


class _Cells:
    """One row."""

    def __init__(self, file_name: str, line: int, columns: Mapping[str, int], row: list[str]) -> None:
        self._file_name = file_name
        self._line = line
        self._columns = columns
        self._row = row

    def text(self, column: str) -> str:
        at = self._columns.get(column, len(self._row))
        return self._row[at].strip() if at < len(self._row) else ""

    def milliseconds(self) -> int:
        """Nanoseconds of the column `milliseconds`."""
        text = self.text("milliseconds")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < MILLISECONDS_MAX:
            raise self._wrong(f"milliseconds is {text!r}, which is no duration; write a number such as 1.25")
        return round(value * MILLISECOND)

    def pages(self, kind: str, page_size: int) -> tuple[int | None, str]:
        """How many pages the request carried, and which column says so."""
        count = self._count("pages")
        if count is not None:
            return count, "the column pages"
        column = _BYTES_COLUMN[kind]
        size_bytes = self._count(column)
        if size_bytes is None:
            return None, "nothing"
        return size_bytes // page_size, f"{column} / {page_size}, whole pages"

    def _count(self, column: str) -> int | None:
        text = self.text(column)
        if not text:
            return None
        if not (text.isascii() and text.isdigit()) or len(text) > 15:
            raise self._wrong(f"{column} is {text!r}, which is no count; write a whole number or nothing")
        return int(text)

    def _wrong(self, message: str) -> RoundTripsInvalid:
        return RoundTripsInvalid(self._file_name, self._line, message)
