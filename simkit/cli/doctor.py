"""`simkit doctor`: what is installed here, and is anything missing?"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import apsw
import typer

from simkit import __version__
from simkit.cli.app import app
from simkit.cli.exits import BAD_INPUT, NOTHING_FOUND, exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.kernel import Decisions, Kernel
from simkit.report.terminal import say
from simkit.vfs.batch_atomic import batch_atomic_supported

LIBRARIES = (
    "apsw",
    "simpy",
    "greenlet",
    "pydantic",
    "ruamel.yaml",
    "msgspec",
    "sortedcontainers",
    "typer",
    "rich",
    "prometheus-client",
)
_PYTHON_MIN = (3, 11)
_NOTABLE_OPTIONS = ("THREADSAFE", "ENABLE_BATCH_ATOMIC_WRITE", "DIRECT_OVERFLOW_READ", "DEFAULT_CACHE_SIZE")


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Show versions and SQLite's compile options, and try what simkit depends on."""
    with exit_codes(json):
        found = {name: _version(name) for name in LIBRARIES}
        problems = _problems(found)
        options = sorted(apsw.compile_options)
        batch_atomic = batch_atomic_supported()
        data: dict[str, object] = {
            "simkit": __version__,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": f"{platform.system()} {platform.machine()}",
            "sqlite": apsw.sqlite_lib_version(),
            "commit_path": "batch-atomic" if batch_atomic else "rollback journal",
            "batch_atomic_built_in": batch_atomic,
            "libraries": found,
            "compile_options": options,
            "problems": problems,
        }
        if json:
            print_json(data)
        else:
            _print(data, options, found, problems)
        raise typer.Exit(BAD_INPUT if problems else NOTHING_FOUND)


def _print(data: dict[str, object], options: list[str], found: dict[str, str | None], problems: list[str]) -> None:
    say(out, f"simkit {data['simkit']}, Python {data['python']} ({data['implementation']}) on {data['platform']}")
    if data["batch_atomic_built_in"]:
        path = "commits are batch-atomic writes, unless a scenario says `batch_atomic: false`"
    else:
        path = "commits go through a rollback journal in memory (it is built without batch-atomic writes)"
    say(out, f"SQLite {data['sqlite']}: {path}")
    notable = [option for option in options if option.split("=")[0] in _NOTABLE_OPTIONS]
    say(out, f"compile options ({len(options)}; --json lists all): {', '.join(notable) or 'none of note'}", 2)
    say(out, "libraries: " + ", ".join(f"{name} {number or 'missing'}" for name, number in found.items()), 2)
    for problem in problems:
        say(out, f"problem: {problem}", style="red")
    out.print("nothing is missing" if not problems else f"{len(problems)} problem(s)")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _problems(found: dict[str, str | None]) -> list[str]:
    problems = [f"{name} is not installed: pip install {name}" for name, number in found.items() if number is None]
    if sys.version_info < _PYTHON_MIN:
        problems.append("Python 3.11 or newer is needed")
    if "THREADSAFE=0" in apsw.compile_options:
        problems.append(
            "SQLite was built without threads (THREADSAFE=0); the thread carrier of the kernel cannot be used"
        )
    try:
        kernel = Kernel(Decisions(0))
        kernel.spawn(lambda: kernel.sleep(1), name="doctor")
        kernel.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the user needs to see
        problems.append(f"the kernel cannot switch between tasks here: {error!r}")
    return problems
