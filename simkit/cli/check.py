"""`simkit check`: is this scenario file right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simkit.cli.app import app
from simkit.cli.exits import BAD_INPUT, exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.cli.subjects import load_sources, plant
from simkit.scenario.problems import ScenarioError
from simkit.search.subject import make_subject


@app.command()
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE|DIR]...", help="Scenarios, or folders of them.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Validate scenario files without running their clients; the setup is run.

    Every problem is shown at once, as `file:line:column: what is wrong; what to do`.
    """
    with exit_codes():
        try:
            sources = load_sources(paths or [])
        except ScenarioError as error:
            if not json:
                raise
            print_json(
                {
                    "good": False,
                    "problems": [
                        {
                            "file": problem.file,
                            "line": problem.line,
                            "column": problem.column,
                            "message": problem.message,
                            "hint": problem.hint,
                        }
                        for problem in error.errors
                    ],
                }
            )
            raise typer.Exit(BAD_INPUT) from None
        for source in sources:
            make_subject(source, plant)
        if json:
            print_json({"good": True, "problems": [], "files": [source.file_name for source in sources]})
        else:
            for source in sources:
                out.print(f"{source.file_name}: good", soft_wrap=True)
