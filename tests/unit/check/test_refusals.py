"""ISO-2 for errors: a statement that was refused must be refused by SQLite, at a version that it may have seen."""

from typing import Any

import pytest

from simkit.check.events import FAILED, OperationEnded, OperationInvoked, StatementStarted
from simkit.check.verdict import Violation

UNIQUE = "ConstraintError: UNIQUE constraint failed: t.id"
TWICE = "INSERT INTO t VALUES (1, 1)"
NEW = "INSERT INTO t VALUES (4, 40)"
DENIED = "AuthError: not authorized"


def refuse(story: Any, *sql: Any, error: str = UNIQUE, failed_at: int = 0, **options: Any) -> int:
    number: int = story.invoke(*sql, **options)
    story.take_effect(number, max(failed_at, 0))
    if failed_at > 0:
        story.system.execute("ROLLBACK")
    story.add(OperationEnded, number, FAILED, error, failed_at)
    return number


def verdict(story: Any) -> list[tuple[str, str]]:
    return [(violation.invariant, violation.check) for violation in story.judge()]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        (TWICE, UNIQUE),
        ("INSERT OR FAIL INTO t VALUES (5, 5), (1, 1)", UNIQUE),
        ("INSERT OR ROLLBACK INTO t VALUES (1, 1)", UNIQUE),
        ("SELECT * FROM missing", "SQLError: no such table: missing"),
        ("SELECT * FROM", "SQLError: incomplete input"),
        ("INSERT INTO t VALUES ('x', 1)", "MismatchError: datatype mismatch"),
        ("WITH w AS (SELECT 1) SELECT * FROM missing", "SQLError: no such table: missing"),
    ],
)
def test_refusal_that_is_right(story: Any, sql: str, error: str) -> None:
    refuse(story, sql, error=error)
    story.do("SELECT * FROM t")
    story.observe()
    assert verdict(story) == []


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        (NEW, UNIQUE),
        ("SELECT * FROM t", "SQLError: no such table: t"),
        ("UPDATE t SET a = 1", "ReadOnlyError: attempt to write a readonly database"),
        ("SELECT * FROM pragma_table_info('t')", DENIED),
        ("PRAGMA table_info(t)", DENIED),
        # What is passed over here: nobody but a reader's authorizer refuses it so.
        ("PRAGMA foreign_keys = ON", DENIED),
        ("BEGIN IMMEDIATE", DENIED),
        ("VACUUM", "ReadOnlyError: attempt to write a readonly database"),
        ("SELECT ';'", "TrailingStatement: execute() takes one statement; after it stands: '"),
    ],
)
def test_refusal_that_is_wrong(story: Any, sql: str, error: str) -> None:
    number = refuse(story, sql, error=error)
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.check, violation.operations) == ("ISO-2", "refusals", (number,))
    assert f"a wrong refusal of statement 1 ({sql}): it was told {error!r}" in violation.sentence


@pytest.mark.parametrize(
    "error",
    [
        "BusyError: database is locked",
        "LockedError: database table is locked",
        "IOError: disk I/O error",
        "DatabaseClosed: the database is closed",
        "Overloaded: 128 statements wait",
        "TransactionExpired: it was open for too long",
        "IntegerOutOfRange: parameter 1 has more than 64 bits",
        "ConstraintError: FOREIGN KEY constraint failed",
        "TimedOut: after 5ms",
        "",
    ],
)
def test_error_that_says_nothing_of_the_statement_is_not_judged(story: Any, error: str) -> None:
    refuse(story, NEW, error=error)
    assert verdict(story) == []


def test_statement_that_is_not_known_is_not_judged(story: Any) -> None:
    refuse(story, NEW, failed_at=-1)
    assert verdict(story) == []


@pytest.mark.parametrize(
    "sql", ["COMMIT", "RELEASE s", "ROLLBACK TO s", "ATTACH 'x' AS x", "PRAGMA journal_mode = WAL"]
)
def test_statement_that_cannot_be_tried_here_is_not_judged(story: Any, sql: str) -> None:
    refuse(story, sql, error="SQLError: no such savepoint: s")
    assert verdict(story) == []


def test_refusal_is_judged_at_the_place_of_its_transaction(story: Any) -> None:
    story.system.execute("BEGIN")
    refuse(story, "DELETE FROM t WHERE id = 1", TWICE, failed_at=1)
    assert [check for _, check in verdict(story)] == ["refusals"]


def test_refusal_inside_a_transaction_that_is_right(story: Any) -> None:
    story.system.execute("BEGIN")
    refuse(story, NEW, "INSERT INTO t VALUES (4, 41)", failed_at=1)
    story.do(NEW)
    story.observe()
    assert verdict(story) == []


