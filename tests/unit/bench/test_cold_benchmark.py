"""A benchmark from its options, carried out."""

from dataclasses import replace
from pathlib import Path

import pytest

from simkit.bench.cold.benchmark import ROUND_TRIPS_MS, carry_out, chosen_workloads, plan, with_round_trip
from simkit.bench.cold.results import Results
from simkit.bench.cold.run import configuration
from simkit.bench.cold.workloads import UnknownWorkload, workload_named
from simkit.depot.latency import LATENCY_PROFILES
from simkit.kernel.units import MILLISECOND

BASE = configuration("merge")
INSTANT, LOOPBACK = LATENCY_PROFILES["instant"], LATENCY_PROFILES["loopback"]
SMALL = [workload_named("small-schema-read"), workload_named("small-rowid-point")]


def test_without_names_all_workloads_are_run_and_in_a_matrix_those_fourteen() -> None:
    assert (len(chosen_workloads([], "none")), len(chosen_workloads([], "impact"))) == (32, 14)


def test_names_and_patterns_choose_workloads_in_their_order() -> None:
    found = chosen_workloads(["chat-log-[cs]*", "small-rowid-point", "chat-log-sum"], "impact")
    assert [each.number for each in found] == [1, 19, 20, 21, 22]


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownWorkload, match="chat-log-sum"):
        chosen_workloads(["chat-log-sums"], "none")


def test_a_plan_has_every_scenario_under_every_latency() -> None:
    planned = plan(SMALL, BASE, [INSTANT, LOOPBACK], "impact")
    assert [(run.configuration.name, run.configuration.latency.name) for run in planned.runs][11:14] == [
        ("no-read-pool", "instant"),
        ("defaults", "loopback"),
        ("all-off", "loopback"),
    ]
    assert planned.size == 2 * 12 * 2


def test_the_sensitivity_is_the_first_configuration_at_other_round_trips() -> None:
    planned = plan(SMALL, BASE, [LOOPBACK], sensitivity=True)
    assert [run.rtt_ms for run in planned.runs] == [None, *ROUND_TRIPS_MS]
    assert {replace(run.configuration, latency=LOOPBACK) for run in planned.runs} == {replace(BASE, latency=LOOPBACK)}


def test_another_round_trip_leaves_the_work_of_the_server() -> None:
    changed = with_round_trip(LOOPBACK, 2.9)
    assert changed.get_pages.rtt.quantiles == (round(2.9 * MILLISECOND),)
    assert (changed.get_pages.server, changed.commit.server) == (LOOPBACK.get_pages.server, LOOPBACK.commit.server)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_workload_is_measured_under_every_configuration(jobs: int, tmp_path: Path) -> None:
    results = carry_out(plan(SMALL, BASE, [INSTANT, LOOPBACK]), jobs=jobs, cache=tmp_path)
    assert results.complete
    for run in results.runs:
        assert [(each.workload, each.error) for each in run.measurements] == [
            ("small-rowid-point", None),
            ("small-schema-read", None),
        ]


def test_an_interruption_keeps_what_was_measured() -> None:
    ends = iter([False, True])
    results = carry_out(plan(SMALL, BASE, [INSTANT]), interrupted=lambda: next(ends))
    assert (results.complete, len(results.runs[0].measurements)) == (False, 1)


def test_what_there_is_can_be_kept_after_each_measurement() -> None:
    kept: list[Results] = []
    seen: list[tuple[int, int, str]] = []
    carry_out(
        plan(SMALL, BASE, [INSTANT]),
        keep=kept.append,
        progress=lambda done, total, each: seen.append((done, total, each.workload)),
    )
    assert [len(results.runs[0].measurements) for results in kept] == [1, 2]
    assert seen == [(1, 2, "small-schema-read"), (2, 2, "small-rowid-point")]


def test_a_workload_that_fails_loses_no_other() -> None:
    def broken(session: object, rows: int) -> None:
        raise LookupError("no such row")

    failing = replace(SMALL[0], body=broken)  # type: ignore[arg-type]
    results = carry_out(plan([failing, SMALL[1]], BASE, [INSTANT]))
    assert [(each.workload, each.error is None) for each in results.runs[0].measurements] == [
        ("small-rowid-point", True),
        ("small-schema-read", False),
    ]
    assert results.complete
