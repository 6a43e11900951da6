"""Broken statements: managers that judge a text by its look, drop half of it, or trust one flag of SQLite.

They break ISO-2, DUR-1 and VAL-1 on purpose, above sound connections; `ReadonlyFlagTrusted` also takes the authorizer
off its readers, which would catch the mistake.
"""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from simkit.pool.classify import Classification, ClassificationCache
from simkit.pool.connections import Connections, Pooled
from simkit.pool.leasing import Leasing
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


class TrustingKnown(ClassificationCache):
    """Sends to a reader whatever SQLite calls read-only."""

    def classify(self, connection: apsw.Connection, sql: str) -> Classification:
        known = super().classify(connection, sql)
        return msgspec.structs.replace(known, reader_eligible=known.readonly and known.tail is None)

    def known(self, sql: str) -> Classification | None:
        known = super().known(sql)
        if known is None:
            return None
        return msgspec.structs.replace(known, reader_eligible=known.readonly and known.tail is None)


class UnguardedConnections(Connections):
    """Readers without an authorizer."""

    def open(self, readonly: bool) -> Pooled:
        pooled = super().open(readonly)
        pooled.connection.authorizer = None
        return pooled


class UnguardedLeasing(Leasing):
    """With those connections."""

    make_connections = UnguardedConnections


class ReadonlyFlagTrusted(ConnectionManager):
    """BEGIN runs on a reader, and what it was to protect runs elsewhere."""

    make_known = TrustingKnown
    make_leasing = UnguardedLeasing


class BigintTruncated(SingleConnection):
    """Hands integers out through a float of 53 bits."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        result = super().execute(sql, params)
        rows = tuple(tuple(_through_float(value) for value in row) for row in result.rows)
        return Result(result.columns, rows, result.changes, result.last_insert_rowid)


def _through_float(value: Any) -> Any:
    return int(float(value)) if type(value) is int and abs(value) > _EXACT_IN_FLOAT_MAX else value
