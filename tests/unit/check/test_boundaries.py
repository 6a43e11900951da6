"""Faults tell what became of the commits that they let fail: absent, there, or as unknown as ever."""

from __future__ import annotations

from typing import Any

import pytest

from simkit.check.events import UNKNOWN, StatementStarted
from simkit.depot.events import FaultFired, NetworkDisturbed
from simkit.depot.fault_points import Boundary, FaultPoint

WRITE = "UPDATE t SET a = 99 WHERE id = 1"
PRE, POST = "commit.before_head_write", "commit.after_compaction_signal"
AMBIGUOUS = "commit.after_kv_commit"


def fail(story: Any, request: int, point: str, action: str = "fail") -> None:
    story.add(FaultFired, "instance-1", request, 0, point, action)


def failed_write(story: Any, point: str, takes_effect: bool, applied: bool, action: str = "fail") -> int:
    """A write whose commit fails at a point; its client is told nothing certain."""
    number: int = story.invoke(WRITE)
    if takes_effect:
        story.take_effect(number)
    else:
        story.answer(number, 0, (), 1, ())
    request = story.request(number)
    if applied:
        story.applied(number, request)
    fail(story, request, point, action)
    story.end(number, UNKNOWN)
    return number


@pytest.mark.parametrize(
    ("point", "takes_effect", "applied"),
    [(PRE, False, False), (AMBIGUOUS, True, True), (AMBIGUOUS, False, False), (POST, True, True)],
)
def test_silent_when_the_state_is_what_the_boundary_says(
    story: Any, point: str, takes_effect: bool, applied: bool
) -> None:
    failed_write(story, point, takes_effect, applied)
    story.observe()
    story.do("UPDATE t SET a = a + 1 WHERE id = 1")
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("applied", [False, True])
def test_commit_that_failed_before_it_was_durable_and_is_there_is_found(story: Any, applied: bool) -> None:
    failed_write(story, PRE, takes_effect=True, applied=applied)
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "DUR-2"
    assert "failed before it was durable" in violation.sentence


@pytest.mark.parametrize("applied", [False, True])
def test_commit_that_failed_after_it_was_durable_and_is_gone_is_found(story: Any, applied: bool) -> None:
    failed_write(story, POST, takes_effect=False, applied=applied)
    story.observe()
    (violation,) = story.judge()
    assert violation.invariant == "DUR-1"
    assert "failed after it was durable" in violation.sentence


def test_acknowledged_commit_that_is_lost_beside_one_that_certainly_failed_is_a_loss(story: Any) -> None:
    failed_write(story, PRE, takes_effect=False, applied=False)
    story.pretend("UPDATE t SET a = 5 WHERE id = 2")
    story.observe()
    assert story.verdict() == ["DUR-1"]


def test_commit_that_sqlite_sends_to_roll_back_changes_nothing(story: Any) -> None:
    number = story.invoke(WRITE)
    story.answer(number, 0, (), 1, ())
    request = story.request(number)
    fail(story, request, PRE)
    story.applied(number)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == []


def test_commit_that_sqlite_sends_to_roll_back_does_not_excuse_a_commit_that_is_there(story: Any) -> None:
    number = story.invoke(WRITE)
    story.take_effect(number)
    request = story.request(number)
    fail(story, request, PRE)
    story.applied(number)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == ["DUR-2"]


@pytest.mark.parametrize("takes_effect", [False, True])
def test_system_that_tries_again_may_have_succeeded(story: Any, takes_effect: bool) -> None:
    number = story.invoke(WRITE)
    if takes_effect:
        story.take_effect(number)
    request = story.request(number)
    fail(story, request, PRE)
    story.add(StatementStarted, "instance-1", 1, number, False, False)
    story.applied(number)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("takes_effect", [False, True])
def test_nothing_is_certain_of_a_commit_that_the_network_doubled(story: Any, takes_effect: bool) -> None:
    number = story.invoke(WRITE)
    if takes_effect:
        story.take_effect(number)
    request = story.request(number)
    story.add(NetworkDisturbed, "instance-1", request, "request", "duplicated")
    fail(story, request, PRE)
    if takes_effect:
        story.applied(number, request)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == []


@pytest.mark.parametrize("takes_effect", [False, True])
def test_commit_that_was_only_delayed_is_as_unknown_as_any(story: Any, takes_effect: bool) -> None:
    failed_write(story, PRE, takes_effect, takes_effect, action="delay")
    story.observe()
    assert story.verdict() == []


def test_answers_of_an_operation_that_certainly_failed_are_judged(story: Any) -> None:
    number = story.invoke("SELECT a FROM t WHERE id = 1", WRITE)
    story.answer(number, 0, ((11,),))
    story.answer(number, 1, (), 1, ())
    fail(story, story.request(number), PRE)
    story.end(number, UNKNOWN)
    story.observe()
    assert story.verdict() == ["ISO-2"]


def test_every_commit_point_has_a_boundary_that_is_known() -> None:
    boundaries = {point.boundary for point in FaultPoint if point.group == "commit"}
    assert boundaries == {Boundary.PRE_DURABLE, Boundary.AMBIGUOUS, Boundary.POST_DURABLE}
