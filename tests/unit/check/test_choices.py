"""The choice of unacknowledged operations: found among many, reported when certain, silent when the search was cut."""

from typing import Any

import pytest

from simkit.check.choices import NEAREST, Choice, ChoiceSearch, Distance, rows_apart
from simkit.check.events import UNKNOWN

MANY = 14


def insert(number: int) -> str:
    return f"INSERT INTO t VALUES ({100 + number}, {number})"


def many_unknown(story: Any, there: set[int], applied: set[int]) -> None:
    """Operations that their clients gave up: `there` took effect, `applied` sent a commit that may carry nothing."""
    for number in range(MANY):
        operation = story.invoke(insert(number), client=f"client-{number}")
        if number in there:
            story.system.execute(insert(number))
        if number in applied:
            story.applied(operation)
        story.end(operation, UNKNOWN)


@pytest.mark.parametrize("there", [set(), {0, 1, 2}, {0, 5, 13}, set(range(MANY))], ids=len)
@pytest.mark.parametrize("applied", [set(), {0, 3, 4, 12}, set(range(MANY))], ids=len)
def test_any_of_many_unacknowledged_operations_may_be_there(story: Any, there: set[int], applied: set[int]) -> None:
    many_unknown(story, there, applied)
    story.do("UPDATE t SET a = a + 1 WHERE id = 1")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("applied", [set(), {0, 3, 4, 12}], ids=len)
def test_lost_operation_among_many_unacknowledged_ones_is_reported(story: Any, applied: set[int]) -> None:
    story.do("UPDATE t SET a = 11 WHERE id = 1")
    many_unknown(story, {2, 4}, applied)
    lost = story.pretend("UPDATE t SET a = 12 WHERE id = 1")
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "DUR-1"
    assert violation.operations == (lost,)


def test_nothing_is_reported_where_an_untried_choice_may_explain_it(story: Any) -> None:
    # Each undoes what the one before it did to the order, so nothing shows which way leads nearer.
    for number in range(40):
        sql = f"UPDATE t SET a = (a * 31 + {number}) % 1000003"
        operation = story.invoke(sql, client=f"client-{number}")
        if number % 3 == 0:
            story.system.execute(sql)
        story.applied(operation)
        story.end(operation, UNKNOWN)
    story.observe()
    story.pretend(insert(1))
    story.observe()
    assert story.verdict() == []


def test_wrong_answer_is_not_reported_where_an_untried_choice_may_explain_it(story: Any) -> None:
    for number in range(40):
        sql = f"UPDATE t SET a = (a * 31 + {number}) % 1000003 WHERE id = 1"
        operation = story.invoke(sql, client=f"client-{number}")
        if number % 3 == 0:
            story.system.execute(sql)
        story.applied(operation)
        story.end(operation, UNKNOWN)
    story.do("SELECT a FROM t WHERE id = 1")
    story.do("UPDATE t SET a = 0")
    story.observe()
    assert story.verdict() == []
    story.pretend(insert(2))
    story.observe()
    assert story.verdict() == ["DUR-1"], "from a state that fits on, everything is certain again"


def test_operations_without_a_commit_are_not_kept_for_later(story: Any) -> None:
    for generation in range(8):
        many_unknown(story, set(), set())
        story.do(f"UPDATE t SET a = {generation}")
        story.observe()
    before = story.oracle.statements_run
    lost = story.pretend("UPDATE t SET a = 77 WHERE id = 2")
    story.observe()
    (violation,) = story.judge()
    assert (violation.invariant, violation.operations) == ("DUR-1", (lost,))
    assert story.oracle.statements_run - before < 500


def missing(*wanted: int) -> Any:
    """Measures a choice by the number of wrong members."""

    def measure(choice: Choice) -> Distance:
        return len(choice.symmetric_difference(wanted)), 0

    return measure


@pytest.mark.parametrize("count", [3, 8, 9, 60])
def test_search_finds_the_choice_that_fits(count: int) -> None:
    wanted = range(0, count, 2)
    found = ChoiceSearch(missing(*wanted), 1).run(range(count), range(count), frozenset(), (len(wanted), 0))
    assert (found.choice, found.whole) == (frozenset(wanted), True)


@pytest.mark.parametrize(("likely", "effort", "whole"), [(60, 1, False), (9, 1, True), (9, 10_000, False)])
def test_search_is_whole_when_every_likely_choice_was_tried(likely: int, effort: int, whole: bool) -> None:
    tries: list[Choice] = []

    def measure(choice: Choice) -> Distance:
        tries.append(choice)
        return 7, 0

    found = ChoiceSearch(measure, effort).run(range(60), range(likely), frozenset({1}), (7, 0))
    assert (found.choice, found.whole) == (frozenset({1}), whole)
    assert len(set(tries)) == len(tries) <= 50_001


def test_search_needs_nothing_where_there_is_nothing_to_choose() -> None:
    found = ChoiceSearch(missing(), 1).run((), (), frozenset(), NEAREST)
    assert (found.choice, found.whole) == (frozenset(), True)


def test_distance_counts_rows_and_schema_entries() -> None:
    one = (("t", "CREATE TABLE t(a)", ((1,), (1,), (2.0,))),)
    other = (("t", "CREATE TABLE t(a)", ((1,), (2,))), ("u", "CREATE TABLE u(a)", ()))
    assert rows_apart(one, one) == 0
    assert rows_apart(one, other) == rows_apart(other, one) == 4
