"""What SQLite is asked about the SQL of a scenario."""

from collections.abc import Callable

import pytest

from simkit.scenario.model import Scenario
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]


def operation(body: str) -> dict[str, str]:
    return {
        "operations": f"operations:\n  read: {{sql: SELECT 1}}\n  it: {body}",
        "clients": "clients: [{name: one, mix: {it: 1}}]",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{sql: "SELEC 1"}', "syntax error"),
        ('{sql: "SELECT x FROM t"}', "no such column: x"),
        ('{sql: "SELECT 1; SELECT 2"}', "more than one statement: the second begins 'SELECT 2'"),
        ('{sql: "SELECT 1; nonsense"}', "more than one statement"),
        ('{sql: "-- nothing"}', "there is no SQL statement here"),
        ('{sql: "SELECT :a"}', "the parameter :a has no value"),
        ('{sql: "SELECT :amount", params: {amuont: 1, amount: 2}}', "the parameter 'amuont' is not used"),
        ('{sql: "SELECT ?"}', "a parameter has no name"),
        ('{sql: "SELECT ?1"}', "has no name"),
        ('{sql: "BEGIN"}', "BEGIN is not written as SQL; use `transaction:`"),
        ('{sql: "SAVEPOINT a"}', "is not written as SQL"),
        ('{transaction: ["DELETE FROM t", "COMMIT"]}', "COMMIT is not written as SQL; the transaction adds its own"),
        ("{sql: \"ATTACH 'x' AS y\"}", "ATTACH and DETACH are not simulated"),
        ('{sql: "UPDATE t SET b = random()"}', "random() depends on chance"),
        ('{sql: "UPDATE t SET b = randomblob(5)"}', "randomblob() depends on chance"),
        ('{sql: "UPDATE t SET b = CURRENT_DATE"}', "current_date() depends on the clock"),
        ("{sql: \"UPDATE t SET b = DaTe('now')\"}", "date() depends on the clock"),
        ('{sql: "INSERT INTO t(a) VALUES(1)"}', "current_timestamp() depends on the clock"),
        ('{sql: "UPDATE t SET b = last_insert_rowid()"}', "depends on the state of its connection"),
        ("{sql: 5}", "expected text, not 5"),
        ("{sql: SELECT 1, transaction: [SELECT 1]}", "sql or transaction, not both"),
        ("{}", "is no operation"),
    ],
)
def test_wrong_sql_is_explained(
    problems: Callable[[str], list[Problem]], scenario_text: Callable[..., str], body: str, message: str
) -> None:
    found = [str(problem) for problem in problems(scenario_text(**operation(body)))]
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    "body",
    [
        '{sql: "SELECT 1; -- and a remark"}',
        "{sql: \"SELECT 'random(); BEGIN :a ?'\"}",
        '{sql: "UPDATE t SET b = 1 WHERE a = 5"}',
        '{sql: "SELECT @a, $b, :c", params: {a: 1, b: 2, c: 3}}',
        '{transaction: ["CREATE TABLE x(y)", "INSERT INTO x VALUES(1)"], rollback: true}',
        '{transaction: ["SAVEPOINT s", "DELETE FROM t", "ROLLBACK TO s", "RELEASE s"]}',
        '{sql: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 5"}',
        '{sql: "VACUUM"}',
    ],
)
def test_good_sql_is_accepted(loaded: Load, body: str) -> None:
    assert "it" in loaded(**operation(body)).operations


def test_position_is_that_of_the_statement(problem: OnlyProblem) -> None:
    found = problem(**operation("\n    transaction:\n      - DELETE FROM t\n      - DELETE FROM nope"))
    assert (found.line, found.column) == (10, 9)


def test_parameter_of_any_statement_of_a_transaction_counts(loaded: Load) -> None:
    body = '{transaction: ["DELETE FROM t WHERE a = :a", "DELETE FROM t WHERE a = :b"], params: {a: 1, b: 2}}'
    assert loaded(**operation(body)).statement_names["DELETE FROM t WHERE a = :b"] == ("b",)


def test_trigger_that_reads_the_clock_is_found(problem: OnlyProblem) -> None:
    setup = (
        "setup:\n- CREATE TABLE t(a)\n- CREATE TRIGGER x AFTER DELETE ON t BEGIN UPDATE t SET a = datetime('now'); END"
    )
    assert "datetime() depends on the clock" in problem(setup=setup, **operation("{sql: DELETE FROM t}")).message


def test_setup_that_fails_is_reported_where_it_fails(problem: OnlyProblem) -> None:
    setup = 'setup:\n- CREATE TABLE t(a UNIQUE)\n- {sql: "INSERT INTO t VALUES(1)", repeat: 2}'
    found = problem(setup=setup)
    assert (found.line, "UNIQUE constraint failed" in found.message) == (5, True)


def test_script_sees_the_tables_it_made(loaded: Load) -> None:
    script = "script: [{sql: CREATE TABLE x(y)}, {sql: INSERT INTO x VALUES(1)}]"
    assert loaded(clients=f"clients: [{{name: one, {script}}}]").clients[0].script


def test_loading_runs_no_operation(loaded: Load) -> None:
    scenario = loaded(**operation("{sql: DROP TABLE t}"), holds="holds: [{sql: SELECT count(*) FROM t, equals: 0}]")
    assert scenario.holds


def test_runaway_setup_is_stopped(problem: OnlyProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simkit.scenario.sql_check.SETUP_PROGRESS_STEPS_MAX", 3_000_000)
    endless = "INSERT INTO t(a, c) WITH n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT sum(i), 1 FROM n"
    assert "the setup fails here" in problem(setup=f"setup:\n- CREATE TABLE t(a, c)\n- '{endless}'").message


def test_sql_beside_transaction_is_one_problem(problem: OnlyProblem) -> None:
    assert "not both" in problem(**operation("{sql: SELECT 1, transaction: [SELECT 1]}")).message
