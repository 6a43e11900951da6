"""The smallest system under test: one connection, one statement at a time, served in the order of arrival.

Upholds MODE-2: from BEGIN to COMMIT or ROLLBACK the connection belongs to the task that began. Upholds CLOSE-1 and CLOSE-2: `close()` waits for the
statement that runs, closes once, and every other `close()` returns after it.

A statement that was cut off (cancelled) never leaves an open transaction of its owner behind unseen: the owner still holds the
connection and rolls back, or its task ends and the next statement does.
"""

from __future__ import annotations

import apsw

from simkit.kernel import Lock, Task
from simkit.pool.result import Parameters, Result
from simkit.pool.system import DatabaseClosed, Instance

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
        finally:
            if not self._connection.in_transaction:
                self._owner = None
                if self._turn.owner is task:
                    self._turn.release()

    def close(self) -> None:
        """Closes the connection after the statement or transaction that runs; later work is refused."""
        self._closing = True
        with self._turn:
            self._connection.close(True)

    def _acquire(self, task: Task) -> None:
        if self._closing:
            raise DatabaseClosed("the database is closed: execute() was called after close()")
        self._turn.acquire()
        self._owner = task
        if self._closing:
            self._owner = None
            self._turn.release()
            raise DatabaseClosed("the database was closed while this statement waited for its turn")


class TrailingStatement(apsw.SQLError):
    """The text goes on after its first statement."""


def run_statement(connection: apsw.Connection, sql: str, params: Parameters) -> Result:
    """Runs one statement to its end and collects everything it gives. Raises `TrailingStatement` before it runs anything."""
    columns: tuple[str, ...] = ()

    def about_to_run(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        nonlocal columns
        rest = sql[len(statement) :].strip().strip(";").strip()
        if rest:
            raise TrailingStatement(f"execute() takes one statement; after it stands: {rest[:80]}")
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
