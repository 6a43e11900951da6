"""A lease in the hand of its holder: what `read_lease()` and `write_lease()` give."""

from __future__ import annotations

from types import TracebackType

from simkit.kernel import Kernel, MisuseError, Task
from simkit.pool.holding import Holding
from simkit.pool.lease import WRITE_KIND, Lease, Place, how_ended
from simkit.pool.result import Parameters, Result
from simkit.pool.statements import Statements
from simkit.pool.system import DatabaseClosed
from simkit.pool.transaction import ABANDONED


class HeldLease:
    """The right to one connection, until it is released, dropped, or taken back because the database closes.

    It is released at the end of its `with` block. It belongs to the task that acquired it: when that ends first, the
    lease counts as dropped. Other tasks may run statements through it, one at a time.
    """

    def __init__(self, kernel: Kernel, lease: Lease, holding: Holding, statements: Statements) -> None:
        self._kernel = kernel
        self._lease = lease
        self._holding = holding
        self._statements = statements
        self._holder = kernel.require_task("hold a lease")
        self._over = False
        self._transaction_before = holding.ownership.transaction
        lease.place = Place.of_caller()
        if lease.kind == WRITE_KIND:
            holding.hold(lease, self._holder)
        else:
            holding.readers[self._holder] = lease
            self._holder.at_end(self._holder_ended)

    def __str__(self) -> str:
        return str(self._lease)

    @property
    def number(self) -> int:
        """As in the events of the lease."""
        return self._lease.number

    @property
    def holder(self) -> Task:
        """The task that acquired it."""
        return self._holder

    @property
    def ended(self) -> bool:
        """Whether its slot is free again. After `drop()` that may take until the statement under way has stopped."""
        return self._lease.ended

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement on the connection of the lease.

        Through a reader, whatever it may not do raises `apsw.AuthError` or another error of SQLite. Raises
        `DatabaseClosed` after `close()` began, `TransactionExpired` when the transaction of the holder is gone,
        `MisuseError` when the lease is over or a statement runs on it already.
        """
        task = self._kernel.require_task("execute a statement")
        lease, holding, statements = self._lease, self._holding, self._statements
        if holding.closing:
            raise DatabaseClosed(f"{lease} was taken back: the database is closed")
        if self._over:
            raise self._misuse(task)
        if lease.kind != WRITE_KIND:
            if lease.ended or lease.ending is not None:
                raise self._misuse(task)
            return statements.in_reader(lease, task, sql, params)
        writer = holding.writer_of(self._holder)  # waits while it is being taken back
        if holding.refuse_expired(self._holder, sql):
            return Result((), (), 0, None)
        if writer is not lease:
            raise self._misuse(task)
        return holding.run(lease, self._holder, statements.on_writer(lease, sql, params), sql)

    def release(self) -> None:
        """Gives the connection back. A transaction that was begun meanwhile is rolled back. Again: does nothing.

        What the holder had before, such as a transaction around it, it keeps.
        """
        self._let_go("released")

    def drop(self) -> None:
        """Lets go without releasing, as code with a mistake would: reported, and cleaned up after."""
        if self._over or self._lease.ended:
            return
        self._holding.report_dropped(self._lease)
        self._let_go("dropped")

    def __enter__(self) -> HeldLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go(how_ended(error))

    def _let_go(self, how: str) -> None:
        """The holder has nothing to do with it any more; the connection comes back as soon as it can."""
        if self._over:
            return
        self._over = True
        lease, holding = self._lease, self._holding
        if lease.kind != WRITE_KIND:
            if not self._holder.ended:
                self._holder.not_at_end(self._holder_ended)
            holding.end_reader(lease, how)
            return
        ownership, before = holding.ownership, self._transaction_before
        holding.expiry.forget(self._holder, before)
        if holding.writer is not lease or ownership.owner is not self._holder:
            return
        ownership.left_block(self._holder, before)
        last = ownership.holds == 1  # else what is around it goes on: a block, or another lease
        began_inside = ownership.transaction not in (None, before)
        may_begin = last and ownership.transaction is None and lease.running is not None
        if began_inside or may_begin:
            if last:
                lease.ending = how
            ownership.lose(ABANDONED)
        if not lease.ending:
            holding.let_go(lease, self._holder, how)

    def _holder_ended(self) -> None:
        if not self._holding.crashed:
            self.drop()

    def _misuse(self, task: Task) -> MisuseError:
        return MisuseError(f"{task.name} runs a statement on {self._lease}, which is over; acquire a new one")
