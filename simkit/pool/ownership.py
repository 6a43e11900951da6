"""Whose the writing connection is for longer than one statement: by an open transaction, or held for a while.

Upholds MODE-2 (while a transaction is open, no statement of another caller runs in it) together with whoever asks it
whose turn it is, and bounds how long a transaction keeps others waiting: it is taken from its owner at its deadline and
when its owner ends. It belongs to the task, so that what other tasks do meanwhile is told apart from it.

Nothing here touches the connection: a deadline may pass, or an owner end, while a statement still runs. `lost` then
says why, and whoever runs the statements rolls back as soon as nothing runs. An owner that comes back after its
deadline is told so until it has ended its transaction itself: otherwise the rest of that transaction would commit on
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import apsw

from simkit.kernel import Happening, Kernel, Task
from simkit.kernel.units import format_duration
from simkit.pool.classify import classify
from simkit.pool.metrics import PoolMetrics
from simkit.pool.reader_authorizer import Kind
from simkit.pool.system import TransactionExpired

# Why a transaction is rolled back for its owner; as in the event `TransactionRolledBack`.
DEADLINE = "deadline"
CLOSE = "close"
ABANDONED = "abandoned"
CANCELLED = "cancelled"

CONTROL_REMEMBERED_MAX = 256


class OpenTransaction:
    """A transaction of a caller.

    Attributes:
        sql: the statement that opened it; None when that is not known.
        context: whom its owner worked for then (`Task.context`).
        began_ns: when, in simulated time.
    """

    __slots__ = ("began_ns", "context", "deadline", "deadline_ns", "sql")

    def __init__(self, sql: str | None, context: object, began_ns: int, deadline_ns: int) -> None:
        self.sql = sql
        self.context = context
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.deadline: Happening | None = None


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
        self._expired: dict[Task, OpenTransaction] = {}

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

    # Owners that come back after their deadline

    def expire(self) -> None:
        """The transaction was rolled back at its deadline: its owner is to be told. Call before `ended`."""
        assert self.owner is not None
        assert self.transaction is not None
        if not self.owner.ended:
            self._expired[self.owner] = self.transaction
            self.owner.at_end(self._forget_ended)

    def forget_expiry(self, task: Task) -> None:
        """The task knows, or will never ask."""
        self._expired.pop(task, None)

    def refuse_expired(self, task: Task, sql: str | None = None) -> bool:
        """Whether `sql` of the task is a ROLLBACK of a transaction that is gone already, and so done.

        Raises `TransactionExpired` for anything else that a task sends before it has ended its expired transaction.
        """
        transaction = self._expired.get(task)
        if transaction is None:
            return False
        control = None if sql is None else transaction_control(sql)
        if control == ("ROLLBACK", ""):
            del self._expired[task]
            return True
        if control is not None and (control[0] == "COMMIT" or _releases(control, transaction)):
            del self._expired[task]
            advice = "nothing of it took effect; begin it again"
        else:
            advice = "send ROLLBACK, then begin it again"
        raise TransactionExpired(
            f"the transaction of {task.name} was rolled back, because it was open for "
            f"{format_duration(transaction.deadline_ns)} (its deadline): {advice}"
        )

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

    def _forget_ended(self) -> None:
        self._expired = {task: transaction for task, transaction in self._expired.items() if not task.ended}


def _releases(control: tuple[str, str], transaction: OpenTransaction) -> bool:
    """Whether it releases the savepoint that the transaction began with."""
    began = None if transaction.sql is None else transaction_control(transaction.sql)
    return began is not None and control == ("RELEASE", began[1]) and began[0] == "SAVEPOINT"


@lru_cache(maxsize=CONTROL_REMEMBERED_MAX)
def transaction_control(sql: str) -> tuple[str, str] | None:
    """What a statement does to a transaction: BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE or ROLLBACK TO, and the name
    of the savepoint or "". None for every other statement.

    Asked of an empty database: statements of this kind name nothing that is in one, so the answer is one of syntax.
    """
    connection = apsw.Connection(":memory:")
    try:
        statement = classify(connection, sql)
    except (apsw.Error, ValueError):
        return None
    finally:
        connection.close(True)
    actions = statement.of_kind(Kind.TRANSACTION)
    if len(actions) != 1 or statement.explain or statement.tail is not None:
        return None
    action = actions[0]
    verb = action.first or ""
    if action.code == apsw.SQLITE_TRANSACTION:
        return verb, ""
    name = (action.second or "").lower()  # as SQLite compares them
    return {"BEGIN": "SAVEPOINT", "RELEASE": "RELEASE", "ROLLBACK": "ROLLBACK TO"}[verb], name
