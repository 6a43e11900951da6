"""The connection manager: up to N readers or one writer over one database, behind one `execute`.

Upholds, with the modules that it is made of: MODE-1, MODE-3 and ROLE-1 (`connections`), MODE-2 (`holding`,
`ownership`), PROG-1 and PROG-2 (`gate`), LEASE-1, LEASE-2 and CLOSE-2 (`leasing`), CLOSE-1 and PROG-3 (`keeper`,
`ownership`), VAL-1 (`single.run_statement`: values are bound and fetched by SQLite, and no text is looked into).

In read mode it has read-only connections, opened on demand and kept warm; in write mode one writable connection and no
reader. Which of them runs a statement is asked of SQLite. Everything that lasts longer than a statement belongs to the
task that began it: a transaction, a block of write mode, a lease. Its own statements run inside, those of others wait.

Calls are ordinary blocking Python in tasks of the kernel. This module is the front: it says what can be asked, and
leaves each thing to the module that does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import apsw

from simkit.kernel import MisuseError, Task
from simkit.pool.blocks import TransactionBlock, WriteMode
from simkit.pool.classify import ClassificationCache
from simkit.pool.events import PoolOpened
from simkit.pool.held_lease import HeldLease
from simkit.pool.holding import Holding, Work
from simkit.pool.keeper import Keeper
from simkit.pool.lease import READ_KIND, WRITE_KIND, Lease
from simkit.pool.leasing import Leasing
from simkit.pool.metrics import PoolMetrics
from simkit.pool.result import Parameters, Result
from simkit.pool.scripts import Progress, Step, run_migration, run_script
from simkit.pool.settings import PoolSettings
from simkit.pool.statements import Statements, left_to_writer
from simkit.pool.system import DatabaseClosed, Instance

_NOTHING = Result((), (), 0, None)


@dataclass(frozen=True)
class PoolSnapshot:
    """A manager at one instant.

    Attributes:
        mode: "closed", "read", "write" or "closing".
        open_readers: connections for reading: `active_readers + idle_readers + opening_readers`.
        active_readers: those that are leased.
        idle_readers: those that are kept warm.
        opening_readers: those that are being opened for a lease.
        waiting_readers, waiting_writers: statements and leases that wait for their turn. What was not looked at yet
            waits as a reader.
        writer: the task that has the writer; None when nobody has.
        transaction: the task whose transaction is open; None when none is.
        transaction_age_ns: for how long, in simulated time; None when none is.
        closed: the native close has finished.
    """

    mode: str
    open_readers: int
    active_readers: int
    idle_readers: int
    opening_readers: int
    waiting_readers: int
    waiting_writers: int
    writer: str | None
    transaction: str | None
    transaction_age_ns: int | None
    closed: bool


class ConnectionManager:
    """The reference system under test. Create it in a task: it opens a connection to prove that the database opens.

    Every method that runs something raises `DatabaseClosed` after `close()` began and `Overloaded` when too many wait,
    of which both mean that nothing of it was done; `TransactionExpired` when the caller's transaction is gone without
    its having asked for that; `MisuseError` where the caller would wait for itself; and errors of SQLite
    (`apsw.Error`).
    """

    #: the parts it is made of: a subclass may have others
    make_metrics: ClassVar[type[PoolMetrics]] = PoolMetrics
    make_known: ClassVar[type[ClassificationCache]] = ClassificationCache
    make_leasing: ClassVar[type[Leasing]] = Leasing
    make_holding: ClassVar[type[Holding]] = Holding
    make_statements: ClassVar[type[Statements]] = Statements
    make_keeper: ClassVar[type[Keeper]] = Keeper

    def __init__(self, instance: Instance, settings: PoolSettings | None = None) -> None:
        self._kernel = kernel = instance.kernel
        settings = settings if settings is not None else instance.settings
        opener = kernel.require_task("open a pool")
        kernel.record(PoolOpened(kernel.now, opener.name, instance.name, settings.readers_max))
        self.metrics = self.make_metrics(instance.kernel)
        known = self.make_known()
        self._leasing = self.make_leasing(instance, settings, self.metrics)
        self._holding = self.make_holding(instance, self._leasing, self.metrics, known)
        self._statements = self.make_statements(self._leasing, self._holding, self.metrics, known)
        self._known = known
        self._prove(settings)
        self._keeper = self.make_keeper(instance, self._leasing, self._holding)

    def _prove(self, settings: PoolSettings) -> None:
        """Opens the writer once: a database that cannot be opened is told to whoever opens it."""
        connections = self._leasing.connections
        connections.writing = True
        connections.settle("the database is opened")
        pooled = None
        try:
            pooled = connections.open(readonly=False)
            pooled.connection.pragma("schema_version")
            if not settings.readers_max:
                connections.kept_writer, pooled = pooled, None
        finally:
            connections.writing = False
            if pooled is not None:
                connections.close(pooled)
            connections.settle("the database was opened")

    # Single statements

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement where it belongs: on a reader, on the writer, or in the caller's own transaction."""
        task = self._kernel.current
        if task is None:
            task = self._kernel.require_task("execute a statement")
        holding = self._holding
        if task in holding.readers:
            self._require_open()
            return self._statements.in_reader(holding.readers[task], task, sql, params)
        lease = holding.writer_of(task)
        if holding.expiry and holding.refuse_expired(task, sql):
            return _NOTHING
        if lease is None:
            return self._statements.execute(task, sql, params)
        return holding.run(lease, task, self._statements.on_writer(lease, sql, params), sql)

    def execute_write(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement on the writer, whatever it is."""
        task, lease = self.writer("execute a statement on the writer", sql)
        if lease is None:
            return _NOTHING
        return self._holding.run(lease, task, self._statements.on_writer_by_choice(lease, sql, params), sql)

    def query(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement for its columns and rows."""
        result = self.execute(sql, params)
        return Result(result.columns, result.rows, 0, None, result.route)

    def run(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement for its changes and rowid."""
        result = self.execute(sql, params)
        return Result((), (), result.changes, result.last_insert_rowid, result.route)

    # Several statements

    def execute_script(self, sql: str) -> Result:
        """Runs all statements of a text on the writer, with nobody else's in between. See `run_script`.

        No transaction unless the text says so; one that it leaves open is the caller's, as after BEGIN.
        """
        progress = Progress()
        return self._change("execute a script", lambda connection: run_script(connection, sql, progress), progress)

    def migrate(self, steps: Iterable[Step]) -> None:
        """Runs steps on the writer as one change, all or nothing. Each is an SQL text, or one with its parameters.

        PRAGMA foreign_keys has no effect within it, as in any transaction of SQLite.
        """
        listed, progress = list(steps), Progress()

        def work(connection: apsw.Connection) -> Result:
            run_migration(connection, listed, self._known, progress)
            return _NOTHING

        self._change("migrate", work, progress)

    def _change(self, doing: str, work: Work, progress: Progress) -> Result:
        task, lease = self.writer(doing)
        assert lease is not None, "only a statement can be the end of an expired transaction"
        lease.schema_touched = True  # nobody has looked at what it does
        return self._holding.run(lease, task, work, progress=progress)

    # What lasts longer

    def read_lease(self) -> HeldLease:
        """A reader of one's own; in a pool without readers the writer. Raises `MisuseError` for a second one."""
        task = self._kernel.require_task("acquire a lease")
        leasing, holding = self._leasing, self._holding
        if not leasing.settings.readers_max:
            return self.write_lease()
        if task in holding.readers or holding.writer_of(task) is not None:
            raise MisuseError(f"{task.name} holds a lease or a transaction already, and could wait for itself")
        holding.refuse_expired(task)
        lease = leasing.request(task, READ_KIND)
        try:
            self._statements.admit(lease)
        except apsw.ReadOnlyError as error:
            if not left_to_writer(error):
                raise
            self.execute_write("PRAGMA schema_version")  # opens the writer, which cleans up
            lease = leasing.request(task, READ_KIND)
            self._statements.admit(lease)
        self._refuse_when_closing(lease)
        return HeldLease(self._kernel, lease, holding, self._statements)

    def write_lease(self) -> HeldLease:
        """The writer, until it is released. A task that has it already, such as by a transaction, shares its own."""
        _, lease = self.writer_to_hold("acquire a lease")
        return HeldLease(self._kernel, lease, self._holding, self._statements)

    def writer_to_hold(self, doing: str) -> tuple[Task, Lease]:
        """The calling task and the writer, which nobody takes back before it is held."""
        task, lease = self.writer(doing)
        assert lease is not None, "only a statement can be the end of an expired transaction"
        self._refuse_when_closing(lease)
        return task, lease

    def _refuse_when_closing(self, lease: Lease) -> None:
        # Closing takes back what is held, and this is not held yet.
        if self._leasing.closing:
            self._leasing.end(lease, "refused")
            self._require_open()

    def write_mode(self) -> WriteMode:
        """A block in which only statements of the calling task run, all of them on the writer. May be nested.

        A transaction that the block leaves open is the task's, as after BEGIN; an exception that leaves the block takes
        it along.
        """
        return WriteMode(self, self._holding)

    def transaction(self, deadline_ns: int | None = None) -> TransactionBlock:
        """A block that is one transaction: committed at its end, rolled back when an exception leaves it.

        Begins immediately, so that it does not fail halfway because somebody else writes. `deadline_ns` is how long it
        may be open, by default as the settings say: past that it is rolled back, and its statements and its commit
        raise `TransactionExpired`.
        """
        if deadline_ns is not None and deadline_ns <= 0:
            raise ValueError(f"deadline_ns is {deadline_ns}; it is a span of simulated time above 0")
        return TransactionBlock(self, self._holding, deadline_ns)

    def writer(self, doing: str, sql: str | None = None) -> tuple[Task, Lease | None]:
        """The calling task and the writer, its own or granted now; None when `sql` ended an expired transaction."""
        task = self._kernel.require_task(doing)
        holding = self._holding
        holding.refuse_reader(task, doing)
        lease = holding.writer_of(task)
        if holding.refuse_expired(task, sql):
            return task, None
        if lease is None:
            lease = self._leasing.request(task, WRITE_KIND)
            self._statements.admit(lease)
        return task, lease

    def _require_open(self) -> None:
        if self._leasing.closing:
            raise DatabaseClosed("the database is closed: this came after close()")

    # Close

    def close(self) -> None:
        """Closes the database, once. Every call returns after that, however many there are.

        Statements under way finish; what waits is refused; open transactions are rolled back and leases taken back, as
        soon as no statement of theirs runs. Past `close_timeout_ns` storage is cut off, so that what hangs in it fails.
        A caller that is cancelled leaves, and the closing goes on.
        """
        self._keeper.close(self._kernel.require_task("close the database"))

    # Looking

    def snapshot(self) -> PoolSnapshot:
        """What the manager is doing at this instant."""
        connections, gate, ownership = self._leasing.connections, self._leasing.gate, self._holding.ownership
        transaction = ownership.transaction
        return PoolSnapshot(
            mode=connections.mode,
            open_readers=connections.open_readers,
            active_readers=connections.active,
            idle_readers=len(connections.idle),
            opening_readers=connections.opening,
            waiting_readers=gate.waiting_readers,
            waiting_writers=gate.waiting_writers,
            writer=gate.writer.task.name if gate.writer is not None else None,
            transaction=ownership.owner.name if transaction is not None and ownership.owner is not None else None,
            transaction_age_ns=self._kernel.now - transaction.began_ns if transaction is not None else None,
            closed=self._keeper.closed,
        )
