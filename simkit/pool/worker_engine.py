"""What runs a single worker: one task that runs everything on one connection, and closes it.

Upholds MODE-2 (from BEGIN to COMMIT or ROLLBACK only its owner's statements run; those of others wait in their order),
CLOSE-1 and CLOSE-2 (the task that runs statements also closes, once, after the statement under way; every `close()`
returns after that, and nothing queued runs any more), PROG-2 and PROG-3 (what waits is woken by whoever ends its wait;
transactions and closing have a deadline).

Statements run in the order in which they were sent: nothing yields between the call and the place in the queue. One
task does everything with the connection, so rolling back, expiring and closing need no lock, only their turn.

A caller that is cancelled is gone at once; its statement is not. What the worker has begun for it runs to its end, and
its transaction is then rolled back; what it has not begun is never run. So no cancellation ever cuts a statement short.
A request to close does not queue: the worker looks for one before each statement, and a full queue cannot keep it away.

Whatever a statement raises is for its caller, be it an error of SQLite, of the values passed or of a function that the
user defined. What fails in the worker itself, or breaks an invariant, makes it dead: who waits is told why, and it can
only be closed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Literal

import apsw

from simkit.kernel import Crashed, Happening, Task
from simkit.pool.commands import Command, CommandQueue, Work
from simkit.pool.events import CloseGaveUp, TransactionRolledBack
from simkit.pool.metrics import PoolMetrics
from simkit.pool.ownership import Ownership
from simkit.pool.result import Result
from simkit.pool.scripts import Progress, run_script
from simkit.pool.settings import PoolSettings
from simkit.pool.single import CONFIGURATION, run_statement
from simkit.pool.system import DatabaseClosed, Instance, Overloaded, TransactionExpired
from simkit.pool.transaction import ABANDONED, CANCELLED, CLOSE, FAILED

WorkerState = Literal["running", "closing", "closed", "dead"]

NO_LEASE = -1
"""What stands for a lease in events: one connection is not leased."""

_log = logging.getLogger("simkit.pool")


class WorkerDead(RuntimeError):
    """The worker failed by itself and runs nothing any more. The cause is named and chained."""


class WorkerEngine:
    """The connection, its queue and its task."""

    def __init__(self, instance: Instance, settings: PoolSettings, metrics: PoolMetrics) -> None:
        self._instance = instance
        self._kernel = instance.kernel
        self._settings = settings
        self._metrics = metrics
        self._name = f"{instance.name}.worker"
        self.ownership = Ownership(instance.kernel, metrics, self.wake)
        self._queue = CommandQueue(self._name, settings.waiting_max)
        #: what is under way
        self.running: Command | None = None
        #: tasks in `close()`
        self._closers: dict[Task, None] = {}
        self._close_timer: Happening | None = None
        self._closing = False
        self._closed = False
        self._cause_of_death: BaseException | None = None
        self._failed_close: Exception | None = None
        self._connection = _configured(instance)
        self._task = self._start()

    def __str__(self) -> str:
        return self._name

    @property
    def holders(self) -> tuple[Task, ...]:
        """Whom those in the queue wait for."""
        owner = self.ownership.owner
        return (owner,) if owner is not None and self.running is None else (self._task,)

    @property
    def state(self) -> WorkerState:
        if self._closed:
            return "closed"
        if self._closing:
            return "closing"
        return "running" if self._cause_of_death is None else "dead"

    @property
    def waiting(self) -> int:
        return len(self._queue)

    # The callers' side

    def require_open(self) -> None:
        """Raises `DatabaseClosed` or `WorkerDead` when nothing may be sent any more."""
        if self._closing:
            raise DatabaseClosed("the database is closed: this came after close()")
        if self._cause_of_death is not None:
            raise self._dead()

    def send(
        self,
        task: Task,
        work: Work,
        sql: str | None = None,
        deadline_ns: int | None = None,
        holds: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """Queues a command of the calling task, waits for it and gives its result. See `Command`."""
        self.require_open()
        command = Command(task, work, self._kernel.now, sql, deadline_ns, holds, progress)
        self._queue.put(command, owned=self.ownership.owner is task)
        self.wake()
        try:
            self._kernel.park("execute", self)
        except BaseException as error:
            if not command.done or isinstance(error, Crashed):
                self._give_up(command, ABANDONED if isinstance(error, Crashed) else CANCELLED)
                raise
            self._kernel.postpone(task, error)  # the statement is over: its caller is told so first
        assert command.done, "PROG-2: a caller goes on before its statement has an outcome"
        if command.error is not None:
            raise command.error
        return command.result

    def close(self, task: Task) -> None:
        """Returns when the one native close has finished, whoever asked for it."""
        if not self._closing:
            self._begin_closing()
        self._closers[task] = None
        try:
            while not self._closed:
                if self._task.ended:
                    self._task = self._start()
                self._kernel.park("close", self)
        except BaseException as error:
            if not self._closed or isinstance(error, Crashed):
                raise
            self._kernel.postpone(task, error)
        finally:
            self._closers.pop(task, None)
        if self._failed_close is not None:
            raise self._failed_close

    def wake(self) -> None:
        """Has the worker look for something to do, if it waits for that; not while it waits for storage."""
        if self._task.resource is self._queue:
            self._kernel.wake(self._task)

    def _give_up(self, command: Command, cause: str) -> None:
        """The caller does not wait for its command any more."""
        command.given_up = cause
        self._queue.remove(command)
        ownership = self.ownership
        transaction = ownership.transaction
        if ownership.owner is command.task and transaction is not None:
            # Whoever asked for the end of its transaction sends nothing more of it.
            transaction.given_up = transaction.given_up or transaction.is_ended_by(command.sql)
            ownership.lose(cause)  # once nothing runs: what runs may be its COMMIT

    def _answer(self, command: Command, error: Exception | None) -> None:
        command.error = error
        command.done = True
        if command.given_up is None:
            self._kernel.wake(command.task)

    # The worker's task

    def _start(self) -> Task:
        return self._kernel.spawn(self._serve, name=self._name, background=True, group=self._instance.group)

    def _serve(self) -> None:
        try:
            while not self._closing:
                try:
                    self._serve_next()
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                    self._die(error)
            try:
                self._finish_closing()
            except Exception as error:  # noqa: BLE001 - the callers of close() get it
                self._failed_close = error
            self._closed = True
        except BaseException as error:
            self._die(error)
            raise
        finally:
            for task in self._closers:
                self._kernel.wake(task)

    def _serve_next(self) -> None:
        ownership = self.ownership
        if ownership.lost is not None:
            self._roll_back(ownership.lost)
            self._judge_owned()
            return
        command = self._queue.next_for(ownership.owner)
        if command is None:
            self._kernel.park("serve", self._queue)
        else:
            self._perform(command)

    def _perform(self, command: Command) -> None:
        kernel = self._kernel
        self._metrics.write_waited(kernel.now - command.sent_ns)
        self.running = command
        error: Exception | None = None
        with kernel.working_for(command.context):
            try:
                command.result = command.work(self._connection)
            except AssertionError:
                raise  # an invariant of simkit is broken
            except Exception as failure:  # noqa: BLE001 - whatever a statement raises is its caller's
                error = failure
        self._follow_transaction(command, error)
        self.running = None
        self._answer(command, error)
        if command.given_up is not None:
            self._judge_owned()

    def _follow_transaction(self, command: Command, error: Exception | None) -> None:
        """Whose the connection is after a command."""
        ownership, task = self.ownership, command.task
        if not self._connection.in_transaction:
            if ownership.transaction is not None:
                if error is not None and not command.asked_for_the_end:
                    ownership.expire(FAILED)
                ownership.ended()
        elif ownership.transaction is None:
            deadline_ns = command.deadline_ns or self._settings.transaction_deadline_ns
            ownership.begun(task, command.sql, command.context, deadline_ns)
            if command.given_up is not None:
                ownership.left_block(task)  # it was not told that a transaction began
        if command.given_up is None:
            if command.holds:
                ownership.hold(task)
        elif ownership.transaction is not None:
            ownership.lose(command.given_up)

    def _roll_back(self, cause: str) -> None:
        """Rolls back what is open, for its owner; afterwards nothing is."""
        ownership, kernel = self.ownership, self._kernel
        transaction = ownership.transaction
        if transaction is not None:
            with kernel.working_for(transaction.context), suppress(apsw.Error):
                # What fails here failed to undo; SQLite does it again before its next statement.
                run_statement(self._connection, "ROLLBACK", None)
            assert not self._connection.in_transaction, "MODE-2: a transaction is open that nobody owns"
            ownership.expire(cause)
            kernel.record(TransactionRolledBack(kernel.now, self._task.name, self._instance.name, NO_LEASE, cause))
        ownership.ended()

    def _judge_owned(self) -> None:
        """What the owner sent while its transaction went away, or ended after all, is no part of that."""
        command = self._queue.take_owned()
        if command is None:
            return
        try:
            if self.ownership.expiry.refuse(command.task, command.sql):
                command.result = Result((), (), 0, None)
                self._answer(command, None)
            else:
                self._queue.put(command, owned=self.ownership.owner is command.task)
        except (Overloaded, TransactionExpired) as error:
            self._answer(command, error)

    def _die(self, error: BaseException) -> None:
        """Nothing is run any more; everybody who waits for a statement is told why."""
        if self._cause_of_death is None:
            self._cause_of_death = error
        self.ownership.leave()
        command, self.running = self.running, None
        if command is not None:
            self._answer(command, error if isinstance(error, Exception) else self._dead())
        for command in self._queue.drain():
            self._answer(command, self._dead())

    def _dead(self) -> WorkerDead:
        cause = self._cause_of_death
        dead = WorkerDead(f"{self._name} failed and runs nothing any more; close the database. The cause: {cause!r}")
        dead.__cause__ = cause
        return dead

    # Closing

    def _begin_closing(self) -> None:
        self._closing = True
        self._close_timer = self._kernel.timer(
            self._settings.close_timeout_ns, self._give_up_waiting, "close timeout", True
        )
        for command in self._queue.drain():
            self._answer(command, DatabaseClosed("the database was closed while this statement waited for its turn"))
        self.wake()

    def _give_up_waiting(self, _event: object) -> None:
        kernel, instance = self._kernel, self._instance
        what = "the worker" if self.running is None else f"the statement of {self.running.task.name}"
        kernel.record(CloseGaveUp(kernel.now, "", instance.name, ()))
        _log.warning("%s: close() gave up waiting for %s, and cuts it off from its storage", instance.name, what)
        instance.lose(f"close() gave up waiting for {what}")

    def _finish_closing(self) -> None:
        """The worker's last act. May be repeated."""
        try:
            self._roll_back(CLOSE)
        finally:
            self.ownership.leave()
            if self._close_timer is not None:
                self._close_timer.revoke()
            try:
                with suppress(apsw.Error):  # storage that is gone does not keep it open
                    self._connection.close(True)
            finally:
                self._instance.close_database()


def _configured(instance: Instance) -> apsw.Connection:
    """A connection ready for use; one that cannot be made ready is closed."""
    connection = instance.connect()
    try:
        run_script(connection, CONFIGURATION)
    except BaseException:
        with suppress(apsw.Error):
            connection.close(True)
        raise
    return connection
