"""Marks: what counts as seen, what a search that never saw it says, and when that is a failure."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from simkit.check.events import CloseInvoked, CloseReturned, MetricsRead, Sometimes
from simkit.cli.subjects import plant
from simkit.depot.events import (
    DatabaseForked,
    DatabaseRolledBack,
    FaultFired,
    HotInstalled,
    JobFailed,
    NetworkDisturbed,
    Reclaimed,
    RestorePointMade,
    WakeSent,
)
from simkit.kernel import Decisions, Kernel, Record
from simkit.pool.events import CloseGaveUp, LeaseDropped, LeaseEnded, ModeChanged, TransactionRolledBack
from simkit.pool.metrics import PoolMetrics
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance
from simkit.report.terminal import verdict_of
from simkit.scenario.model_marks import MARKS_OF, MARKS_OF_DEPOT, MODE_MARKS
from simkit.scenario.parts import Parts
from simkit.search.coverage import MARK_RUNS_MIN, MODE_RUNS_MIN, marks_of
from simkit.search.fuzz import fuzz
from simkit.search.subject import Source, Subject
from simkit.search.totals import FuzzSettings, FuzzTotals, ScenarioTotals

TOLD = [
    (ModeChanged(0, "t", "i", "closed", "read", "a reader opens"), "mode closed->read"),
    (LeaseEnded(0, "t", "i", 1, "cancelled", "opening", 0, 0, 0), "lease cancelled opening"),
    (LeaseDropped(0, "t", "i", 1, "f"), "lease dropped"),
    (TransactionRolledBack(0, "t", "i", 1, "deadline"), "transaction rolled back: deadline"),
    (CloseGaveUp(0, "t", "i", (1,)), "close gave up"),
    (Sometimes(0, "t", "queue full"), "queue full"),
    (CloseReturned(0, "t", "i", "TimedOut: t: not done within 1ms"), "close cancelled"),
    (MetricsRead(0, "t", "i", (("sqlite_read_pool_routed_read_queries_total", 2.0),)), "route read"),
    (MetricsRead(0, "t", "i", (("sqlite_read_pool_write_fallback_queries_total", 1.0),)), "route write_fallback"),
]
TOLD_BY_DEPOT = [
    (FaultFired(0, "t", "i", 1, 0, "commit.before_tx", "fail"), "fault commit.before_tx"),
    (NetworkDisturbed(0, "t", "i", 1, "reply", "lost"), "network reply lost"),
    (HotInstalled(0, "t", 1, -1, 3, 1, 1, 1), "depot installed"),
    (Reclaimed(0, "t", 1, -2, 1, 1, 0), "depot reclaimed"),
    (JobFailed(0, "t", 1, -1, "hot", "injected_fault", ""), "depot job failed"),
    (WakeSent(0, "t", 1, 9, 3, True), "depot wake lost"),
    (RestorePointMade(0, "t", "main", "name", 1, 3), "depot restore point"),
    (DatabaseForked(0, "t", "copy", 2, 1, 3), "depot fork"),
    (DatabaseRolledBack(0, "t", "main", 2, 1, 3, 1), "depot rollback"),
]


@pytest.mark.parametrize(("event", "mark"), TOLD + TOLD_BY_DEPOT, ids=[mark for _, mark in TOLD + TOLD_BY_DEPOT])
def test_event_is_a_mark(event: Record, mark: str) -> None:
    assert marks_of([event, event]) == [mark]


def test_marks_that_come_by_themselves_can_be_asked_of_the_pool() -> None:
    assert {mark for event, mark in TOLD if not isinstance(event, Sometimes)} <= set(MARKS_OF["pool"])


def test_marks_of_the_depot_can_be_asked_of_everybody() -> None:
    assert {mark for _, mark in TOLD_BY_DEPOT} <= set(MARKS_OF_DEPOT)


def test_wake_that_arrives_is_no_mark() -> None:
    assert marks_of([WakeSent(0, "t", 1, 9, 3)]) == []


def test_metric_that_counted_nothing_is_no_mark() -> None:
    assert marks_of([MetricsRead(0, "t", "i", (("sqlite_read_pool_routed_read_queries_total", 0.0),))]) == []


def test_metrics_have_the_names_that_marks_look_for() -> None:
    names = {sample.partition("{")[0] for sample, _ in PoolMetrics(Kernel(Decisions(0))).samples()}
    wanted = {event.samples[0][0] for event, _ in TOLD if isinstance(event, MetricsRead)}
    assert wanted <= names


@pytest.mark.parametrize(
    ("events", "racing"),
    [
        ([CloseInvoked(0, "a", "i"), CloseInvoked(0, "b", "i")], True),
        ([CloseInvoked(0, "a", "i"), CloseReturned(0, "a", "i", ""), CloseInvoked(0, "b", "i")], False),
        ([CloseInvoked(0, "a", "i"), CloseInvoked(0, "b", "other")], False),
    ],
    ids=["at once", "after each other", "of two instances"],
)
def test_closes_race_when_the_second_comes_before_the_first_returned(events: list[Record], racing: bool) -> None:
    assert ("closes racing" in marks_of(events)) is racing


def totals(runs: int, *marks: str, **changes: object) -> ScenarioTotals:
    made = ScenarioTotals(Source("f.yaml", ""), "f", "f", False, None, False, 0, "pool")
    made.runs = runs
    made.marks = Counter(marks)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_mark_that_was_never_hit_fails_a_scenario() -> None:
    scenario = totals(MARK_RUNS_MIN, "lease dropped", sometimes=("lease dropped", "mode read->write"))
    assert scenario.never_hit == ("mode read->write",)
    assert scenario.misses
    assert not scenario.good


@pytest.mark.parametrize(
    "scenario",
    [
        totals(MARK_RUNS_MIN - 1, sometimes=("never",)),
        totals(MARK_RUNS_MIN, sometimes=("never",), cut_short=True),
        totals(MARK_RUNS_MIN, sometimes=("never",), found=True),
        totals(MARK_RUNS_MIN, "never", sometimes=("never",)),
        totals(MARK_RUNS_MIN),
    ],
    ids=["few runs", "interrupted", "stopped at a violation", "hit", "nothing expected"],
)
def test_mark_is_no_failure_when_it_was_hit_or_could_still_be(scenario: ScenarioTotals) -> None:
    assert not scenario.misses
    assert scenario.good


def test_fault_that_was_expected_and_did_not_act_fails_a_scenario() -> None:
    scenario = totals(3, unfired=1)
    assert not scenario.good
    assert verdict_of(scenario) == "no violation in 3 runs, but in 1 an expected fault did not fire"


def test_fault_that_was_expected_is_not_missed_where_a_violation_is() -> None:
    assert totals(3, unfired=1, expect_violation=True, violating_runs=1, violated=Counter(["DUR-1"])).good


def search_of(*scenarios: ScenarioTotals, expected: bool = True, interrupted: bool = False) -> FuzzTotals:
    return FuzzTotals(list(scenarios), FuzzSettings(modes_expected=expected), 0.0, 1.0, interrupted)


def test_mode_changes_are_counted_over_all_scenarios_of_the_pool() -> None:
    half = len(MODE_MARKS) // 2
    one, other = totals(600, *MODE_MARKS[:half]), totals(600, *MODE_MARKS[half:])
    assert search_of(one, other).good
    assert search_of(one, other).modes_never_hit == ()
    alone = search_of(one, totals(600, *MODE_MARKS[half:], system="worker"), totals(400))
    assert alone.modes_never_hit == MODE_MARKS[half:]
    assert alone.misses_modes
    assert not alone.good


@pytest.mark.parametrize(
    "search",
    [
        search_of(totals(MODE_RUNS_MIN - 1)),
        search_of(totals(MODE_RUNS_MIN), expected=False),
        search_of(totals(MODE_RUNS_MIN), interrupted=True),
        search_of(totals(MODE_RUNS_MIN, found=True)),
        search_of(totals(MODE_RUNS_MIN, system="worker")),
        search_of(totals(MODE_RUNS_MIN, expect_violation=True, cut_short=True)),
    ],
    ids=["few runs", "named files", "interrupted", "stopped", "another system", "planted"],
)
def test_mode_change_that_was_never_hit_is_no_failure_where_it_could_not_be(search: FuzzTotals) -> None:
    assert not search.misses_modes
    assert search.good


class Marks(SingleConnection):
    """Says something about the runs whose seed is even."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        kernel = instance.kernel
        if kernel.decisions.seed % 2 == 0:
            kernel.record(Sometimes(kernel.now, "", "even seed"))


def test_marks_of_a_system_are_counted_by_runs(subject_of: Callable[..., Subject], counter_text: str) -> None:
    made = subject_of(counter_text + "system: simkit.pool.single:SingleConnection\nsometimes: [even seed, odd seed]\n")
    subject = Subject(made.source, made.prepared, Parts(Marks))
    (scenario,) = fuzz([subject], FuzzSettings(seeds=MARK_RUNS_MIN), plant, lambda totals: None).scenarios
    assert scenario.marks["even seed"] == MARK_RUNS_MIN // 2
    assert scenario.never_hit == ("odd seed",)
    assert not scenario.good
