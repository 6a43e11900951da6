"""`simkit check`: is this scenario file right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from simkit.cli.app import app
from simkit.cli.exits import exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.cli.subjects import load_sources, make_subjects


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
    with exit_codes(json):
        sources = load_sources(paths or [])
        make_subjects(sources)
        if json:
            print_json({"good": True, "problems": [], "files": [source.file_name for source in sources]})
        else:
            for source in sources:
                out.print(escape(f"{source.file_name}: good"), soft_wrap=True)
