"""The oracle: a native SQLite, with its own connection and no VFS of ours, that runs the operations in their serial order.

It stands on the scenario's setup in memory. A check works inside one transaction that is rolled back at the end, with a savepoint wherever it
may want to go back, so that one oracle serves any number of runs. Statements that SQLite refuses inside a
transaction (VACUUM) change no row and are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from simkit.check.dump import State, encode_rows, read_state
from simkit.check.operations import Operation
from simkit.pool.result import Result
from simkit.pool.single import run_statement

_OUTSIDE_TRANSACTIONS = "within a transaction"


class OracleRefused(Exception):
    """The oracle cannot run what the system ran."""


class Oracle:
    """A native database in the state after the setup. `image` is that state, serialised by SQLite."""

    def __init__(self, image: bytes) -> None:
        self._connection = apsw.Connection(":memory:")
        if image:
            self._connection.deserialize("main", image)
        self._depth = 0

    @contextmanager
    def session(self) -> Iterator[Oracle]:
        """The work of one check; everything is undone at its end."""
        self._connection.execute("BEGIN")
        try:
            yield self
        finally:
            self._depth = 0
            self._connection.execute("ROLLBACK")

    def mark(self) -> int:
        """Remembers the present state; `back(mark)` returns to it, any number of times."""
        self._depth += 1
        self._connection.execute(f"SAVEPOINT m{self._depth}")
        return self._depth

    def back(self, mark: int) -> None:
        """Returns to the state at `mark`; later marks are forgotten."""
        self._connection.execute(f"ROLLBACK TO m{mark}")
        self._depth = mark

    def forget(self, mark: int) -> None:
        """Keeps the present state and drops `mark`."""
        self._connection.execute(f"RELEASE m{mark}")
        self._depth = mark - 1

    def state(self) -> State:
        return read_state(self._connection)

    def run(self, sql: str, params: dict[str, Any]) -> Result | None:
        """Runs one statement; None when it has no place in a transaction. Raises the error of SQLite."""
        try:
            return run_statement(self._connection, sql, params)
        except apsw.SQLError as error:
            if _OUTSIDE_TRANSACTIONS in str(error):
                return None
            raise

    def apply(self, operation: Operation, statements: int | None = None) -> str | None:
        """Runs an operation's statements (the first `statements`, or all) and compares each answer with the one its client got.

        Returns None when they agree, else what differs. An error of a statement undoes the operation, as it would have.
        """
        mark = self.mark()
        chosen = operation.statements if statements is None else operation.statements[:statements]
        for index, (sql, params) in enumerate(chosen):
            answer = operation.answers.get(index)
            try:
                result = self.run(sql, params)
            except apsw.Error as error:
                self.back(mark)
                self.forget(mark)
                if answer is None:
                    return None
                return f"statement {index + 1} succeeded, but here SQLite says: {error}"
            if answer is None or result is None:
                continue
            if result.changes != answer.changes or encode_rows(result.rows) != encode_rows(answer.rows):
                difference = describe_answers(result, answer.rows, answer.changes)
                self.forget(mark)
                return f"statement {index + 1} ({sql}): {difference}"
        self.forget(mark)
        return None


def describe_answers(expected: Result, rows: tuple[tuple[Any, ...], ...], changes: int) -> str:
    """How an answer differs from the expected one, briefly."""
    if expected.changes != changes:
        return f"reported {changes} changed rows instead of {expected.changes}"
    return f"answered {_short(rows)} instead of {_short(expected.rows)}"


def _short(rows: tuple[tuple[Any, ...], ...]) -> str:
    text = repr(list(rows))
    return text if len(text) <= 200 else f"{text[:197]}..."
