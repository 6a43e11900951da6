"""CLOSE-1 and CLOSE-2 on small histories: what a close promises, and what comes in behind it."""

import msgspec
import pytest

from simkit.check.closing import check_closing
from simkit.check.events import (
    FAILED,
    OK,
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    InstanceOpened,
    NativeCloseFinished,
    NativeCloseStarted,
    OperationEnded,
    OperationInvoked,
    RunEnded,
    StatementStarted,
)
from simkit.check.registration import check_registration
from simkit.kernel import Record
from simkit.pool.events import CloseGaveUp, LeaseClassified, LeaseEnded, LeaseGranted, LeaseRequested, ModeChanged
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, VfsRegistered, VfsUnregistered

ONE = "instance-1"


def called(task: str = "ann") -> Record:
    return CloseInvoked(0, task, ONE)


def returned(task: str = "ann", error: str = "") -> Record:
    return CloseReturned(0, task, ONE, error)


def invoked(number: int = 1) -> Record:
    return OperationInvoked(0, "bob", number, "bob", ONE, "op", "statement", (), False)


def ended(number: int = 1, outcome: str = OK) -> Record:
    return OperationEnded(0, "bob", number, outcome, "")


def statement(operation: int = 1, rollback: bool = False) -> Record:
    return StatementStarted(0, "bob", ONE, 1, operation, False, rollback)


def registered(name: str = ONE) -> Record:
    return VfsRegistered(0, "", name)


def unregistered(name: str = ONE) -> Record:
    return VfsUnregistered(0, "", name)


def crash(name: str = ONE) -> Record:
    return InstanceCrashed(0, "", name, "it could not open the database: disk I/O error")


OPENED = FileOpened(0, "ann", ONE, 1, True)
CLOSED = FileClosed(0, "ann", ONE, 1)
STARTED = NativeCloseStarted(0, "ann", ONE)
FINISHED = NativeCloseFinished(0, "ann", ONE)
GAVE_UP = CloseGaveUp(0, "ann", ONE, (1,))
ASKED = LeaseRequested(0, "", ONE, 1, "read", 1)
GRANTED = LeaseGranted(0, "", ONE, 1, 0, 0, 0)
LEASE_ENDED = LeaseEnded(0, "", ONE, 1, "released", "running", 0, 0, 0)
CLOSING = ModeChanged(0, "", ONE, "read", "closing", "")
NATIVE = [STARTED, unregistered(), FINISHED]
UP = [registered(), InstanceOpened(0, "", ONE, 1), OPENED]


def found(*events: Record) -> list[str]:
    history = [msgspec.structs.replace(event, at=index) for index, event in enumerate(events)]
    return [violation.invariant for violation in (*check_closing(history), *check_registration(history))]


@pytest.mark.parametrize(
    "events",
    [
        [*UP, called(), CLOSED, *NATIVE, returned()],
        [*UP, called(), called("bob"), CLOSED, *NATIVE, returned("bob"), returned()],
        # Cancelled halfway; the next close completes it.
        [*UP, called(), CLOSED, STARTED, returned(error="Cancelled: "), called(), *NATIVE[1:], returned()],
        # A system that leaves the native close to others, and one whose end nobody sees.
        [*UP, called(), CLOSED, returned()],
        [*UP, called()],
        [*UP, called(), crash(), returned()],
        [*UP, called(), GAVE_UP, *NATIVE, returned()],
        # What was under way has ended, or was given up.
        [*UP, ASKED, GRANTED, called(), LEASE_ENDED, CLOSED, *NATIVE, returned()],
        [*UP, TransactionBegan(0, "bob", ONE, 1, 1, 0), called(), CLOSED, *NATIVE, returned()],
        [*UP, ASKED, GRANTED, called(), GAVE_UP, CLOSED, *NATIVE, returned()],
        [*UP, ASKED, GRANTED, LeaseClassified(0, "", ONE, 1, "write"), called(), CLOSED, *NATIVE, returned()],
    ],
)
def test_close_that_returned_when_all_was_done(events: list[Record]) -> None:
    assert found(*events) == []


@pytest.mark.parametrize(
    "events",
    [
        [*UP, called(), returned(), CLOSED],
        [*UP, called(), CLOSED, STARTED, called("bob"), returned("bob"), *NATIVE[1:], returned()],
        [*UP, called(), CLOSED, returned(), *NATIVE],
        [*UP, called(), CLOSED, *NATIVE, STARTED, returned()],
        # The native close does not wait for what is under way.
        [*UP, ASKED, GRANTED, called(), CLOSED, *NATIVE, returned()],
        [*UP, TransactionBegan(0, "bob", ONE, 1, 1, 0), called(), STARTED, CLOSED, *NATIVE[1:], returned()],
        # Nor for connections that nobody closed: whoever frees the rest of the instance closes them, later.
        [*UP, called(), STARTED, CLOSED, *NATIVE[1:], returned()],
    ],
)
def test_close_that_returned_too_early_or_happened_twice(events: list[Record]) -> None:
    assert found(*events) == ["CLOSE-1"]


