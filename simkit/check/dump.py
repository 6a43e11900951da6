"""The canonical state of a database: what two databases must share to be the same to every client.

Schema entries (without SQLite's own), then each table's rows; values keep their type and every bit. Rows are ordered
by their encoding, which depends neither on collations nor on rowids that VACUUM may renumber. `encode_state` is what
is compared; `render_state` is what people read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

State = tuple[tuple[str, str, tuple[tuple[Any, ...], ...]], ...]
"""(name, SQL that created it, rows) for each schema entry in name order; entries that are not tables have no rows.

The AUTOINCREMENT counters and the two numbers that applications keep in the header come last, where they exist.
"""

_SCHEMA = (
    "SELECT type, name, coalesce(sql, '') FROM sqlite_schema "
    "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR name = 'sqlite_sequence' ORDER BY name, type"
)
_SEQUENCE = "sqlite_sequence"
_HEADER = ("user_version", "application_id")
_encoder = msgspec.msgpack.Encoder()
_encode = _encoder.encode


def read_state(connection: apsw.Connection) -> State:
    """Reads the whole content of the main database."""
    state: list[tuple[str, str, tuple[tuple[Any, ...], ...]]] = []
    execute = connection.execute
    sequences: tuple[tuple[Any, ...], ...] = ()
    entries: list[Any] = execute(_SCHEMA).fetchall()
    if any(sql.startswith("CREATE VIRTUAL TABLE") for _, _, sql in entries):
        entries = _without_shadows(connection, entries)
    for kind, name, sql in entries:
        rows: tuple[tuple[Any, ...], ...] = ()
        if kind == "table":
            rows = _rows(connection, name)
            if name == _SEQUENCE:
                sequences = rows
                continue
        state.append((name, sql, rows))
    if sequences:
        state.append((_SEQUENCE, "", sequences))
    for name in _HEADER:
        (number,) = execute(f"PRAGMA main.{name}").fetchall()[0]
        if number:
            state.append((f"PRAGMA {name}", "", ((number,),)))
    return tuple(state)


def encode_state(state: State) -> bytes:
    """Bytes that are equal exactly when the states are: types differ, and so do 0.0 and -0.0."""
    return _encode(state)


def encode_rows(rows: Sequence[tuple[Any, ...]]) -> bytes:
    """The same for the rows of one answer."""
    return _encode(rows)


def render_state(state: State) -> list[str]:
    """One line per schema entry and row, in the canonical form."""
    lines = []
    for name, sql, rows in state:
        lines.append(f"schema {name}: {sql}")
        lines.extend(f"{name}|" + "|".join(render_value(value) for value in row) for row in rows)
    return lines


def render_value(value: Any) -> str:
    """A typed value: `null`, `integer:7`, `float:` and the hex digits of its bits, escaped `text:`, `blob:` in hex."""
    match value:
        case None:
            return "null"
        case bool():
            return f"integer:{int(value)}"
        case int():
            return f"integer:{value}"
        case float():
            return f"float:{struct.pack('>d', value).hex()}"
        case bytes():
            return f"blob:{value.hex().upper()}"
        case _:
            text = str(value)
            for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("|", "\\|")):
                text = text.replace(plain, escaped)
            return f"text:{text}"


def differences(expected: State, found: State, at_most: int = 6) -> list[str]:
    """Lines that only one side has, `-` for expected and missing, `+` for found and unexpected."""
    expected_lines, found_lines = Counter(render_state(expected)), Counter(render_state(found))
    missing, unexpected = expected_lines - found_lines, found_lines - expected_lines
    lines = [f"- {line}" for line in missing.elements()] + [f"+ {line}" for line in unexpected.elements()]
    if len(lines) > at_most:
        lines = [*lines[:at_most], f"... and {len(lines) - at_most} more"]
    return lines


def _rows(connection: apsw.Connection, table: str) -> tuple[tuple[Any, ...], ...]:
    quoted = _quoted(table)
    try:
        rows = connection.execute(f"SELECT * FROM {quoted}").fetchall()  # noqa: S608 - the name comes from the schema, quoted
    except UnicodeDecodeError:
        rows = _rows_with_broken_text(connection, quoted)
    if len(rows) > 1:
        rows.sort(key=_encode)
    return tuple(rows)


def _rows_with_broken_text(connection: apsw.Connection, quoted: str) -> list[tuple[Any, ...]]:
    """Rows with text that is not UTF-8: every text is given as its bytes in hex, marked as such."""
    names = [
        _quoted(str(row[1])) for row in connection.execute(f"PRAGMA table_xinfo({quoted})").fetchall() if row[6] != 1
    ]
    cells = ", ".join(
        f"CASE typeof({name}) WHEN 'text' THEN 'bytes of text: ' || hex({name}) ELSE {name} END" for name in names
    )
    return connection.execute(f"SELECT {cells} FROM {quoted}").fetchall()  # noqa: S608 - as above


def _without_shadows(connection: apsw.Connection, entries: list[Any]) -> list[Any]:
    """Leaves out the tables in which a virtual table keeps its data: how they look depends on when it was written."""
    shadows = {row[1] for row in connection.execute("PRAGMA main.table_list").fetchall() if row[2] == "shadow"}
    return [entry for entry in entries if entry[1] not in shadows]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
