"""MODE-1, MODE-2, MODE-3, ROLE-1 on small histories: what connections may be open, and who may use them."""

from typing import Any

import msgspec
import pytest

from simkit.check.connections import check_connections
from simkit.check.events import InstanceCrashed, OperationInvoked, RunEnded, StatementStarted
from simkit.check.watch import REPORTED_MAX
from simkit.kernel import Record
from simkit.pool.events import LeaseClassified, LeaseConnected, LeaseEnded, LeaseRequested
from simkit.vfs.events import FileClosed, FileOpened, SyncStarted, TransactionBegan

ONE = "instance-1"
READER, WRITER = False, True


def invoked(number: int, task: str) -> Record:
    return OperationInvoked(0, task, number, task.partition(".")[0], ONE, "op", "statement", (("SELECT 1", {}),), False)


def opened(handle: int, writable: bool, instance: str = ONE) -> Record:
    return FileOpened(0, "ann", instance, handle, writable)


def closed(handle: int, instance: str = ONE) -> Record:
    return FileClosed(0, "ann", instance, handle)


def statement(handle: int, operation: int, inside: bool = True, rollback: bool = False) -> Record:
    return StatementStarted(0, "some task", ONE, handle, operation, inside, rollback)


def lease(number: int, operation: int, kind: str, handle: int) -> tuple[Record, Record]:
    return LeaseRequested(0, "", ONE, number, kind, operation), LeaseConnected(0, "", ONE, number, handle)


def ended(number: int) -> Record:
    return LeaseEnded(0, "", ONE, number, "released", "running", 0, 0, 0)


def sync(handle: int, operation: int = 1) -> Record:
    return SyncStarted(0, "ann", ONE, operation, 3, handle)


CRASH = InstanceCrashed(0, "", ONE, "planned")
ANN, BOB = invoked(1, "ann"), invoked(2, "bob")


def found(*events: Record) -> list[str]:
    history = [msgspec.structs.replace(event, at=index) for index, event in enumerate(events)]
    return [violation.invariant for violation in check_connections(history)]


@pytest.mark.parametrize(
    "events",
    [
        [opened(1, READER), opened(2, READER), closed(1), closed(2), opened(3, WRITER), closed(3), opened(4, READER)],
        [opened(1, WRITER), closed(1), opened(2, WRITER)],
        [opened(1, WRITER), opened(1, WRITER, "instance-2"), opened(2, READER, "instance-3")],
        [opened(1, WRITER), CRASH, opened(2, WRITER)],
        [opened(1, WRITER), RunEnded(0, "", "done", ""), opened(2, WRITER)],
    ],
)
def test_readers_and_writers_that_take_turns(events: list[Record]) -> None:
    assert found(*events) == []


@pytest.mark.parametrize(
    "events",
    [
        [opened(1, WRITER), opened(2, WRITER)],
        [opened(1, READER), opened(2, WRITER)],
        [opened(1, WRITER), opened(2, READER)],
        [opened(1, READER), opened(2, READER), closed(1), opened(3, WRITER)],
    ],
)
def test_reader_and_writer_open_together(events: list[Record]) -> None:
    assert found(*events) == ["MODE-1"]


def test_connections_open_together_are_named() -> None:
    (violation,) = check_connections([opened(1, READER), opened(2, READER), opened(3, WRITER)])
    assert violation.sentence == (
        "instance-1 opened a writable connection (handle 3) while handle 1 (read-only), handle 2 (read-only) was open"
    )
    assert violation.tasks == ("ann",)


@pytest.mark.parametrize(
    "events",
    [
        # Its own, and that of an earlier operation of its task.
        [ANN, statement(1, 1, inside=False), statement(1, 1), invoked(3, "ann"), statement(1, 3)],
        # The system's own statements, and its rollback in the place of somebody else.
        [ANN, statement(1, 1, inside=False), statement(1, -1)],
        [ANN, BOB, statement(1, 1, inside=False), statement(1, 2, rollback=True)],
        [BOB, statement(1, -1, inside=False), statement(1, 2)],
        # After it, and on another connection.
        [ANN, BOB, statement(1, 1, inside=False), statement(1, 2, inside=False), statement(1, 2)],
        [ANN, BOB, statement(1, 1, inside=False), statement(2, 2)],
        [ANN, BOB, statement(1, 1, inside=False), closed(1), statement(1, 2)],
        # Nobody invoked it.
        [ANN, statement(1, 1, inside=False), statement(1, 77)],
        [ANN, BOB, statement(1, 1, inside=False), CRASH, statement(1, 2)],
    ],
)
def test_statement_in_a_transaction_that_is_its_own(events: list[Record]) -> None:
    assert found(*events) == []


