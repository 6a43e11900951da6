"""Blocks of the connection manager: write mode, and a transaction.

Uphold MODE-2: what a block gives belongs to the task that entered it, and an error that leaves the block takes along
what was begun inside. They are classes and no generators, so that nothing happens when a block that was never left is
collected as garbage (DET-1).
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import apsw

from simkit.kernel import MisuseError, Task
from simkit.pool.holding import Holding
from simkit.pool.lease import Lease, Place, how_ended
from simkit.pool.result import Result
from simkit.pool.single import run_statement
from simkit.pool.transaction import OpenTransaction

if TYPE_CHECKING:
    from simkit.pool.manager import ConnectionManager


class WriteMode:
    """A block of write mode. See `ConnectionManager.write_mode`."""

    def __init__(self, manager: ConnectionManager, holding: Holding) -> None:
        self._manager = manager
        self._holding = holding
        self._entered: list[tuple[Task, Lease, OpenTransaction | None]] = []

    def __enter__(self) -> ConnectionManager:
        manager = self._manager
        task, lease = manager.writer_to_hold("enter write mode")
        holding = self._holding
        lease.place = Place.of_caller()
        holding.hold(lease, task)
        self._entered.append((task, lease, holding.ownership.transaction))
        return manager

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holding = self._holding
        task, lease, before = self._entered.pop()
        transaction = holding.ownership.transaction
        try:
            if error is not None:
                holding.ownership.left_block(task, before)
                if transaction is not None and transaction is not before:
                    holding.undo(task, transaction, error)
        finally:
            holding.let_go(lease, task, how_ended(error))


class TransactionBlock:
    """A transaction as a block. See `ConnectionManager.transaction`."""

    def __init__(self, manager: ConnectionManager, holding: Holding, deadline_ns: int | None) -> None:
        self._manager = manager
        self._holding = holding
        self._deadline_ns = deadline_ns
        self._task: Task | None = None
        self._transaction: OpenTransaction | None = None

    def __enter__(self) -> ConnectionManager:
        manager = self._manager
        if self._task is not None:
            raise MisuseError("a transaction is used once; call transaction() for each block")
        task, lease = manager.writer("begin a transaction")
        assert lease is not None, "only a statement can be the end of an expired transaction"
        holding = self._holding
        if holding.ownership.transaction is not None:
            raise MisuseError(
                f"{task.name} begins a transaction within its own: SQLite has none within another; use SAVEPOINT and "
                "RELEASE for a part that can be undone by itself"
            )
        self._task = task
        holding.run(lease, task, _begin, "BEGIN IMMEDIATE", self._deadline_ns)
        self._transaction = holding.ownership.transaction
        return manager

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holding, transaction, task = self._holding, self._transaction, self._task
        assert task is not None
        if error is None:
            try:
                task, lease = self._manager.writer("commit a transaction", "COMMIT")
                assert lease is not None, "an expired transaction does not commit"
                holding.run(lease, task, _commit, "COMMIT")
            except BaseException as failure:
                error = failure
                raise
            finally:
                self._leave(holding, task, transaction, error)
        else:
            self._leave(holding, task, transaction, error)

    @staticmethod
    def _leave(holding: Holding, task: Task, transaction: OpenTransaction | None, error: BaseException | None) -> None:
        """Nothing of the transaction is left, and nobody has to be told of its end any more."""
        holding.ownership.left_block(task)
        if error is not None and transaction is not None:
            holding.undo(task, transaction, error)


def _begin(connection: apsw.Connection) -> Result:
    return run_statement(connection, "BEGIN IMMEDIATE", None)


def _commit(connection: apsw.Connection) -> Result:
    return run_statement(connection, "COMMIT", None)
