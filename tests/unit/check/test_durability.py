"""DUR-1 and DUR-2 on small histories: what fires them and what does not."""

from typing import Any

import pytest

from simkit.check.events import FAILED, UNKNOWN, StateUnreadable

INSERT = "INSERT INTO t VALUES (4, 40)"


def test_acknowledged_operation_that_is_there_is_fine(story: Any) -> None:
    story.do(INSERT)
    story.observe()
    assert story.verdict() == []


def test_acknowledged_operation_that_is_missing_is_lost(story: Any) -> None:
    number = story.pretend(INSERT)
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "DUR-1"
    assert violation.operations == (number,)
    assert violation.details == ("- t|integer:4|integer:40",)


def test_one_lost_operation_among_others_is_named(story: Any) -> None:
    story.do("UPDATE t SET a = a + 1")
    lost = story.pretend("UPDATE t SET a = a * 2 WHERE id = 2")
    story.do("UPDATE t SET a = a + 5 WHERE id < 3")
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-1", (lost,))


def test_lost_tail_names_all_of_it(story: Any) -> None:
    story.do("UPDATE t SET a = 0 WHERE id = 1")
    lost = [story.pretend("UPDATE t SET a = a + 1 WHERE id = 1") for _ in range(2)]
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-1", tuple(lost))


def test_operation_lost_after_it_was_there_once(story: Any) -> None:
    before = story.system.serialize("main")
    story.do("UPDATE t SET a = 7")
    story.do(INSERT)
    story.observe()
    story.system.deserialize("main", before)
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "DUR-1"
    assert "as it was before" in violation.sentence


