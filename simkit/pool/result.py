"""What a statement gives back."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Value: TypeAlias = "int | float | str | bytes | None"
Parameters: TypeAlias = "dict[str, Value] | tuple[Value, ...] | None"


class Result(msgspec.Struct, frozen=True, gc=False):
    """The answer to one statement.

    Attributes:
        columns: names, in order.
        rows: tuples of None, int, float, str or bytes.
        changes: rows inserted, updated or deleted by this statement.
        last_insert_rowid: rowid of the last row inserted on the connection; None when this statement changed nothing.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    changes: int
    last_insert_rowid: int | None
