"""What a statement gives back."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Value: TypeAlias = "int | float | str | bytes | None"
Parameters: TypeAlias = "dict[str, Value] | tuple[Value, ...] | None"
Route = Literal["read", "write", "write_fallback"]


class Result(msgspec.Struct, frozen=True, gc=False):
    """The answer to one statement.

    Attributes:
        columns: names, in order.
        rows: tuples of None, int, float, str or bytes.
        changes: rows inserted, updated or deleted by this statement.
        last_insert_rowid: rowid of the last row inserted on the connection; None when this statement changed nothing.
        route: who ran it: "read" (a reader), "write" (the writer, whose business it is), or "write_fallback" (the
            writer although it only reads: no reader may run it, or a transaction is open).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    changes: int
    last_insert_rowid: int | None
    route: Route = "write"