@pytest.mark.parametrize("hinted", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_unacknowledged_operation_may_be_there_or_not(story: Any, hinted: bool, there: bool) -> None:
    number = story.invoke(INSERT)
    if there:
        story.system.execute(INSERT)
    if hinted:
        story.applied(number)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == []


def test_unacknowledged_operation_that_is_half_there(story: Any) -> None:
    number = story.invoke(INSERT, "UPDATE t SET a = 0 WHERE id = 1")
    story.take_effect(number, upto=1)
    story.end(number, UNKNOWN)
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-2", (number,))
    assert "part" in violation.sentence


def test_acknowledged_operation_that_is_half_there_is_lost(story: Any) -> None:
    number = story.invoke(INSERT, "UPDATE t SET a = 0 WHERE id = 1")
    story.take_effect(number, upto=1)
    story.answer(number, 1, (), 1, ())
    story.applied(number)
    story.end(number)
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-1", (number,))


@pytest.mark.parametrize("pattern", range(16))
def test_every_choice_of_four_unacknowledged_operations_is_accepted(story: Any, pattern: int) -> None:
    for bit in range(4):
        sql = f"UPDATE t SET a = a * {bit + 2} + {bit}"
        number = story.invoke(sql, client=f"client-{bit}")
        if pattern >> bit & 1:
            story.system.execute(sql)
        story.end(number, UNKNOWN)
    story.observe()
    story.do("UPDATE t SET a = a - 1")
    story.observe()
    assert story.verdict() == []


def test_choice_is_made_anew_after_each_observation(story: Any) -> None:
    for round_ in range(30):
        number = story.invoke(f"UPDATE t SET a = a * 3 + {round_ % 3}")
        if round_ % 3 == 0:
            story.system.execute(f"UPDATE t SET a = a * 3 + {round_ % 3}")
            story.system.execute("UPDATE t SET a = a % 1000003")
        story.end(number, UNKNOWN)
        if round_ % 3 == 0:
            number = story.invoke("UPDATE t SET a = a % 1000003")
            story.answer(number, 0, (), 3, ())
            story.applied(number)
            story.end(number)
        story.observe()
    assert story.verdict() == []


def test_commit_of_a_rollback_does_not_stand_for_the_operation(story: Any) -> None:
    # COMMIT failed before it was durable; SQLite rolled back and that was committed for the same operation.
    for _ in range(12):
        number = story.invoke("UPDATE t SET a = a + 1")
        story.request(number)
        story.applied(number)
        story.end(number, UNKNOWN)
    story.do("UPDATE t SET a = a + 100")
    story.observe()
    assert story.verdict() == []


def test_first_commit_that_was_durable_counts_although_it_was_reported_as_failed(story: Any) -> None:
    for _ in range(12):
        number = story.invoke("UPDATE t SET a = a + 1")
        story.system.execute("UPDATE t SET a = a + 1")
        story.applied(number)
        story.request(number)
        story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == []


def test_commit_of_a_dead_sender_takes_effect_after_its_client_heard_of_the_crash(story: Any) -> None:
    number = story.invoke(INSERT)
    request = story.request(number)
    story.end(number, UNKNOWN)
    story.do("UPDATE t SET a = 5 WHERE id = 1")
    story.system.execute(INSERT)
    story.applied(number, request)
    story.do("UPDATE t SET a = 0")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("rollback", [False, True])
def test_refused_operation_that_is_there_all_the_same(story: Any, rollback: bool) -> None:
    number = story.invoke(INSERT, "UPDATE t SET a = 1", rollback=rollback)
    story.take_effect(number)
    story.end(number, "ok" if rollback else FAILED)
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-2", (number,))


def test_operation_is_acknowledged_after_its_instance_was_superseded(story: Any) -> None:
    number = story.invoke(INSERT)
    story.take_effect(number)
    story.applied(number)
    story.allocate()
    story.observe()
    story.end(number)
    story.do("UPDATE t SET a = a + 1", instance="instance-2")
    story.observe()
    assert story.verdict() == []


def test_rows_of_a_failed_insert_or_fail_stay(story: Any) -> None:
    sql = "INSERT OR FAIL INTO t VALUES (8, 80), (1, 0), (9, 90)"
    number = story.invoke(sql)
    with pytest.raises(Exception, match="UNIQUE"):
        story.system.execute(sql)
    story.applied(number)
    story.end(number, FAILED)
    story.observe()
    assert story.verdict() == []


def test_operation_that_rolls_everything_back_does_not_take_the_oracle_along(story: Any) -> None:
    story.do(INSERT)
    number = story.invoke("INSERT OR ROLLBACK INTO t VALUES (1, 0)")
    story.end(number, UNKNOWN)
    number = story.invoke("UPDATE t SET a = 0", "INSERT OR ROLLBACK INTO t VALUES (2, 0)")
    story.answer(number, 0, (), 4, ())
    story.applied(number)
    story.end(number, UNKNOWN)
    story.do("UPDATE t SET a = a + 1")
    story.observe()
    assert story.verdict() == []
    assert story.verdict() == []


@pytest.mark.parametrize(
    "sql",
    [
        "VACUUM",
        "CREATE TABLE u(x)",
        "CREATE TABLE IF NOT EXISTS t(x)",
        "CREATE INDEX i ON t(a)",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN b DEFAULT 5",
        "UPDATE t SET a = a WHERE id = 1",
        "UPDATE t SET a = 0 WHERE id = 99",
        "INSERT OR IGNORE INTO t VALUES (1, 1)",
        "REPLACE INTO t VALUES (1, 1)",
        "DELETE FROM t",
        "PRAGMA user_version = 7",
        "PRAGMA integrity_check",
        "PRAGMA journal_mode",
        "PRAGMA case_sensitive_like = ON",
        "PRAGMA synchronous = FULL",
        "ANALYZE",
        "REINDEX",
        "EXPLAIN SELECT 1",
        "/* a remark */ -- and one more\nSELECT a FROM t",
        "WITH w AS (SELECT 1 AS x) SELECT * FROM w",
        "WITH w AS (SELECT 1 AS x) DELETE FROM t WHERE id IN w RETURNING *",
        "INSERT INTO t SELECT id + 10, a FROM t RETURNING id",
    ],
)
def test_statement_of_any_kind_is_followed(story: Any, sql: str) -> None:
    story.do(sql)
    story.observe()
    assert story.verdict() == []
    assert story.verdict() == [], "a run leaves nothing behind in the oracle"


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE u(x)", "DROP TABLE t", "PRAGMA user_version = 7", "CREATE VIEW v AS SELECT 1"]
)
def test_lost_change_of_the_schema_or_header_is_seen(story: Any, sql: str) -> None:
    story.pretend(sql, changes=0, applied=False)
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_values_of_every_kind_come_back(story: Any) -> None:
    values: list[Any] = [None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 5e-324, float("inf")]
    values += ["", "a\0b", "'\"|\n", "\U0001f600", b"", b"\0", bytes(range(256)), 1.0, 1, "1"]
    for number, value in enumerate(values):
        story.do(("INSERT INTO t VALUES (:id, :value)", {"id": 100 + number, "value": value}))
    story.do("SELECT a FROM t")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(2**53 + 1, 2**53), ("a\0b", "a"), (-0.0, 0.0), (1, 1.0), (b"x", "x"), ("é", "e\u0301")],
)
def test_altered_value_in_a_state_is_named(story: Any, right: Any, wrong: Any) -> None:
    insert = "INSERT INTO t VALUES (4, :value)"
    number = story.invoke((insert, {"value": right}))
    story.system.execute(insert, {"value": wrong})
    story.answer(number, 0, (), 1, ())
    story.applied(number)
    story.end(number)
    story.observe()
    assert story.verdict() == ["VAL-1"]


