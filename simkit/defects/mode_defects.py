"""Broken modes: pools that mix readers and writer up, or forget whose write mode and whose transaction it is.

They break MODE-2, MODE-3, ROLE-1, LEASE-2, PROG-2 and PROG-3 on purpose, with subclasses of the manager, of its
connections or of the ownership of its writer. Gate and leases are sound.
"""

from __future__ import annotations

import msgspec
import apsw

from simkit.kernel import Task
from simkit.pool.classify import Classification, ClassificationCache
from simkit.pool.connections import Connections, Pooled
from simkit.pool.events import CLOSING
from simkit.pool.holding import Holding
from simkit.pool.lease import Lease
from simkit.pool.leasing import Leasing
from simkit.pool.manager import ConnectionManager
from simkit.pool.ownership import Ownership
from simkit.pool.result import Parameters, Result

_READING_WORDS = ("SELECT", "WITH", "VALUES", "EXPLAIN")


class PatientOwnership(Ownership):
    """Sets no deadline."""

    def begun(self, task: Task, sql: str | None, context: object, deadline_ns: int) -> None:
        super().begun(task, sql, context, deadline_ns)
        assert self.transaction is not None
        assert self.transaction.deadline is not None
        self.transaction.deadline.revoke()


class PatientHolding(Holding):
    """Waits for the end of a transaction as long as it takes."""

    make_ownership = PatientOwnership


class TransactionHostage(ConnectionManager):
    """A transaction that its owner does not end stays open."""

    make_holding = PatientHolding


class ForeignStatementJoins(ConnectionManager):
    """Looks whether a statement runs on the writer that is open, and not whose transaction is."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        task = self._kernel.require_task("execute a statement")
        lease = _free_writer(self._holding, task)
        if lease is None or self._holding.ownership.transaction is None:
            return super().execute(sql, params)
        return self._holding.run(lease, task, self._statements.on_writer(lease, sql, params), sql)


class WriteModeBleed(ConnectionManager):
    """Sends what only reads to the writer while somebody is in write mode, whoever that is."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        task = self._kernel.require_task("execute a statement")
        known = self._known.known(sql)
        lease = _free_writer(self._holding, task)
        if lease is None or known is None or not known.reader_eligible:
            return super().execute(sql, params)
        return self._holding.run(lease, task, self._statements.on_writer(lease, sql, params), sql)


def _free_writer(holding: Holding, task: Task) -> Lease | None:
    """The writer that somebody else holds, when no statement runs on it."""
    lease, ownership = holding.writer, holding.ownership
    if lease is None or lease.running is not None or task in holding.readers or holding.closing:
        return None
    return lease if ownership.owner is not None and ownership.belongs_to(ownership.owner) else None


class SelfDeadlock(ConnectionManager):
    """Sends what only reads to a reader, which is admitted after write mode, also for who is in write mode itself."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        task = self._kernel.require_task("execute a statement")
        known = self._known.known(sql)
        if known is not None and known.reader_eligible and self._holding.ownership.belongs_to(task):
            return self._statements.execute(task, sql, params)
        return super().execute(sql, params)


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


class ReaderOutlivesWriteMode(ConnectionManager):
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
    """Takes a statement that begins like a query for one."""

    def classify(self, connection: apsw.Connection, sql: str) -> Classification:
        known = super().classify(connection, sql)
        begins_like_a_query = sql.lstrip().upper().startswith(_READING_WORDS)
        return msgspec.structs.replace(known, reader_eligible=begins_like_a_query and known.tail is None)

    def known(self, sql: str) -> Classification | None:
        return None


class ReaderWithoutQueryOnly(ConnectionManager):
    """Readers without belts, above a router that needs them."""

    make_leasing = BareLeasing
    make_known = FirstWords
