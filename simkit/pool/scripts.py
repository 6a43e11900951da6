"""Several statements on one connection as one piece of work: a script as it stands, and a migration that is one change.

Whoever calls has the connection to itself meanwhile. Running a text of several statements with APSW is lazy: the rest
of it does not run before the rows of what stands in front were fetched, so everything is fetched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import apsw

from simkit.pool.classify import ClassificationCache, refuse_nul
from simkit.pool.result import Parameters, Result, Value
from simkit.pool.single import run_statement
from simkit.pool.transaction import may_end_transaction, transaction_control

Step: TypeAlias = "str | tuple[str, Parameters]"

SAVEPOINT = "simkit_migration"


class StepEndsMigration(apsw.SQLError):
    """A step of a migration would begin or end the transaction that makes the migration one change."""


@dataclass
class Progress:
    """What is known of several statements when one of them has failed.

    Attributes:
        failed_inside: it ran in the transaction that was open before them all, and had not asked for the end of that.
    """

    failed_inside: bool = False


def run_script(connection: apsw.Connection, sql: str, progress: Progress | None = None) -> Result:
    """Runs all statements of a text, to its end or to the first error.

    It is no transaction of its own: what ran before an error stays. Gives the columns and rows of the last statement
    that has columns, the changes of all, and the rowid of the last insert when anything was changed. Raises
    `NulInStatement` before anything runs, and SQLite's errors.
    """
    refuse_nul(sql)
    columns: tuple[str, ...] = ()
    rows: list[tuple[Value, ...]] = []
    changes = 0
    running, inside = "", connection.in_transaction
    total_before = total_counted = connection.total_changes()

    def count_changes() -> None:
        nonlocal changes, total_counted
        total = connection.total_changes()
        if total != total_counted:
            changes += connection.changes()
            total_counted = total

    def about_to_run(cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        nonlocal columns, running, inside
        running, inside = statement, inside and connection.in_transaction
        count_changes()  # of the statement before
        described = cursor.get_description() if cursor.has_vdbe else ()
        if described:
            columns = tuple(name for name, _ in described)
            rows.clear()
        return True

    cursor = connection.cursor()
    cursor.exec_trace = about_to_run
    try:
        fetched: Any = cursor.execute(sql)
        for row in fetched:
            rows.append(row)  # noqa: PERF402 - the list is emptied in between, by the next statement
    except BaseException:
        if progress is not None:
            progress.failed_inside = inside and not may_end_transaction(running)
        raise
    finally:
        cursor.close(True)
    count_changes()
    if total_counted == total_before:
        return Result(columns, tuple(rows), 0, None)
    return Result(columns, tuple(rows), changes, connection.last_insert_rowid())


def run_migration(
    connection: apsw.Connection,
    steps: Iterable[Step],
    known: ClassificationCache | None = None,
    progress: Progress | None = None,
) -> None:
    """Runs all steps in one savepoint: all of them take effect, or none.

    A step is one statement, with parameters or without. Within a transaction the migration is a part of it. Raises
    `StepEndsMigration` before anything runs, and what a step raises after everything was undone.
    """
    pairs = [(step, None) if isinstance(step, str) else step for step in steps]
    _refuse_control([sql for sql, _ in pairs])
    outermost = not connection.in_transaction
    run_statement(connection, f"SAVEPOINT {SAVEPOINT}", None)
    try:
        for sql, params in pairs:
            run_statement(connection, sql, params, known)
        run_statement(connection, f"RELEASE {SAVEPOINT}", None)
    except BaseException:
        # The first error counts. What cannot be undone here SQLite undoes before its next statement.
        if progress is not None:
            progress.failed_inside = not outermost
        with suppress(apsw.Error):
            _undo(connection, outermost)
        raise


def _refuse_control(steps: Sequence[str]) -> None:
    """Savepoints that begin and end within the migration are its own affair. All that reaches beyond is refused."""
    inside: list[str] = []
    for number, sql in enumerate(steps, 1):
        control = transaction_control(sql)
        if control is None:
            continue
        verb, name = control
        if verb == "SAVEPOINT" and name != SAVEPOINT:
            inside.append(name)
        elif verb in ("RELEASE", "ROLLBACK TO") and name in inside:
            newest = len(inside) - 1 - inside[::-1].index(name)
            del inside[newest + (verb == "ROLLBACK TO") :]
        else:
            raise StepEndsMigration(
                f"step {number} of the migration is {sql.strip()[:80]!r}: a migration is one change, in a savepoint "
                "that ends by itself, and no step may end that or what is around it; leave this step out"
            )


def _undo(connection: apsw.Connection, outermost: bool) -> None:
    if not connection.in_transaction:
        return  # SQLite has rolled back by itself
    if outermost:
        run_statement(connection, "ROLLBACK", None)
    else:
        run_statement(connection, f"ROLLBACK TO {SAVEPOINT}", None)
        run_statement(connection, f"RELEASE {SAVEPOINT}", None)