def test_open_handles_are_named() -> None:
    (violation,) = check_closing([*UP, called(), returned()])
    assert violation.sentence == "close() of instance-1 returned to ann while handle(s) 1 were open"
    assert violation.tasks == ("ann",)


@pytest.mark.parametrize(
    ("events", "sentence", "tasks"),
    [
        (
            [*UP, called(), called("bob"), CLOSED, STARTED, returned("bob"), *NATIVE[1:], returned()],
            "close() of instance-1 returned to bob before the native close finished",
            ("bob", "ann"),
        ),
        (
            [*UP, called(), called("bob"), returned("bob"), CLOSED, *NATIVE, returned()],
            "close() of instance-1 returned to bob while handle(s) 1 were open",
            ("bob", "ann"),
        ),
        (
            [*UP, called(), called("bob"), CLOSED, returned("bob"), *NATIVE, returned()],
            "close() of instance-1 had returned to bob when the native close began",
            ("bob", "ann"),
        ),
    ],
)
def test_closes_that_are_still_under_way_are_named(events: list[Record], sentence: str, tasks: tuple[str, ...]) -> None:
    violation = check_closing(events)[0]
    assert violation.sentence == f"{sentence}; still under way: the close() of ann"
    assert violation.tasks == tasks


def test_close_that_is_over_is_not_named() -> None:
    early = [called("bob"), called("cid"), returned("cid", "TimedOut: "), STARTED, returned("bob")]
    violation = check_closing([*UP, called(), *early, returned(), CLOSED])[-1]
    assert violation.sentence.startswith("close() of instance-1 returned to ann before the native close finished")
    assert violation.tasks == ("ann",)


OVER = [*UP, called(), CLOSED, *NATIVE, returned()]


@pytest.mark.parametrize(
    "events",
    [
        [*UP, invoked(), called(), ended(), CLOSED, *NATIVE, returned()],
        [*OVER, invoked(), ended(outcome=FAILED)],
        [*UP, called(), invoked(), returned(error="IOError: disk"), ended(), called(), CLOSED, *NATIVE, returned()],
        [*UP, called(), returned(error="Cancelled: "), invoked(), ended()],
        [*OVER, statement(-1)],
        [*OVER, invoked(), statement(rollback=True)],
        [*UP, called(), invoked(), GAVE_UP, STARTED, statement()],
        [*UP, ASKED, CLOSING, GRANTED],
    ],
)
def test_work_that_was_let_in_before_the_close_or_refused(events: list[Record]) -> None:
    assert found(*events) == []


@pytest.mark.parametrize(
    "events",
    [
        [*UP, called(), invoked(), ended(), CLOSED, *NATIVE, returned()],
        [*OVER, invoked(), ended()],
        [*OVER, OPENED],
        [*UP, CLOSED, STARTED, OPENED],
        [*UP, invoked(), called(), CLOSED, STARTED, statement()],
        [*OVER, GRANTED],
        [*UP, CLOSING, ASKED, GRANTED],
    ],
)
def test_work_that_was_let_in_behind_the_close(events: list[Record]) -> None:
    assert found(*events) == ["CLOSE-2"]


def test_late_operation_is_named() -> None:
    (violation,) = check_closing([*UP, called(), invoked(), ended()])
    assert violation.sentence == (
        "operation 1 (op of bob) was invoked after ann had called close() of instance-1, and was acknowledged"
    )
    assert (violation.operations, violation.tasks) == ((1,), ("bob",))


@pytest.mark.parametrize(
    "events",
    [
        [*UP, called(), CLOSED, STARTED, FINISHED, returned()],
        [*UP, unregistered()],
        # The opening failed, and the next instance registers beside what is left of it.
        [registered(), crash(), registered("instance-2")],
    ],
)
def test_vfs_that_is_registered_too_long_or_not_long_enough(events: list[Record]) -> None:
    assert found(*events) == ["CLOSE-2"]


@pytest.mark.parametrize(
    "events",
    [
        [registered(), crash(), unregistered(), registered("instance-2")],
        [*UP, crash(), registered("instance-2"), unregistered()],
        [*UP, registered("instance-2"), crash()],
        [*UP, called(), CLOSED, RunEnded(0, "", "bound", ""), unregistered()],
    ],
)
def test_vfs_that_is_unregistered_in_time(events: list[Record]) -> None:
    assert found(*events) == []
