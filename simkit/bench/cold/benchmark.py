"""A benchmark from its options: which workloads under which configurations, and results that grow as they come.

A plan is the product of workloads, scenarios of the matrix and latency profiles, and further runs of the first
configuration with other network round trips if the sensitivity is asked for. `carry_out` measures it; what was
measured until an interruption or a dead process is a result like any other, marked as not complete.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from simkit.bench.cold.matrix import MatrixName, applied, real_effect, scenarios_of, without_effect
from simkit.bench.cold.plots import ADDED_RTT_MS
from simkit.bench.cold.results import Results, Run, ordered, settings_of, this_environment
from simkit.bench.cold.run import Configuration, Measurement
from simkit.bench.cold.sweep import Progress, sweep
from simkit.bench.cold.workloads import WORKLOADS, Workload, workload_named
from simkit.depot.distribution import constant
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.kernel.units import MILLISECOND

ROUND_TRIPS_MS: Final = ADDED_RTT_MS
DEFAULT_LATENCIES: Final = {"merge": "local-debug", "released": "loopback-fitted"}
"""The latency profile that stands for the machine on which a preset's published figures were made."""

Keep = Callable[[Results], None]


@dataclass(frozen=True)
class PlannedRun:
    """One configuration. `rtt_ms` is set for runs that show the sensitivity."""

    configuration: Configuration
    notes: tuple[str, ...] = ()
    rtt_ms: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    workloads: tuple[Workload, ...]
    runs: tuple[PlannedRun, ...]

    @property
    def size(self) -> int:
        """Measurements in all."""
        return len(self.workloads) * len(self.runs)


def chosen_workloads(only: Sequence[str], matrix: MatrixName) -> tuple[Workload, ...]:
    """The workloads of these names and patterns (`chat-*`), in their order; without any, those of the matrix or all.

    Raises `UnknownWorkload`.
    """
    if not only:
        return tuple(workload for workload in WORKLOADS if matrix == "none" or workload.in_matrix)
    wanted: set[str] = set()
    for word in only:
        matching = fnmatch.filter((workload.name for workload in WORKLOADS), word)
        wanted.update(matching or [workload_named(word).name])
    return tuple(workload for workload in WORKLOADS if workload.name in wanted)


def plan(
    workloads: Sequence[Workload],
    base: Configuration,
    latencies: Sequence[LatencyProfile],
    matrix: MatrixName = "none",
    *,
    sensitivity: bool = False,
) -> Plan:
    """Every scenario of the matrix under every latency profile, and the sensitivity of the base."""
    runs = [
        PlannedRun(
            applied(scenario, replace(base, latency=latency)),
            (*without_effect(scenario, base), *real_effect(scenario, base)),
        )
        for latency in latencies
        for scenario in scenarios_of(matrix)
    ]
    if sensitivity:
        first = runs[0].configuration
        runs += [
            PlannedRun(replace(first, latency=with_round_trip(first.latency, rtt_ms)), rtt_ms=rtt_ms)
            for rtt_ms in ROUND_TRIPS_MS
        ]
    return Plan(tuple(workloads), tuple(runs))


def with_round_trip(profile: LatencyProfile, rtt_ms: float) -> LatencyProfile:
    """The profile with this network round trip for every request; server work stays."""

    def changed(cost: RequestLatency) -> RequestLatency:
        return RequestLatency(constant(round(rtt_ms * MILLISECOND)), cost.server, cost.per_page_ns)

    return LatencyProfile(
        name=f"{profile.name}-rtt-{rtt_ms:g}ms",
        source=f"{profile.name} with a network round trip of {rtt_ms:g} ms. {profile.source}",
        get_pages=changed(profile.get_pages),
        commit=changed(profile.commit),
        open=changed(profile.open),
    )


def carry_out(
    planned: Plan,
    *,
    jobs: int = 1,
    cache: Path | None = None,
    progress: Progress = lambda done, total, measurement: None,
    interrupted: Callable[[], bool] = lambda: False,
    keep: Keep = lambda results: None,
) -> Results:
    """Measures everything. `keep` is given what there is after each measurement. Raises `ProcessDied`."""
    found: list[list[Measurement]] = [[] for _ in planned.runs]
    configurations = [run.configuration for run in planned.runs]
    done = 0
    for place, measurement in sweep(
        planned.workloads, configurations, jobs=jobs, cache=cache, progress=progress, interrupted=interrupted
    ):
        found[place].append(measurement)
        done += 1
        keep(_gathered(planned, found, complete=False))
    return _gathered(planned, found, complete=done == planned.size)


def _gathered(planned: Plan, found: Sequence[Sequence[Measurement]], *, complete: bool) -> Results:
    runs = [
        Run(settings_of(run.configuration), ordered(measurements), run.notes, run.rtt_ms)
        for run, measurements in zip(planned.runs, found, strict=True)
    ]
    return Results(
        this_environment(),
        tuple(run for run in runs if run.rtt_ms is None),
        complete,
        tuple(run for run in runs if run.rtt_ms is not None),
    )
