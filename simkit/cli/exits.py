"""How a command ends: exit codes, and bad input turned into one clear message.

With `--json` the message is a JSON document on standard output as well, so that there always is exactly one.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from simkit.cli.options import print_json
from simkit.defects import DefectNotFound
from simkit.kernel import ReplayDivergence, TaskFailed
from simkit.scenario.image import SetupFailed
from simkit.scenario.problems import ScenarioError
from simkit.search.capsule import CapsuleError
from simkit.search.cases import NoSuchCase

NOTHING_FOUND = 0
VIOLATION = 1
BAD_INPUT = 2
INTERNAL_ERROR = 3
INTERRUPTED = 130

errors = Console(stderr=True, highlight=False, soft_wrap=True)


class BadInput(Exception):
    """What the caller gave cannot be used; the message says what to do."""


@contextmanager
def exit_codes(json: bool = False, in_command: bool = True) -> Iterator[None]:
    """Turns what a command raises into a message and an exit code.

    `in_command`: a `SystemExit` comes from the system under test, and its code is none of simkit's.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except ScenarioError as error:
        count = len(error.errors)
        advice = f"{count} problem{'s' if count != 1 else ''}; simkit check FILE shows them again after a change"
        message = "\n".join([*map(str, error.errors), advice])
        raise _end(BAD_INPUT, "bad scenario", message, json, problems=_problems(error)) from None
    except (BadInput, CapsuleError, SetupFailed, DefectNotFound, NoSuchCase) as error:
        raise _end(BAD_INPUT, "bad input", f"simkit: {error}", json) from None
    except ReplayDivergence as error:
        message = (
            f"simkit: {error}\n"
            "The scenario, the system under test or simkit has changed since this was recorded. "
            "`simkit doctor` shows the versions here; the capsule names those it was recorded with."
        )
        raise _end(BAD_INPUT, "divergence", message, json) from None
    except TaskFailed as error:
        raise _end(INTERNAL_ERROR, "broken run", _no_verdict(error, error.__cause__ or error), json) from None
    except SystemExit as error:
        if not in_command:
            raise  # how the command line library ends the process
        raise _end(INTERNAL_ERROR, "broken run", _no_verdict(error, error), json) from None
    except KeyboardInterrupt:
        raise _end(INTERRUPTED, "interrupted", "simkit: interrupted", json) from None
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        message = f"{traceback.format_exc()}simkit: internal error: {error!r}. Please report it with the lines above."
        raise _end(INTERNAL_ERROR, "internal error", message, json) from error


def report_hang(again: str, hang_after_s: float, json: bool) -> None:
    """Says which run is stuck. The process is about to end with `INTERNAL_ERROR`."""
    message = (
        f"simkit: a run did not come to an end within {hang_after_s:g} s of real time: a lock or a loop that the "
        "simulation knows nothing of, or a very long run (--hang-after allows more). The stacks above say where.\n"
        f"again:   {again}"
    )
    _end(INTERNAL_ERROR, "stuck run", message, json)


def _no_verdict(error: BaseException, cause: BaseException) -> str:
    what = str(error) if isinstance(error, TaskFailed) else f"the run raised {error!r}"
    return (
        "".join(traceback.format_exception(cause))
        + f"simkit: {what}\nThis is no verdict: the system under test failed in a way that is no answer to a client, "
        "or simkit did. The lines above say where."
    )


def _end(code: int, kind: str, message: str, json: bool, **more: Any) -> typer.Exit:
    errors.print(escape(message))
    if json:
        print_json({"good": False, "error": kind, "message": message, **more})
    return typer.Exit(code)


def _problems(error: ScenarioError) -> list[dict[str, Any]]:
    return [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in error.errors
    ]
