"""ISO-1, ISO-2 and VAL-1 on small histories: what statements may see and what not."""

from typing import Any

import pytest

from simkit.check.events import FAILED, UNKNOWN, InstanceOpened

READ = "SELECT a FROM t WHERE id = 1"
TWICE = "UPDATE t SET a = a * 2"


def test_read_after_an_acknowledged_write_sees_it(story: Any) -> None:
    story.do(TWICE)
    story.do(READ)
    assert story.verdict() == []


def test_stale_read(story: Any) -> None:
    story.do(TWICE)
    number = story.invoke(READ)
    story.answer(number, 0, [(10,)])
    story.end(number)
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("ISO-1", (number,))


@pytest.mark.parametrize(("seen", "allowed"), [(10, True), (20, True), (40, True), (30, False), (80, False)])
def test_read_that_overlaps_commits_sees_one_of_the_versions(story: Any, seen: int, allowed: bool) -> None:
    number = story.invoke(READ, client="bob")
    story.do(TWICE)
    story.do(TWICE)
    story.answer(number, 0, [(seen,)])
    story.end(number)
    story.do(TWICE)
    assert story.verdict() == ([] if allowed else ["ISO-2"])


def test_read_is_not_older_than_what_was_acknowledged_before_it_began(story: Any) -> None:
    story.do(TWICE)
    number = story.invoke(READ, client="bob")
    story.do(TWICE)
    story.answer(number, 0, [(10,)])
    story.end(number)
    assert story.verdict() == ["ISO-1"]


def test_commit_counts_from_its_acknowledgement_even_when_it_becomes_durable_later(story: Any) -> None:
    number = story.invoke(TWICE)
    story.take_effect(number)
    request = story.request(number)
    story.end(number)
    read = story.invoke(READ)
    story.answer(read, 0, [(10,)])
    story.end(read)
    story.applied(number, request)
    assert story.verdict() == ["ISO-1"]


def test_read_of_two_versions_at_once(story: Any) -> None:
    number = story.invoke("SELECT id, a FROM t")
    story.do(TWICE, client="bob")
    story.answer(number, 0, [(1, 20), (2, 20), (3, 30)], columns=("id", "a"))
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_reads_of_a_transaction_belong_to_one_version(story: Any) -> None:
    number = story.invoke(READ, "SELECT a FROM t WHERE id = 2")
    story.do(TWICE, client="bob")
    story.answer(number, 0, [(10,)])
    story.answer(number, 1, [(40,)])
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_transaction_sees_its_own_writes(story: Any) -> None:
    story.do(TWICE, READ, "INSERT INTO t VALUES (9, 9) RETURNING a", "SELECT count(*) FROM t")
    story.do(READ, "SAVEPOINT s", TWICE, "ROLLBACK TO s", READ, "RELEASE s", "SAVEPOINT left_open")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize(("seen", "allowed"), [(20, True), (40, False)])
def test_what_a_rolled_back_transaction_saw_is_judged(story: Any, seen: int, allowed: bool) -> None:
    number = story.invoke(TWICE, READ, rollback=True)
    story.answer(number, 0, (), 3, ())
    story.answer(number, 1, [(seen,)])
    story.end(number)
    assert story.verdict() == ([] if allowed else ["ISO-2"])


@pytest.mark.parametrize("outcome", [FAILED, UNKNOWN])
@pytest.mark.parametrize(("seen", "allowed"), [(10, True), (11, False)])
def test_what_a_broken_off_transaction_saw_is_judged(story: Any, outcome: str, seen: int, allowed: bool) -> None:
    number = story.invoke(READ, "INSERT INTO t VALUES (1, 1)", TWICE)
    story.answer(number, 0, [(seen,)])
    story.end(number, outcome)
    story.observe()
    assert story.verdict() == ([] if allowed else ["ISO-2"])


def test_superseded_instance_may_serve_what_it_cached(story: Any) -> None:
    number = story.invoke(READ, instance="instance-1")
    story.open()
    story.do(TWICE, instance="instance-2")
    story.do(TWICE, instance="instance-2")
    late = story.invoke("SELECT a FROM t WHERE id = 2", instance="instance-1", client="bob")
    story.answer(number, 0, [(10,)])
    story.end(number)
    story.answer(late, 0, [(20,)])
    story.end(late)
    assert story.verdict() == []


def test_superseded_instance_may_not_mix_versions(story: Any) -> None:
    number = story.invoke("SELECT sum(a) FROM t", instance="instance-1")
    story.open()
    story.do(TWICE, instance="instance-2")
    story.answer(number, 0, [(90,)])
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_statement_that_changes_nothing_is_judged_where_it_looked(story: Any) -> None:
    number = story.invoke("UPDATE t SET a = 0 WHERE a = 20")
    story.answer(number, 0, (), 0, ())  # before: a = 20 stands in row 2; after TWICE: in row 1
    story.do("DELETE FROM t WHERE id = 2", client="bob")
    story.do(TWICE, client="bob")
    story.end(number)
    story.do("SELECT * FROM t")
    story.observe()
    assert story.verdict() == []