@pytest.mark.parametrize(
    "setup",
    [
        ("CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID", "INSERT INTO w VALUES (:k, 1)"),
        ("CREATE TABLE w(k TEXT, v)", "INSERT INTO w VALUES (:k, 1)"),
        ("CREATE TABLE w(id INTEGER PRIMARY KEY AUTOINCREMENT, k)", "INSERT INTO w(k) VALUES (:k)"),
        ("CREATE TABLE w(k TEXT COLLATE NOCASE, v)", "INSERT INTO w VALUES (upper(:k), 1), (:k, 1)"),
        ('CREATE TABLE "odd ""name"(k, v AS (k || k))', 'INSERT INTO "odd ""name" VALUES (:k)'),
        ("CREATE VIRTUAL TABLE w USING fts5(k)", "INSERT INTO w VALUES (:k)"),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_table_of_any_kind_is_compared(story_type: Any, setup: tuple[str, str], lost: bool) -> None:
    create, insert = setup
    story = story_type(create)
    story.do((insert, {"k": "one"}))
    story.do("VACUUM")
    (story.pretend if lost else story.do)((insert, {"k": "two"}))
    story.observe()
    assert story.verdict() == (["DUR-1"] if lost else [])


def test_counter_of_autoincrement_is_part_of_the_state(story_type: Any) -> None:
    story = story_type("CREATE TABLE w(id INTEGER PRIMARY KEY AUTOINCREMENT)")
    for sql in ("INSERT INTO w DEFAULT VALUES", "DELETE FROM w"):
        number = story.invoke(sql)
        story.answer(number, 0, (), 1, ())
        story.applied(number)
        story.end(number)
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_triggers_run_in_the_oracle_too(story: Any) -> None:
    story.do("CREATE TABLE log(x)")
    story.do("CREATE TRIGGER g AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.a); END")
    story.do("CREATE VIEW v AS SELECT a FROM t")
    story.do("CREATE TRIGGER h INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) VALUES (new.a); END")
    story.do("UPDATE t SET a = 1")
    story.do("INSERT INTO v VALUES (77)")
    story.do("DELETE FROM t WHERE id = 99")
    story.observe()
    assert story.verdict() == []
    story.pretend("UPDATE t SET a = 2 WHERE id = 1")
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_empty_database(story_type: Any) -> None:
    story = story_type()
    story.observe(when="end")
    assert story.verdict() == []


def test_history_without_operations(story: Any) -> None:
    story.observe()
    assert story.verdict() == []


def test_foreign_keys_count_for_the_instance_that_turned_them_on(story_type: Any) -> None:
    story = story_type(
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(p REFERENCES p ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO p VALUES (1), (2)",
        "INSERT INTO c VALUES (1), (2)",
    )
    story.open()
    story.do("PRAGMA foreign_keys = ON")
    story.do("DELETE FROM p WHERE id = 1")
    number = story.invoke("INSERT INTO c VALUES (9)", "SELECT count(*) FROM c")
    story.system.execute("BEGIN")
    story.take_effect(number)
    with pytest.raises(Exception, match="FOREIGN KEY"):
        story.system.execute("COMMIT")
    story.system.execute("ROLLBACK")
    story.end(number, FAILED)
    number = story.invoke("INSERT INTO c VALUES (9)")
    story.end(number, UNKNOWN)
    story.observe()
    story.open()
    story.system.execute("PRAGMA foreign_keys = OFF")
    story.do("DELETE FROM p WHERE id = 2", instance="instance-2")
    story.observe()
    assert story.verdict() == []


def test_unreadable_database(story: Any) -> None:
    story.add(StateUnreadable, "recovery", 2, "disk I/O error")
    assert story.verdict() == ["DUR-1"]


def test_damaged_database(story: Any) -> None:
    story.observe(integrity=("row 3 missing from index i", "and more"))
    (violation,) = story.judge()
    assert (violation.invariant, violation.check, violation.details) == ("DUR-2", "integrity", ("and more",))


@pytest.mark.parametrize(("found", "fires"), [(60, False), (60.0, False), (59, True)])
def test_what_must_hold_in_every_state(story: Any, found: Any, fires: bool) -> None:
    story.observe(holds=(((found,),),))
    holds = [("SELECT sum(a) FROM t", ((60,),))]
    assert [violation.check for violation in story.judge(holds)] == (["holds"] if fires else [])


def test_state_with_text_that_is_no_utf8(story: Any) -> None:
    story.do("INSERT INTO t VALUES (4, CAST(x'ff00' AS TEXT))")
    story.observe()
    assert story.verdict() == []
    story.pretend("INSERT INTO t VALUES (5, CAST(x'ff' AS TEXT))")
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_history_without_commit_events_is_explained_by_its_acknowledgements(story: Any) -> None:
    for step in range(5):
        for sql in (f"UPDATE t SET a = a + {step}", f"CREATE TABLE u{step}(x)", "UPDATE t SET a = 0 WHERE id = 99"):
            number = story.invoke(sql)
            story.take_effect(number)
            story.end(number)
        story.do("SELECT * FROM t")
        story.observe()
    assert story.verdict() == []
    number = story.invoke("UPDATE t SET a = 1")
    story.answer(number, 0, (), 3, ())
    story.end(number)
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_operation_that_was_acknowledged_before_it_was_durable(story: Any) -> None:
    number = story.invoke(INSERT)
    story.answer(number, 0, (), 1, ())
    request = story.request(number)
    story.end(number)
    story.observe()
    story.system.execute(INSERT)
    story.applied(number, request)
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-1", (number,))
