"""Promises on histories written by hand: what was asked for beside what was done."""

from __future__ import annotations

from typing import Any

import pytest

from simkit.check.events import DepotSwept
from simkit.check.promises import Promises
from simkit.check.watch import follow
from simkit.depot.core import EPOCH_MS
from simkit.depot.events import (
    CommitAcknowledged,
    CommitApplied,
    CommitRequested,
    ControlReceived,
    DatabaseForked,
    DatabaseRolledBack,
    RestorePointDeleted,
    RestorePointMade,
)
from simkit.kernel import Record
from simkit.kernel.units import MILLISECOND

ASKED = 100


def commit(txid: int, *, acknowledged: bool = True) -> list[Record]:
    """Sent, durable and acknowledged in millisecond `txid`."""
    at = txid * MILLISECOND
    told: list[Record] = [
        CommitRequested(at, "ann", "i", 1, txid, (1,), 1, txid - 1),
        CommitApplied(at, "ann", "i", 1, txid, txid, 1),
        CommitAcknowledged(at, "ann", "i", 1, txid, txid),
    ]
    return told if acknowledged else told[:2]


def commits(count: int) -> list[Record]:
    return [event for txid in range(1, count + 1) for event in commit(txid)]


def asked(target: str = "latest", command: str = "fork", **changes: Any) -> Record:
    return ControlReceived(20 * MILLISECOND, "operator", "operator", ASKED, "main", command, target, **changes)


def fork(txid: int) -> Record:
    return DatabaseForked(21 * MILLISECOND, "operator", "copy", 2, 1, txid, ASKED)


def point(txid: int, name: str = "a", request: int = -1) -> Record:
    return RestorePointMade(20 * MILLISECOND, "operator", "main", name, 1, txid, request)


def swept(*kept: str) -> Record:
    return DepotSwept(22 * MILLISECOND, "", "end", False, (), (), kept)


def found(*events: Record) -> list[str]:
    return [violation.invariant for violation in follow(list(events), Promises())]


def test_latest_is_what_was_acknowledged_before_or_newer() -> None:
    history = [*commits(2), asked(), *commit(3)]
    assert found(*history, fork(2)) == found(*history, fork(3)) == []
    assert found(*history, fork(1)) == ["DUR-1"]


def test_latest_that_was_never_durable_is_reported() -> None:
    assert found(*commits(2), asked(), fork(3)) == ["DUR-1"]


def test_commit_that_nobody_heard_of_may_be_left_out() -> None:
    assert found(*commits(2), *commit(3, acknowledged=False), asked(), fork(2)) == []


@pytest.mark.parametrize(("txid", "expected"), [(1, []), (3, ["DEPOT-13"])])
def test_restore_point_means_its_commit(txid: int, expected: list[str]) -> None:
    assert found(*commits(3), point(1), asked("restore_point", restore_point="a"), fork(txid)) == expected


@pytest.mark.parametrize(("txid", "expected"), [(2, []), (3, ["DEPOT-13"])])
def test_commit_of_a_time_was_sent_by_then(txid: int, expected: list[str]) -> None:
    assert found(*commits(3), asked("time", ms=EPOCH_MS + 2), fork(txid)) == expected


def test_commit_of_a_time_is_the_newest_that_an_interval_kept_all_along() -> None:
    interval = "1:2:interval 2"
    late = [asked("time", ms=EPOCH_MS + 2), fork(1)]
    assert found(*commits(3), swept(interval), *late, swept(interval)) == ["DEPOT-13"]
    assert found(*commits(3), swept(interval), *late, swept("1:3:head")) == []


@pytest.mark.parametrize(("undo", "kept", "expected"), [("a", 3, []), ("a", 2, ["DEPOT-13"]), ("", 3, ["DEPOT-13"])])
def test_rollback_leaves_a_restore_point_of_the_head_it_left(undo: str, kept: int, expected: list[str]) -> None:
    back = DatabaseRolledBack(21 * MILLISECOND, "operator", "main", 2, 1, 3, 1, undo, ASKED)
    assert found(*commits(3), asked(command="rollback", keep_undo=True), point(kept, "a", ASKED), back) == expected


def test_restore_point_is_kept_until_it_is_deleted() -> None:
    history = [*commits(3), point(1), swept("1:3:head", "1:1:restore_point a")]
    assert found(*history) == []
    assert found(*history, swept("1:3:head"), swept("1:3:head")) == ["DEPOT-13"]
    deleted = RestorePointDeleted(22 * MILLISECOND, "operator", "main", "a", 1)
    assert found(*history, deleted, swept("1:3:head")) == []
