"""Broken ways of taking a statement: managers that judge a text by its look, or drop half of it.

They break ISO-2 and DUR-1 on purpose, in front of a sound pool.
"""

from __future__ import annotations

import apsw

from simkit.pool.manager import ConnectionManager
from simkit.pool.result import Parameters, Result
from simkit.pool.single import TrailingStatement


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
