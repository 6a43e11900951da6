"""A client performs its plan to the letter: the way it asks, when it gives up, what it leaves open, what overlaps."""

from collections.abc import Callable
from typing import Any

import pytest

from simkit.check.events import OperationEnded, OperationInvoked, StatementReturned
from simkit.depot.events import CommitApplied
from simkit.kernel import Cancelled, TaskFailed
from simkit.pool.result import Result
from simkit.pool.settings import PoolSettings
from simkit.pool.single import SingleConnection
from simkit.pool.system import DatabaseClosed, Overloaded, TransactionExpired
from simkit.pool.worker import SingleWorker
from simkit.scenario.client import LEFT_OPEN
from simkit.scenario.outcomes import NotSupported
from simkit.scenario.parts import Parts
from simkit.scenario.plan import BoundSql, ClientPlan, Effect, PlannedCrash, Sleep, Statement, Transaction

MS = 1_000_000
Tell = Callable[..., Any]
Noting = tuple[Parts, list[tuple[str, str]]]

CLIENTS = "clients: [{name: one, script: [{sql: SELECT 1}]}]\nlatency: instant\n"
SLOW = CLIENTS.replace("instant", "{base: instant, commit: {server: 10ms}}")
INSERT = Statement(operation="insert", sql="INSERT INTO t VALUES(:a, :a)", params={"a": 1})
COUNT = Statement(operation="count", sql="SELECT count(*) FROM t")
PAIR = Transaction(
    operation="pair",
    begin="immediate",
    statements=(BoundSql(sql="INSERT INTO t VALUES(10, 1)"), BoundSql(sql="INSERT INTO t VALUES(11, 1)")),
)


def changed(step: Any, **changes: Any) -> Any:
    return type(step)(**{name: getattr(step, name) for name in step.__struct_fields__} | changes)


def clients(*steps: Any, in_flight: int = 1) -> tuple[ClientPlan, ...]:
    return (ClientPlan(name="one", steps=steps, in_flight=in_flight),)


def outcomes(told: Any) -> list[str]:
    return [event.outcome for event in sorted(told.all(OperationEnded), key=lambda event: event.operation)]


def last_rows(told: Any) -> Any:
    return told.all(StatementReturned)[-1].rows


# How the system is asked


@pytest.mark.parametrize("via", ["execute", "execute_write", "query", "run"])
def test_statement_goes_through_the_method_that_it_names(story: Tell, noting: Noting, via: str) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(changed(INSERT, via=via), COUNT))
    assert asked[0] == (via, INSERT.sql)
    assert outcomes(told) == ["ok", "ok"]
    assert last_rows(told) == ((1,),)
    assert told.run.violations == []


def test_script_is_one_call_without_parameters(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    script = Statement(operation="script", sql="INSERT INTO t VALUES(5, 5)", via="execute_script", several=True)
    told = story(CLIENTS, parts=parts, clients=clients(script, COUNT))
    assert asked[0] == ("execute_script", script.sql)
    assert told.all(OperationInvoked)[0].several
    assert last_rows(told) == ((1,),)


@pytest.mark.parametrize(
    ("sql", "lease"),
    [
        ("SELECT count(*) FROM t", "read_lease"),
        (" values(1)", "read_lease"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "read_lease"),
        ("WITH x(y) AS (SELECT 7) INSERT INTO t SELECT y, y FROM x", "write_lease"),
        ("INSERT INTO t VALUES(1, 1)", "write_lease"),
        ("PRAGMA user_version = 4", "write_lease"),
    ],
)
def test_lease_is_for_reading_where_the_text_reads(story: Tell, noting: Noting, sql: str, lease: str) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(Statement(operation="work", sql=sql, via="lease")))
    assert [name for name, _ in asked] == [lease, "lease.execute", "released"]
    assert outcomes(told) == ["ok"]


def test_lease_is_dropped_at_once_while_the_statement_runs(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(changed(INSERT, via="dropped_lease"), COUNT))
    assert [name for name, _ in asked][:4] == ["write_lease", "lease.execute", "drop", "released"]
    assert outcomes(told) == ["ok", "ok"]
    assert last_rows(told) == ((1,),)


@pytest.mark.parametrize("order", ["timed", "any"])
def test_statement_of_a_dropped_lease_is_that_of_its_operation(story: Tell, noting: Noting, order: str) -> None:
    parts, _ = noting
    dropped = changed(INSERT, via="dropped_lease", timeout_ns=1 * MS)
    told = story(CLIENTS + f"strategy: {{order: {order}}}\n", parts=parts, clients=clients(dropped))
    assert [event.operation for event in told.all(CommitApplied)] == [1]
    assert [event.task for event in told.all(OperationEnded)] == ["one"]


