"""`simkit replay`: a capsule again, to the byte; or the run that a seed names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    TimelineOption,
    out,
    print_json,
)
from simkit.cli.showing import draw_timeline, show_run, watched
from simkit.cli.subjects import hang_limit, load_subject, make_subjects
from simkit.report.structured import run_data
from simkit.report.terminal import case_command, replay_command
from simkit.search.capsule import SUFFIX, Capsule, read_capsule, versions
from simkit.search.cases import Case, run_named_case
from simkit.search.execute import Run
from simkit.search.replay import replay as replay_capsule
from simkit.search.subject import Subject


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(metavar="CAPSULE|FILE", help="A capsule, or a scenario together with --seed.")
    ],
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="The run of a scenario to repeat.")
    ] = None,
    io: IoOption = None,
    defect: DefectOption = None,
    events: EventsOption = 0,
    timeline: TimelineOption = None,
    metrics: MetricsOption = False,
    hang_after: HangOption = HANG_AFTER,
    json: JsonOption = False,
) -> None:
    """Repeat a run.

    A capsule brings its scenario and every decision along: it gives the same run on any machine, or stops at
    the first decision that differs. A scenario with a seed gives the same run as long as the scenario and
    simkit stay as they are.

    Example: `simkit replay reports/runs/append-log-seed-12.capsule.json --events 100`
    """
    with exit_codes(json):
        hang_after_s = hang_limit(hang_after)
        if not file.exists():
            raise BadInput(f"{file}: there is no such file")
        if file.suffix in (".yaml", ".yml"):
            again = case_command("replay", str(file), seed or 0, io, defect)
            with watched(again, hang_after_s, json):
                subject, case, result, faithful = _by_seed(file, seed, io, defect)
        else:
            if seed is not None or io is not None or defect is not None:
                raise BadInput(
                    f"{file} is taken for a capsule, which holds its own seed and defect: leave the options out"
                )
            capsule = read_capsule(file)
            with watched(replay_command(str(file), 0, None, None, str(file)), hang_after_s, json):
                subject, case, result, faithful = _by_capsule(capsule)
            if not json:
                _tell_versions(capsule)
        if timeline is not None:
            draw_timeline(subject, case, result, timeline)
        if json:
            print_json({**run_data(subject.scenario.name, result), "faithful": faithful})
            raise typer.Exit(VIOLATION if result.violations or result.unfired else NOTHING_FOUND)
        code = show_run(subject, case, result, events, metrics)
        if faithful is not None:
            out.print("the run is the recorded one, to the byte" if faithful else _unfaithful(), soft_wrap=True)
        raise typer.Exit(code)


def _by_seed(
    file: Path, seed: int | None, io: int | None, defect: str | None
) -> tuple[Subject, Case, Run, bool | None]:
    if seed is None:
        raise BadInput(f"{file} is a scenario: say which run with --seed N, or give a capsule (*{SUFFIX})")
    subject = load_subject(file, defect)
    case = Case(seed, io)
    return subject, case, run_named_case(subject, case), None


def _by_capsule(capsule: Capsule) -> tuple[Subject, Case, Run, bool | None]:
    (subject,) = make_subjects([capsule.source])
    again = replay_capsule(subject, capsule)
    crash = next((crash for crash in capsule.plan.crashes if crash.marked), None)
    run = again.run
    if again.faithful:
        # What only a second run can show (DET-1) is in the record, not in this run's own history.
        kept = [violation for violation in capsule.violations if violation.invariant == "DET-1"]
        run.violations.extend(violation for violation in kept if violation not in run.violations)
    return subject, Case(capsule.seed, crash.io if crash is not None else None), run, again.faithful


def _tell_versions(capsule: Capsule) -> None:
    here = versions()
    differing = [
        f"{name} {recorded} (here {here.get(name, 'missing')})"
        for name, recorded in capsule.versions.items()
        if here.get(name) != recorded
    ]
    if differing:
        out.print(f"[yellow]recorded with {', '.join(differing)}[/]", soft_wrap=True)


def _unfaithful() -> str:
    return (
        "[yellow]every decision was the recorded one, but the history differs from the record: "
        "what a statement did between two decisions has changed, in the system under test, SQLite or simkit[/]"
    )
