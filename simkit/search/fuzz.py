"""Fuzzing: many seeds of many scenarios, over several processes, within a number of seeds or a budget of time.

Each scenario gets the same share of the time, and at least one run. Results come in slices of a fraction of a second,
so that progress is smooth and an interruption loses nothing. Seeds are counted up from a first one: the same call
runs the same seeds.
"""

from __future__ import annotations

import heapq
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from simkit.search.interruption import Interruption
from simkit.search.processes import signals_held_back
from simkit.search.subject import PlantDefect, Source, Subject, make_subject
from simkit.search.tally import FAILURES_KEPT_MAX
from simkit.search.totals import FuzzSettings, FuzzTotals, ScenarioTotals
from simkit.search.watchdog import ThreadWatch, Unwatched, Watch, WorkerWatch
from simkit.search.worker import (
    Assignment,
    Slice,
    reference_digest,
    run_slice,
    tune_garbage_collection,
)

SLICE_S = 0.25
_SLICE_MAX_S = 2 * SLICE_S
_SLICE_SEEDS_MAX = 5_000
_PACE_GUESSED = 20.0
_LOOK_UP_EVERY_S = 0.2

Progress = Callable[[FuzzTotals], None]
ReportHang = Callable[[Source, int, int | None], None]
"""Says of which scenario, seed and storage operation a run is stuck; the process ends when it returns."""


def fuzz(
    subjects: Sequence[Subject],
    settings: FuzzSettings,
    plant: PlantDefect,
    progress: Progress,
    report_hang: ReportHang = lambda source, seed, io: None,
) -> FuzzTotals:
    """Runs the search. Ctrl-C ends it after the runs under way, with `interrupted` set; a second one ends the process.

    A run that is stuck ends its process: with one job this one, after `report_hang`.
    """
    names = Counter(subject.scenario.name for subject in subjects)
    scenarios = [_totals_of(subject, settings, names[subject.scenario.name] > 1) for subject in subjects]
    totals = FuzzTotals(scenarios, settings, time.monotonic())
    search = _Search(totals)
    with Interruption() as interruption:
        try:
            if settings.jobs == 1:
                _run_here(search, subjects, interruption, progress, report_hang)
            else:
                _run_in_processes(search, plant, interruption, progress)
        except KeyboardInterrupt:
            interruption.requested = True
    totals.interrupted = interruption.requested
    for scenario in scenarios:
        scenario.cut_short = totals.interrupted or bool(totals.died)
        scenario.settle()
    totals.ended = time.monotonic()
    return totals


def _totals_of(subject: Subject, settings: FuzzSettings, repeated: bool) -> ScenarioTotals:
    scenario = subject.scenario
    return ScenarioTotals(
        source=subject.source,
        name=scenario.name,
        label=f"{scenario.name} ({subject.source.file_name})" if repeated else scenario.name,
        expect_violation=scenario.expect.violated,
        expected_check=scenario.expect.check,
        enumerates=scenario.enumerates_crashes,
        first_seed=settings.first_seed,
        system=scenario.system,
        sometimes=scenario.sometimes,
    )


@dataclass
class _Queue:
    """The seeds of one scenario that are still to be run. `returned` are (first seed, seeds) that a slice gave back."""

    next_seed: int
    last_seed: int | None
    returned: list[tuple[int, int]] = field(default_factory=list)
    in_flight: int = 0
    assigned: int = 0
    seeds_done: int = 0
    spent_s: float = 0.0

    @property
    def empty(self) -> bool:
        return not self.returned and self.last_seed is not None and self.next_seed > self.last_seed

    @property
    def share_s(self) -> float:
        return self.spent_s + self.in_flight * SLICE_S

    def take(self) -> tuple[int, int]:
        """The next seeds: as many as fill about a slice, judging by what was run so far."""
        pace = self.seeds_done / self.spent_s if self.seeds_done and self.spent_s else _PACE_GUESSED
        wanted = max(1, min(int(pace * SLICE_S), _SLICE_SEEDS_MAX))
        self.in_flight += 1
        self.assigned += 1
        if self.returned:
            return heapq.heappop(self.returned)
        first_seed = self.next_seed
        if self.last_seed is not None:
            wanted = min(wanted, self.last_seed + 1 - first_seed)
        self.next_seed += wanted
        return first_seed, wanted

    def give_back(self, assignment: Assignment, part: Slice) -> None:
        """A slice is done; what it left of its seeds is for another."""
        self.in_flight -= 1
        self.seeds_done += part.seeds
        self.spent_s += part.wall_s
        if part.seeds < assignment.seeds:
            heapq.heappush(self.returned, (part.first_seed + part.seeds, assignment.seeds - part.seeds))


