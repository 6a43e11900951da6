"""`simkit fuzz`: many seeds of many scenarios."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simkit.cli.app import app
from simkit.cli.exits import INTERNAL_ERROR, INTERRUPTED, NOTHING_FOUND, VIOLATION, BadInput, exit_codes, report_hang
from simkit.cli.options import HANG_AFTER, DefectOption, HangOption, JsonOption, out, parse_seconds, print_json
from simkit.cli.subjects import DEFAULT_FOLDER, hang_limit, load_sources, make_subjects, plant
from simkit.report.progress import fuzz_progress
from simkit.report.structured import fuzz_data
from simkit.report.terminal import case_command, print_fuzz_summary
from simkit.search.fuzz import fuzz as run_fuzz
from simkit.search.processes import cores
from simkit.search.subject import Source
from simkit.search.totals import FuzzSettings, FuzzTotals

DEFAULT_BUDGET = "60s"
CAPSULE_DIR = Path("reports/runs")


@app.command()
def fuzz(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE|DIR]...", help="Scenarios, or folders of them; without any: the folder scenarios."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=1, help="Run N seeds of each scenario.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME", help=f"Share this time among the scenarios. Default: {DEFAULT_BUDGET}."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes. Default: one for each core.")
    ] = None,
    first_seed: Annotated[
        int,
        typer.Option(
            "--first-seed", metavar="N", min=0, help="Count seeds from N; give another one to run other seeds."
        ),
    ] = 0,
    stop: Annotated[bool, typer.Option("--stop", help="End the search of a scenario at its first violation.")] = False,
    capsules: Annotated[
        Path, typer.Option("--capsules", metavar="DIR", help="Where failing runs are written.")
    ] = CAPSULE_DIR,
    defect: DefectOption = None,
    hang_after: HangOption = HANG_AFTER,
    json: JsonOption = False,
) -> None:
    """Search scenarios for violations.

    Seeds are counted up, so the same call runs the same seeds. The first failing runs of each scenario leave
    capsules, and the commands that replay them are printed. Ctrl-C ends the search and shows what it found.
    A scenario fails as well when 100 runs of it hit one of its `sometimes` marks never; 1,000 runs of all the
    scenarios there are must take the connection pool through every change of mode.

    Examples: `simkit fuzz`, `simkit fuzz scenarios/takeover --budget 10m`, `simkit fuzz FILE --seeds 10000 --jobs 2`
    """
    with exit_codes(json):
        settings = _settings(seeds, budget, jobs, first_seed, stop, capsules, hang_limit(hang_after))
        settings = replace(settings, modes_expected=not paths or DEFAULT_FOLDER in paths)
        subjects = make_subjects(load_sources(paths or [], defect))
        with fuzz_progress(Console(stderr=True, highlight=False)) as progress:
            totals = run_fuzz(subjects, settings, plant, progress, partial(_report_hang, settings, json))
        if json:
            print_json(fuzz_data(totals))
        else:
            print_fuzz_summary(out, totals)
        raise typer.Exit(_code(totals))


def _settings(
    seeds: int | None,
    budget: str | None,
    jobs: int | None,
    first_seed: int,
    stop: bool,
    capsules: Path,
    hang_after_s: float | None,
) -> FuzzSettings:
    if seeds is not None and budget is not None:
        raise BadInput("give --seeds or --budget, not both")
    budget_s = None
    if seeds is None:
        try:
            budget_s = parse_seconds(budget or DEFAULT_BUDGET)
        except ValueError as error:
            raise BadInput(f"--budget: {error}") from None
        if budget_s == 0:
            raise BadInput("--budget: there is nothing to run in no time; give for example --budget 10s")
    _require_writable(capsules)
    return FuzzSettings(
        seeds=seeds,
        budget_s=budget_s,
        first_seed=first_seed,
        jobs=jobs or cores(),
        stop_at_violation=stop,
        capsule_dir=capsules,
        hang_after_s=hang_after_s,
    )


def _report_hang(settings: FuzzSettings, json: bool, source: Source, seed: int, io: int | None) -> None:
    assert settings.hang_after_s is not None
    report_hang(case_command("run", source.file_name, seed, io, source.defect), settings.hang_after_s, json)


def _require_writable(folder: Path) -> None:
    """The folder is made when there is something to write; that it can be is known before the search."""
    standing = folder
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    if not standing.is_dir():
        raise BadInput(f"--capsules: {standing} is not a folder")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise BadInput(f"--capsules: {standing} is not writable; name another folder with --capsules DIR")


def _code(totals: FuzzTotals) -> int:
    if totals.broken or totals.died:
        return INTERNAL_ERROR
    if not totals.good:
        return VIOLATION
    return INTERRUPTED if totals.interrupted else NOTHING_FOUND
