"""The smallest system under test: one connection, one statement at a time, served in the order of arrival.

Upholds MODE-2: from BEGIN to COMMIT or ROLLBACK the connection belongs to the task that began. Upholds CLOSE-1 and
CLOSE-2: `close()` waits for the statement or transaction that runs, closes once, and every other `close()` returns
after it.

A task that is cancelled within its transaction loses it: the transaction is rolled back before the cancellation goes
up, and the next task is served. A task that ends and leaves its transaction open keeps the connection for ever: that
is a bug of the task, and shows as a deadlock.
"""

from __future__ import annotations

import re
from contextlib import suppress

import apsw

from simkit.kernel import Cancelled, Lock, Task
from simkit.pool.result import Parameters, Result
from simkit.pool.system import DatabaseClosed, Instance

_NO_STATEMENT = re.compile(r"(?:[\s;]+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*", re.DOTALL)
"""Blanks, comments and empty statements. SQLite has found the end of the first statement, so no quote is open."""
_CONFIGURATION = "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY"


class SingleConnection:
    """One connection behind `execute` and `close`."""

    def __init__(self, instance: Instance) -> None:
        self._kernel = instance.kernel
        self._turn = Lock(instance.kernel, f"{instance.name}.connection")
        self._owner: Task | None = None
        self._closing = False
        self._connection = instance.connect()
        self._connection.execute(_CONFIGURATION).get  # noqa: B018 - drains the cursor: all statements run

    def execute(self, sql: str, params: Parameters = None) -> Result:
        """Runs one statement, when the connection is free or the caller's own."""
        task = self._kernel.require_task("execute a statement")
        if self._owner is not task:
            self._acquire(task)
        try:
            return run_statement(self._connection, sql, params)
        except Cancelled:
            self._roll_back()
            raise
        finally:
            if not self._connection.in_transaction:
                self._leave(task)

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


def run_statement(connection: apsw.Connection, sql: str, params: Parameters) -> Result:
    """Runs one statement to its end and collects all it gives. Raises `TrailingStatement` before it runs anything."""
    columns: tuple[str, ...] = ()
    started = False

    def about_to_run(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        nonlocal columns, started
        if started:
            return True  # a comment at the end: SQLite takes it for an empty statement
        started = True
        rest = sql[len(statement) :]
        if rest and _NO_STATEMENT.fullmatch(rest) is None:
            raise TrailingStatement(f"execute() takes one statement; after it stands: {rest.strip()[:80]}")
        columns = tuple(name for name, _ in cursor.get_description())
        return True

    changes_before = connection.total_changes()
    cursor = connection.cursor()
    cursor.exec_trace = about_to_run
    try:
        cursor.execute(sql, params)
        rows = tuple(cursor.fetchall())
    finally:
        cursor.close(True)
    if connection.total_changes() == changes_before:
        return Result(columns, rows, 0, None)
    return Result(columns, rows, connection.changes(), connection.last_insert_rowid())
