"""What a run of one of SQLite's Tcl scripts printed, judged case by case.

testfixture prints `NAME... Ok` for a case that passed, and what was expected and got before one that failed; the
prelude adds `@simkit failed NAME`, and `@simkit need REASON` where a script asks for something that no VFS outside the
operating system's files can give. Cases of the same group (`pager1-3` of `pager1-3.1.2`) go on with what such a case
left behind: they count where they pass and are not judged where they fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from simkit.conformance.results import Failure, FileResult

MARK = "@simkit "

_OK = re.compile(r"^(?P<name>\S.*?)\.\.\. Ok\s*$")
_RUNNING = re.compile(r"^(?P<name>\S+)\.\.\.")
_SUMMARY = re.compile(r"^(?P<errors>\d+) errors out of (?P<cases>\d+) tests")
_WHY_MAX = 400


class Ending(msgspec.Struct, frozen=True):
    """What a script's process says at the end."""

    opened: int = 0
    commits: int = 0
    atomic_commits: int = 0


@dataclass
class ScriptOutput:
    """What was found in the output.

    Attributes:
        result: cases passed, failed and not judged.
        ending: None when the process ended without saying so.
        reported: the number of errors by testfixture's own account, if it came to that.
        last: the last case that was begun.
    """

    result: FileResult
    ending: Ending | None = None
    reported: int | None = None
    last: str = ""
    failed: int = 0
    _said: list[str] = field(default_factory=list)
    _pending: list[str] = field(default_factory=list)
    _needs: dict[str, str] = field(default_factory=dict)

    def line(self, line: str) -> None:
        """Takes the next line."""
        if line.startswith(MARK):
            kind, _, text = line.removeprefix(MARK).partition(" ")
            self._marked(kind, text)
            return
        passed = _OK.match(line)
        if passed is not None:
            self._ended(passed["name"])
            self.result.passed += 1
            return
        summary = _SUMMARY.match(line)
        if summary is not None:
            self.reported = int(summary["errors"])
        running = _RUNNING.match(line)
        if running is not None:
            self.last = running["name"]
        if line.startswith(("! ", "Error: ")) or (self._said and line):
            self._said.append(line)

    def _marked(self, kind: str, text: str) -> None:
        match kind:
            case "need":
                self._pending.append(text)
            case "failed":
                why = _shortened(" ".join(self._said) or "failed")
                self._ended(text)
                self.failed += 1
                self.fail(text, why)
            case "error":
                self.fail("the script", _shortened(f"ended with an error after {self.last or 'its start'}: {text}"))
            case "internal":
                self.result.failures.append(Failure("the VFS", _shortened(text)))
            case "end":
                self.ending = msgspec.json.decode(text, type=Ending)

    def _ended(self, name: str) -> None:
        if self._pending:
            self._needs.setdefault(group_of(name), self._pending[-1])
            self._pending.clear()
        self._said.clear()
        self.last = name

    def fail(self, case: str, why: str) -> None:
        """A case failed, the last one or what belongs to it. Not judged where its group met with a need."""
        if self._pending:
            self._ended(self.last)
        need = self._needs.get(group_of(self.last))
        if need is None:
            self.result.failures.append(Failure(case, why))
        else:
            self.result.skipped[f"needs {need}"] += 1


def group_of(case: str) -> str:
    """The cases that build on one another: the name up to the first dot."""
    return case.partition(".")[0]


def read_output(name: str, text: str) -> ScriptOutput:
    """Judges the whole output of a script."""
    output = ScriptOutput(FileResult(name))
    for line in text.splitlines():
        output.line(line)
    if output.ending is not None:
        output.result.depot_files = output.ending.opened
        output.result.commits = output.ending.commits
        output.result.atomic_commits = output.ending.atomic_commits
    return output


def _shortened(text: str) -> str:
    return text if len(text) <= _WHY_MAX else f"{text[:_WHY_MAX]} ..."
