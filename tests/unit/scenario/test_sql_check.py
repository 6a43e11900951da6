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


PLAIN = "setup:\n- CREATE TABLE t(a INTEGER PRIMARY KEY, b, w TEXT)\n- CREATE TABLE r(a)"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TEMP TABLE q(a)", "temporary objects vanish with their connection"),
        ("CREATE TABLE temp.q(a)", "temporary objects vanish"),
        ("CREATE TEMP VIEW q AS SELECT 1", "temporary objects vanish"),
        ("CREATE TEMP TRIGGER q DELETE ON t BEGIN SELECT 1; END", "temporary objects vanish"),
        ("SELECT * FROM sqlite_temp_schema", "temporary objects vanish"),
        *(
            (f"PRAGMA {name}=ON", f"PRAGMA {name} changes what statements of one connection answer or do")
            for name in [
                "case_sensitive_like",
                "reverse_unordered_selects",
                "recursive_triggers",
                "ignore_check_constraints",
                "writable_schema",
                "legacy_alter_table",
                "count_changes",
                "full_column_names",
                "short_column_names",
                "empty_result_callbacks",
                "trusted_schema",
                "query_only",
                "read_uncommitted",
                "automatic_index",
                "defer_foreign_keys",
                "schema_version",
                "max_page_count",
            ]
        ),
        *(
            (f"PRAGMA {name}", f"PRAGMA {name} answers from its connection or file")
            for name in [
                "journal_mode",
                "cache_size",
                "locking_mode",
                "temp_store",
                "synchronous",
                "data_version",
                "database_list",
                "freelist_count",
                "page_count",
                "compile_options",
                "optimize",
                "recursive_triggers",
            ]
        ),
        *(
            (f"SELECT * FROM pragma_{name}", f"pragma_{name} answers from its connection or file")
            for name in [
                "journal_mode",
                "cache_size",
                "locking_mode",
                "temp_store",
                "synchronous",
                "data_version",
                "database_list",
                "freelist_count",
                "page_count",
                "compile_options",
                "table_list",
            ]
        ),
        ("SELECT (SELECT page_count FROM PRAGMA_page_count)", "pragma_page_count answers from"),
        ("PRAGMA main.Journal_Mode", "PRAGMA journal_mode answers from"),
        ("EXPLAIN PRAGMA journal_mode", "PRAGMA journal_mode answers from"),
        ("PRAGMA encoding='UTF-16'", "PRAGMA encoding changes"),
        (
            "PRAGMA sinchronous=OFF",
            "SQLite knows no PRAGMA sinchronous and would ignore it; did you mean 'synchronous'",
        ),
        ("SELECT * FROM dbstat", "dbstat shows how the file is laid out"),
        ("VACUUM INTO 'x.db'", "VACUUM INTO writes a second database"),
        ("INSERT INTO t VALUES(1, CAST(x'ff41' AS TEXT), x'fe' || randomblob(1))", "randomblob() depends on chance"),
    ],
)
def test_what_a_native_database_cannot_repeat_is_refused(problem: OnlyProblem, sql: str, message: str) -> None:
    found = problem(setup=PLAIN, clients=f'clients: [{{name: one, script: [{{sql: "{sql}"}}]}}]')
    assert message in str(found)
    assert found.hint
    assert found.line == 8


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA foreign_keys=ON",
        "PRAGMA foreign_keys",
        "PRAGMA user_version=7",
        "PRAGMA application_id",
        "PRAGMA table_info(t)",
        "SELECT * FROM pragma_table_xinfo('t')",
        "PRAGMA integrity_check(5)",
        "PRAGMA quick_check",
        "PRAGMA foreign_key_check(t)",
        "PRAGMA synchronous=OFF",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA journal_mode=MEMORY",
        "PRAGMA incremental_vacuum",
        "DROP TABLE IF EXISTS temp.t",
        "INSERT INTO t VALUES(1, CAST(x'ff41' AS TEXT), 'a')",
        "SELECT 'PRAGMA journal_mode', x'ff' -- CREATE TEMP TABLE q(a)",
        "WITH pragma_journal_mode AS (SELECT 1) SELECT * FROM pragma_journal_mode",
        "SELECT rowid FROM r",
        "INSERT INTO r VALUES(1)",
    ],
)
def test_what_a_native_database_repeats_is_accepted(loaded: Load, sql: str) -> None:
    loaded(setup=PLAIN, clients=f'clients: [{{name: one, script: [{{sql: "{sql}"}}, {{sql: "{sql}"}}]}}]')


def test_table_called_like_a_pragma_is_a_table(loaded: Load) -> None:
    loaded(
        setup="setup:\n- CREATE TABLE t(a)\n- CREATE TABLE pragma_page_count(x)",
        **operation("{sql: SELECT x FROM pragma_page_count}"),
    )


def test_view_of_a_pragma_is_refused_where_it_is_read(problem: OnlyProblem) -> None:
    setup = "setup:\n- CREATE TABLE t(a)\n- CREATE VIEW v AS SELECT * FROM pragma_cache_size"
    assert "pragma_cache_size answers from" in problem(setup=setup, **operation("{sql: SELECT * FROM v}")).message


