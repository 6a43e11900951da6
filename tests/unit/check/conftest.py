"""A builder of small histories: a native database plays the system, and every event is written by hand or by `do`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.check.dump import State, read_state
from simkit.check.events import (
    FAILED,
    OK,
    UNKNOWN,
    InstanceOpened,
    OperationEnded,
    OperationInvoked,
    RunEnded,
    StatementReturned,
    StateObserved,
)
from simkit.check.judge import judge
from simkit.check.oracle import Oracle
from simkit.check.verdict import INVARIANTS, Violation
from simkit.depot.events import CommitApplied, CommitRequested, InstanceAllocated
from simkit.kernel import Record
from simkit.pool.single import run_statement

Sql = str | tuple[str, dict[str, Any]]


class Story:
    """A history in the making. `system` is the database that the operations really run on."""

    def __init__(self, *setup: str) -> None:
        self.system = apsw.Connection(":memory:")
        for sql in setup:
            self.system.execute(sql)
        self.oracle = Oracle(self.system.serialize("main") if setup else b"")
        self.history: list[Record] = []
        self.numbers = 0
        self.requests = 0
        self.generation = 0
        self.statements: dict[int, tuple[tuple[str, dict[str, Any]], ...]] = {}

    def add(self, kind: Callable[..., Record], *fields: Any, task: str = "") -> None:
        self.history.append(kind(len(self.history), task, *fields))

    def invoke(self, *sql: Sql, client: str = "ann", instance: str = "instance-1", rollback: bool = False) -> int:
        self.numbers += 1
        statements = tuple((item, {}) if isinstance(item, str) else item for item in sql)
        self.statements[self.numbers] = statements
        kind = "statement" if len(statements) == 1 and not rollback else "transaction"
        self.add(OperationInvoked, self.numbers, client, instance, "op", kind, statements, rollback, task=client)
        return self.numbers

    def answer(self, number: int, index: int, rows: Any, changes: int = 0, columns: tuple[str, ...] = ("a",)) -> None:
        self.add(StatementReturned, number, index, columns, tuple(rows), changes)

    def take_effect(self, number: int, upto: int | None = None) -> list[tuple[Any, ...]]:
        """Runs the statements on the system, recording their answers. What fails there raises."""
        results = []
        for index, (sql, params) in enumerate(self.statements[number][:upto]):
            result = run_statement(self.system, sql, params or None)
            self.add(StatementReturned, number, index, result.columns, result.rows, result.changes)
            results.append(result.rows)
        return results

    def request(self, number: int) -> int:
        self.requests += 1
        self.add(CommitRequested, "instance-1", number, self.requests, (1,), 1, 0)
        return self.requests

    def applied(self, number: int, request: int | None = None) -> None:
        request = self.request(number) if request is None else request
        self.add(CommitApplied, "instance-1", number, request, 0)

    def end(self, number: int, outcome: str = OK) -> None:
        self.add(OperationEnded, number, outcome, "")

    def do(self, *sql: Sql, **options: Any) -> int:
        """A whole operation: invoked, in effect, committed where it changes rows or the schema, acknowledged."""
        number = self.invoke(*sql, **options)
        before = read_state(self.system)
        self.take_effect(number)
        if read_state(self.system) != before:
            self.applied(number)
        self.end(number)
        return number

    def pretend(self, *sql: Sql, changes: int = 1, applied: bool = True, outcome: str = OK, **options: Any) -> int:
        """An operation that says it took effect and did not."""
        number = self.invoke(*sql, **options)
        for index in range(len(sql)):
            self.answer(number, index, (), changes, ())
        if applied:
            self.applied(number)
        self.end(number, outcome)
        return number

    def allocate(self) -> None:
        self.generation += 1
        self.add(InstanceAllocated, self.generation)

    def open(self) -> str:
        self.allocate()
        self.add(InstanceOpened, f"instance-{self.generation}", self.generation)
        return f"instance-{self.generation}"

    def observe(
        self,
        state: State | None = None,
        when: str = "recovery",
        integrity: tuple[str, ...] = ("ok",),
        holds: tuple[Any, ...] = (),
    ) -> None:
        found = read_state(self.system) if state is None else state
        self.add(StateObserved, when, self.generation, found, integrity, holds)

    def judge(self, holds: Any = ()) -> list[Violation]:
        history = [*self.history, RunEnded(len(self.history), "", "done", "")]
        return judge(history, list(INVARIANTS), self.oracle, holds)

    def verdict(self) -> list[str]:
        """The invariants that are reported."""
        return [violation.invariant for violation in self.judge()]


@pytest.fixture(scope="session")
def story_type() -> type[Story]:
    return Story


@pytest.fixture
def story() -> Story:
    """A table of three rows, (1, 10), (2, 20) and (3, 30), and one open instance."""
    told = Story(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
        "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)",
    )
    told.open()
    return told


__all__ = ["FAILED", "OK", "UNKNOWN"]
