"""The smallest system under test: one connection, one statement at a time, served in the order of arrival.

Upholds MODE-2: from BEGIN to COMMIT or ROLLBACK the connection belongs to the task that began. Upholds CLOSE-1 and
CLOSE-2: `close()` waits for the statement or transaction that runs, closes once, and every other `close()` returns
after it.

A task that is cancelled within its transaction loses it: the transaction is rolled back before the cancellation goes
up, and the next task is served. The rest of such a transaction is refused, also where SQLite itself has undone it. A
task that ends and leaves its transaction open keeps the connection for ever: that is a bug of the task, and shows as a
deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import apsw

from simkit.kernel import Cancelled, Lock, Task
from simkit.pool.classify import ClassificationCache, classify, refuse_nul
from simkit.pool.result import Parameters, Result, Route
from simkit.pool.system import DatabaseClosed, Instance
from simkit.pool.transaction import CANCELLED, FAILED, Expiry, OpenTransaction, may_end_transaction

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1
CONFIGURATION = "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY"
"""What every connection of a system is told first."""


class SingleConnection:
    """One connection behind `execute` and `close`."""

    def __init__(self, instance: Instance) -> None:
        self._kernel = instance.kernel
        self._turn = Lock(instance.kernel, f"{instance.name}.connection")
        self._owner: Task | None = None
        self._closing = False
        self._connection = instance.connect()
        self._known = ClassificationCache()
        self._transaction: OpenTransaction | None = None
        self._expiry = Expiry()
        self._connection.execute(CONFIGURATION).get  # noqa: B018 - drains the cursor: all statements run

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement, when the connection is free or the caller's own.

        Raises `DatabaseClosed`, `TransactionExpired` when the transaction of the caller is gone, and the errors of
        `run_statement`.
        """
        task = self._kernel.require_task("execute a statement")
        if self._expiry and not self._closing and self._expiry.refuse(task, sql):
            return Result((), (), 0, None)
        if self._owner is not task:
            self._acquire(task)
        connection = self._connection
        try:
            return run_statement(connection, sql, params, self._known)
        except BaseException as error:
            if isinstance(error, Cancelled):
                self._roll_back()
            if self._transaction is not None and not connection.in_transaction and not may_end_transaction(sql):
                self._expiry.tell(task, self._transaction, CANCELLED if isinstance(error, Cancelled) else FAILED)
            raise
        finally:
            if not connection.in_transaction:
                self._transaction = None
                self._leave(task)
            elif self._transaction is None:
                self._transaction = OpenTransaction(sql, task.context, self._kernel.now)

    def close(self) -> None:
        """Closes the connection after the statement or transaction that runs; later work is refused.

        A caller that has a transaction open itself loses it.
        """
        task = self._kernel.require_task("close the database")
        self._closing = True
        if self._owner is not task:
            self._turn.acquire()
            self._owner = task
        try:
            self._connection.close(True)
        finally:
            self._leave(task)

    def _leave(self, task: Task) -> None:
        self._owner = None
        if self._turn.owner is task:
            self._turn.release()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            # What fails here failed to undo what nobody was told of; SQLite tries again before its next statement.
            with suppress(apsw.Error):
                self._connection.execute("ROLLBACK").fetchall()

    def _acquire(self, task: Task) -> None:
        self._refuse_when_closing("the database is closed: execute() was called after close()")
        self._turn.acquire()
        self._owner = task
        try:
            self._refuse_when_closing("the database was closed while this statement waited for its turn")
        except DatabaseClosed:
            self._leave(task)
            raise

    def _refuse_when_closing(self, message: str) -> None:
        if self._closing:
            raise DatabaseClosed(message)


class TrailingStatement(apsw.SQLError):
    """The text goes on after its first statement."""


class IntegerOutOfRange(apsw.MismatchError, OverflowError):
    """A parameter is an integer of more than 64 bits, which SQLite has no room for."""


def run_statement(
    connection: apsw.Connection,
    sql: str,
    params: Parameters,
    known: ClassificationCache | None = None,
    route: Route = "write",
) -> Result:
    """Runs one statement to its end and collects all it gives. Text without a statement gives an empty result.

    `known` belongs to the connection, and saves time where a text with a semicolon inside comes again; `route` is what
    the result says of who ran it. Raises `TrailingStatement`, `IntegerOutOfRange` and `NulInStatement` before anything
    runs, and SQLite's errors.
    """
    refuse_nul(sql)
    if ";" in sql:
        _refuse_trailing(connection, sql, known)
    columns: tuple[str, ...] = ()
    started = False

    def about_to_run(cursor: apsw.Cursor, _statement: str, _bindings: object) -> bool:
        nonlocal columns, started
        if not started:  # else a comment at the end: APSW takes it for an empty statement
            started = True
            columns = tuple(name for name, _ in cursor.get_description())
        return True

    changes_before = connection.total_changes()
    cursor = connection.cursor()
    cursor.exec_trace = about_to_run
    try:
        cursor.execute(sql, params)
        fetched: Any = cursor.fetchall()  # to APSW's stubs, from Python 3.12 on, a blob may be any buffer; it is bytes
    except (OverflowError, LookupError) as error:
        if not started:  # else a function of the caller raised it
            _explain_binding(params, error)
        raise
    finally:
        cursor.close(True)
    rows = tuple(fetched)
    if connection.total_changes() == changes_before:
        return Result(columns, rows, 0, None, route)
    return Result(columns, rows, connection.changes(), connection.last_insert_rowid(), route)


def _refuse_trailing(connection: apsw.Connection, sql: str, known: ClassificationCache | None) -> None:
    """Looks for a second statement, in text with a semicolon: without one there is none."""
    if ";" not in sql.rstrip("; \t\r\n"):
        return
    # Before the statement is compiled to be run: SQLite carries out a pragma already then. The tail does not depend on
    # the schema, so what is known of it stays true.
    tail = (classify(connection, sql) if known is None else known.classify(connection, sql)).tail
    if tail is not None:
        raise TrailingStatement(f"execute() takes one statement; after it stands: {tail.strip()[:80]}")


def _explain_binding(params: Parameters, error: Exception) -> None:
    """Raises what says which parameter it was, if that can be told."""
    by_name: Mapping[Any, Any] | None = params if isinstance(params, Mapping) else None
    if isinstance(error, LookupError) and by_name is not None:
        missing = error.args[0] if error.args else "of the text"
        given = ", ".join(str(name) for name in by_name) or "none"
        raise apsw.BindingsError(
            f"the text has a parameter {missing} for which no value was given; values were given for: {given[:80]}"
        ) from error
    named = enumerate(params or (), 1) if by_name is None else by_name.items()
    for name, value in named:
        if isinstance(value, int) and not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise IntegerOutOfRange(
                f"parameter {name} is an integer of {value.bit_length()} bits without its sign, and SQLite's end at "
                f"{_INTEGER_MIN} and {_INTEGER_MAX}; pass a float or a text instead"
            ) from error
