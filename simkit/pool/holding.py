"""Leases that are held for longer than a statement: by an open transaction, a block of write mode, or in hand.

Upholds MODE-2 (a statement runs in a transaction only if it is of the task that began it, or comes through a lease that
this task gave away), LEASE-2 for leases that their holders do not end (dropped, expired, closed, crashed: the slot
comes back when the statement under way has stopped) and its share of PROG-3 (a transaction has a deadline).

Whose the writer is stands in `Ownership`. Here is what follows from it: which lease that is, who rolls back, and when
the lease ends. A transaction that its owner does not end is rolled back by the *keeper* (`simkit.pool.keeper`), because
that may have to wait for storage, and none of those who find out can wait: a timer, a task that has just ended, one
that crashed. A cancelled owner does it itself, so that its cancellation is told when everything of it is undone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

import apsw

from simkit.kernel import Cancelled, Crashed, MisuseError, Task
from simkit.pool.classify import ClassificationCache
from simkit.pool.events import LeaseDropped, TransactionRolledBack
from simkit.pool.lease import Lease, Phase, Place, how_ended
from simkit.pool.leasing import Leasing
from simkit.pool.metrics import PoolMetrics
from simkit.pool.ownership import Ownership
from simkit.pool.result import Result
from simkit.pool.scripts import Progress
from simkit.pool.system import DatabaseClosed, Instance
from simkit.pool.transaction import (
    ABANDONED,
    CANCELLED,
    CLOSE,
    DEADLINE,
    FAILED,
    OpenTransaction,
    may_end_transaction,
)

Work = Callable[[apsw.Connection], Result]

_HOW = {DEADLINE: "expired", CLOSE: "refused", ABANDONED: "dropped", CANCELLED: "cancelled"}
"""How a lease ends when its transaction is taken from its owner for this cause."""

_CAUSE = {"cancelled": CANCELLED, "crashed": ABANDONED}
"""Why a transaction is gone when a statement in it ended like this; else it failed."""

_log = logging.getLogger("simkit.pool")
_log.addHandler(logging.NullHandler())


class Holding:
    """Who holds which lease.

    Attributes:
        ownership: whose the writer is, and its transaction.
        expiry: who has to be told that its transaction is gone.
        writer: the lease of that owner; None when the writer is nobody's for longer than a statement.
        readers: readers in hand, by their holders.
        wake_keeper: called when there may be something to roll back.
    """

    #: the parts it is made of: a subclass may have others
    make_ownership: ClassVar[type[Ownership]] = Ownership

    def __init__(self, instance: Instance, leasing: Leasing, metrics: PoolMetrics, known: ClassificationCache) -> None:
        self._kernel = instance.kernel
        self._group = instance.group
        self._name = instance.name
        self._leasing = leasing
        self._metrics = metrics
        self._known = known
        self.ownership = self.make_ownership(instance.kernel, metrics, self._lost)
        self.expiry = self.ownership.expiry
        self.writer: Lease | None = None
        self.readers: dict[Task, Lease] = {}
        self.wake_keeper: Callable[[], None] = lambda: None
        #: owners that wait for the keeper to roll their own transaction back
        self._waiting_owners: list[Task] = []

    @property
    def closing(self) -> bool:
        """Whether `close()` began."""
        return self._leasing.closing

    @property
    def crashed(self) -> bool:
        """Whether the instance is gone, and nothing of it is to be reported any more."""
        return self._group.crashed

    # Whose turn it is

    def writer_of(self, task: Task) -> Lease | None:
        """The task's own writer, to run something on; None when it has none.

        Waits while a transaction of it is being rolled back; whether it has to be told of that is for the caller to
        ask, afterwards (`refuse_expired`). Raises `DatabaseClosed`.
        """
        ownership = self.ownership
        while ownership.owner is task:
            if self._leasing.closing:
                raise DatabaseClosed("the database is closed; a transaction that was open was rolled back")
            if ownership.lost is None:
                writer = self.writer
                assert writer is not None, "MODE-2: an owner without a writer"
                self.require_idle(writer)
                return writer
            caller = self._kernel.require_task("run a statement")
            self._waiting_owners.append(caller)
            try:
                self._kernel.park("go on after the rollback on", str(self.writer))
            finally:
                if caller in self._waiting_owners:
                    self._waiting_owners.remove(caller)
        return None

    def refuse_expired(self, task: Task, sql: str | None = None) -> bool:
        """As `Expiry.refuse`. A database that is closed is closed, whatever became of a transaction."""
        if self.expiry and self._leasing.closing:
            raise DatabaseClosed("the database is closed; a transaction that was open was rolled back")
        return self.expiry.refuse(task, sql)

    def require_idle(self, lease: Lease) -> None:
        """Raises `MisuseError` while a statement runs on the lease: a connection does one thing at a time."""
        if lease.running is not None:
            raise MisuseError(
                f"{self._kernel.require_task('run a statement').name} runs a statement on {lease} while one of "
                f"{lease.running.name} runs there; wait for it, or take a lease of your own"
            )

    def refuse_reader(self, task: Task, doing: str) -> None:
        """Raises `MisuseError` when the task holds a reader: the writer would wait for it, and it for the writer."""
        lease = self.readers.get(task)
        if lease is not None:
            raise MisuseError(
                f"{task.name} cannot {doing} while it holds {lease} (acquired at {lease.place}): the writer waits for "
                "all readers; release the lease first"
            )

    # Statements on the writer

    def run(
        self,
        lease: Lease,
        task: Task,
        work: Work,
        sql: str | None = None,
        deadline_ns: int | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Runs `work` on the connection of a writer that is the task's, and ends the lease unless it is held.

        A transaction that it leaves open is the task's. `sql` is the statement when it is one, `progress` that of
        several; `deadline_ns` is how long a transaction that it opens may be open.
        """
        assert lease.pooled is not None, f"LEASE-2: {lease} runs a statement and has no connection"
        connection = lease.pooled.connection
        lease.running = task
        try:
            result = work(connection)
        except BaseException as error:
            cut_off = isinstance(error, Cancelled) and connection.in_transaction
            if cut_off or not connection.in_transaction:
                self._tell_owner(error, sql, progress)
            if cut_off:
                self._undo(lease, task, CANCELLED, "cancelled")
            else:
                self._stopped(lease, task, how_ended(error), sql, deadline_ns)
            raise
        self._stopped(lease, task, "released", sql, deadline_ns)
        return result

    def _tell_owner(self, error: BaseException, sql: str | None, progress: Progress | None) -> None:
        """A transaction ended, or is about to, because of `error`: its owner hears of that unless it had asked."""
        ownership = self.ownership
        if ownership.transaction is None:
            return
        asked = may_end_transaction(sql) if progress is None else not progress.failed_inside
        if not asked:
            ownership.expire(_CAUSE.get(how_ended(error), FAILED))

    def undo(self, task: Task, transaction: OpenTransaction, error: BaseException) -> None:
        """Rolls the transaction of the task back, because `error` leaves its block. Does nothing when it is gone."""
        ownership, lease = self.ownership, self.writer
        if ownership.transaction is not transaction or ownership.owner is not task or lease is None:
            return
        if ownership.lost is not None:
            return
        if isinstance(error, Crashed):
            lease.ending = "crashed"
            ownership.lose(ABANDONED)
        elif lease.running is not None:
            ownership.lose(ABANDONED)
        elif isinstance(error, Cancelled):
            self._undo(lease, task, CANCELLED, "cancelled")
        else:
            self._undo(lease, task, None, "failed")

    def _undo(self, lease: Lease, task: Task, cause: str | None, how: str) -> None:
        """Rolls back in the task itself, whatever else wants to interrupt it. On record when there is a `cause`."""
        assert lease.pooled is not None
        connection = lease.pooled.connection
        lease.running = task
        try:
            with self._kernel.shield():
                roll_back(connection)
        except Crashed:
            self._stopped(lease, task, "crashed", None, None)
            raise
        lease.failed = lease.failed or connection.in_transaction
        if cause is not None:
            self._record_rolled_back(lease, cause)
        self._stopped(lease, task, how, None, None)

    def _stopped(self, lease: Lease, task: Task, how: str, sql: str | None, deadline_ns: int | None) -> None:
        """A statement of the lease has stopped: what becomes of the lease."""
        assert lease.pooled is not None
        ownership = self.ownership
        lease.running = None
        crashed = how == "crashed"
        if lease.schema_touched:
            self._known.forget()
        lease.failed = lease.failed or self._group.crashed
        if lease.pooled.connection.in_transaction and not lease.failed:
            if ownership.transaction is None:
                self._hold(lease)
                if lease.place is None:
                    lease.place = Place.of_caller()
                ns = self._leasing.settings.transaction_deadline_ns if deadline_ns is None else deadline_ns
                ownership.begun(task, sql, task.context, ns)
            if crashed:
                lease.ending = how
                ownership.lose(ABANDONED)
            elif self._leasing.closing:
                ownership.lose(CLOSE)
            if ownership.lost is not None:
                self.wake_keeper()
            return
        if self.writer is lease:
            lost = ownership.lost
            ownership.ended()
            if ownership.owner is not None and (crashed or self._to_be_taken(lease)):
                ownership.leave()
                how = how if lost is None or crashed else _HOW[lost]
            how = lease.ending or how
        self._end_unless_held(lease, how)

    # Holding

    def hold(self, lease: Lease, task: Task) -> None:
        """The writer stays with the task until it lets go as often as it held."""
        self._hold(lease)
        self.ownership.hold(task)

    def let_go(self, lease: Lease, task: Task, how: str) -> None:
        """Takes one hold back. Does nothing once the lease was taken from the task."""
        if self.writer is lease:
            self.ownership.let_go(task)
            if lease.running is None:
                self._end_unless_held(lease, how)

    def _hold(self, lease: Lease) -> None:
        assert self.writer in (None, lease), "MODE-2: the writer is held twice"
        self.writer = lease

    def _end_unless_held(self, lease: Lease, how: str) -> None:
        if self.writer is lease:
            if self.ownership.owner is not None:
                self._wake_owners()
                return
            self.writer = None
        if lease.schema_touched:
            self._known.forget()
        self._leasing.end(lease, how)
        self._wake_owners()

    def _wake_owners(self) -> None:
        waiting, self._waiting_owners = self._waiting_owners, []
        for task in waiting:
            self._kernel.wake(task)

    # Losing what was held

    def _lost(self) -> None:
        """The owner is to lose the writer: its deadline passed, it ended, dropped its lease, or the database closes."""
        lease, owner = self.writer, self.ownership.owner
        assert lease is not None
        assert owner is not None
        if self._group.crashed:
            return
        if owner.ended:
            self.report_dropped(lease)
            lease.ending = lease.ending or "dropped"
        if lease.running is None:
            assert lease.pooled is not None
            if owner.ended or lease.pooled.connection.in_transaction:
                self.wake_keeper()
            else:
                self._take_back(lease, self.ownership.lost or ABANDONED)

    def _take_back(self, lease: Lease, cause: str) -> None:
        self.ownership.ended()
        self.ownership.leave()
        self._end_unless_held(lease, lease.ending or _HOW[cause])

    def take_back_lost(self, keeper: Task) -> bool:
        """Takes back, in the keeper's task, what is to be taken from its owner. False: there is nothing to take."""
        ownership, lease = self.ownership, self.writer
        transaction, cause = ownership.transaction, ownership.lost
        if lease is None or cause is None or lease.running is not None:
            return False
        if transaction is not None:
            assert lease.pooled is not None
            connection = lease.pooled.connection
            lease.running = keeper
            try:
                with self._kernel.working_for(transaction.context):
                    roll_back(connection)
            finally:
                lease.running = None
            lease.failed = lease.failed or connection.in_transaction
            self._record_rolled_back(lease, cause)
        ownership.expire(cause)
        if self._to_be_taken(lease):
            self._take_back(lease, cause)
        else:
            ownership.ended()  # who holds the writer by a block goes on
            self._end_unless_held(lease, _HOW[cause])
        return True

    def _to_be_taken(self, lease: Lease) -> bool:
        """Whether an owner that loses its transaction on this lease loses also what it holds by blocks."""
        return lease.failed or self._leasing.closing or lease.ending is not None

    def report_dropped(self, lease: Lease) -> None:
        """Tells that a holder let go of its lease without releasing it."""
        kernel = self._kernel
        task = kernel.current
        place = lease.place
        function = place.function if place is not None else ""
        self._metrics.lease_dropped()
        kernel.record(
            LeaseDropped(kernel.now, task.name if task is not None else "", self._name, lease.number, function)
        )
        _log.warning(
            "%s: %s of %s was dropped without release; it was acquired at %s", self._name, lease, lease.task.name, place
        )

    def _record_rolled_back(self, lease: Lease, cause: str) -> None:
        kernel = self._kernel
        task = kernel.current
        kernel.record(
            TransactionRolledBack(kernel.now, task.name if task is not None else "", self._name, lease.number, cause)
        )

    # Closing

    def begin_closing(self) -> None:
        """Whatever is held is taken back as soon as no statement of it runs."""
        for lease in list(self.readers.values()):
            if lease.phase is Phase.RUNNING:
                self.end_reader(lease, "refused")
        if self.ownership.owner is not None:
            self.ownership.lose(CLOSE)

    def end_reader(self, lease: Lease, how: str) -> None:
        """Ends a reader in hand; when a statement of it runs, as soon as that has stopped."""
        if self.readers.get(lease.task) is lease:
            del self.readers[lease.task]
        if lease.running is not None:
            lease.ending = lease.ending or how
        else:
            self._leasing.end(lease, how)


def roll_back(connection: apsw.Connection) -> None:
    """Ends the transaction of the connection, if it has one."""
    if connection.in_transaction:
        # What fails here failed to undo what nobody was told of; SQLite tries again when the database is opened next.
        with suppress(apsw.Error):
            connection.execute("ROLLBACK").fetchall()
