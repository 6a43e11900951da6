"""`simkit schema`: the JSON Schema of scenario files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simkit.cli.app import app
from simkit.cli.exits import BadInput, exit_codes
from simkit.cli.options import JsonOption, print_json
from simkit.scenario.schema import schema_text


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file instead.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors.

    Put `# yaml-language-server: $schema=PATH` into the first line of a scenario, and editors complete keys and
    explain them.
    """
    with exit_codes(json):
        if output is None:
            typer.echo(schema_text(), nl=False)
            return
        try:
            output.write_text(schema_text(), encoding="utf-8")
        except OSError as error:
            raise BadInput(f"cannot write {output}: {error.strerror}") from None
        if json:
            print_json({"good": True, "written": str(output)})
