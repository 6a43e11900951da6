"""Closing: what is recorded around it, who joins whom, what replaces a closed instance, and what cuts one off."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.check.events import (
    CloseInvoked,
    CloseReturned,
    InstanceClosed,
    InstanceCrashed,
    InstanceOpened,
    MetricsRead,
    NativeCloseFinished,
    NativeCloseStarted,
    OperationEnded,
    RunEnded,
    StateObserved,
)
from simkit.depot.events import FaultFired
from simkit.kernel import TaskFailed
from simkit.pool.events import CloseGaveUp
from simkit.pool.settings import PoolSettings
from simkit.pool.single import SingleConnection
from simkit.pool.worker import SingleWorker
from simkit.scenario.parts import Parts
from simkit.scenario.plan import ClientPlan, Close, PlannedCrash, PlannedFault, Sleep, Statement
from simkit.vfs.events import VfsRegistered, VfsUnregistered

MS = 1_000_000
Tell = Callable[..., Any]

QUIET = """\
clients: [{name: one, script: [{sql: SELECT 1}]}]
latency: instant
instances: {restart_after: 10ms, close_takes: 3ms}
"""
CLOSE = Close()
COUNT = Statement(operation="count", sql="SELECT count(*) FROM t")


def insert(value: int, **more: Any) -> Statement:
    return Statement(operation="insert", sql="INSERT INTO t VALUES(:a, :a)", params={"a": value}, **more)


def clients(*steps: tuple[Any, ...]) -> tuple[ClientPlan, ...]:
    return tuple(ClientPlan(name=f"client-{number}", steps=mine) for number, mine in enumerate(steps, 1))


def outcomes(told: Any) -> list[str]:
    return [event.outcome for event in told.all(OperationEnded)]


@pytest.mark.parametrize("system", [SingleConnection, SingleWorker])
def test_close_stands_between_its_events_and_a_new_instance_follows(story: Tell, system: Any) -> None:
    told = story(QUIET, parts=Parts(system), clients=clients((insert(1), CLOSE, COUNT)))
    kinds = (CloseInvoked, NativeCloseStarted, VfsUnregistered, NativeCloseFinished, CloseReturned, InstanceClosed)
    assert told.kinds(*kinds)[:6] == [kind.__name__ for kind in kinds]
    returned, opened = told.all(CloseReturned)[0], told.all(InstanceOpened)
    assert (returned.task, returned.error, returned.at) == ("client-1", "", 3 * MS)
    assert [(event.instance, event.at) for event in opened] == [("instance-2", 0), ("instance-3", 13 * MS)]
    assert outcomes(told) == ["ok", "ok"]
    assert told.run.violations == []


def test_end_of_a_run_closes_like_a_client(story: Tell) -> None:
    told = story(QUIET)
    assert [event.task for event in (*told.all(CloseInvoked), *told.all(CloseReturned))] == ["director"] * 2
    assert told.kinds(NativeCloseFinished, CloseReturned, RunEnded)[-3:] == [
        "NativeCloseFinished", "CloseReturned", "RunEnded",
    ]  # fmt: skip


def test_metrics_are_read_when_the_close_has_returned(story: Tell) -> None:
    told = story(QUIET, parts=Parts(SingleWorker), clients=clients((CLOSE,), (CLOSE,)))
    names = told.kinds(CloseReturned, MetricsRead)
    assert names[:3] == ["CloseReturned", "MetricsRead", "CloseReturned"]
    assert any(name.startswith("sqlite_read_pool_") for name, _ in told.all(MetricsRead)[0].samples)


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("system", [SingleConnection, SingleWorker])
def test_closes_at_once_return_after_one_native_close(story: Tell, system: Any, seed: int, order: str) -> None:
    steps = [(insert(number), CLOSE, COUNT) for number in range(3)]
    told = story(QUIET + f"strategy: {{order: {order}}}\n", seed, Parts(system), clients=clients(*steps))
    for opened in told.all(InstanceOpened):
        events = [event for event in told.run.history if getattr(event, "instance", "") == opened.instance]
        finished = [index for index, event in enumerate(events) if type(event) is NativeCloseFinished]
        returned = [index for index, event in enumerate(events) if type(event) is CloseReturned]
        assert len(finished) == 1
        assert finished[0] < returned[0]
    assert told.all(RunEnded)[0].reason == "done"
    assert told.run.violations == []


def test_work_that_comes_while_it_closes_is_refused(story: Tell) -> None:
    told = story(QUIET, parts=Parts(SingleWorker), clients=clients((CLOSE,), (Sleep(duration_ns=1 * MS), COUNT, COUNT)))
    assert [event.error.partition(":")[0] for event in told.all(OperationEnded)] == ["DatabaseClosed"] * 2
    assert outcomes(told) == ["failed"] * 2
    assert told.run.violations == []


class SlowToClose(SingleConnection):
    def close(self) -> None:
        self._kernel.sleep(20 * MS)
        super().close()


def test_close_that_is_cancelled_is_tried_again_at_once(story: Tell) -> None:
    told = story(QUIET, parts=Parts(SlowToClose), clients=clients((Close(timeout_ns=5 * MS), COUNT)))
    first, second = told.all(CloseReturned)[:2]
    assert (first.error, first.at) == ("TimedOut: client-1: not done within 5ms", 5 * MS)
    assert (second.error, second.at) == ("", 28 * MS)
    assert [event.at for event in told.all(CloseInvoked)][:2] == [0, 5 * MS]
    assert outcomes(told) == ["ok"]


def test_close_that_is_quick_enough_is_not_cancelled(story: Tell) -> None:
    told = story(QUIET, parts=Parts(SlowToClose), clients=clients((Close(timeout_ns=50 * MS),)))
    assert [event.error for event in told.all(CloseReturned)] == [""]


def test_close_that_fails_ends_its_instance(story: Tell) -> None:
    class Fails(SingleConnection):
        def close(self) -> None:
            raise apsw.IOError("disk")

    told = story(QUIET, parts=Parts(Fails), clients=clients((CLOSE, COUNT)))
    assert told.all(CloseReturned)[0].error == "IOError: disk"
    assert told.all(InstanceClosed) == []
    crashed = told.all(InstanceCrashed)[0]
    assert (crashed.instance, crashed.cause) == ("instance-2", "it could not close the database: disk")
    assert outcomes(told) == ["ok"]


def test_close_that_raises_anything_else_ends_the_run(story: Tell) -> None:
    class Raises(SingleConnection):
        def close(self) -> None:
            raise ValueError("a bug of the pool")

    with pytest.raises(TaskFailed, match="a bug of the pool"):
        story(QUIET, parts=Parts(Raises), clients=clients((CLOSE,)))


def test_crash_while_it_closes_ends_the_close(story: Tell) -> None:
    crash = PlannedCrash(at_ns=10 * MS)
    told = story(QUIET, parts=Parts(SlowToClose), clients=clients((CLOSE, COUNT)), crashes=(crash,))
    assert told.kinds(CloseInvoked, InstanceCrashed, CloseReturned, InstanceOpened)[:5] == [
        "InstanceOpened", "CloseInvoked", "InstanceCrashed", "CloseReturned", "InstanceOpened",
    ]  # fmt: skip
    assert told.all(CloseReturned)[0].error.startswith("Crashed")
    assert outcomes(told) == ["ok"]
    assert told.run.violations == []


def test_what_a_closed_instance_left_is_what_the_next_one_finds(story: Tell) -> None:
    told = story(QUIET, clients=clients((insert(1), CLOSE, COUNT)))
    assert [event.when for event in told.all(StateObserved)] == ["recovery", "end"]
    assert told.kinds(InstanceClosed, StateObserved)[:2] == ["InstanceClosed", "StateObserved"]


STUCK = PlannedFault(point="commit.before_tx", action="pause", until="takeover", at_most_ns=2_000 * MS, nth=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(8))
def test_close_gives_a_stuck_commit_up_and_nothing_wakes_its_task_later(story: Tell, seed: int, order: str) -> None:
    steps = ((insert(1), insert(2), Sleep(duration_ns=1_000 * MS)), (Sleep(duration_ns=2 * MS), CLOSE, COUNT))
    told = story(
        QUIET + f"strategy: {{order: {order}}}\n",
        seed,
        Parts(SingleWorker),
        clients=clients(*steps),
        faults=(STUCK,),
        pool=PoolSettings(close_timeout_ns=50 * MS),
    )
    assert told.all(RunEnded)[0].reason == "done"
    gave_up = told.all(CloseGaveUp)
    if told.all(FaultFired) and gave_up and gave_up[0].instance == told.all(FaultFired)[0].instance:
        # The commit goes on behind the back of its task, when the next instance takes over.
        ended = told.all(OperationEnded)[0]
        assert ended.outcome == "unknown"
        assert ended.error.startswith("InstanceDead")
        assert all(event.cause == "end of the run" for event in told.all(InstanceCrashed))
    assert told.run.violations == []


def test_close_that_gave_up_ends_soon_after_its_timeout(story: Tell) -> None:
    steps = ((insert(1),), (Sleep(duration_ns=2 * MS), CLOSE))
    told = story(
        QUIET,
        parts=Parts(SingleWorker),
        clients=clients(*steps),
        faults=(STUCK,),
        pool=PoolSettings(close_timeout_ns=50 * MS),
    )
    assert [event.at for event in told.all(CloseGaveUp)] == [52 * MS]
    returned = told.all(CloseReturned)[0]
    assert (returned.error, returned.at) == ("", 55 * MS)


def test_registration_lasts_until_the_native_close(story: Tell) -> None:
    registered = len(apsw.vfs_names())
    told = story(QUIET, clients=clients((CLOSE, CLOSE, CLOSE)))
    assert [event.instance for event in told.all(VfsRegistered)] == [f"instance-{number}" for number in range(2, 5)]
    assert [event.instance for event in told.all(VfsUnregistered)][:3] == ["instance-2", "instance-3", "instance-4"]
    assert len(apsw.vfs_names()) <= registered + 1  # simkit-seed stays
