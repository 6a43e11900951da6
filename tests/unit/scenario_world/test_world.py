"""The world under stress: instances that crash at the worst moment, overlap, never open, and runs that never end."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.check.events import (
    InstanceClosed,
    InstanceCrashed,
    InstanceOpened,
    OperationEnded,
    RunEnded,
    StateObserved,
    StillWaiting,
)
from simkit.cli.subjects import plant
from simkit.depot.events import CommitApplied, FaultFired, InstanceAllocated
from simkit.kernel import Decisions, TaskFailed
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance
from simkit.scenario.image import prepare
from simkit.scenario.load import load_scenario, parse_scenario
from simkit.scenario.parts import Parts, parts_for
from simkit.scenario.plan import PlannedCrash, PlannedTakeover
from simkit.search.cases import Case, further_cases, run_case
from simkit.search.execute import execute
from simkit.search.subject import make_subject, source_of

MS = 1_000_000
Tell = Callable[..., Any]

ONE_WRITER = """\
clients: [{name: one, script: [{sql: "INSERT INTO t VALUES(1, 1)"}, {sql: "INSERT INTO t VALUES(2, 2)"}]}]
latency: {base: instant, open: {server: 10ms}, commit: {server: 10ms}}
instances: {restart_after: 10ms}
"""


def causes(story: Any) -> list[str]:
    return [event.cause for event in story.all(InstanceCrashed) if event.cause != "end of the run"]


def outcomes(story: Any) -> list[str]:
    return [event.outcome for event in story.all(OperationEnded)]


def test_run_without_trouble_opens_once_and_closes(story: Tell) -> None:
    told = story(ONE_WRITER)
    assert told.kinds(InstanceOpened, InstanceClosed, RunEnded) == ["InstanceOpened", "InstanceClosed", "RunEnded"]
    assert outcomes(told) == ["ok", "ok"]
    assert told.run.violations == []


def test_crash_hits_an_instance_that_is_still_opening(story: Tell) -> None:
    # Generation 1 was the setup's.
    told = story(ONE_WRITER, crashes=(PlannedCrash(at_ns=5 * MS),))
    crashed, opened = told.all(InstanceCrashed)[0], told.all(InstanceOpened)[0]
    assert (crashed.instance, crashed.at) == ("instance-2", 5 * MS)
    assert opened.instance == "instance-3"
    assert outcomes(told) == ["ok", "ok"]
    assert told.run.violations == []


def test_crash_hits_a_recovery_in_the_middle(story: Tell) -> None:
    # Opened at 10 ms, crashed at 12, opening again from 22 to 32.
    told = story(ONE_WRITER, crashes=(PlannedCrash(at_ns=12 * MS), PlannedCrash(at_ns=25 * MS)))
    assert [(event.instance, event.at) for event in told.all(InstanceCrashed)][:2] == [
        ("instance-2", 12 * MS),
        ("instance-3", 25 * MS),
    ]
    assert [event.instance for event in told.all(InstanceOpened)] == ["instance-2", "instance-4"]
    assert told.run.violations == []


def test_crash_while_no_instance_exists_does_nothing(story: Tell) -> None:
    told = story(ONE_WRITER, crashes=(PlannedCrash(at_ns=12 * MS), PlannedCrash(at_ns=15 * MS)))
    assert causes(told) == ["planned"]


@pytest.mark.parametrize("io", range(1, 12))
def test_crash_at_a_storage_operation_counts_within_the_live_instance(story: Tell, io: int) -> None:
    told = story(ONE_WRITER, crashes=(PlannedCrash(io=io), PlannedCrash(io=io)))
    assert causes(told) == [f"storage operation {io}"] * 2
    assert told.run.violations == []


def test_takeover_opens_a_later_instance_and_the_earlier_loses_the_database(story: Tell) -> None:
    told = story(ONE_WRITER, takeovers=(PlannedTakeover(at_ns=15 * MS),))
    assert [event.instance for event in told.all(InstanceOpened)] == ["instance-2", "instance-3"]
    assert told.run.violations == []


def test_takeover_while_the_instance_is_down_comes_after_its_restart(story: Tell) -> None:
    told = story(ONE_WRITER, crashes=(PlannedCrash(at_ns=12 * MS),), takeovers=(PlannedTakeover(at_ns=15 * MS),))
    assert [event.at for event in told.all(InstanceAllocated)][:3] == [0, 22 * MS, 32 * MS]
    assert [event.at for event in told.all(InstanceOpened)][:2] == [10 * MS, 32 * MS]
    assert told.run.violations == []


def test_several_takeovers_at_once_follow_each_other(story: Tell) -> None:
    more = ONE_WRITER.replace("script: [", "script: [{sleep: 60ms}, ")
    told = story(more, takeovers=(PlannedTakeover(at_ns=15 * MS),) * 4)
    assert [event.at for event in told.all(InstanceOpened)] == [10 * MS, 25 * MS, 35 * MS, 45 * MS, 55 * MS]
    assert told.run.violations == []


def test_instance_that_dies_during_a_takeover_is_not_replaced_again(story: Tell) -> None:
    # The takeover opens from 15 to 25; the earlier instance crashes at 18, when its successor is on its way.
    told = story(ONE_WRITER, crashes=(PlannedCrash(at_ns=18 * MS),), takeovers=(PlannedTakeover(at_ns=15 * MS),))
    assert [event.instance for event in told.all(InstanceOpened)] == ["instance-2", "instance-3"]
    assert told.run.violations == []


def test_crash_during_close_still_shows_what_is_left(story: Tell) -> None:
    class SlowToClose(SingleConnection):
        def close(self) -> None:
            self._kernel.sleep(100 * MS)
            super().close()

    told = story(ONE_WRITER, parts=Parts(SlowToClose), crashes=(PlannedCrash(at_ns=80 * MS),))
    assert told.all(InstanceClosed) == []
    assert causes(told) == ["planned"]
    assert told.all(StateObserved)[-1].when == "end"
    assert told.run.violations == []


NEVER_OPENS = """\
clients: [{name: one, script: [{sql: SELECT 1}]}]
faults: [{point: read.before_scope_resolve, when: {probability: 1}, action: ACTION}]
instances: {restart_after: 0ms}
latency: instant
bounds: {time: 30s}
"""


@pytest.mark.parametrize("action", ["fail", "crash"])
def test_instance_that_can_never_open_ends_at_the_bound_of_time(story: Tell, action: str) -> None:
    told = story(NEVER_OPENS.replace("ACTION", action))
    (end,) = told.all(RunEnded)
    assert end.reason == "bound"
    assert "30s" in end.detail
    assert [violation.invariant for violation in told.run.violations] == ["PROG-3"]
    # It is tried again more and more rarely, and not thousands of times.
    assert 20 < len(told.all(InstanceAllocated)) < 100
    assert told.run.steps < 2000


def test_nothing_of_a_failed_opening_is_kept(story: Tell) -> None:
    registered = len(apsw.vfs_names())
    story(NEVER_OPENS.replace("ACTION", "fail"))
    assert len(apsw.vfs_names()) <= registered + 1  # simkit-seed stays


def test_system_that_waits_for_ever_is_a_deadlock(story: Tell) -> None:
    class WaitsForEver(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            self._turn.acquire()
            self._kernel.park("wait", "for nobody")

    told = story(ONE_WRITER, parts=Parts(WaitsForEver))
    assert told.all(RunEnded)[0].reason == "deadlock"
    assert "one" in [event.waiting for event in told.all(StillWaiting)]
    assert [violation.invariant for violation in told.run.violations] == ["PROG-2"]


def test_system_that_spins_ends_at_the_bound_of_steps(story: Tell) -> None:
    class Spins(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            while True:
                self._kernel.checkpoint("again")

    told = story(ONE_WRITER + "bounds: {steps: 500}\n", parts=Parts(Spins))
    assert told.all(RunEnded)[0].reason == "bound"
    assert [violation.invariant for violation in told.run.violations] == ["PROG-3"]


def test_deadlines_far_away_do_not_end_a_run_in_any_order(story: Tell) -> None:
    class Reaps(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            self._kernel.spawn(self._kernel.sleep, 60_000 * MS, name="reaper", background=True)
            return super().execute(sql, params)

    ended = [
        story(ONE_WRITER + "strategy: {name: random-walk, order: any}\n", seed, Parts(Reaps)).all(RunEnded)[0]
        for seed in range(20)
    ]
    assert {end.reason for end in ended} == {"done"}
    assert max(end.at for end in ended) >= 60_000 * MS


def test_factory_that_raises_ends_the_run_with_its_error(story: Tell) -> None:
    def make(instance: Instance) -> SingleConnection:
        raise ValueError("no pool today")

    with pytest.raises(TaskFailed, match="no pool today"):
        story(ONE_WRITER, parts=Parts(make))


PAUSE = """\
clients:
  - {name: one, script: [{sql: "INSERT INTO t VALUES(1, 1)"}]}
  - {name: two, script: [{sleep: 50ms}, {sql: "INSERT INTO t VALUES(2, 2)"}]}
