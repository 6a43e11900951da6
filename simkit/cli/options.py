"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from simkit.kernel.units import SECOND, parse_duration
from simkit.search.watchdog import HANG_AFTER_S

DefectOption = Annotated[
    str | None,
    typer.Option("--defect", metavar="ID", help="Plant a defect in the parts under test (simkit defects lists them)."),
]
IoOption = Annotated[
    int | None,
    typer.Option("--io", metavar="K", min=1, help="Crash at the Kth storage operation of the marked step."),
]
HangOption = Annotated[
    str,
    typer.Option(
        "--hang-after",
        metavar="TIME",
        help="End the process when one run takes longer than this in real time; 0s waits for ever.",
    ),
]
HANG_AFTER = f"{HANG_AFTER_S:g}s"
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
EventsOption = Annotated[
    int, typer.Option("--events", metavar="N", min=0, help="Show the last N events of the run; 0 shows none.")
]
TimelineOption = Annotated[
    Path | None,
    typer.Option("--timeline", metavar="FILE.svg", help="Draw the run: clients, connections, modes, commits."),
]
MetricsOption = Annotated[
    bool, typer.Option("--metrics", help="Show the metrics of each instance that was closed, in simulated seconds.")
]
ScenarioArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file (YAML).")]


class OutputConsole(Console):
    """A console that leaves it to `exit_codes` what a closed pipe means; rich would exit as if something was found."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


out = OutputConsole(highlight=False)


def parse_seconds(text: str) -> float:
    """Seconds of a span of real time, such as `90s`. Raises `ValueError`."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()):
        raise ValueError(f"{text!r} is not a duration: write {text.strip()}s (units are ns, us, ms, s, min)")
    return parse_duration(text) / SECOND


def print_json(data: object) -> None:
    """One JSON document on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