def test_refusal_may_follow_from_any_version_of_its_window(story: Any) -> None:
    number = story.invoke(NEW, client="bob")
    story.do(NEW)
    story.do("DELETE FROM t WHERE id = 4")
    story.add(OperationEnded, number, FAILED, "ConstraintError: UNIQUE constraint failed: t.id", 0)
    assert verdict(story) == []


def test_refusal_that_follows_from_an_old_version_is_stale(story: Any) -> None:
    story.do(NEW)
    story.do("DELETE FROM t WHERE id = 4")
    refuse(story, NEW)
    assert verdict(story) == [("ISO-1", "refusals")]


def test_wrong_refusal_beside_an_unknown_operation_may_be_right(story: Any) -> None:
    """The unacknowledged insert may have taken effect, and then the refusal is right."""
    unknown = story.invoke(NEW, client="bob")
    story.end(unknown, "unknown")
    story.system.execute(NEW)
    refuse(story, NEW)
    story.observe()
    assert verdict(story) == []


@pytest.mark.parametrize(("pragma", "judged"), [("PRAGMA query_only = ON", False), ("PRAGMA cache_size = 10", True)])
def test_connection_that_a_client_has_tuned_is_not_judged(story: Any, pragma: str, judged: bool) -> None:
    story.do(pragma)
    refuse(story, NEW, error="ReadOnlyError: attempt to write a readonly database")
    assert bool(verdict(story)) is judged


def test_statement_that_rolls_everything_back_is_tried_once(story: Any) -> None:
    for _ in range(30):
        refuse(story, "INSERT OR ROLLBACK INTO t VALUES (1, 1)")
    before = story.oracle.statements_run
    assert verdict(story) == []
    assert story.oracle.statements_run - before < 100


# Texts of several statements

SCRIPT = "CREATE TABLE s(x); INSERT INTO s VALUES (1), (2); -- the end\nSELECT count(*) FROM s;"


def run_script(story: Any, sql: str = SCRIPT, rows: Any = ((2,),)) -> int:
    story.numbers += 1
    number: int = story.numbers
    story.add(
        OperationInvoked,
        number,
        "ann",
        "instance-1",
        "op",
        "statement",
        ((sql, {}),),
        False,
        (),
        True,
        True,
        task="ann",
    )
    story.system.execute(sql).fetchall()
    story.answer(number, 0, rows, 2)
    story.applied(number)
    story.end(number)
    return number


def test_effects_of_a_text_of_several_statements_are_judged_and_its_answers_are_not(story: Any) -> None:
    run_script(story, rows=(("whatever",),))
    story.do("SELECT * FROM s")
    story.observe()
    assert verdict(story) == []


def test_text_of_several_statements_of_which_one_did_not_run(story: Any) -> None:
    run_script(story)
    story.system.execute("DELETE FROM s")
    story.observe()
    assert [invariant for invariant, _ in verdict(story)] == ["DUR-1"]


def test_text_with_a_transaction_of_its_own_does_not_end_the_session(story: Any) -> None:
    run_script(story, "BEGIN; UPDATE t SET a = 7; COMMIT; PRAGMA cache_size = 10; DELETE FROM t WHERE id = 1")
    story.observe()
    assert verdict(story) == []


def test_refused_text_of_several_statements(story: Any) -> None:
    def refused(sql: str) -> list[Violation]:
        number = run_script(story, "SELECT 1")
        event = story.history[-1]
        story.history[-5:] = [
            OperationInvoked(
                0, "ann", number, "ann", "instance-1", "op", "statement", ((sql, {}),), False, several=True
            ),
            OperationEnded(event.at, "", number, FAILED, UNIQUE, 0),
        ]
        violations: list[Violation] = story.judge()
        return violations

    assert refused(f"UPDATE t SET a = a; {TWICE}") == []
    (violation,) = refused(f"UPDATE t SET a = a; {NEW}")
    assert violation.check == "refusals"


# Foreign keys

FOREIGN = "INSERT INTO child VALUES (77)"


def statement_of(story: Any, number: int, handle: int) -> None:
    story.add(StatementStarted, "instance-1", handle, number, False, False)


@pytest.mark.parametrize(("handle", "right"), [(1, False), (2, True)])
def test_foreign_keys_are_enforced_on_the_connection_that_was_told_so(
    story_type: Any, handle: int, right: bool
) -> None:
    story = story_type("CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE child(x REFERENCES p)")
    story.open()
    pragma = story.invoke("PRAGMA foreign_keys = ON")
    statement_of(story, pragma, 1)
    story.take_effect(pragma)
    story.end(pragma)
    story.system.execute("PRAGMA foreign_keys = OFF")
    number = story.invoke(FOREIGN)
    statement_of(story, number, handle)
    story.take_effect(number)
    story.applied(number)
    story.end(number)
    story.observe()
    assert (verdict(story) == []) is right
