"""How a command ends: exit codes, and bad input turned into one clear message."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from simkit.defects import DefectNotFound
from simkit.kernel import ReplayDivergence
from simkit.scenario.image import SetupFailed
from simkit.scenario.parts import SystemNotFound
from simkit.scenario.problems import ScenarioError
from simkit.search.capsule import CapsuleError
from simkit.search.fuzz import WorkerDied

NOTHING_FOUND = 0
VIOLATION = 1
BAD_INPUT = 2
INTERNAL_ERROR = 3
INTERRUPTED = 130

errors = Console(stderr=True, highlight=False, soft_wrap=True)


class BadInput(Exception):
    """What the caller gave cannot be used; the message says what to do."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what a command raises into a message and an exit code."""
    try:
        yield
    except ScenarioError as error:
        for problem in error.errors:
            errors.print(escape(str(problem)))
        count = len(error.errors)
        errors.print(f"{count} problem{'s' if count != 1 else ''}; simkit check FILE shows them again after a change")
        raise typer.Exit(BAD_INPUT) from None
    except (BadInput, CapsuleError, SetupFailed, SystemNotFound, DefectNotFound) as error:
        errors.print(escape(f"simkit: {error}"))
        raise typer.Exit(BAD_INPUT) from None
    except ReplayDivergence as error:
        errors.print(escape(f"simkit: {error}"))
        errors.print(
            "The scenario, the system under test or simkit has changed since this was recorded. "
            "`simkit doctor` shows the versions here; the capsule names those it was recorded with."
        )
        raise typer.Exit(BAD_INPUT) from None
    except WorkerDied as error:
        errors.print(escape(f"simkit: {error}"))
        raise typer.Exit(INTERNAL_ERROR) from None
    except KeyboardInterrupt:
        errors.print("simkit: interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        errors.print(escape(traceback.format_exc()))
        errors.print(escape(f"simkit: internal error: {error!r}. Please report it with the lines above."))
        raise typer.Exit(INTERNAL_ERROR) from error
