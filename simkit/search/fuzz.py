"""Fuzzing: many seeds of many scenarios, over several processes, within a number of seeds or a budget of time.

Each scenario gets the same share of the time. Results come in slices of a fraction of a second, so that progress is
smooth and an interruption loses nothing. Seeds are counted up from a first one: the same call runs the same seeds.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simkit.search.subject import PlantDefect, Source, Subject, make_subject
from simkit.search.worker import Broken, Failure, Slice, run_slice, tune_garbage_collection

SLICE_S = 0.25
FAILURES_SHOWN_MAX = 3


@dataclass(frozen=True)
class FuzzSettings:
    """How much to run. With `seeds` each scenario runs that many; with `budget_s` all of them share that time.

    Attributes:
        jobs: processes; 1 runs in this one.
        stop_at_violation: end the search of a scenario at its first violation.
        capsule_dir: where failing runs are written, or None.
    """

    seeds: int | None = None
    budget_s: float | None = None
    first_seed: int = 0
    jobs: int = 1
    stop_at_violation: bool = False
    capsule_dir: Path | None = None


@dataclass
class ScenarioTotals:
    """What was run of one scenario so far."""

    source: Source
    name: str
    expect_violation: bool
    expected_check: str | None
    enumerates: bool
    next_seed: int
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
    failures: list[Failure] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    coverage: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    finished: bool = False

    def add(self, part: Slice) -> None:
        self.seeds += part.seeds
        self.runs += part.runs
        self.run_twice += part.run_twice
        self.crash_points += part.crash_points
        self.requests += part.requests
        self.steps += part.steps
        self.simulated_ns += part.simulated_ns
        self.wall_s += part.wall_s
        self.violating_runs += part.violating_runs
        self.unfired += part.unfired
        self.broken.extend(part.broken)
        self.coverage.update(part.coverage)
        shown = len(self.failures)
        self.failures.extend(part.failures[: max(0, FAILURES_SHOWN_MAX - shown)])

    @property
    def found_expected(self) -> bool:
        """Whether a violation of the kind that the scenario must show was found."""
        return any(
            self.expected_check in (None, violation.invariant)
            for failure in self.failures
            for violation in failure.violations
        )

    @property
    def good(self) -> bool:
        """Whether the scenario came out as it says it must."""
        if self.broken:
            return False
        return self.found_expected if self.expect_violation else not self.violating_runs


@dataclass
class FuzzTotals:
    """What a whole search did."""

    scenarios: list[ScenarioTotals]
    settings: FuzzSettings
    begun: float
    ended: float | None = None
    interrupted: bool = False

    @property
    def wall_s(self) -> float:
        return (self.ended if self.ended is not None else time.perf_counter()) - self.begun

    @property
    def runs(self) -> int:
        return sum(scenario.runs for scenario in self.scenarios)

    @property
    def violating_runs(self) -> int:
        return sum(scenario.violating_runs for scenario in self.scenarios)

    @property
    def good(self) -> bool:
        return all(scenario.good for scenario in self.scenarios)

    @property
    def broken(self) -> bool:
        return any(scenario.broken for scenario in self.scenarios)


class WorkerDied(Exception):
    """A process of the search ended without an answer."""


Progress = Callable[[FuzzTotals], None]


def fuzz(subjects: Sequence[Subject], settings: FuzzSettings, plant: PlantDefect, progress: Progress) -> FuzzTotals:
    """Runs the search. Ctrl-C ends it early, with `interrupted` set. Raises `WorkerDied`."""
    totals = FuzzTotals(
        [
            ScenarioTotals(
                source=subject.source,
                name=subject.scenario.name,
                expect_violation=subject.scenario.expect.violated,
                expected_check=subject.scenario.expect.check,
                enumerates=subject.scenario.enumerates_crashes,
                next_seed=settings.first_seed,
            )
            for subject in subjects
        ],
        settings,
        time.perf_counter(),
    )
    try:
        if settings.jobs == 1:
            tune_garbage_collection()
            for index, first_seed, seeds in _slices(totals):
                _account(totals, index, _run_here(subjects[index], settings, totals, index, first_seed, seeds))
                progress(totals)
        else:
            _run_in_processes(totals, plant, progress)
    except KeyboardInterrupt:
        totals.interrupted = True
    totals.ended = time.perf_counter()
    return totals


def _slices(totals: FuzzTotals) -> Iterator[tuple[int, int, int]]:
    """The next slices to run (scenario, first seed, seeds), while there is something left to do."""
    settings = totals.settings
    while True:
        if settings.budget_s is not None and totals.wall_s >= settings.budget_s:
            return
        waiting = [index for index, scenario in enumerate(totals.scenarios) if not scenario.finished]
        if not waiting:
            return
        index = min(
            waiting, key=lambda at: (totals.scenarios[at].wall_s + totals.scenarios[at].in_flight * SLICE_S, at)
        )
        yield index, *_reserve(totals.scenarios[index], settings)


def _reserve(scenario: ScenarioTotals, settings: FuzzSettings) -> tuple[int, int]:
    """Takes the next seeds of a scenario: as many as fill about a slice, judging by what it ran so far."""
    pace = scenario.seeds / scenario.wall_s if scenario.wall_s > 0 else 20.0
    seeds = max(1, min(int(pace * SLICE_S), 5_000))
    if settings.seeds is not None:
        seeds = min(seeds, settings.first_seed + settings.seeds - scenario.next_seed)
    first_seed = scenario.next_seed
    scenario.next_seed += seeds
    scenario.in_flight += 1
    if settings.seeds is not None and scenario.next_seed >= settings.first_seed + settings.seeds:
        scenario.finished = True
    return first_seed, seeds


def _account(totals: FuzzTotals, index: int, part: Slice) -> None:
    scenario, settings = totals.scenarios[index], totals.settings
    scenario.in_flight -= 1
    scenario.add(part)
    found = scenario.found_expected if scenario.expect_violation else scenario.violating_runs > 0
    if found and (settings.stop_at_violation or scenario.expect_violation):
        scenario.finished = True


def _run_here(
    subject: Subject, settings: FuzzSettings, totals: FuzzTotals, index: int, first_seed: int, seeds: int
) -> Slice:
    stop = settings.stop_at_violation or totals.scenarios[index].expect_violation
    return run_slice(subject, first_seed, seeds, _NO_LIMIT_S, settings.capsule_dir, stop)


def _run_in_processes(totals: FuzzTotals, plant: PlantDefect, progress: Progress) -> None:
    settings = totals.settings
    sources = [scenario.source for scenario in totals.scenarios]
    with _pool(settings.jobs, sources, plant) as pool:
        running: dict[Future[Slice], int] = {}
        slices = _slices(totals)
        more = True
        try:
            while more or running:
                while more and len(running) < settings.jobs + 1:
                    reserved = next(slices, None)
                    if reserved is None:
                        more = False
                        break
                    index, first_seed, seeds = reserved
                    stop = settings.stop_at_violation or totals.scenarios[index].expect_violation
                    task = (index, first_seed, seeds, _NO_LIMIT_S, settings.capsule_dir, stop)
                    running[pool.submit(_work, *task)] = index
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    _account(totals, running.pop(future), future.result())
                progress(totals)
        except BrokenProcessPool as error:
            names = ", ".join(sorted({totals.scenarios[index].name for index in running.values()}))
            raise WorkerDied(
                f"a worker process died while it ran {names or 'its start-up'}. Run it with --jobs 1 to see why."
            ) from error
        finally:
            for future in running:
                future.cancel()


_NO_LIMIT_S = 3600.0


@contextmanager
def _pool(jobs: int, sources: list[Source], plant: PlantDefect) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(sources, plant)
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_sources: list[Source] = []
_subjects: dict[int, Subject] = {}
_plant: list[PlantDefect] = []


def _start_worker(sources: list[Source], plant: PlantDefect) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it lets running slices finish
    _sources[:] = sources
    _plant[:] = [plant]


def _work(
    index: int, first_seed: int, seeds: int, seconds_max: float, capsule_dir: Path | None, stop_at_violation: bool
) -> Slice:
    if index not in _subjects:
        _subjects[index] = make_subject(_sources[index], _plant[0])
        tune_garbage_collection()
    return run_slice(_subjects[index], first_seed, seeds, seconds_max, capsule_dir, stop_at_violation)
