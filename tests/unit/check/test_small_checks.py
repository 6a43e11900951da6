"""DUR-3, PROG-2, PROG-3, and what the judge does with its choice of invariants."""

from typing import Any

import pytest

from simkit.check.acknowledgement import check_acknowledgement
from simkit.check.dump import differences, encode_state, render_value
from simkit.check.events import RunEnded, StillWaiting
from simkit.check.judge import judge
from simkit.check.progress import check_progress
from simkit.depot.events import CommitAcknowledged
from simkit.kernel import Record
from simkit.vfs.events import SyncReturned, SyncStarted

STARTED = SyncStarted(1, "ann", "instance-1", 7, 2)
RETURNED = SyncReturned(9, "ann", "instance-1", 7)


def acknowledged(task: str = "ann", instance: str = "instance-1") -> Record:
    return CommitAcknowledged(5, task, instance, 7, 1, 3)


@pytest.mark.parametrize(
    "history",
    [
        [STARTED, acknowledged(), RETURNED],
        [STARTED],
        [STARTED, STARTED, acknowledged(), RETURNED],
        [RETURNED],
        [STARTED, acknowledged(), RETURNED, STARTED],
    ],
)
def test_sync_that_waited_or_failed_is_fine(history: list[Record]) -> None:
    assert check_acknowledgement(history) == []


@pytest.mark.parametrize(
    "history",
    [
        [STARTED, RETURNED],
        [acknowledged(), STARTED, RETURNED],
        [STARTED, RETURNED, acknowledged()],
        [STARTED, acknowledged("bob"), RETURNED],
        [STARTED, acknowledged("ann", "instance-2"), RETURNED],
        [STARTED, acknowledged(), RETURNED, STARTED, RETURNED],
    ],
)
def test_sync_that_returned_too_early(history: list[Record]) -> None:
    (violation,) = check_acknowledgement(history)
    assert (violation.invariant, violation.operations, violation.at) == ("DUR-3", (7,), 9)


def test_sync_for_no_operation_names_none() -> None:
    (violation,) = check_acknowledgement(
        [SyncStarted(1, "x", "instance-1", -1, 2), SyncReturned(9, "x", "instance-1", -1)]
    )
    assert violation.operations == ()


WAITING = StillWaiting(5, "", "ann", "acquire", "connection", ("bob",), 3)


def test_run_that_is_done_is_fine() -> None:
    assert check_progress([RunEnded(9, "", "done", "")]) == []
    assert check_progress([]) == []


def test_deadlock_names_who_waits_for_what() -> None:
    (violation,) = check_progress([WAITING, RunEnded(9, "", "deadlock", "")])
    assert (violation.invariant, violation.tasks) == ("PROG-2", ("ann",))
    assert violation.details == ("ann waits to acquire connection, held by bob, since 3ns",)


def test_run_at_its_bound() -> None:
    (violation,) = check_progress([WAITING, RunEnded(9, "", "bound", "200000 steps")])
    assert violation.invariant == "PROG-3"
    assert "200000 steps" in violation.sentence


def test_only_chosen_invariants_are_judged(story: Any) -> None:
    story.pretend("DELETE FROM t")
    story.observe()
    before = story.oracle.statements_run
    assert judge([*story.history, STARTED, RETURNED], ["PROG-2"], story.oracle) == []
    assert story.oracle.statements_run == before
    chosen = judge([STARTED, RETURNED, *story.history], ["DUR-1", "DUR-3"], story.oracle)
    assert [violation.invariant for violation in chosen] == ["DUR-1", "DUR-3"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (2**63 - 1, "integer:9223372036854775807"),
        (-0.0, "float:8000000000000000"),
        ("a|b\n\\", "text:a\\|b\\n\\\\"),
        (b"\0\xff", "blob:00FF"),
    ],
)
def test_values_are_rendered_with_their_type(value: Any, text: str) -> None:
    assert render_value(value) == text


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (1, 1.0), ("a", b"a"), (None, ""), ("", b"")])
def test_states_differ_in_every_bit(one: Any, other: Any) -> None:
    assert encode_state((("t", "", ((one,),)),)) != encode_state((("t", "", ((other,),)),))


def test_differences_are_counted_and_cut() -> None:
    expected = (("t", "", tuple((n,) for n in range(20))),)
    found = (("t", "", ((0,), (0,))),)
    lines = differences(expected, found)
    assert lines[:2] == ["- t|integer:1", "- t|integer:2"]
    assert lines[-1] == "... and 14 more"
    assert differences(found, found) == []