def test_lease_is_dropped_after_the_time_that_the_plan_gives(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    dropped = changed(INSERT, via="dropped_lease", timeout_ns=5 * MS)  # the statement takes 2
    told = story(CLIENTS, parts=parts, clients=clients(dropped))
    assert [name for name, _ in asked] == ["write_lease", "lease.execute", "drop", "released"]
    assert told.all(OperationEnded)[0].at == 5 * MS


def test_error_of_the_statement_of_a_dropped_lease_is_the_operation_s(story: Tell, noting: Noting) -> None:
    parts, _ = noting
    told = story(CLIENTS, parts=parts, clients=clients(INSERT, changed(INSERT, via="dropped_lease")))
    assert outcomes(told) == ["ok", "failed"]
    assert told.all(OperationEnded)[1].error.startswith("ConstraintError")


def test_transaction_scope_commits_at_its_end(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(changed(PAIR, via="transaction"), COUNT))
    assert [name for name, _ in asked] == [
        "transaction", "execute", "execute", "end of transaction", "execute",
    ]  # fmt: skip
    assert last_rows(told) == ((2,),)
    assert told.run.violations == []


def test_transaction_scope_is_rolled_back_on_purpose(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    step = changed(PAIR, via="transaction", rollback=True)
    told = story(CLIENTS, parts=parts, clients=clients(step, COUNT))
    assert ("end of transaction", "") not in asked
    assert outcomes(told) == ["ok", "ok"]
    assert last_rows(told) == ((0,),)
    assert told.run.violations == []


def test_write_mode_holds_a_transaction_of_sql(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(changed(PAIR, via="write_mode", begin="deferred")))
    assert [asked[0][0], asked[1][1], asked[-2][1], asked[-1][0]] == [
        "write_mode", "BEGIN DEFERRED", "COMMIT", "end of write_mode",
    ]  # fmt: skip
    assert told.all(OperationInvoked)[0].begins_writing


def test_migration_is_one_call_whose_answers_nobody_sees(story: Tell, noting: Noting) -> None:
    parts, asked = noting
    told = story(CLIENTS, parts=parts, clients=clients(changed(PAIR, via="migrate"), COUNT))
    assert asked[0] == ("migrate", "INSERT INTO t VALUES(10, 1); INSERT INTO t VALUES(11, 1)")
    assert [event.operation for event in told.all(StatementReturned)] == [2]
    assert last_rows(told) == ((2,),)
    assert told.run.violations == []


@pytest.mark.parametrize(
    ("step", "method"),
    [
        (changed(INSERT, via="run"), "run"),
        (changed(COUNT, via="lease"), "read_lease"),
        (changed(INSERT, via="dropped_lease"), "write_lease"),
        (changed(PAIR, via="write_mode"), "write_mode"),
        (changed(PAIR, via="transaction"), "transaction"),
        (changed(PAIR, via="migrate"), "migrate"),
    ],
)
def test_system_without_the_method_ends_the_run_with_what_to_do(story: Tell, step: Any, method: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        story(CLIENTS, parts=Parts(SingleConnection), clients=clients(step))
    cause = failed.value.__cause__
    assert isinstance(cause, NotSupported)
    for part in (f"`via: {step.via}`", "SingleConnection", f"no {method}()", "`system: pool`"):
        assert part in str(cause)


# What is recorded


@pytest.mark.parametrize(
    ("via", "sql", "whole"),
    [
        ("query", "SELECT 1", True),
        ("query", "INSERT INTO t VALUES(3, 3)", False),
        ("query", "INSERT INTO t VALUES(3, 3) RETURNING a", False),
        ("run", "INSERT INTO t VALUES(3, 3)", True),
        ("run", "INSERT INTO t VALUES(3, 3) RETURNING a", False),
        ("run", "SELECT 1", False),
        ("run", "PRAGMA user_version", False),
    ],
)
def test_answer_that_leaves_something_out_is_not_compared(story: Tell, via: str, sql: str, whole: bool) -> None:
    step = Statement(operation="work", sql=sql, via=via)
    told = story(CLIENTS, parts=Parts(SingleWorker), clients=clients(step, COUNT))
    assert outcomes(told) == ["ok", "ok"]
    assert len(told.all(StatementReturned)) == 1 + whole
    assert told.run.violations == []


def test_effects_and_the_right_to_write_are_recorded(story: Tell) -> None:
    append = changed(INSERT, effect=Effect("append", "list", 1))
    deferred = changed(
        PAIR, begin="deferred", statements=(PAIR.statements[0], BoundSql(sql="SELECT 1", effect=Effect("read", 7)))
    )
    told = story(CLIENTS, clients=clients(append, deferred, COUNT))
    invoked = told.all(OperationInvoked)
    assert [event.effects for event in invoked] == [(("append", "list", 1),), (None, ("read", 7, None)), ()]
    assert [event.begins_writing for event in invoked] == [True, False, True]


@pytest.mark.parametrize(
    ("second", "failed_at"),
    [("INSERT INTO t VALUES(10, 2)", 1), ("INSERT INTO child VALUES(1, 99)", -1)],
    ids=["statement", "COMMIT"],
)
def test_failing_statement_is_named_and_commit_is_not_one(story: Tell, second: str, failed_at: int) -> None:
    class ForeignKeys(SingleConnection):
        def __init__(self, instance: Any) -> None:
            super().__init__(instance)
            self._connection.pragma("foreign_keys", True)

    step = changed(PAIR, statements=(PAIR.statements[0], BoundSql(sql=second)))
    told = story(CLIENTS, parts=Parts(ForeignKeys), clients=clients(step))
    ended = told.all(OperationEnded)[0]
    assert (ended.outcome, ended.failed_at) == ("failed", failed_at)


def test_failing_single_statement_is_the_first(story: Tell) -> None:
    told = story(CLIENTS, clients=clients(INSERT, INSERT))
    assert [event.failed_at for event in told.all(OperationEnded)] == [-1, 0]


# Errors and giving up


@pytest.mark.parametrize("kind", [DatabaseClosed, Overloaded, TransactionExpired])
def test_refusal_of_a_commit_is_certain(story: Tell, kind: type[Exception]) -> None:
    class Refuses(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            if sql == "COMMIT":
                super().execute("ROLLBACK")
                raise kind("no")
            return super().execute(sql, params)

    told = story(CLIENTS, parts=Parts(Refuses), clients=clients(PAIR, COUNT))
    assert outcomes(told) == ["failed", "ok"]
    assert told.run.violations == []


def test_client_that_gives_up_on_a_statement_does_not_know(story: Tell) -> None:
    class Late(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            result = super().execute(sql, params)
            self._kernel.sleep(5 * MS)
            return result

    told = story(CLIENTS, parts=Parts(Late), clients=clients(changed(INSERT, timeout_ns=3 * MS), COUNT))
    ended = told.all(OperationEnded)[0]
    assert (ended.outcome, ended.at) == ("unknown", 3 * MS)
    assert ended.error == "TimedOut: one: not done within 3ms"
    assert last_rows(told) == ((1,),)
    assert told.run.violations == []


def test_commit_that_is_under_way_is_awaited_although_the_client_gives_up(story: Tell) -> None:
    told = story(SLOW, clients=clients(changed(INSERT, timeout_ns=3 * MS)))
    ended = told.all(OperationEnded)[0]
    assert (ended.outcome, ended.at) == ("ok", 10 * MS)


def test_client_that_gives_up_before_commit_knows_that_nothing_happened(story: Tell) -> None:
    step = changed(PAIR, pauses_ns=(0, 4 * MS, 0), timeout_ns=2 * MS)
    told = story(SLOW, clients=clients(step, COUNT))
    ended = told.all(OperationEnded)[0]
    assert (ended.outcome, ended.at, ended.failed_at) == ("failed", 2 * MS, -1)
    assert last_rows(told) == ((0,),)
    assert told.run.violations == []


def test_pauses_lie_before_each_statement_and_before_the_end(story: Tell) -> None:
    told = story(CLIENTS, clients=clients(changed(PAIR, pauses_ns=(1 * MS, 2 * MS, 4 * MS))))
    assert [event.at for event in told.all(StatementReturned)] == [1 * MS, 3 * MS]
    assert told.all(OperationEnded)[0].at == 7 * MS


# Transactions that are left open


@pytest.mark.parametrize(
    ("via", "leave"),
    [("sql", "end"), ("sql", "linger"), ("transaction", "end"), ("transaction", "linger"), ("write_mode", "end")],
)
def test_left_transaction_failed_when_the_client_walked_off(story: Tell, via: str, leave: str) -> None:
    step = changed(PAIR, via=via, leave=leave)
    settings = PoolSettings(transaction_deadline_ns=50 * MS)
    told = story(CLIENTS, parts=Parts(SingleWorker), clients=clients(step, COUNT), pool=settings)
    invoked, ended = told.all(OperationInvoked)[0], told.all(OperationEnded)[0]
    assert invoked.rollback
    assert invoked.task == ended.task == "one.apart"
    assert (ended.outcome, ended.error, ended.at) == ("failed", LEFT_OPEN, 0)
    assert last_rows(told) == ((0,),)
    assert told.run.violations == []


def test_lingering_task_outlives_its_operation_and_keeps_no_run_alive(story: Tell) -> None:
    step = changed(PAIR, leave="linger", timeout_ns=1 * MS)
    told = story(CLIENTS, parts=Parts(SingleWorker), clients=clients(step, Sleep(duration_ns=20 * MS)))
    assert told.run.simulated_ns < 100 * MS
    assert len(told.all(OperationEnded)) == 1


def test_transaction_that_fails_before_it_is_left_is_undone(story: Tell) -> None:
    step = changed(PAIR, leave="linger", statements=(PAIR.statements[0], PAIR.statements[0]))
    told = story(CLIENTS, clients=clients(step, COUNT))
    assert told.all(OperationEnded)[0].error.startswith("ConstraintError")
    assert last_rows(told) == ((0,),)


# Several operations in flight


def slow_to_answer() -> tuple[Parts, list[int]]:
    """Parts whose system takes 10 ms, and the order in which it was entered."""
    entered: list[int] = []

    class Slow(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            if params:
                entered.append(params["a"])
                self._kernel.sleep(10 * MS)
            return super().execute(sql, params)

    return Parts(Slow), entered


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(10))
def test_operations_in_flight_enter_the_system_in_their_order(story: Tell, seed: int, order: str) -> None:
    parts, entered = slow_to_answer()
    steps = [changed(INSERT, params={"a": number}) for number in range(1, 9)]
    told = story(CLIENTS + f"strategy: {{order: {order}}}\n", seed, parts, clients=clients(*steps, in_flight=4))
    assert entered == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event.operation for event in told.all(OperationInvoked)] == entered
    assert [event.client for event in told.all(OperationInvoked)] == ["one"] * 8
    assert outcomes(told) == ["ok"] * 8


def test_no_more_operations_are_in_flight_than_the_plan_says(story: Tell) -> None:
    parts, _ = slow_to_answer()
    steps = [changed(INSERT, params={"a": number}) for number in range(1, 10)]
    told = story(CLIENTS, parts=parts, clients=clients(*steps, in_flight=3))
    assert [event.at for event in told.all(OperationInvoked)] == [0] * 3 + [10 * MS] * 3 + [20 * MS] * 3


def test_each_operation_in_flight_is_a_task_of_its_own(story: Tell) -> None:
    told = story(CLIENTS, parts=Parts(SingleWorker), clients=clients(INSERT, Sleep(duration_ns=1), COUNT, in_flight=2))
    assert [event.task for event in told.all(OperationInvoked)] == ["one.1", "one.3"]


def test_mistake_of_one_in_flight_ends_the_run(story: Tell) -> None:
    class Mistaken(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            raise AttributeError("a bug of the pool")

    with pytest.raises(TaskFailed, match="a bug of the pool"):
        story(CLIENTS, parts=Parts(Mistaken), clients=clients(COUNT, COUNT, in_flight=2))


def test_cancellation_by_the_system_is_an_answer_in_flight_too(story: Tell) -> None:
    class Cancels(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Result:
            raise Cancelled("by the pool")

    told = story(CLIENTS, parts=Parts(Cancels), clients=clients(COUNT, COUNT, in_flight=2))
    assert outcomes(told) == ["unknown", "unknown"]


# Crashes


@pytest.mark.parametrize(
    "steps",
    [
        clients(*(changed(INSERT, params={"a": number}) for number in range(3)), in_flight=3),
        clients(changed(INSERT, via="dropped_lease", timeout_ns=20 * MS)),
    ],
    ids=["in flight", "dropped lease"],
)
def test_crash_reaches_everybody_who_is_inside(story: Tell, noting: Noting, steps: Any) -> None:
    told = story(SLOW, parts=noting[0], clients=steps, crashes=(PlannedCrash(at_ns=1 * MS),))
    ended = told.all(OperationEnded)
    assert {event.at for event in ended} == {1 * MS}
    assert all("the instance crashed" in event.error for event in ended)
    assert len(ended) == len(told.all(OperationInvoked))
    assert told.run.violations == []


@pytest.mark.parametrize("leave", ["end", "linger"])
def test_crash_after_a_transaction_was_left_ends_nothing_twice(story: Tell, leave: str) -> None:
    steps = clients(changed(PAIR, leave=leave, via="transaction"), Sleep(duration_ns=50 * MS), COUNT)
    told = story(CLIENTS, parts=Parts(SingleWorker), clients=steps, crashes=(PlannedCrash(at_ns=10 * MS),))
    assert outcomes(told) == ["failed", "ok"]
    assert last_rows(told) == ((0,),)
    assert told.run.violations == []
