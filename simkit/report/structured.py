"""The same results as data, for `--json`. Field names are stable; times are nanoseconds unless named otherwise."""

from __future__ import annotations

from typing import Any

import msgspec

from simkit.check.events import MetricsRead
from simkit.report.terminal import case_command, replay_command, verdict_of
from simkit.search.coverage import COVERED
from simkit.search.execute import Run
from simkit.search.totals import FuzzTotals, ScenarioTotals


def fuzz_data(totals: FuzzTotals) -> dict[str, Any]:
    """A whole search."""
    return {
        "good": totals.good,
        "interrupted": totals.interrupted,
        "died": totals.died or None,
        "runs": totals.runs,
        "wall_s": round(totals.wall_s, 3),
        "modes": {
            "runs": totals.mode_runs,
            "hit": totals.modes_hit,
            "never_hit": list(totals.modes_never_hit),
            "failed": totals.misses_modes,
        },
        "scenarios": [_scenario_data(scenario) for scenario in totals.scenarios],
    }


def run_data(name: str, run: Run) -> dict[str, Any]:
    """One run."""
    return {
        "scenario": name,
        "seed": run.seed,
        "violations": msgspec.to_builtins(run.violations),
        "digest": run.digest(),
        "steps": run.steps,
        "requests": run.requests,
        "simulated_ns": run.simulated_ns,
        "decisions": len(run.decisions),
        "events": len(run.history),
        "marked_io": run.marked_io,
        "unfired_faults": list(run.unfired),
        "metrics": {event.instance: dict(event.samples) for event in run.history if isinstance(event, MetricsRead)},
    }


def _scenario_data(scenario: ScenarioTotals) -> dict[str, Any]:
    source = scenario.source
    return {
        "name": scenario.name,
        "file": source.file_name,
        "defect": source.defect,
        "good": scenario.good,
        "verdict": verdict_of(scenario),
        "seeds": scenario.seeds,
        "runs": scenario.runs,
        "run_twice": scenario.run_twice,
        "crash_points": scenario.crash_points,
        "requests": scenario.requests,
        "simulated_ns": scenario.simulated_ns,
        "wall_s": round(scenario.wall_s, 3),
        "violating_runs": scenario.violating_runs,
        "violated": dict(sorted(scenario.violated.items())),
        "failing": [{"seed": seed, "io": io} for seed, io in scenario.failing],
        "unfired": scenario.unfired,
        "unfired_at": [{"seed": seed, "io": io} for seed, io in scenario.unfired_at],
        "broken_runs": scenario.broken_runs,
        "coverage": {name: scenario.coverage[name] for name in COVERED},
        "marks": dict(sorted(scenario.marks.items())),
        "sometimes": list(scenario.sometimes),
        "never_hit": list(scenario.never_hit),
        "failures": [
            {
                **msgspec.to_builtins(failure),
                "replay": replay_command(source.file_name, failure.seed, failure.io, source.defect, failure.capsule),
            }
            for failure in scenario.failures
        ],
        "broken": [
            {
                **msgspec.to_builtins(broken),
                "again": case_command("run", source.file_name, broken.seed, broken.io, source.defect),
            }
            for broken in scenario.broken
        ],
    }
