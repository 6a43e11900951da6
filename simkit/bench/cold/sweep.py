"""Many measurements over several processes: every workload under every configuration.

The unit is one workload under all configurations, one after the other in one process, so that its database is set up
once. Units come back in any order and are handed on as they do; an interruption lets those under way end and keeps
everything. A workload that fails is a measurement with an error, and a process that dies costs its unit alone.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

from simkit.bench.cold.run import Configuration, Measurement, measure
from simkit.bench.cold.setup import SetupCache
from simkit.bench.cold.workloads import Workload, workload_named
from simkit.search.processes import signals_held_back

_LOOK_UP_EVERY_S = 0.2

Requested = Callable[[], bool]


class Progress(Protocol):
    """Hears of every measurement."""

    def __call__(self, done: int, total: int, measurement: Measurement) -> None:
        """`done` of `total` measurements are there, this one the latest."""


class ProcessDied(RuntimeError):
    """A process that measured came to a sudden end; the message names what it may have been measuring."""


def sweep(
    workloads: Sequence[Workload],
    configurations: Sequence[Configuration],
    *,
    jobs: int = 1,
    cache: Path | None = None,
    progress: Progress = lambda done, total, measurement: None,
    interrupted: Requested = lambda: False,
) -> Iterator[tuple[int, Measurement]]:
    """Yields (place of the configuration, measurement) as they come; fewer when `interrupted()` becomes true.

    `cache` is the folder that keeps databases that were set up; without one none is kept. Raises `ProcessDied`.
    """
    total = len(workloads) * len(configurations)
    source = _here if jobs == 1 else _in_processes
    found = source(workloads, configurations, jobs, cache, interrupted)
    for done, (place, measurement) in enumerate(found, start=1):
        progress(done, total, measurement)
        yield place, measurement


def _here(
    workloads: Sequence[Workload],
    configurations: Sequence[Configuration],
    jobs: int,
    cache: Path | None,
    interrupted: Requested,
) -> Iterator[tuple[int, Measurement]]:
    kept = SetupCache(cache)
    for workload in workloads:
        for place, configuration in enumerate(configurations):
            if interrupted():
                return
            yield place, measure(workload, configuration, kept)


def _in_processes(
    workloads: Sequence[Workload],
    configurations: Sequence[Configuration],
    jobs: int,
    cache: Path | None,
    interrupted: Requested,
) -> Iterator[tuple[int, Measurement]]:
    waiting = [workload.name for workload in workloads]
    running: dict[Future[list[Measurement]], str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(waiting) or 1), context, _start_worker) as pool:
        while True:
            while waiting and len(running) < jobs and not interrupted():
                name = waiting.pop(0)
                with signals_held_back():
                    running[pool.submit(_measure_all, name, tuple(configurations), cache)] = name
            if not running:
                return
            done, _ = wait(running, timeout=_LOOK_UP_EVERY_S, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    measurements = future.result()
                except BrokenProcessPool:
                    raise ProcessDied(
                        f"a process died while it measured {' or '.join(sorted(running.values()))}; "
                        "--jobs 1 --only NAME shows what it says"
                    ) from None
                del running[future]
                yield from enumerate(measurements)


def _measure_all(name: str, configurations: Sequence[Configuration], cache: Path | None) -> list[Measurement]:
    workload, kept = workload_named(name), SetupCache(cache)
    return [measure(workload, configuration, kept) for configuration in configurations]


def _start_worker() -> None:
    # Ctrl-C reaches every process of the group; the one that asked for the work decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
