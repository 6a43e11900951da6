"""The command in this process, in a directory of its own with a few scenarios."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from simkit.cli.app import app

SCENARIOS = Path(__file__).parents[2] / "scenarios"
BAD = "name: bad\nattacks: Nothing.\nclients: [{name: one, mix: {nothing: 1}}]\n"
EVERY_IO = """\
name: every-io
attacks: A statement is cut off everywhere.
setup: [CREATE TABLE t(a INTEGER PRIMARY KEY)]
clients: [{name: one, script: [{sql: INSERT INTO t VALUES(1), marked: true}]}]
crash: {at: every io}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own directory: a sound scenario, one with a planted defect, one that enumerates, one that is wrong."""
    (tmp_path / "sound.yaml").write_text((SCENARIOS / "smallest.yaml").read_text(encoding="utf-8"))
    (tmp_path / "planted.yaml").write_text((SCENARIOS / "planted" / "fence-skipped.yaml").read_text(encoding="utf-8"))
    (tmp_path / "every-io.yaml").write_text(EVERY_IO)
    (tmp_path / "bad.yaml").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def simkit() -> Callable[..., Result]:
    """Runs a command line and asserts that no traceback came out of it."""

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


@pytest.fixture
def simkit_json(simkit: Callable[..., Result]) -> Callable[..., Any]:
    """Runs a command line with --json; its standard output must be one document."""

    def run(*arguments: str) -> Any:
        return json.loads(simkit(*arguments, "--json").stdout)

    return run


@pytest.fixture
def commands_in() -> Callable[[str], list[list[str]]]:
    """The `simkit ...` command lines that a text shows after `replay:` or `again:`."""
    return lambda text: [line.split() for line in re.findall(r"^  (?:replay|again): +simkit (.+)$", text, re.MULTILINE)]
