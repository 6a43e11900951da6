"""The canonical state of a database: what two databases must share to be the same to every client.

Schema entries (without SQLite's own), then each table's rows ordered by all columns; values keep their type and every
bit. `encode_state` is what is compared; `render_state` is what people read.
"""

from __future__ import annotations

import struct
from typing import Any

import apsw
import msgspec

State = tuple[tuple[str, str, tuple[tuple[Any, ...], ...]], ...]
"""(name, SQL that created it, rows) for each schema entry in name order; entries that are not tables have no rows."""

_SCHEMA = (
    "SELECT type, name, coalesce(sql, '') FROM sqlite_schema "
    "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name, type"
)
_encoder = msgspec.msgpack.Encoder()


def read_state(connection: apsw.Connection) -> State:
    """Reads the whole content of the main database."""
    state = []
    for kind, name, sql in connection.execute(_SCHEMA).fetchall():
        rows: tuple[tuple[Any, ...], ...] = ()
        if kind == "table":
            rows = tuple(_rows(connection, name))
        state.append((name, sql, rows))
    return tuple(state)


def encode_state(state: State) -> bytes:
    """Bytes that are equal exactly when the states are: types differ, and so do 0.0 and -0.0."""
    return _encoder.encode(state)


def encode_rows(rows: tuple[tuple[Any, ...], ...]) -> bytes:
    """The same for the rows of one answer."""
    return _encoder.encode(rows)


def render_state(state: State) -> list[str]:
    """One line per schema entry and row, in the canonical form."""
    lines = []
    for name, sql, rows in state:
        lines.append(f"schema {name}: {sql}")
        lines.extend(f"{name}|" + "|".join(render_value(value) for value in row) for row in rows)
    return lines


def render_value(value: Any) -> str:
    """A typed value: `null`, `integer:7`, `float:` with the sixteen hex digits of its bits, escaped `text:`, `blob:` in hex."""
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
    expected_lines, found_lines = render_state(expected), render_state(found)
    missing, unexpected = list(expected_lines), []
    for line in found_lines:
        if line in missing:
            missing.remove(line)
        else:
            unexpected.append(line)
    lines = [f"- {line}" for line in missing] + [f"+ {line}" for line in unexpected]
    if len(lines) > at_most:
        lines = [*lines[:at_most], f"... and {len(lines) - at_most} more"]
    return lines


def _rows(connection: apsw.Connection, table: str) -> list[tuple[Any, ...]]:
    quoted = '"' + table.replace('"', '""') + '"'
    cursor = connection.execute(f"SELECT * FROM {quoted} LIMIT 0")  # noqa: S608 - the name comes from the schema, quoted
    try:
        width = len(cursor.description_full or ())
    except apsw.ExecutionCompleteError:
        width = len(connection.execute(f"PRAGMA table_info({quoted})").fetchall())
    order = ", ".join(str(number) for number in range(1, width + 1))
    return connection.execute(f"SELECT * FROM {quoted} ORDER BY {order}").fetchall()  # noqa: S608 - as above
