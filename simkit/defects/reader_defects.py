"""Broken readers: connections that are kept too long, or may do more than read, and routers that give them too much.

They break LEASE-2, MODE-3, ROLE-1 and ISO-2 on purpose, with subclasses of the pool's connections and of what it
remembers of statements. A router that is wrong alone does no harm: the belts of the readers hold. So the two defects
of that kind take both away.
"""

from __future__ import annotations

import apsw
import msgspec

from simkit.pool.classify import Classification, ClassificationCache
from simkit.pool.connections import Connections, Pooled
from simkit.pool.events import CLOSING
from simkit.pool.leasing import Leasing
from simkit.pool.manager import ConnectionManager

_FIRST_WORDS = ("SELECT", "VALUES", "WITH")


class UntimedConnections(Connections):
    """Looks for readers that have been idle too long when somebody reads, and at no other time."""

    def take_idle(self) -> Pooled | None:
        self._prune(None)
        return super().take_idle()

    def _set_prune_timer(self, delay_ns: int) -> None:
        """Sets none."""


class UntimedLeasing(Leasing):
    """With those connections."""

    make_connections = UntimedConnections


class IdleReaderNeverPruned(ConnectionManager):
    """Idle readers stay open until the next read."""

    make_leasing = UntimedLeasing


class LastingConnections(Connections):
    """Keeps its idle readers warm while the writer is open."""

    def close_idle(self) -> None:
        if self.mode is CLOSING:
            super().close_idle()


class LastingLeasing(Leasing):
    """With those connections."""

    make_connections = LastingConnections


class IdleReaderOutlivesWriteMode(ConnectionManager):
    """Readers of before a write mode serve again after it."""

    make_leasing = LastingLeasing


class BareConnections(Connections):
    """Opens readers as it opens the writer, and configures them no further."""

    def open(self, readonly: bool) -> Pooled:
        pooled = super().open(readonly=False)
        if readonly:
            self._metrics.reader_opened()
            pooled.readonly = True
        return pooled


class BareLeasing(Leasing):
    """With those connections."""

    make_connections = BareConnections


class FirstWords(ClassificationCache):
    """Takes for a query what begins like one."""

    def classify(self, connection: apsw.Connection, sql: str) -> Classification:
        return self._judged(super().classify(connection, sql), sql)

    def known(self, sql: str) -> Classification | None:
        known = super().known(sql)
        return None if known is None else self._judged(known, sql)

    def _judged(self, known: Classification, sql: str) -> Classification:
        eligible = known.tail is None and sql.lstrip().upper().startswith(_FIRST_WORDS)
        return msgspec.structs.replace(known, reader_eligible=eligible)


class ReaderWithoutQueryOnly(ConnectionManager):
    """Readers without belts, below a router that needs them."""

    make_leasing = BareLeasing
    make_known = FirstWords


class TrustedFlag(FirstWords):
    """Takes for a query what SQLite calls read-only."""

    def _judged(self, known: Classification, sql: str) -> Classification:
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
    """BEGIN runs on a reader, and what it was to hold together runs elsewhere."""

    make_leasing = UnguardedLeasing
    make_known = TrustedFlag
