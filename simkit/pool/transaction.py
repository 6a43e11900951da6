"""A transaction of a caller: what is known of it while it is open, and what its owner is told once it is gone.

Upholds its share of MODE-2 and of atomicity. A transaction may end without its owner having asked for that: at its
deadline, with a statement that was cut off, with one that failed so badly that SQLite undid everything. An owner that
does not notice goes on, and the rest of its transaction would commit statement by statement. So `Expiry` refuses what
the owner sends, as PostgreSQL does in an aborted transaction, until it has ended its transaction itself, or has left
the block in which it began.

Touches no connection that is in use: what a text does to a transaction is asked of an empty database.
"""

from __future__ import annotations

from functools import lru_cache

import apsw

from simkit.kernel import Happening, Task
from simkit.kernel.units import format_duration
from simkit.pool.classify import classify
from simkit.pool.reader_authorizer import Kind
from simkit.pool.system import TransactionExpired

# Why a transaction is rolled back for its owner; as in the event `TransactionRolledBack`.
DEADLINE = "deadline"
CLOSE = "close"
ABANDONED = "abandoned"
CANCELLED = "cancelled"
# And when SQLite did it: no event tells of that.
FAILED = "failed"

_WHY = {
    CLOSE: "the database was closed",
    ABANDONED: "a task that ran a statement in it crashed",
    CANCELLED: "a statement in it was cut off by a cancellation or a timeout",
    FAILED: "a statement in it failed, and SQLite undid everything",
}

CONTROL_REMEMBERED_MAX = 256


class OpenTransaction:
    """A transaction of a caller.

    Attributes:
        sql: the statement that opened it; None when that is not known.
        context: whom its owner worked for then (`Task.context`).
        began_ns: when, in simulated time.
        deadline_ns: how long it may be open; 0 for as long as its owner wants.
        given_up: its owner goes on without it, and does not have to be told of its end.
    """

    __slots__ = ("began_ns", "context", "deadline", "deadline_ns", "given_up", "sql")

    def __init__(self, sql: str | None, context: object, began_ns: int, deadline_ns: int = 0) -> None:
        self.sql = sql
        self.context = context
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.deadline: Happening | None = None
        self.given_up = False

    def is_ended_by(self, sql: str | None) -> bool:
        """Whether a statement asks for the end of this transaction: COMMIT, ROLLBACK, or RELEASE of where it began."""
        control = None if sql is None else transaction_control(sql)
        if control is None or control[0] != "RELEASE":
            return control is not None and control[0] in ("COMMIT", "ROLLBACK")
        began = None if self.sql is None else transaction_control(self.sql)
        return began == ("SAVEPOINT", control[1])


class Expiry:
    """Owners that do not know yet that their transaction is gone. False when there are none."""

    def __init__(self) -> None:
        self._gone: dict[Task, tuple[OpenTransaction, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._gone)

    def tell(self, owner: Task, transaction: OpenTransaction, cause: str) -> None:
        """The transaction is gone, and its owner did not ask for that: what it sends next is told so."""
        if not owner.ended and not transaction.given_up:
            self._gone[owner] = transaction, cause
            owner.at_end(self._forget_ended)

    def forget(self, owner: Task, before: OpenTransaction | None = None) -> None:
        """The owner has left a block: of what began inside it need not hear. `before` was open when it entered."""
        gone = self._gone.get(owner)
        if gone is not None and gone[0] is not before:
            del self._gone[owner]

    def refuse(self, task: Task, sql: str | None = None) -> bool:
        """Whether `sql` of the task is a ROLLBACK of a transaction that is gone already, and so done.

        Raises `TransactionExpired` for anything else that a task sends before it has ended its expired transaction.
        """
        gone = self._gone.get(task)
        if gone is None:
            return False
        transaction, cause = gone
        if sql is not None and transaction_control(sql) == ("ROLLBACK", ""):
            del self._gone[task]
            return True
        if transaction.is_ended_by(sql):
            del self._gone[task]
            advice = "nothing of it took effect; begin it again"
        else:
            advice = "send ROLLBACK, then begin it again"
        why = _WHY.get(cause) or f"it was open for {format_duration(transaction.deadline_ns)} (its deadline)"
        raise TransactionExpired(f"the transaction of {task.name} was rolled back, because {why}: {advice}")

    def _forget_ended(self) -> None:
        self._gone = {task: gone for task, gone in self._gone.items() if not task.ended}


def may_end_transaction(sql: str | None) -> bool:
    """Whether a statement may be what ends a transaction: COMMIT, ROLLBACK, RELEASE.

    Enough to judge one that failed with its transaction gone: a RELEASE that ends none asks nothing of storage, and
    does not fail like that.
    """
    control = None if sql is None else transaction_control(sql)
    return control is not None and control[0] in ("COMMIT", "ROLLBACK", "RELEASE")


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
