"""Broken write modes: managers that forget whose write mode and whose transaction it is, or when it has to end.

They break MODE-2, PROG-2 and PROG-3 on purpose, with subclasses of the manager or of the ownership of its writer. Gate,
leases and connections are sound.
"""

from __future__ import annotations

from simkit.kernel import Task
from simkit.kernel.units import MICROSECOND
from simkit.pool.holding import Holding
from simkit.pool.lease import Lease
from simkit.pool.manager import ConnectionManager
from simkit.pool.ownership import Ownership
from simkit.pool.result import Parameters, Result

_MUTEX_LOOKED_AT_AGAIN_NS = 100 * MICROSECOND


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


class SharedHolding(Holding):
    """Has the owner of the writer wait for whoever else uses the connection, as SQLite's mutex would."""

    def writer_of(self, task: Task) -> Lease | None:
        while self.ownership.owner is task and self.writer is not None and self.writer.running is not None:
            self._kernel.sleep(_MUTEX_LOOKED_AT_AGAIN_NS)
        return super().writer_of(task)


class ForeignStatementJoins(ConnectionManager):
    """Looks whether a statement runs on the writer that is open, and not whose transaction is."""

    make_holding = SharedHolding

    def execute(self, sql: str, params: Parameters = None) -> Result:
        task = self._kernel.require_task("execute a statement")
        lease = _free_writer(self._holding, task)
        if lease is None or self._holding.ownership.transaction is None:
            return super().execute(sql, params)
        return self._holding.run(lease, task, self._statements.on_writer(lease, sql, params), sql)


class WriteModeBleed(ConnectionManager):
    """Sends what only reads to the writer while somebody is in write mode, whoever that is."""

    make_holding = SharedHolding

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
    owner = ownership.owner
    if lease is None or owner is None or owner is task or task in holding.readers:
        return None
    free = lease.running is None and ownership.belongs_to(owner) and not holding.closing
    return lease if free else None


class SelfDeadlock(ConnectionManager):
    """Sends what only reads to a reader, also for the caller whose write mode all readers wait for."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        task = self._kernel.require_task("execute a statement")
        known = self._known.known(sql)
        if known is not None and known.reader_eligible and self._holding.ownership.belongs_to(task):
            return self._statements.execute(task, sql, params)
        return super().execute(sql, params)
