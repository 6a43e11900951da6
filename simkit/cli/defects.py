"""`simkit defects`: do the checks have teeth?"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from simkit.cli.app import app
from simkit.cli.exits import NOTHING_FOUND, VIOLATION, BadInput, exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.defects import DEFECTS, DefectRow, find_defect, measure
from simkit.defects.measure import SCENARIOS
from simkit.report.terminal import print_table, say


@app.command()
def defects(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which; without any: all.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Independent searches for each.")] = 20,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, help="Runs that one search may take.")] = 200,
    list_only: Annotated[bool, typer.Option("--list", help="Only say what each one breaks.")] = False,
    json: JsonOption = False,
) -> None:
    """Plant each known defect and see whether its check catches it.

    A defect that survives a search, or that another invariant catches instead of its own, makes the command
    fail (exit code 1); so does a violation found by the same runs without the defect.

    Examples: `simkit defects`, `simkit defects fence-skipped --seeds 5`, `simkit defects --list`
    """
    with exit_codes(json):
        if not SCENARIOS.is_dir():
            raise BadInput(
                "the scenarios that the defects are planted in are not here: they are part of simkit's source, "
                "not of the installed package; run this in a clone (pip install --editable .)"
            )
        chosen = [find_defect(name) for name in ids] if ids else list(DEFECTS.values())
        if list_only:
            _list([(defect.id, defect.invariant, defect.breaks) for defect in chosen], json)
            return
        progress = Console(stderr=True, highlight=False)
        rows: list[DefectRow] = []
        for number, defect in enumerate(chosen, 1):
            progress.print(f"{number}/{len(chosen)} {defect.id}", end="\r" if progress.is_terminal else "\n")
            rows.append(measure(defect, seeds, runs))
        if json:
            print_json([msgspec.to_builtins(row) for row in rows])
        else:
            _show(rows)
        good = all(row.caught == row.seeds and not row.false_alarms for row in rows)
        raise typer.Exit(NOTHING_FOUND if good else VIOLATION)


def _list(entries: list[tuple[str, str, str]], json: bool) -> None:
    if json:
        print_json([{"id": name, "invariant": invariant, "breaks": breaks} for name, invariant, breaks in entries])
        return
    for name, invariant, breaks in entries:
        say(out, f"{name} ({invariant}): {breaks}")


def _show(rows: list[DefectRow]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("defect", "caught", "invariant", "check"):
        table.add_column(heading, no_wrap=True)
    table.add_column("median\nruns", justify="right")
    table.add_column("false\nalarms", justify="right")
    for row in rows:
        style = "green" if row.caught == row.seeds else "red"
        alarms = f"[red]{row.false_alarms}[/]" if row.false_alarms else "0"
        median = f"{row.median_runs:g}" if row.median_runs is not None else "-"
        table.add_row(
            row.id, f"[{style}]{row.caught} of {row.seeds}[/]", row.invariant, row.check or "-", median, alarms
        )
    print_table(out, table)
