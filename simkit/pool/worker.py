"""The single worker: one connection behind a queue, as an alternative to a pool of connections with the same calls.

Upholds MODE-1 (there is one connection, and it writes). Nothing is classified: with one connection there is nothing to
route, and temporary tables, pragmas and `changes()` are those of the database. What makes its calls safe under
cancellation, crash and close is in `simkit.pool.worker_engine`; here is what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simkit.kernel import Task
from simkit.pool.classify import ClassificationCache
from simkit.pool.metrics import PoolMetrics
from simkit.pool.result import Parameters, Result
from simkit.pool.scripts import Progress, Step, run_migration, run_script
from simkit.pool.settings import PoolSettings
from simkit.pool.single import run_statement
from simkit.pool.system import Instance
from simkit.pool.worker_blocks import WorkerTransaction, WorkerWriteMode
from simkit.pool.worker_engine import WorkerEngine, WorkerState

_NOTHING = Result((), (), 0, None)


@dataclass(frozen=True)
class WorkerSnapshot:
    """A worker at one instant.

    Attributes:
        state: "running", "closing", "closed" or "dead".
        waiting: statements in the queue.
        running: the task whose statement is under way; None when the worker is idle.
        owner: the task whose statements alone run now, by a transaction or `write_mode()`.
        transaction_age_ns: for how long its transaction is open; None when none is.
    """

    state: WorkerState
    waiting: int
    running: str | None
    owner: str | None
    transaction_age_ns: int | None


class SingleWorker:
    """One connection for any number of tasks. Construct it in a task; raises what the opening raises."""

    def __init__(self, instance: Instance, settings: PoolSettings | None = None) -> None:
        settings = settings if settings is not None else instance.settings
        self._kernel = instance.kernel
        self._known = ClassificationCache()
        #: everything counts as written; nothing as read
        self.metrics = PoolMetrics(instance.kernel)
        self._engine = WorkerEngine(instance, settings, self.metrics)
        self._ownership = self._engine.ownership

    def snapshot(self) -> WorkerSnapshot:
        engine, ownership = self._engine, self._ownership
        running, transaction = engine.running, ownership.transaction
        return WorkerSnapshot(
            state=engine.state,
            waiting=engine.waiting,
            running=running.task.name if running is not None else None,
            owner=ownership.owner.name if ownership.owner is not None else None,
            transaction_age_ns=self._kernel.now - transaction.began_ns if transaction is not None else None,
        )

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement, when its turn comes.

        Raises `Overloaded` and `DatabaseClosed`, after both of which nothing of it was done, `TransactionExpired`,
        `WorkerDead`, and the errors of `run_statement`.
        """
        task = self._kernel.require_task("execute a statement")
        self._engine.require_open()
        if self._ownership.expiry.refuse(task, sql):
            return _NOTHING
        known = self._known
        result: Result = self._engine.send(task, lambda connection: run_statement(connection, sql, params, known), sql)
        return result

    def execute_write(self, sql: str, params: Parameters = None) -> Result:
        """As `execute`: one connection runs everything, and it writes."""
        return self.execute(sql, params)

    def query(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement for its columns and rows."""
        result = self.execute(sql, params)
        return Result(result.columns, result.rows, 0, None, result.route)

    def run(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement for its changes and rowid."""
        result = self.execute(sql, params)
        return Result((), (), result.changes, result.last_insert_rowid, result.route)

    def execute_script(self, sql: str) -> Result:
        """Runs all statements of a text, with no other caller's in between. See `run_script`.

        It is no transaction unless the text says so. One that it leaves open is the caller's.
        """
        task, progress = self.admitted("execute a script"), Progress()
        result: Result = self._engine.send(
            task, lambda connection: run_script(connection, sql, progress), progress=progress
        )
        return result

    def migrate(self, steps: Iterable[Step]) -> None:
        """Runs steps, each an SQL text or one with its parameters, as one change: all or nothing."""
        task, progress = self.admitted("migrate"), Progress()
        listed = list(steps)
        self._engine.send(
            task, lambda connection: run_migration(connection, listed, self._known, progress), progress=progress
        )

    def write_mode(self) -> WorkerWriteMode:
        """Within the block only statements of the calling task run. May be nested.

        A transaction that the block leaves open is the task's, as after BEGIN; an exception that leaves the block
        takes it along.
        """
        return WorkerWriteMode(self, self._engine)

    def transaction(self, deadline_ns: int | None = None) -> WorkerTransaction:
        """A transaction of the calling task, committed at the end of the block; rolled back if an exception ends that.

        `deadline_ns` is how long it may be open (by default as the settings say); past that it is rolled back, and
        statements and the commit raise `TransactionExpired`.
        """
        if deadline_ns is not None and deadline_ns <= 0:
            raise ValueError(f"deadline_ns is {deadline_ns}; it is a span of simulated time above 0")
        return WorkerTransaction(self._kernel, self, self._engine, deadline_ns)

    def close(self) -> None:
        """Closes the database after the statement under way; refuses what is queued, rolls an open transaction back.

        Every call returns after the one native close, and raises what that raised. A caller that is cancelled leaves
        the closing to the worker.
        """
        self._engine.close(self._kernel.require_task("close the database"))

    def admitted(self, doing: str) -> Task:
        """The calling task, if it may send something now."""
        task = self._kernel.require_task(doing)
        self._engine.require_open()
        self._ownership.expiry.refuse(task)
        return task
