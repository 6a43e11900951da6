"""Whose the writing connection is for longer than one statement: by an open transaction, or held for a while.

Upholds MODE-2 (while a transaction is open, no statement of another caller runs in it) together with whoever asks it
whose turn it is, and bounds how long a transaction keeps others waiting: it is taken from its owner at its deadline and
when its owner ends. It belongs to the task, so that what other tasks do meanwhile is told apart from it.

Nothing here touches the connection: a deadline may pass, or an owner end, while a statement still runs. `lost` then
says why, and whoever runs the statements rolls back as soon as nothing runs. Whoever finds a transaction gone without
its owner having asked for that says so with `expire`, and the owner is told (`simkit.pool.transaction`).
"""

from __future__ import annotations

from collections.abc import Callable

from simkit.kernel import Kernel, Task
from simkit.pool.metrics import PoolMetrics
from simkit.pool.transaction import ABANDONED, DEADLINE, Expiry, OpenTransaction


class Ownership:
    """The owner of a connection, its transaction and its holds.

    `on_lost` is called, on whatever turn it happens, when the transaction is to be rolled back or the owner is gone.
    """

    def __init__(self, kernel: Kernel, metrics: PoolMetrics, on_lost: Callable[[], None]) -> None:
        self._kernel = kernel
        self._metrics = metrics
        self._on_lost = on_lost
        #: the task whose statements alone may run; None when anybody's may
        self.owner: Task | None = None
        self.transaction: OpenTransaction | None = None
        #: nested holds of the owner
        self.holds = 0
        #: why the owner is to lose the connection; None while it is not
        self.lost: str | None = None
        #: owners that do not know yet that their transaction is gone
        self.expiry = Expiry()

    def belongs_to(self, task: Task) -> bool:
        """Whether the connection is the task's, and not about to be taken from it."""
        return self.owner is task and self.lost is None

    def hold(self, task: Task) -> None:
        """The connection stays with the task until it lets go as often as it held."""
        self._take(task)
        self.holds += 1

    def let_go(self, task: Task) -> None:
        """Takes one hold back. Does nothing for a task that has lost the connection."""
        if self.owner is task and self.holds:
            self.holds -= 1
            self._leave_if_free()

    def begun(self, task: Task, sql: str | None, context: object, deadline_ns: int) -> None:
        """A statement of the task left a transaction open, which is the task's from here on."""
        assert self.transaction is None, "MODE-2: a transaction begins within another"
        self._take(task)
        transaction = OpenTransaction(sql, context, self._kernel.now, deadline_ns)
        transaction.deadline = self._kernel.timer(deadline_ns, self._deadline_passed, "transaction deadline", True)
        self.transaction = transaction

    def ended(self) -> None:
        """The transaction is over, committed or not."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            assert transaction.deadline is not None
            transaction.deadline.revoke()
            self._metrics.transaction_ended(self._kernel.now - transaction.began_ns)
        if self.owner is not None and self.owner.ended:
            self.leave()
            return
        self.lost = None  # the owner goes on, if it holds the connection
        self._leave_if_free()

    def lose(self, cause: str) -> None:
        """The owner is to lose its transaction, and the connection with it unless it holds that."""
        if self.lost is None and self.owner is not None:
            self.lost = cause
            self._on_lost()

    def leave(self) -> None:
        """Nobody owns the connection any more, whatever was held."""
        if self.owner is not None:
            self.owner.not_at_end(self._owner_ended)
        self.owner, self.holds, self.lost = None, 0, None

    # Owners that do not know yet

    def expire(self, cause: str) -> None:
        """The transaction is gone without its owner having asked for that. Call before `ended`."""
        if self.owner is not None and self.transaction is not None:
            self.expiry.tell(self.owner, self.transaction, cause)

    def left_block(self, task: Task, before: OpenTransaction | None = None) -> None:
        """The task has left a block, and does not have to be told what becomes of a transaction that began inside.

        `before` is the transaction that was open when it entered.
        """
        transaction = self.transaction
        if self.owner is task and transaction is not None and transaction is not before:
            transaction.given_up = True
        self.expiry.forget(task, before)

    def _take(self, task: Task) -> None:
        assert self.owner in (None, task), "MODE-2: the connection belongs to another task"
        if self.owner is None:
            self.owner = task
            task.at_end(self._owner_ended)

    def _leave_if_free(self) -> None:
        if self.transaction is None and not self.holds:
            self.leave()

    def _deadline_passed(self, _event: object) -> None:
        self.lose(DEADLINE)

    def _owner_ended(self) -> None:
        self.lose(ABANDONED)
