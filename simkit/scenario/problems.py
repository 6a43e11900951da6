"""What is wrong with a scenario file, and where: one `Problem` each, all of them in one `ScenarioError`.

A file is read by people in an editor, so every problem has the place it is about (line and column from 1) and
says what would be right. Formatting and close-match advice live here; finding problems does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing wrong in a scenario file. `hint` says what to do; it may be empty."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class ScenarioError(ValueError):
    """A scenario file cannot be used. `errors` has every problem found, in the order of the file."""

    def __init__(self, errors: list[Problem]) -> None:
        super().__init__(errors)
        assert errors, "a ScenarioError without a problem says nothing"
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.errors)


def suggest(word: object, allowed: Iterable[str]) -> str:
    """Advice for a misspelt word: the closest allowed one, and the whole list."""
    choices = list(allowed)
    listed = f"allowed: {', '.join(choices)}" if choices else "nothing is allowed here"
    close = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? {listed}" if close else listed