latency: instant
faults: [{point: commit.before_tx, when: {nth: 1}, action: {pause: {until: UNTIL, at_most: AT_MOST}}}]
"""


def paused(until: str, at_most: str) -> str:
    return PAUSE.replace("UNTIL", until).replace("AT_MOST", at_most)


def test_pause_until_rest_ends_when_nothing_else_can_happen(story: Tell) -> None:
    told = story(paused("rest", "20s"))
    # Client two sleeps 50 ms, and then waits for its turn behind client one: that is rest.
    assert [event.at for event in told.all(CommitApplied)] == [50 * MS, 50 * MS]
    assert outcomes(told) == ["ok", "ok"]
    assert told.all(RunEnded)[0].reason == "done"


def test_pause_until_rest_works_in_any_order(story: Tell) -> None:
    told = story(paused("rest", "20s") + "strategy: {order: any}\n")
    assert len(told.all(FaultFired)) == 1
    assert outcomes(told) == ["ok", "ok"]


def test_pause_until_rest_ends_after_its_bound_while_others_go_on(story: Tell) -> None:
    class Restless(SingleConnection):
        def __init__(self, instance: Instance) -> None:
            super().__init__(instance)
            instance.kernel.spawn(self.tick, name="tick", background=True, group=instance.group)

        def tick(self) -> None:
            while True:
                self._kernel.sleep(1 * MS)

    told = story(paused("rest", "20ms"), parts=Parts(Restless))
    assert told.all(CommitApplied)[0].at == 20 * MS


def test_timer_far_away_keeps_no_run_from_coming_to_rest(story: Tell) -> None:
    class Patient(SingleConnection):
        def __init__(self, instance: Instance) -> None:
            super().__init__(instance)
            instance.kernel.timer(1_000_000 * MS, lambda _: None, "deadline", patient=True)

    told = story(paused("rest", "20s"), parts=Parts(Patient))
    assert [event.at for event in told.all(CommitApplied)] == [50 * MS, 50 * MS]
    assert told.all(RunEnded)[0].reason == "done"


@pytest.mark.parametrize(
    ("until", "plan"),
    [
        ("crash", {"crashes": (PlannedCrash(at_ns=7 * MS),)}),
        ("takeover", {"takeovers": (PlannedTakeover(at_ns=7 * MS),)}),
    ],
)
def test_pause_ends_with_the_event_it_waits_for(story: Tell, until: str, plan: dict[str, Any]) -> None:
    told = story(paused(until, "20s"), **plan)
    assert told.run.simulated_ns < 1_000 * MS
    assert told.run.violations == []


def test_pause_until_something_that_never_comes_ends_at_its_bound(story: Tell) -> None:
    told = story(paused("takeover", "200ms"))
    assert told.all(CommitApplied)[0].at == 200 * MS


EVERY_IO = """\
page_size: 512
setup: ["CREATE TABLE t(a INTEGER PRIMARY KEY, b)", "INSERT INTO t VALUES(1, zeroblob(3000))"]
clients: [{name: one, script: [{operation: work, marked: true}, {sql: "SELECT count(*) FROM t"}]}]
crash: {at: every io}
"""


@pytest.mark.parametrize("latency", ["instant", "local-debug"])
@pytest.mark.parametrize(
    "work",
    [
        "{sql: 'INSERT INTO t VALUES(2, zeroblob(2000))'}",
        "{sql: 'UPDATE t SET b = zeroblob(3100)'}",
        "{transaction: ['INSERT INTO t VALUES(3, 3)', 'DELETE FROM t WHERE a = 1'], rollback: true}",
    ],
)
def test_crash_at_every_storage_operation_is_taken_and_recovered_from(latency: str, work: str) -> None:
    text = f"name: every\nattacks: All.\n{EVERY_IO}operations:\n  work: {work}\nlatency: {latency}\n"
    subject = make_subject(source_of(parse_scenario(text, "every.yaml")), plant)
    first = run_case(subject, Case(0))
    cases = list(further_cases(subject, first))
    assert len(cases) == first.marked_io >= 3
    for case in cases:
        run = run_case(subject, case)
        crashes = [event.cause for event in run.history if isinstance(event, InstanceCrashed)]
        assert crashes[0] == f"storage operation {case.io}"
        assert run.violations == []


def test_thousand_runs_leave_nothing_behind(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath / "scenarios"
    scenario = load_scenario(folder / "smallest.yaml")
    prepared, parts = prepare(scenario), parts_for("single")

    def run(seeds: range) -> tuple[int, int]:
        for seed in seeds:
            execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts)
        return apsw.memory_used(), len(apsw.vfs_names())

    before = run(range(20))
    memory, registered = run(range(20, 320))
    assert registered == before[1]
    assert memory <= before[0] + 10_000