class _Search:
    """Hands out assignments and takes what comes of them."""

    def __init__(self, totals: FuzzTotals) -> None:
        settings = totals.settings
        self.totals = totals
        self._deadline = totals.begun + settings.budget_s if settings.budget_s is not None else None
        last_seed = settings.first_seed + settings.seeds - 1 if settings.seeds is not None else None
        self._queues = [_Queue(settings.first_seed, last_seed) for _ in totals.scenarios]

    def next(self) -> tuple[int, Assignment] | None:
        """The scenario that is due and what to run of it, or None when there is nothing to hand out (now)."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        due = [
            index
            for index, queue in enumerate(self._queues)
            if not queue.empty and not self.totals.scenarios[index].found and not (late and queue.assigned)
        ]
        if not due:
            return None
        index = min(due, key=lambda at: (self._queues[at].share_s, at))
        first_seed, seeds = self._queues[index].take()
        scenario, settings = self.totals.scenarios[index], self.totals.settings
        return index, Assignment(
            first_seed,
            seeds,
            _SLICE_MAX_S,
            self._deadline,
            self._stop_at(scenario),
            FAILURES_KEPT_MAX - len(scenario.failures),
            settings.capsule_dir,
        )

    def _stop_at(self, scenario: ScenarioTotals) -> str | None:
        if scenario.expect_violation:
            return scenario.expected_check or ""
        return "" if self.totals.settings.stop_at_violation else None

    def take(self, index: int, assignment: Assignment, part: Slice) -> None:
        self._queues[index].give_back(assignment, part)
        self.totals.scenarios[index].add(part)


def _run_here(
    search: _Search,
    subjects: Sequence[Subject],
    interruption: Interruption,
    progress: Progress,
    report_hang: ReportHang,
) -> None:
    tune_garbage_collection()
    index = 0
    hang_after_s = search.totals.settings.hang_after_s
    with ExitStack() as stack:
        watch: Watch = Unwatched()
        if hang_after_s is not None:
            report = ThreadWatch(hang_after_s, lambda seed, io: report_hang(subjects[index].source, seed, io))
            watch = stack.enter_context(report)
        while not interruption.requested and (due := search.next()) is not None:
            index, assignment = due
            part = run_slice(subjects[index], assignment, lambda: interruption.requested, watch)
            search.take(index, assignment, part)
            progress(search.totals)


def _run_in_processes(search: _Search, plant: PlantDefect, interruption: Interruption, progress: Progress) -> None:
    totals = search.totals
    running: dict[Future[Slice], tuple[int, Assignment]] = {}
    with _pool(totals.settings, [scenario.source for scenario in totals.scenarios], plant) as (pool, stop):
        try:
            while True:
                while not interruption.requested and len(running) <= totals.settings.jobs:
                    due = search.next()
                    if due is None:
                        break
                    with signals_held_back():
                        running[pool.submit(_work, *due)] = due
                if not running:
                    return
                done, _ = wait(running, timeout=_LOOK_UP_EVERY_S, return_when=FIRST_COMPLETED)
                if interruption.requested:
                    stop.set()
                for future in done:
                    part = future.result()
                    search.take(*running.pop(future), part)
                progress(totals)
        except BrokenProcessPool:
            totals.died = _obituary(totals, list(running.values()))


def _obituary(totals: FuzzTotals, running: list[tuple[int, Assignment]]) -> str:
    causes = ["killed", "out of memory", "a crash of native code"]
    hang_after_s = totals.settings.hang_after_s
    if hang_after_s is not None:
        causes.append(f"a run that was stuck for {hang_after_s:g} s, then its stacks are on standard error")
    lines = [f"a worker process died ({', or '.join([', '.join(causes[:-1]), causes[-1]])}). One of these was running:"]
    for index, assignment in running:
        source = totals.scenarios[index].source
        defect = f" --defect {source.defect}" if source.defect is not None else ""
        lines.append(
            f"  simkit fuzz {source.file_name} --first-seed {assignment.first_seed} --seeds {assignment.seeds} "
            f"--jobs 1{defect}"
        )
    return "\n".join(lines)


class _Flag(Protocol):
    """What is used of an event that processes share."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...


@contextmanager
def _pool(
    settings: FuzzSettings, sources: list[Source], plant: PlantDefect
) -> Iterator[tuple[ProcessPoolExecutor, _Flag]]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    others = multiprocessing.active_children()
    initial = (sources, plant, stop, settings.hang_after_s, settings.first_seed)
    pool = ProcessPoolExecutor(settings.jobs, context, _start_worker, initial)
    try:
        yield pool, stop
    except BaseException:
        # A bug: nothing that the workers still do is of use.
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_sources: list[Source] = []
_subjects: dict[int, Subject] = {}
_shared: list[tuple[PlantDefect, _Flag, Watch]] = []
_reference_seed: list[int] = []


def _start_worker(
    sources: list[Source], plant: PlantDefect, stop: _Flag, hang_after_s: float | None, first_seed: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _sources[:] = sources
    _reference_seed[:] = [first_seed]
    _shared[:] = [(plant, stop, WorkerWatch(hang_after_s) if hang_after_s is not None else Unwatched())]


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(index: int, assignment: Assignment) -> Slice:
    plant, stop, watch = _shared[0]
    if stop.is_set():
        return Slice(assignment.first_seed)
    reference = ""
    if index not in _subjects:
        subject = _subjects[index] = make_subject(_sources[index], plant)
        tune_garbage_collection()
        watch.begin(_reference_seed[0], None)
        reference = reference_digest(subject, _reference_seed[0])
        watch.rest()
    part = run_slice(_subjects[index], assignment, stop.is_set, watch)
    part.reference = reference
    return part
