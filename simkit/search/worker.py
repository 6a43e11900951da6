"""Running many seeds of one scenario in one process, in slices of wall-clock time.

One run in twenty is run a second time from its own record and compared byte for byte (DET-1). A run that breaks simkit
itself is reported with its traceback and does not stop the others.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from pathlib import Path

import msgspec

from simkit.check.verdict import Violation
from simkit.search.capsule import SUFFIX, capsule_of, write_capsule
from simkit.search.cases import Case, runs_of_seed
from simkit.search.coverage import count_coverage
from simkit.search.execute import Run
from simkit.search.explain import last_events
from simkit.search.replay import check_determinism
from simkit.search.subject import Subject

RUN_TWICE_EVERY = 20
"""One run in this many, chosen by its seed, is run twice."""

_CAPSULES_PER_SLICE_MAX = 3


class Failure(msgspec.Struct, frozen=True):
    """A run that violated something. `events` are the last ones before the violation, rendered."""

    seed: int
    io: int | None
    violations: tuple[Violation, ...]
    events: tuple[str, ...]
    capsule: str | None


class Broken(msgspec.Struct, frozen=True):
    """A run in which simkit itself, or a background task of the system under test, failed."""

    seed: int
    error: str
    trace: str


class Slice(msgspec.Struct):
    """What a slice of a search did."""

    first_seed: int
    seeds: int = 0
    runs: int = 0
    run_twice: int = 0
    crash_points: int = 0
    requests: int = 0
    steps: int = 0
    simulated_ns: int = 0
    wall_s: float = 0.0
    violating_runs: int = 0
    unfired: int = 0
    failures: list[Failure] = []
    broken: list[Broken] = []
    coverage: dict[str, int] = {}


def tune_garbage_collection() -> None:
    """A run makes many short-lived objects and few cycles: collect rarely, and never look at what start-up left."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def run_slice(
    subject: Subject,
    first_seed: int,
    seeds_max: int,
    seconds_max: float,
    capsule_dir: Path | None,
    stop_at_violation: bool,
) -> Slice:
    """Runs seeds from `first_seed` on until `seeds_max` are done or `seconds_max` have passed; at least one."""
    result = Slice(first_seed, failures=[], broken=[])
    coverage: Counter[str] = Counter()
    begun = time.perf_counter()
    for seed in range(first_seed, first_seed + seeds_max):
        try:
            for case, run in runs_of_seed(subject, seed):
                _take(subject, case, run, result, coverage, capsule_dir)
        except Exception as error:  # noqa: BLE001 - a broken run must not take the search with it
            result.broken.append(Broken(seed, repr(error), traceback.format_exc()))
        result.seeds += 1
        if time.perf_counter() - begun >= seconds_max or (stop_at_violation and result.violating_runs):
            break
    result.coverage = dict(coverage)
    result.wall_s = time.perf_counter() - begun
    return result


def _take(
    subject: Subject, case: Case, run: Run, result: Slice, coverage: Counter[str], capsule_dir: Path | None
) -> None:
    result.runs += 1
    result.requests += run.requests
    result.steps += run.steps
    result.simulated_ns += run.simulated_ns
    result.crash_points += case.io is not None
    result.unfired += bool(run.unfired)
    count_coverage(run.history, coverage)
    violations = list(run.violations)
    if (case.seed + (case.io or 0)) % RUN_TWICE_EVERY == 0 and "DET-1" in subject.scenario.checks:
        result.run_twice += 1
        difference = check_determinism(subject, run)
        if difference is not None:
            violations.append(difference)
    if violations:
        result.violating_runs += 1
        if len(result.failures) < _CAPSULES_PER_SLICE_MAX:
            result.failures.append(_failure(subject, case, run, violations, capsule_dir))


def _failure(subject: Subject, case: Case, run: Run, violations: list[Violation], capsule_dir: Path | None) -> Failure:
    path = None
    if capsule_dir is not None:
        suffix = f"-io-{case.io}" if case.io is not None else ""
        path = capsule_dir / f"{subject.scenario.name}-seed-{case.seed}{suffix}{SUFFIX}"
        capsule = msgspec.structs.replace(capsule_of(subject.source, run), violations=violations)
        write_capsule(capsule, path)
    return Failure(
        case.seed,
        case.io,
        tuple(violations),
        tuple(last_events(run.history, violations[0])),
        str(path) if path is not None else None,
    )
