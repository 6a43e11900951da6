"""`simkit run`: one run of one scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from simkit.cli.app import app
from simkit.cli.exits import NOTHING_FOUND, VIOLATION, BadInput, exit_codes
from simkit.cli.options import (
    HANG_AFTER,
    DefectOption,
    EventsOption,
    HangOption,
    IoOption,
    JsonOption,
    MetricsOption,
    ScenarioArgument,
    TimelineOption,
    out,
    print_json,
)
from simkit.cli.showing import draw_timeline, show_run, watched
from simkit.cli.subjects import hang_limit, load_subject
from simkit.report.structured import run_data
from simkit.report.terminal import case_command, replay_command
from simkit.search.capsule import capsule_of, write_capsule
from simkit.search.cases import Case, run_named_case


@app.command()
def run(
    file: ScenarioArgument,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Which run: any number from 0 on.")] = 0,
    io: IoOption = None,
    defect: DefectOption = None,
    capsule: Annotated[
        Path | None, typer.Option("--capsule", metavar="FILE", help="Write the run to a capsule, whatever came of it.")
    ] = None,
    events: EventsOption = 0,
    timeline: TimelineOption = None,
    metrics: MetricsOption = False,
    hang_after: HangOption = HANG_AFTER,
    json: JsonOption = False,
) -> None:
    """Run a scenario once and check it.

    Example: `simkit run scenarios/durability/money-transfers.yaml --seed 7 --events 40`
    """
    with exit_codes(json):
        hang_after_s = hang_limit(hang_after)
        subject = load_subject(file, defect)
        case = Case(seed, io)
        with watched(case_command("run", subject.source.file_name, seed, io, defect), hang_after_s, json):
            result = run_named_case(subject, case)
        if timeline is not None:
            draw_timeline(subject, case, result, timeline)
        if capsule is not None:
            try:
                write_capsule(capsule_of(subject.source, result), capsule)
            except OSError as error:
                raise BadInput(f"cannot write {capsule}: {error.strerror}") from None
        again = replay_command(subject.source.file_name, seed, io, defect, str(capsule) if capsule else None)
        if json:
            print_json(
                {
                    **run_data(subject.scenario.name, result),
                    "capsule": str(capsule) if capsule else None,
                    "replay": again,
                }
            )
            raise typer.Exit(VIOLATION if result.violations or result.unfired else NOTHING_FOUND)
        code = show_run(subject, case, result, events, metrics)
        if capsule is not None:
            out.print(f"capsule: {escape(str(capsule))}", soft_wrap=True)
        if capsule is not None or result.violations:
            out.print(f"replay:  {escape(again)}", soft_wrap=True)
        raise typer.Exit(code)