def test_statement_that_should_have_changed_something(story: Any) -> None:
    number = story.invoke("UPDATE t SET a = 0 WHERE a = 20")
    story.answer(number, 0, (), 0, ())
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_wrong_number_of_changed_rows(story: Any) -> None:
    number = story.invoke("UPDATE t SET a = 0 WHERE id < 3")
    story.system.execute("UPDATE t SET a = 0 WHERE id < 3")
    story.answer(number, 0, (), 3, ())
    story.applied(number)
    story.end(number)
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "ISO-2"
    assert "3 changed rows instead of 2" in violation.sentence


def test_unacknowledged_operations_are_chosen_so_that_the_reads_fit(story: Any) -> None:
    lost = story.invoke("UPDATE t SET a = 11 WHERE id = 1")
    story.end(lost, UNKNOWN)
    there = story.invoke("UPDATE t SET a = 12 WHERE id = 1")
    story.system.execute("UPDATE t SET a = 12 WHERE id = 1")
    story.end(there, UNKNOWN)
    story.do(READ)
    story.do("UPDATE t SET a = 13 WHERE id = 1")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize(
    ("right", "wrong"), [(2**53 + 1, 2**53), ("a\0b", "a"), (-0.0, 0.0), (7, 7.0), (b"x", "x"), ("é", "e\u0301")]
)
def test_altered_value_in_an_answer(story: Any, right: Any, wrong: Any) -> None:
    story.do(("INSERT INTO t VALUES (4, :value)", {"value": right}))
    number = story.invoke("SELECT a FROM t WHERE id = 4")
    story.answer(number, 0, [(wrong,)])
    story.end(number)
    assert story.verdict() == ["VAL-1"]


def test_mixed_sum_is_no_altered_value_even_if_a_parameter_equals_the_right_one(story: Any) -> None:
    story.do(("INSERT INTO t VALUES (4, :value)", {"value": 60}))
    story.do("DELETE FROM t WHERE id = 4")
    number = story.invoke("SELECT sum(a) FROM t")
    story.answer(number, 0, [(57,)])
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_value_of_a_version_in_between_is_no_altered_value(story: Any) -> None:
    story.do(("UPDATE t SET a = :a WHERE id = 1", {"a": 5}))
    story.do("UPDATE t SET a = a + 2 WHERE id = 1")
    story.do(("UPDATE t SET a = :a", {"a": 6}))
    number = story.invoke("SELECT a FROM t")
    story.answer(number, 0, [(7,), (6,), (6,)])
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_only_the_first_wrong_answers_are_reported(story: Any) -> None:
    for _ in range(25):
        number = story.invoke(READ)
        story.answer(number, 0, [(11,)])
        story.end(number)
    violations = story.judge()
    assert len(violations) == 10
    assert violations[0].details == ("and 15 more operations with wrong answers",)


def test_failed_reads_are_not_taken_for_unknown_writes(story: Any) -> None:
    for _ in range(40):
        number = story.invoke(READ)
        story.end(number, UNKNOWN)
    for sql in ("WITH w AS (SELECT 1) SELECT * FROM w", "PRAGMA user_version", "VALUES (1)"):
        story.end(story.invoke(sql), UNKNOWN)
    story.pretend("UPDATE t SET a = 0")
    story.observe()
    before = story.oracle.statements_run
    assert story.verdict() == ["DUR-1"]
    assert story.oracle.statements_run - before < 10


def test_answer_that_the_oracle_refuses(story: Any) -> None:
    number = story.invoke("INSERT INTO t VALUES (1, 1)")
    story.answer(number, 0, (), 1, ())
    story.applied(number)
    story.end(number)
    (violation,) = story.judge()
    assert violation.invariant == "ISO-2"
    assert "UNIQUE" in violation.sentence


def test_acknowledged_statement_that_rolls_back_in_the_oracle(story: Any) -> None:
    number = story.invoke("INSERT OR ROLLBACK INTO t VALUES (1, 1)")
    story.answer(number, 0, (), 1, ())
    story.applied(number)
    story.end(number)
    assert story.verdict() == ["ISO-2"]


def test_work_grows_with_the_history_and_not_faster(story_type: Any) -> None:
    counts = []
    for length in (100, 400):
        story = story_type("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES (1, 10)")
        instance = story.open()
        for step in range(length):
            overlapping = story.invoke(READ, client="bob", instance=instance)
            story.do("UPDATE t SET a = a + 1 WHERE id = 1", instance=instance)
            story.take_effect(overlapping)
            story.end(overlapping)
            if step % 10 == 0:
                number = story.invoke("UPDATE t SET a = 0")
                story.end(number, UNKNOWN)
                story.observe()
                instance = story.open()
        assert story.verdict() == []
        counts.append(story.oracle.statements_run)
    assert counts[1] <= 4.2 * counts[0]


def test_what_a_fresh_instance_found_is_not_lost_again(story: Any) -> None:
    number = story.invoke(TWICE)
    story.take_effect(number)
    story.applied(number)
    story.end(number, UNKNOWN)
    story.allocate()
    story.observe()
    story.add(InstanceOpened, "instance-2", 2)
    read = story.invoke(READ, instance="instance-2")
    story.answer(read, 0, [(10,)])
    story.end(read)
    assert story.verdict() == ["ISO-1"]
