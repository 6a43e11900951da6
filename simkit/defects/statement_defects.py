"""Broken ways of taking a statement: systems that judge a text by its look, drop half of it, or alter the answer.

They break ISO-2, DUR-1 and VAL-1 on purpose, in front of a sound pool or connection.
"""

from __future__ import annotations

from typing import Any

import apsw

from simkit.pool.manager import ConnectionManager
from simkit.pool.result import Parameters, Result
from simkit.pool.single import SingleConnection, TrailingStatement

_EXACT_IN_FLOAT_MAX = 2**53 - 1


class SemicolonHeuristic(ConnectionManager):
    """Takes a text with a semicolon in it for several statements, and refuses it."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        first, semicolon, rest = sql.rstrip("; \n").partition(";")
        if semicolon:
            raise TrailingStatement(f"execute() takes one statement; after {first!r} stands: {rest.strip()}")
        return super().execute(sql, params)


class TrailingSqlIgnored(ConnectionManager):
    """Runs the first statement of a text and forgets the rest."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        for position, character in enumerate(sql):
            if character == ";" and apsw.complete(sql[: position + 1]):
                return super().execute(sql[:position], params)
        return super().execute(sql, params)


class BigintTruncated(SingleConnection):
    """Hands integers out through a float of 53 bits."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        result = super().execute(sql, params)
        rows = tuple(tuple(_through_float(value) for value in row) for row in result.rows)
        return Result(result.columns, rows, result.changes, result.last_insert_rowid)


def _through_float(value: Any) -> Any:
    return int(float(value)) if type(value) is int and abs(value) > _EXACT_IN_FLOAT_MAX else value
