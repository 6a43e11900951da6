"""PROG-2 and PROG-3: how the end of a run is told, and what may take how long within it."""

import msgspec
import pytest

from simkit.check.events import (
    OK,
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    OperationEnded,
    OperationInvoked,
    RunEnded,
    StillWaiting,
)
from simkit.check.progress import check_bounds, check_progress
from simkit.depot.events import CommitAcknowledged, FaultFired, InstanceAllocated
from simkit.kernel import Record
from simkit.pool.events import CloseGaveUp, ModeChanged, TransactionRolledBack

ONE = "instance-1"
BOUND_NS = 10
INVOKED = OperationInvoked(0, "ann", 1, "ann", ONE, "op", "statement", (), False)
ENDED = OperationEnded(0, "ann", 1, OK, "")
CALLED = CloseInvoked(0, "bob", ONE)
RETURNED = CloseReturned(0, "bob", ONE, "")
CRASH = InstanceCrashed(0, "", ONE, "planned")
DONE = RunEnded(0, "", "done", "")
TELLS = ModeChanged(0, "", ONE, "closed", "read", "")
LATE_NS = BOUND_NS + 1

WITHIN = "the run did not end within 1ns of simulated time"


@pytest.mark.parametrize(
    ("detail", "waiting", "sentence"),
    [
        (
            f"{WITHIN}: nothing can run at 0ns and 1 task(s) still wait:",
            ["one"],
            f"{WITHIN}; 1 task(s) still wait: one",
        ),
        (WITHIN, [], WITHIN),
        ("", [], "the run did not end within its bounds"),
    ],
)
def test_bound_is_told_in_one_sentence(detail: str, waiting: list[str], sentence: str) -> None:
    still = [StillWaiting(1, "", name, "sleep", "clock", (), 0) for name in waiting]
    (violation,) = check_progress([*still, RunEnded(1, "", "bound", detail)])
    assert (violation.invariant, violation.sentence) == ("PROG-3", sentence)


def fault(action: str, request: int = 9, task: str = "ann") -> Record:
    return FaultFired(0, task, ONE, request, 0, "commit.before_head_write", action)


def late(*events: Record | int) -> list[str]:
    """Numbers are pauses; without one everything happens at once."""
    now, history = 0, []
    for event in events:
        if isinstance(event, int):
            now += event
        else:
            history.append(msgspec.structs.replace(event, at=now))
    violations = check_bounds(history, BOUND_NS)
    assert all(violation.invariant == "PROG-3" for violation in violations)
    return [violation.sentence for violation in violations]


@pytest.mark.parametrize(
    "events",
    [
        [INVOKED, BOUND_NS, ENDED, DONE],
        [CALLED, BOUND_NS, RETURNED, DONE],
        [INVOKED, BOUND_NS, DONE],
        [INVOKED, LATE_NS, RunEnded(0, "", "bound", "")],
        # The bound counts from the last disturbance before the end.
        *(
            [INVOKED, BOUND_NS, disturbance, BOUND_NS, ENDED, CALLED, BOUND_NS, disturbance, BOUND_NS, RETURNED, DONE]
            for disturbance in (
                fault("fail"),
                CRASH,
                InstanceAllocated(0, "", 2),
                CloseGaveUp(0, "", ONE, ()),
                TransactionRolledBack(0, "", ONE, 1, "deadline"),
            )
        ),
        # A request that is held up lets its whole world wait.
        [INVOKED, fault("pause", task="eve"), 5 * BOUND_NS, ENDED, DONE],
        [INVOKED, fault("delay"), 5 * BOUND_NS, CommitAcknowledged(0, "ann", ONE, 1, 9, 3), BOUND_NS, ENDED, DONE],
        # A close that the crash of its instance cut off.
        [CALLED, CRASH, LATE_NS, DONE],
    ],
)
def test_what_ends_in_time(events: list[Record | int]) -> None:
    assert late(*events) == []


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([INVOKED, LATE_NS, ENDED, DONE], "operation 1 (op of ann) did not end"),
        ([INVOKED, LATE_NS, DONE], "operation 1 (op of ann) has not ended"),
        ([CALLED, LATE_NS, RETURNED, DONE], "close() of instance-1, called by bob, did not return"),
        ([CALLED, LATE_NS, DONE], "close() of instance-1, called by bob, has not returned"),
        ([fault("fail"), INVOKED, LATE_NS, ENDED, DONE], "operation 1 (op of ann) did not end"),
        (
            [INVOKED, TransactionRolledBack(0, "", ONE, 1, "close"), LATE_NS, ENDED, DONE],
            "operation 1 (op of ann) did not end",
        ),
        # The request is answered, or its task is seen elsewhere.
        (
            [INVOKED, fault("delay"), CommitAcknowledged(0, "ann", ONE, 1, 9, 3), LATE_NS, ENDED, DONE],
            "operation 1 (op of ann) did not end",
        ),
        (
            [INVOKED, fault("pause", task="bob"), CALLED, RETURNED, LATE_NS, ENDED, DONE],
            "operation 1 (op of ann) did not end",
        ),
        # The close of a system that tells of its modes has a deadline of its own.
        (
            [TELLS, CALLED, fault("pause"), LATE_NS, RETURNED, DONE],
            "close() of instance-1, called by bob, did not return",
        ),
    ],
)
def test_what_takes_too_long(events: list[Record | int], what: str) -> None:
    (sentence,) = late(*events)
    assert sentence == f"{what} within 10ns: it took 11ns since it began or was last disturbed"
