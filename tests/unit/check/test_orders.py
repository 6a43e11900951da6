"""Commits that do not say for which operation they were sent: every order that could have been is accepted."""

from typing import Any

import pytest

from simkit.check.events import FAILED, UNKNOWN
from simkit.check.operations import timeline_of
from simkit.check.orders import Explained, OrderSearch

NOBODY = -1
STEPS = ("UPDATE t SET a = a * 2", "UPDATE t SET a = a + 1", "UPDATE t SET a = a * 3 - 5")


def together(story: Any, done: tuple[int, ...], committed: int = 3) -> list[int]:
    """Three writers at once, whose statements run in the order `done`, acknowledged in the order of their clients."""
    numbers = [story.invoke(sql, client=f"client-{index}") for index, sql in enumerate(STEPS)]
    for turn, index in enumerate(done):
        story.take_effect(numbers[index])
        if turn < committed:
            story.applied(NOBODY)
    return numbers


@pytest.mark.parametrize("done", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_any_order_of_operations_that_were_under_way_together(story: Any, done: tuple[int, ...]) -> None:
    for number in together(story, done):
        story.end(number)
    story.do("SELECT a FROM t")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("done", [(0, 1), (2, 1), (1, 0)])
def test_lost_operation_is_reported_where_no_order_explains_it(story: Any, done: tuple[int, ...]) -> None:
    numbers = together(story, done)
    (lost,) = set(range(3)) - set(done)
    story.answer(numbers[lost], 0, (), 3, ())
    story.applied(NOBODY)
    for number in numbers:
        story.end(number)
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_stale_read_is_reported_where_no_order_explains_it(story: Any) -> None:
    for number in together(story, (2, 1, 0)):
        story.end(number)
    read = story.invoke("SELECT a FROM t WHERE id = 1")
    story.answer(read, 0, [(10,)])
    story.end(read)
    story.observe()
    assert story.verdict() == ["ISO-1"]


def test_statement_may_commit_after_its_client_gave_up(story: Any) -> None:
    late = story.invoke("UPDATE t SET a = a + 7", client="hasty")
    story.end(late, UNKNOWN)
    number = story.invoke("UPDATE t SET a = a * 2")
    story.take_effect(number)
    story.applied(NOBODY)
    story.system.execute("UPDATE t SET a = a + 7")
    story.applied(NOBODY)
    story.end(number)
    story.do("SELECT a FROM t")
    story.observe()
    assert story.verdict() == []


def test_commit_of_another_instance_is_not_that_of_the_operation(story: Any) -> None:
    number = story.invoke("UPDATE t SET a = 0", instance="instance-2")
    story.applied(NOBODY)
    story.take_effect(number)
    story.end(number)
    assert timeline_of(story.history).attributed


def test_one_commit_of_several_operations(story: Any) -> None:
    numbers = together(story, (2, 1, 0), committed=0)
    story.applied(NOBODY)
    for number in numbers:
        story.end(number)
    story.observe()
    assert story.verdict() == []


def test_one_commit_of_several_operations_in_the_name_of_one(story: Any) -> None:
    numbers = together(story, (2, 1, 0), committed=0)
    story.applied(numbers[1])
    for number in numbers:
        story.end(number)
    story.observe()
    assert story.verdict() == []


def test_operation_that_is_missing_from_a_common_commit(story: Any) -> None:
    numbers = together(story, (2, 1), committed=0)
    story.answer(numbers[0], 0, (), 3, ())
    story.applied(numbers[1])
    for number in numbers:
        story.end(number)
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_refused_statement_may_have_left_a_part(story: Any) -> None:
    sql = "INSERT OR FAIL INTO t VALUES (8, 80), (1, 0), (9, 90)"
    number = story.invoke(sql)
    with pytest.raises(Exception, match="UNIQUE"):
        story.system.execute(sql)
    other = story.invoke("UPDATE t SET a = a + 1", client="bob")
    story.applied(NOBODY)
    story.end(number, FAILED)
    story.take_effect(other)
    story.applied(NOBODY)
    story.end(other)
    story.observe()
    assert story.verdict() == []


def test_nothing_is_reported_where_the_search_is_too_long(story: Any) -> None:
    numbers = [
        story.invoke(f"UPDATE t SET a = (a * 31 + {index}) % 1000003", client=f"client-{index}") for index in range(16)
    ]
    for number in reversed(numbers):
        story.take_effect(number)
        story.applied(NOBODY)
    story.pretend("INSERT INTO t VALUES (50, 1)", applied=False)
    for number in numbers:
        story.end(number)
    story.observe()
    assert OrderSearch(timeline_of(story.history), story.oracle).run() is Explained.UNDECIDED
    assert story.verdict() == []


def test_operation_that_rolls_the_oracle_back_leaves_the_search_undecided(story: Any) -> None:
    number = story.invoke("UPDATE t SET a = 0", "INSERT OR ROLLBACK INTO t VALUES (1, 0)")
    story.end(number, UNKNOWN)
    story.pretend("INSERT INTO t VALUES (50, 1)", applied=False)
    story.observe()
    search = OrderSearch(timeline_of(story.history), story.oracle)
    assert search.run() is Explained.UNDECIDED
    assert OrderSearch(timeline_of(story.history), story.oracle).run() is Explained.UNDECIDED, "and the oracle usable"
