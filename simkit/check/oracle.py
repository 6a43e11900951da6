"""The oracle: a native SQLite, with its own connection and no VFS of ours, runs the operations in their serial order.

It stands on the scenario's setup in memory. A check works inside one transaction that is rolled back at the end, with
a savepoint wherever it may want to go back, so that one oracle serves any number of runs. Statements that have no
place in there (VACUUM, PRAGMAs that set up a connection) change no row and are passed over.

An error is an answer, too: what the system refused because of what it says, SQLite must refuse here as well. Of what is
passed over only a refusal that no SQLite gives of itself can be judged: it asks nobody whether a client may.

Savepoints cost as much as a statement, so they are left out where SQLite itself undoes what fails: around a single
statement, and around statements that only read. `statements_run` counts the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from simkit.check.dump import State, encode_rows, encode_state, read_state
from simkit.check.events import OK, StatementReturned
from simkit.check.operations import Operation
from simkit.check.statement_kinds import first_word, kind_of

_UNDOING = {"RELEASE", "ROLLBACK", "SAVEPOINT"}
"""Statements that work on savepoints, of which there are others here."""
_OF_ROLE = ("AuthError", "ReadOnlyError")
WRONGLY_REFUSED = "a wrong refusal of"
"""How a difference begins that consists in a refusal."""
NOT_COMMITTED = "it was acknowledged and nothing of it was committed, although it changes the database"
_SEE_THROUGH = (apsw.Error, UnicodeError, OverflowError)


class TransactionLost(Exception):
    """A statement rolled back the whole transaction (OR ROLLBACK, RAISE(ROLLBACK)) and all of the session with it.

    `operation` had therefore no effect where it comes from.
    """

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.title)
        self.operation = operation


class Oracle:
    """A native database in the state after the setup. `image` is that state, serialised by SQLite."""

    def __init__(self, image: bytes) -> None:
        self._connection = apsw.Connection(":memory:")
        if image:
            self._connection.deserialize("main", image)
        self._cursor = self._connection.cursor()
        self._depth = 0
        self._kinds: dict[str, str] = {}
        #: statements that rolled the session back when they were refused: not tried again
        self._lossy: set[str] = set()
        self._foreign_keys = False
        #: statements run so far, savepoints not counted
        self.statements_run = 0

    @contextmanager
    def session(self) -> Iterator[Oracle]:
        """The work of one check; everything is undone at its end."""
        self._connection.execute("BEGIN")
        try:
            yield self
        finally:
            self._depth = 0
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._enforce(False)

    def mark(self) -> int:
        """Remembers the present state; `back(mark)` returns to it, any number of times."""
        self._depth += 1
        self._cursor.execute(f'SAVEPOINT "simkit {self._depth}"')
        return self._depth

    def back(self, mark: int) -> None:
        """Returns to the state at `mark`; later marks are forgotten."""
        self._cursor.execute(f'ROLLBACK TO "simkit {mark}"')
        self._depth = mark

    def forget(self, mark: int) -> None:
        """Keeps the present state and drops `mark`."""
        self._cursor.execute(f'RELEASE "simkit {mark}"')
        self._depth = mark - 1

    def state(self) -> State:
        return read_state(self._connection)

    def reads_only(self, operation: Operation) -> bool:
        """Whether no statement of the operation can change anything, whatever came of it."""
        return not operation.several and all(self._kind(sql) in ("read", "pass") for sql, _ in operation.statements)

    def apply(self, operation: Operation) -> str | None:
        """Runs an operation's statements and compares each answer with the one its client got.

        Returns None when they agree, else what differs. An error of a statement undoes the operation, as it would have.
        Raises `TransactionLost`.
        """
        self._enforce(operation.foreign_keys)
        partial = operation.kept_in_part
        if len(operation.statements) == 1 and not (partial or operation.foreign_keys or operation.several):
            return self._run_all(operation, 1)[1]
        mark = self.mark()
        failed, difference = self._run_all(operation, len(operation.statements))
        if operation.foreign_keys and not failed and self._dangling():
            failed = True
            difference = (
                "it was acknowledged, but here a foreign key fails at COMMIT" if operation.outcome == OK else None
            )
        if failed != partial:
            self.back(mark)
        self.forget(mark)
        return difference

    def attempt(self, operation: Operation, idle: bool = False) -> str | None:
        """Runs the statements that were answered and undoes them. Returns what differs, or None.

        The statement that was refused must be refused here. With `idle` an operation that would change something
        differs. Raises `TransactionLost`.
        """
        count = len(operation.answers)
        tried = operation.statements[: count + (operation.refused_at >= 0)]
        if not operation.several and all(self._kind(sql) == "read" for sql, _ in tried):
            return self._run_all(operation, count)[1] or self._refusal(operation)
        self._enforce(operation.foreign_keys)
        before = self._traces() if idle else None
        mark = self.mark()
        _, difference = self._run_all(operation, count)
        difference = difference or self._refusal(operation)
        touched = difference is None and idle and self._traces() != before
        after = self.state() if touched else ()
        self.back(mark)
        self.forget(mark)
        # UPDATE t SET a = a touches rows and leaves no page to commit.
        if touched and encode_state(after) != encode_state(self.state()):
            return NOT_COMMITTED
        return difference

    def rows(self, operation: Operation, index: int) -> tuple[list[tuple[Any, ...]], list[bool]] | None:
        """A statement's answer, and for each column whether it hands out a stored one as it is. None: it has no answer.

        Raises `TransactionLost`.
        """
        sql, params = operation.statements[index]
        stored: list[bool] = []

        def about_to_run(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            stored.extend(column[4] is not None for column in cursor.description_full)
            return True

        if operation.several or self._kind(sql) == "pass":
            return None
        cursor = self._connection.cursor()
        cursor.exec_trace = about_to_run
        try:
            return cursor.execute(sql, params or None).fetchall(), stored
        except _SEE_THROUGH as error:
            if not self._connection.in_transaction:
                raise TransactionLost(operation) from error
            return None

    def _run_all(self, operation: Operation, count: int) -> tuple[bool, str | None]:
        """Whether a statement failed, and what differs."""
        connection, cursor, answers = self._connection, self._cursor, operation.answers
        difference: str | None = None
        for index in range(count):
            sql, params = operation.statements[index]
            if operation.several:
                failed, difference = self._run_several(operation, sql, params or None)
                if failed:
                    return True, difference
                continue
            kind = self._kind(sql)
            if kind == "pass":
                continue
            answer = answers.get(index)
            before = 0
            if kind == "write":
                before = connection.total_changes()
                connection.set_last_insert_rowid(0)
            self.statements_run += 1
            columns: tuple[str, ...] = ()
            try:
                cursor.execute(sql, params or None)
                if answer is not None and answer.rows and cursor.has_vdbe:
                    columns = tuple(column[0] for column in cursor.description)
                rows = cursor.fetchall()
            except _SEE_THROUGH as error:
                if not connection.in_transaction:
                    raise TransactionLost(operation) from error
                if answer is None:
                    return True, difference
                return True, difference or f"statement {index + 1} succeeded, but here SQLite says: {error}"
            # The rest runs all the same: what a statement answered wrongly it may have done rightly.
            if answer is None or difference is not None:
                continue
            changes = connection.changes() if kind == "write" and connection.total_changes() != before else 0
            rowid = connection.last_insert_rowid() if changes else 0
            wrong = _difference(answer, rows, columns, changes, rowid)
            if wrong is not None:
                difference = f"statement {index + 1} ({sql}): {wrong}"
        return False, difference

    def _run_several(self, operation: Operation, text: str, params: dict[str, Any] | None) -> tuple[bool, str | None]:
        """Runs a text of several statements, for its effects: whether one failed, and what differs then."""
        while text:
            sql = self._first_statement(text)
            text = text[len(sql) :]
            if not sql or self._kind(sql) == "pass":
                if not sql:
                    break
                continue
            self.statements_run += 1
            try:
                self._cursor.execute(sql, params).fetchall()
            except _SEE_THROUGH as error:
                if not self._connection.in_transaction:
                    raise TransactionLost(operation) from error
                wrong = f"its text ran, but here SQLite says of {sql.strip()}: {error}"
                return True, wrong if operation.outcome == OK else None
        return False, None

    def _first_statement(self, text: str) -> str:
        """The text to the end of its first statement; all, when SQLite cannot prepare it; "" when there is none."""
        found = ""

        def about_to_run(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
            nonlocal found
            found = sql
            return False

        cursor = self._connection.cursor()
        cursor.exec_trace = about_to_run
        try:
            cursor.execute(text, _Nulls())
        except apsw.ExecTraceAbort:
            return text[: text.index(found) + len(found)]
        except apsw.Error:
            return text
        return ""

    def _refusal(self, operation: Operation) -> str | None:
        """Runs the statement that was refused, after those that were answered. What differs, when it is not refused."""
        index = operation.refused_at
        if index < 0:
            return None
        sql, params = operation.statements[index]
        told = f"{WRONGLY_REFUSED} statement {index + 1} ({sql}): it was told {operation.error!r}"
        if operation.several:
            return None if self._run_several(operation, sql, params or None)[0] else f"{told}, and here SQLite runs it"
        if self._kind(sql) == "pass":
            no_reason = operation.error.startswith(_OF_ROLE)
            return f"{told}, and SQLite refuses no client that" if no_reason else None
        if sql in self._lossy or first_word(sql) in _UNDOING:
            return None
        self.statements_run += 1
        try:
            self._cursor.execute(sql, params or None).fetchall()
        except _SEE_THROUGH as error:
            if not self._connection.in_transaction:
                self._lossy.add(sql)
                raise TransactionLost(operation) from error
            return None
        return f"{told}, and here SQLite runs it"

    def _kind(self, sql: str) -> str:
        """One of "read" (changes nothing), "write", and "pass" (not for the oracle)."""
        kind = self._kinds.get(sql)
        if kind is None:
            kind = kind_of(sql)
            if kind == "with":
                return self._kind_of_with(sql)
            self._kinds[sql] = kind
        return kind

    def _kind_of_with(self, sql: str) -> str:
        """WITH may begin either; SQLite knows, once the tables exist."""
        readonly = False

        def about_to_run(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            nonlocal readonly
            readonly = cursor.is_readonly
            return False

        cursor = self._connection.cursor()
        cursor.exec_trace = about_to_run
        try:
            cursor.execute(sql, _Nulls())
        except apsw.ExecTraceAbort:
            self._kinds[sql] = "read" if readonly else "write"
            return self._kinds[sql]
        except apsw.Error:
            pass
        return "write"

    def _traces(self) -> tuple[object, ...]:
        """Three numbers of which one moves when anything in the database changes."""
        return (
            self._connection.total_changes(),
            *(self._connection.pragma(name) for name in ("schema_version", "user_version", "application_id")),
        )

    def _dangling(self) -> bool:
        """Whether a deferred foreign key is violated at this point."""
        return self._connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0] != 0

    def _enforce(self, foreign_keys: bool) -> None:
        if foreign_keys != self._foreign_keys:
            # Unlike the PRAGMA this works within a transaction.
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, int(foreign_keys))
            self._foreign_keys = foreign_keys


class _Nulls(dict[str, None]):
    """Bindings that leave every parameter NULL: for statements that are only prepared."""

    def __missing__(self, key: str) -> None:
        return None


def _difference(
    answer: StatementReturned, rows: list[Any], columns: tuple[str, ...], changes: int, rowid: int
) -> str | None:
    """How an answer differs from the right one. `columns` is empty and `rowid` 0 where they are not to be compared."""
    if changes != answer.changes:
        return f"reported {answer.changes} changed rows instead of {changes}"
    if (rows or answer.rows) and encode_rows(rows) != encode_rows(answer.rows):
        return f"answered {_short(answer.rows)} instead of {_short(rows)}"
    if columns and columns != answer.columns:
        return f"named its columns {', '.join(answer.columns)} instead of {', '.join(columns)}"
    if rowid and answer.last_insert_rowid not in (None, rowid):
        return f"reported rowid {answer.last_insert_rowid} for the row it inserted instead of {rowid}"
    return None


def _short(rows: object) -> str:
    text = repr(list(rows))  # type: ignore[call-overload]
    return text if len(text) <= 200 else f"{text[:197]}..."