@pytest.mark.parametrize(
    "events",
    [
        [ANN, BOB, statement(1, 1, inside=False), statement(1, 1), statement(1, 2)],
        # Tasks of one client are different callers.
        [invoked(1, "ann.1"), invoked(2, "ann.2"), statement(1, 1, inside=False), statement(1, 2)],
    ],
)
def test_statement_in_a_transaction_of_somebody_else(events: list[Record]) -> None:
    assert found(*events) == ["MODE-2"]


def test_foreign_statement_names_both_operations() -> None:
    (violation,) = check_connections([ANN, BOB, statement(4, 1, inside=False), statement(4, 2)])
    assert violation.sentence == (
        "a statement of operation 2 (op of bob) ran in the transaction of operation 1 (op of ann), "
        "open on handle 4 of instance-1"
    )
    assert (violation.operations, violation.tasks) == ((2, 1), ("some task", "bob", "ann"))


def test_statement_on_a_connection_that_somebody_else_has_a_lease_of() -> None:
    foreign = statement(5, 2, inside=False)
    assert found(ANN, BOB, *lease(7, 1, "write", 5), foreign) == ["MODE-2"]
    assert found(ANN, BOB, *lease(7, 1, "write", 5), ended(7), foreign) == []
    assert found(ANN, BOB, *lease(7, 2, "write", 5), foreign) == []
    assert found(ANN, BOB, *lease(7, -1, "write", 5), foreign) == []


@pytest.mark.parametrize("use", [statement(1, 1, inside=False), TransactionBegan(0, "ann", ONE, 1, 1, 0)])
def test_reader_from_before_a_write_mode(use: Any) -> None:
    before = [ANN, opened(1, READER), opened(2, WRITER), closed(2)]
    assert found(*before, use, use) == ["MODE-1", "MODE-3"]
    assert found(ANN, opened(1, READER), closed(1), opened(2, WRITER), closed(2), opened(3, READER)) == []
    assert found(ANN, opened(1, READER), use) == []


def test_writer_from_before_another_writer_is_no_stale_reader() -> None:
    history = [ANN, opened(1, WRITER), opened(2, WRITER), statement(1, 1, inside=False)]
    assert found(*history) == ["MODE-1"]


@pytest.mark.parametrize(
    ("events", "fires"),
    [
        ([opened(1, READER), sync(1)], True),
        ([opened(1, WRITER), sync(1)], False),
        ([opened(1, READER), sync(0)], False),
        ([opened(1, READER), CRASH, sync(1)], False),
        ([opened(1, WRITER), *lease(7, 1, "read", 1), sync(1)], True),
        ([opened(1, WRITER), *lease(7, 1, "unknown", 1), sync(1)], True),
        ([opened(1, WRITER), *lease(7, 1, "write", 1), sync(1)], False),
        ([opened(1, WRITER), *lease(7, 1, "read", 1), ended(7), sync(1)], False),
        (
            [*lease(7, 1, "unknown", 1), LeaseClassified(0, "", ONE, 7, "write"), *lease(8, 1, "write", 1), sync(1)],
            False,
        ),
    ],
)
def test_pages_that_reach_storage_through_a_reader(events: list[Record], fires: bool) -> None:
    assert found(ANN, *events) == (["ROLE-1"] if fires else [])


def test_only_the_first_findings_of_a_run_are_kept() -> None:
    many = [opened(handle, WRITER) for handle in range(1, 30)]
    violations = check_connections(many)
    assert len(violations) == REPORTED_MAX
    assert violations[-1].details == ("and 18 more of check connections",)
