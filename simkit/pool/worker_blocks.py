"""Blocks of the single worker: write mode, and a transaction.

Uphold MODE-2: what a block gives belongs to the task that entered it, and an error that leaves the block takes along
what was begun inside. They are classes and no generators, so that nothing happens when a block that was never left is
collected as garbage (DET-1).
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import apsw

from simkit.kernel import Crashed, Kernel, MisuseError, Task
from simkit.pool.commands import Work
from simkit.pool.single import run_statement
from simkit.pool.system import DatabaseClosed
from simkit.pool.transaction import ABANDONED, CANCELLED, OpenTransaction
from simkit.pool.worker_engine import WorkerDead, WorkerEngine

if TYPE_CHECKING:
    from simkit.pool.worker import SingleWorker

_BEGIN = "BEGIN IMMEDIATE"


class WorkerWriteMode:
    """A block of write mode. See `SingleWorker.write_mode`."""

    def __init__(self, worker: SingleWorker, engine: WorkerEngine) -> None:
        self._worker = worker
        self._engine = engine
        self._entered: list[tuple[Task, OpenTransaction | None]] = []

    def __enter__(self) -> SingleWorker:
        task = self._worker.admitted("enter write mode")
        self._engine.send(task, _nothing, holds=True)
        self._entered.append((task, self._engine.ownership.transaction))
        return self._worker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, ownership = self._engine, self._engine.ownership
        task, before = self._entered.pop()
        if error is not None:
            ownership.left_block(task, before)
            if ownership.owner is task and ownership.transaction not in (None, before):
                ownership.lose(_cause(error))
        ownership.let_go(task)
        engine.wake()


class WorkerTransaction:
    """A transaction as a block. See `SingleWorker.transaction`."""

    def __init__(self, kernel: Kernel, worker: SingleWorker, engine: WorkerEngine, deadline_ns: int | None) -> None:
        self._kernel = kernel
        self._worker = worker
        self._engine = engine
        self._deadline_ns = deadline_ns
        self._task: Task | None = None
        self._transaction: OpenTransaction | None = None

    def __enter__(self) -> SingleWorker:
        if self._task is not None:
            raise MisuseError("a transaction is used once; call transaction() for each block")
        task, ownership = self._worker.admitted("begin a transaction"), self._engine.ownership
        if ownership.belongs_to(task) and ownership.transaction is not None:
            raise MisuseError(
                f"{task.name} begins a transaction within its own: SQLite has none within another; use SAVEPOINT and "
                "RELEASE for a part that can be undone by itself"
            )
        self._task = task
        self._engine.send(task, _statement(_BEGIN), _BEGIN, self._deadline_ns)
        self._transaction = ownership.transaction
        return self._worker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        if error is not None:
            self._undo(self._task, error)
            return
        try:
            self._worker.execute("COMMIT")
        except BaseException as failure:
            self._undo(self._task, failure)
            raise

    def _undo(self, task: Task, error: BaseException) -> None:
        """Rolls the transaction of the task back, because `error` ends its block."""
        ownership, transaction = self._engine.ownership, self._transaction
        ownership.left_block(task)
        if transaction is None or ownership.transaction is not transaction or not ownership.belongs_to(task):
            return
        if not isinstance(error, Exception):
            ownership.lose(_cause(error))
            return
        with self._kernel.shield(), suppress(apsw.Error, DatabaseClosed, WorkerDead):
            self._engine.send(task, _statement("ROLLBACK"), "ROLLBACK")


def _statement(sql: str) -> Work:
    return lambda connection: run_statement(connection, sql, None)


def _nothing(_connection: apsw.Connection) -> None:
    """The work of who only wants its turn."""


def _cause(error: BaseException) -> str:
    """Why the transaction of a block that ended with `error` is rolled back."""
    return ABANDONED if isinstance(error, Exception | Crashed) else CANCELLED
