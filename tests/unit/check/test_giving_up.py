"""PROG-3: an instance gives its database up only when a fence told it to."""

import pytest

from simkit.check.events import CloseInvoked, InstanceCrashed, InstanceOpened
from simkit.check.giving_up import LOST, GivingUp
from simkit.check.watch import follow
from simkit.depot.events import RequestFailed
from simkit.kernel import Record
from simkit.pool.events import CloseGaveUp
from simkit.vfs.events import InstanceDied

NAME = "instance-1"
OPENED = InstanceOpened(0, "", NAME, 1)


def failed(code: str) -> RequestFailed:
    return RequestFailed(1, "client", NAME, 1, 1, "get_pages", code, "it failed")


def found(*events: Record) -> list[str]:
    return [violation.invariant for violation in follow([OPENED, *events], GivingUp())]


@pytest.mark.parametrize("end", [InstanceCrashed(2, "", NAME, LOST), InstanceDied(2, "", NAME, "injected_fault")])
def test_an_instance_that_ends_after_a_failed_read_is_reported(end: Record) -> None:
    assert found(failed("injected_fault"), end) == ["PROG-3"]


@pytest.mark.parametrize("code", ["fence_mismatch", "head_fence_mismatch", "branch_not_writable"])
def test_an_instance_that_a_fence_ended_is_not(code: str) -> None:
    assert found(failed(code), InstanceDied(2, "", NAME, code), InstanceCrashed(3, "", NAME, LOST)) == []


def test_an_instance_is_reported_once() -> None:
    assert found(InstanceDied(2, "", NAME, "kv_error"), InstanceCrashed(3, "", NAME, LOST)) == ["PROG-3"]


@pytest.mark.parametrize("reason", [CloseInvoked(1, "client", NAME), CloseGaveUp(1, "client", NAME, ())])
def test_an_instance_that_is_being_closed_may_end(reason: Record) -> None:
    assert found(reason, InstanceCrashed(2, "", NAME, LOST)) == []


@pytest.mark.parametrize("cause", ["planned", "fault", "it could not close the database: IOError"])
def test_crashes_are_no_giving_up(cause: str) -> None:
    assert found(InstanceCrashed(2, "", NAME, cause)) == []
