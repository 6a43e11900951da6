"""How `simkit bench` measures: latency profiles by name, progress, interruption, results that are kept as they grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from simkit.bench.cold.benchmark import Plan, carry_out
from simkit.bench.cold.results import Results, save
from simkit.bench.cold.sizes import Profile
from simkit.bench.cold.sweep import ProcessDied
from simkit.cli.exits import INTERNAL_ERROR, BadInput, errors
from simkit.depot.latency import LATENCY_PROFILES, LatencyProfile
from simkit.depot.profile_file import ProfileInvalid, parse_profile
from simkit.report.progress import steps_progress
from simkit.search.interruption import Interruption

CACHE_DIR = Path("reports/runs/cold-read-setups")
_KEEP_EVERY_S = 2.0


def latency_profile(name: str) -> LatencyProfile:
    """The profile of a name, or in a file. Raises `BadInput`."""
    if name in LATENCY_PROFILES:
        return LATENCY_PROFILES[name]
    path = Path(name)
    if not path.is_file():
        raise BadInput(
            f"--latency {name}: no profile and no file; there are {', '.join(LATENCY_PROFILES)}, "
            "and `simkit calibrate` makes a file from measured round trips"
        )
    try:
        return parse_profile(path.read_text(encoding="utf-8"), name)
    except (ProfileInvalid, UnicodeDecodeError) as error:
        raise BadInput(f"--latency: {error}") from None
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror}") from None


def measured(planned: Plan, jobs: int, cache: Path | None, output: Path | None) -> Results:
    """Measures with a progress bar, until Ctrl-C if that comes first. `output` is written to every few seconds.

    Raises `BadInput` for a folder that cannot be written, and ends the command when a process dies.
    """
    written, latest = time.monotonic(), None

    def keep(results: Results) -> None:
        nonlocal written, latest
        latest = results
        if output is not None and time.monotonic() - written >= _KEEP_EVERY_S:
            save(results, output / "results.json")
            written = time.monotonic()

    if output is not None:
        make_folder(output)
    make_set_ups_folder(cache)
    _say_what_it_takes(planned, jobs)
    with shown_progress("measurements") as progress, Interruption() as interruption:
        try:
            return carry_out(
                planned,
                jobs=jobs,
                cache=cache,
                progress=lambda done, total, each: progress(done, total, each.workload),
                interrupted=lambda: interruption.requested,
                keep=keep,
            )
        except ProcessDied as error:
            kept = ""
            if output is not None and latest is not None:
                save(latest, output / "results.json")
                kept = f"; what was measured is in {output / 'results.json'}"
            errors.print(f"simkit: {error}{kept}", markup=False)
            raise typer.Exit(INTERNAL_ERROR) from None


def _say_what_it_takes(planned: Plan, jobs: int) -> None:
    """On standard error, before sizes that let a workload run for minutes without a sign of life."""
    if any(run.configuration.sizes is Profile.STANDARD for run in planned.runs):
        processes = min(jobs, len(planned.workloads))
        errors.print(
            f"standard sizes: a workload can take two minutes and 1.3 GB of memory; {processes} at a time (--jobs)",
            markup=False,
        )


def set_ups_in(cache: Path | None, kept: bool) -> Path | None:
    """The folder for databases that were set up; None when they are not kept. Raises `BadInput`."""
    if not kept:
        if cache is not None:
            raise BadInput("--no-cache keeps no databases, and --cache says where: give one of them")
        return None
    return CACHE_DIR if cache is None else cache


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """On standard error; a function to call with steps done, steps in all, and the name of the latest."""
    with steps_progress(Console(stderr=True, highlight=False), what) as progress:
        yield progress


def make_set_ups_folder(folder: Path | None) -> None:
    """Makes the folder of `set_ups_in`. Raises `BadInput`."""
    if folder is not None:
        try:
            make_folder(folder, "--cache")
        except BadInput as error:
            raise BadInput(f"{error}, or give --no-cache") from None


def make_folder(folder: Path, option: str = "-o") -> None:
    """Makes the folder, before any work is done in vain. Raises `BadInput`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{option} {folder}: {error.strerror}; name a folder that can be written") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{option} {folder}: it is not writable; name another folder")
