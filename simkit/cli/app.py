"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from simkit import __version__
from simkit.cli.exits import exit_codes

app = typer.Typer(
    name="simkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Deterministic storage simulator and correctness tests for SQLite over remote storage.\n\n"
        "Start with `simkit fuzz` in a project with a folder `scenarios`. Every run is named by its scenario and seed, "
        "and every failing run leaves a capsule that `simkit replay` repeats to the byte.\n\n"
        "Exit codes: 0 nothing found, 1 violation, 2 bad input, 3 internal error, 130 interrupted."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"simkit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """The entry point of the console script."""
    with_codes = exit_codes(in_command=False)
    try:
        with with_codes:
            app(standalone_mode=True)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


from simkit.cli import bench, calibrate, check, defects, doctor, fuzz, replay, run, schema  # noqa: E402 - they register themselves

__all__ = ["app", "bench", "calibrate", "check", "defects", "doctor", "fuzz", "main", "replay", "run", "schema"]
