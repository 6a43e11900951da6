"""A client: what it takes an error for, and how it leaves a transaction."""

import re
from collections.abc import Callable
from typing import Any

import apsw
import msgspec
import pytest

from simkit.check.events import OperationEnded, OperationInvoked
from simkit.kernel import Cancelled, MisuseError, TaskFailed
from simkit.pool.result import Result
from simkit.pool.single import SingleConnection
from simkit.pool.system import DatabaseClosed, Instance, Overloaded, TransactionExpired
from simkit.scenario.parts import Parts

Tell = Callable[..., Any]

STATEMENT = """\
clients: [{name: one, script: [{sql: "INSERT INTO t VALUES(1, 1)"}, {sql: SELECT count(*) FROM t}]}]
latency: instant
"""
TRANSACTION = """\
operations: {pair: {transaction: ["INSERT INTO t VALUES(1, 1)", "INSERT INTO t VALUES(2, 2)"]}}
clients: [{name: one, script: [pair, {sql: SELECT count(*) FROM t}]}]
latency: instant
"""


def raising(error: BaseException, when: str) -> tuple[Parts, list[str]]:
    """Parts whose system raises `error` instead of the statement that begins with `when`, and what it was asked."""
    asked: list[str] = []

    class Raises(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            asked.append(sql)
            if sql.startswith(when):
                raise error
            return super().execute(sql, params)

    return Parts(Raises), asked


def first_outcome(told: Any) -> tuple[str, str]:
    ended = told.all(OperationEnded)[0]
    return ended.outcome, ended.error


CERTAIN = [
    apsw.SQLError("syntax"),
    apsw.ConstraintError("unique"),
    apsw.MismatchError("type"),
    apsw.BusyError("busy"),
    apsw.LockedError("locked"),
    apsw.ReadOnlyError("read-only"),
    apsw.TooBigError("big"),
    DatabaseClosed("closed"),
    Overloaded("many wait"),
    TransactionExpired("too late"),
]
UNCERTAIN = [
    apsw.IOError("disk"),
    apsw.CorruptError("corrupt"),
    apsw.FullError("full"),
    apsw.InterruptError("interrupted"),
    RuntimeError("of the pool"),
    Cancelled("by the pool"),
]


@pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
def test_error_that_says_no_is_a_refusal(story: Tell, error: Exception) -> None:
    told = story(STATEMENT, parts=raising(error, "INSERT")[0])
    assert first_outcome(told) == ("failed", f"{type(error).__name__}: {error}")
    # Native SQLite has nothing against the statement: what is found wrong is the refusal, and nothing else.
    assert {violation.check for violation in told.run.violations} <= {"refusals"}


@pytest.mark.parametrize("error", UNCERTAIN, ids=lambda error: type(error).__name__)
def test_any_other_error_tells_nothing(story: Tell, error: BaseException) -> None:
    told = story(STATEMENT, parts=raising(error, "INSERT")[0])
    assert first_outcome(told)[0] == "unknown"
    assert told.all(OperationEnded)[1].outcome == "ok"
    assert told.run.violations == []


@pytest.mark.parametrize("error", UNCERTAIN, ids=lambda error: type(error).__name__)
def test_error_before_commit_is_a_refusal_and_rolls_back(story: Tell, error: BaseException) -> None:
    parts, asked = raising(error, "INSERT INTO t VALUES(2")
    told = story(TRANSACTION, parts=parts)
    assert first_outcome(told)[0] == "failed"
    assert asked[:4] == ["BEGIN IMMEDIATE", "INSERT INTO t VALUES(1, 1)", "INSERT INTO t VALUES(2, 2)", "ROLLBACK"]
    assert told.run.violations == []


def test_error_of_commit_tells_nothing_and_rolls_back(story: Tell) -> None:
    parts, asked = raising(apsw.IOError("disk"), "COMMIT")
    told = story(TRANSACTION, parts=parts)
    assert first_outcome(told)[0] == "unknown"
    assert asked[3:5] == ["COMMIT", "ROLLBACK"]
    assert told.run.violations == []


def test_error_of_begin_is_a_refusal_and_nothing_is_rolled_back(story: Tell) -> None:
    parts, asked = raising(apsw.IOError("disk"), "BEGIN")
    told = story(TRANSACTION, parts=parts)
    assert first_outcome(told)[0] == "failed"
    assert "ROLLBACK" not in asked


def test_deferred_constraint_that_fails_at_commit_is_a_refusal(story: Tell) -> None:
    class ForeignKeys(SingleConnection):
        def __init__(self, instance: Instance) -> None:
            super().__init__(instance)
            self._connection.pragma("foreign_keys", True)

    told = story(
        "operations: {orphan: {transaction: ['INSERT INTO child VALUES(1, 7)']}}\n"
        "clients: [{name: one, script: [orphan, {sql: 'INSERT INTO t VALUES(7, 7)'}, orphan]}]\nlatency: instant\n",
        parts=Parts(ForeignKeys),
    )
    assert [event.outcome for event in told.all(OperationEnded)] == ["failed", "ok", "ok"]
    assert "FOREIGN KEY" in told.all(OperationEnded)[0].error
    assert told.run.violations == []


def test_constraint_in_the_middle_of_a_transaction_undoes_all_of_it(story: Tell) -> None:
    told = story(
        "operations: {pair: {transaction: ['INSERT INTO t VALUES(1, 1)', 'INSERT INTO t VALUES(1, 2)']}}\n"
        "clients: [{name: one, script: [pair, pair]}]\nlatency: instant\n"
    )
    assert [event.outcome for event in told.all(OperationEnded)] == ["failed", "failed"]
    assert "ConstraintError" in told.all(OperationEnded)[1].error
    assert told.run.violations == []


def test_answer_that_is_no_result_ends_the_run(story: Tell) -> None:
    class Tuples(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            return super().execute(sql, params).rows

    with pytest.raises(TaskFailed, match=r"returned tuple; it must return a simkit\.pool\.result\.Result"):
        story(STATEMENT, parts=Parts(Tuples))


STORES_A_REAL = """\
operations:
  store: {sql: "INSERT INTO t VALUES(1, :real)", params: {real: 1.0e+300}}
  fetch: {sql: SELECT b FROM t}
clients: [{name: one, script: [store, fetch]}]
latency: instant
"""


@pytest.mark.parametrize(
    ("alter", "judged"),
    [
        (int, "VAL-1"),  # of 997 bits
        (str, "VAL-1"),
        (lambda value: [value], "value of type list"),
        (lambda value: memoryview(b"x"), "value of type memoryview"),
        (lambda value: "\ud800", "which is not Unicode"),
    ],
)
def test_altered_value_is_judged_and_what_is_no_value_ends_the_run(story: Tell, alter: Any, judged: str) -> None:
    class Alters(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            result = super().execute(sql, params)
            rows = tuple(tuple(alter(value) for value in row) for row in result.rows)
            return Result(result.columns, rows, result.changes, result.last_insert_rowid)

    if judged == "VAL-1":
        told = story(STORES_A_REAL, parts=Parts(Alters))
        assert [violation.invariant for violation in told.run.violations] == ["VAL-1"]
        assert told.run.digest()
    else:
        with pytest.raises(TaskFailed, match=judged):
            story(STORES_A_REAL, parts=Parts(Alters))


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("rows", [(1,)], "rows as list"),
        ("rows", ([1],), "rows as tuple: Result.rows is a tuple of tuples"),
        ("columns", ["b"], "columns is a tuple of names"),
        ("changes", None, "changes None"),
        ("last_insert_rowid", "1", "last_insert_rowid '1'"),
    ],
)
def test_result_of_another_shape_ends_the_run(story: Tell, part: str, value: Any, said: str) -> None:
    class Misshapes(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            return msgspec.structs.replace(super().execute(sql, params), **{part: value})

    with pytest.raises(TaskFailed, match=re.escape(said)):
        story(STORES_A_REAL, parts=Parts(Misshapes))


class PoolBusy(LookupError):
    """An error of the system's own."""


MISTAKES = [
    TypeError("x"),
    AttributeError("x"),
    NameError("x"),
    UnboundLocalError("x"),
    AssertionError("x"),
    RecursionError("x"),
    KeyError("x"),
    IndexError("x"),
    ZeroDivisionError("x"),
    NotImplementedError("x"),
    MemoryError("x"),
    MisuseError("x"),
]


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["BEGIN", "INSERT INTO t VALUES(2", "COMMIT"])
def test_mistake_of_the_system_is_no_answer(story: Tell, error: Exception, when: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        story(TRANSACTION, parts=raising(error, when)[0])
    assert failed.value.__cause__ is error


def test_mistake_in_the_rollback_after_an_answer_is_not_lost(story: Tell) -> None:
    class Raises(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            if sql == "ROLLBACK":
                raise AttributeError("a bug of the pool")
            if sql.startswith("INSERT INTO t VALUES(2"):
                raise apsw.IOError("disk")
            return super().execute(sql, params)

    with pytest.raises(TaskFailed, match="a bug of the pool"):
        story(TRANSACTION, parts=Parts(Raises))


def test_exit_of_the_system_ends_the_run(story: Tell) -> None:
    with pytest.raises(SystemExit):
        story(STATEMENT, parts=raising(SystemExit(0), "INSERT")[0])


def test_own_exception_class_is_an_answer_whatever_its_bases(story: Tell) -> None:
    told = story(STATEMENT, parts=raising(PoolBusy("no connection is free"), "INSERT")[0])
    assert first_outcome(told) == ("unknown", "PoolBusy: no connection is free")


def test_operations_are_numbered_from_one(story: Tell) -> None:
    told = story(STATEMENT)
    assert [event.operation for event in told.all(OperationInvoked)] == [1, 2]
