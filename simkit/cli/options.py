"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

DefectOption = Annotated[
    str | None,
    typer.Option("--defect", metavar="ID", help="Plant a defect in the parts under test (simkit defects lists them)."),
]
IoOption = Annotated[
    int | None,
    typer.Option("--io", metavar="K", min=1, help="Crash at the Kth storage operation of the marked step."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
EventsOption = Annotated[
    int, typer.Option("--events", metavar="N", min=0, help="Show the last N events of the run; 0 shows none.")
]
ScenarioArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file (YAML).")]


class OutputConsole(Console):
    """A console that leaves it to `exit_codes` what a closed pipe means; rich would exit as if something was found."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


out = OutputConsole(highlight=False)


def print_json(data: object) -> None:
    """One JSON document on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