def test_setup_may_choose_how_the_file_is_built(loaded: Load) -> None:
    loaded(setup="setup:\n- PRAGMA auto_vacuum=FULL\n- PRAGMA encoding='UTF-16le'\n- CREATE TABLE t(a)")


def test_checking_a_setting_does_not_set_it(loaded: Load) -> None:
    # With foreign keys on, the expectation would not hold after the setup.
    setup = "setup:\n- CREATE TABLE t(a PRIMARY KEY)\n- CREATE TABLE u(b REFERENCES t)\n- INSERT INTO u VALUES(5)"
    loaded(
        setup=setup, **operation("{sql: PRAGMA foreign_keys=ON}"), holds="holds: [{sql: SELECT b FROM u, equals: 5}]"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT rowid FROM r",
        "SELECT a FROM r ORDER BY oid",
        "DELETE FROM r WHERE _rowid_ = 1",
        "UPDATE r SET rowid = 5",
        "INSERT INTO r VALUES(1)",
        "INSERT INTO r(rowid, a) VALUES(1, 2)",
    ],
)
def test_rowids_that_vacuum_changes_are_refused(problem: OnlyProblem, sql: str) -> None:
    found = problem(setup=PLAIN, clients=f'clients: [{{name: one, script: [{{sql: "{sql}"}}, {{sql: VACUUM}}]}}]')
    assert "depends on rowids of r, which has no INTEGER PRIMARY KEY" in found.message


@pytest.mark.parametrize(
    "sql", ["SELECT rowid FROM t", "INSERT INTO t(b) VALUES(1)", "DELETE FROM r WHERE a = 1", "SELECT rowid FROM f"]
)
def test_vacuum_leaves_other_rowids_alone(loaded: Load, sql: str) -> None:
    setup = (
        f"{PLAIN}\n- INSERT INTO r VALUES(1)\n- CREATE VIRTUAL TABLE f USING fts5(x)\n"
        "- CREATE TRIGGER x AFTER INSERT ON t BEGIN INSERT INTO r VALUES(new.b); END"
    )
    loaded(setup=setup, clients=f'clients: [{{name: one, script: [{{sql: "{sql}"}}, {{sql: VACUUM}}]}}]')


LEAVES_OUT = '{sql: "INSERT INTO t(b) VALUES(2)"}'


@pytest.mark.parametrize(
    "step",
    [
        '{sql: "INSERT INTO t VALUES(9223372036854775807, 1, 2)"}',
        '{sql: "INSERT INTO t VALUES(5, 1, 2), (9223372036854775807, 1, 2)"}',
        '{sql: "INSERT INTO t(b, a) VALUES(1, :id)", params: {id: {edge: int}}}',
        '{sql: "REPLACE INTO t(b, a) SELECT 1, :id", params: {id: {edge: any}}}',
        '{sql: "UPDATE t SET a = :id", params: {id: 9223372036854775807}}',
        '{sql: "INSERT INTO t(a) VALUES(:id)", params: {id: {choice: [1, 9223372036854775807]}}}',
    ],
)
def test_rowid_chosen_by_chance_is_refused(
    problems: Callable[[str], list[Problem]], scenario_text: Callable[..., str], step: str
) -> None:
    found = problems(
        scenario_text(setup=PLAIN, clients=f"clients:\n- name: one\n  script:\n  - {step}\n  - {LEAVES_OUT}")
    )
    assert "SQLite chooses the rowid here by chance once t holds the rowid" in found[-1].message
    assert found[-1].line == 12


def test_any_edge_value_as_a_key_is_refused_by_itself(problem: OnlyProblem) -> None:
    # It is the largest rowid, or NULL, for which SQLite chooses one.
    body = '{sql: "INSERT INTO t(a) VALUES(:id)", params: {id: {edge: any}}}'
    assert "by chance" in problem(setup=PLAIN, **operation(body)).message


@pytest.mark.parametrize(
    "step",
    [
        '{sql: "INSERT INTO t VALUES(5, :edge, 9223372036854775807)", params: {edge: {edge: any}}}',
        '{sql: "INSERT INTO t(a) VALUES(:id)", params: {id: {sequence: 1}}}',
        '{sql: "INSERT INTO t(a) VALUES(:id)", params: {id: {int: [1, 9223372036854775806]}}}',
        '{sql: "INSERT INTO k VALUES(9223372036854775807, 1)"}',
    ],
)
def test_automatic_rowids_are_accepted_otherwise(loaded: Load, step: str) -> None:
    setup = f"{PLAIN}\n- CREATE TABLE k(a INTEGER PRIMARY KEY AUTOINCREMENT, b)"
    automatic = '{sql: "INSERT INTO k(b) VALUES(2)"}'
    loaded(setup=setup, clients=f"clients:\n- name: one\n  script:\n  - {step}\n  - {LEAVES_OUT}\n  - {automatic}")
