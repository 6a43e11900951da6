"""What came out of test files: cases passed, failed and skipped, and why.

A case that failed has a reason of its own. Cases that were skipped are counted by reason, because one reason usually
accounts for many of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


class Unusable(Exception):
    """What the caller gave cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Failure:
    """One case that failed: its name or place, and what was expected and got."""

    case: str
    why: str


@dataclass
class FileResult:
    """What came out of one file.

    Attributes:
        file: its name, as it is shown.
        passed: the number of its cases that did what was expected.
        failures: those that did not.
        skipped: the number of cases that were not run or not judged, by reason. A file of which nothing could run has
            one.
        depot_files: main database files that were opened in the depot.
        commits: commits that the depot acknowledged.
        atomic_commits: those that SQLite made as batch-atomic writes; only its own test scripts run on such a build.
        wall_s: seconds of real time.
    """

    file: str
    passed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    depot_files: int = 0
    commits: int = 0
    atomic_commits: int = 0
    wall_s: float = 0.0

    @property
    def outcome(self) -> str:
        """`failed`, `passed`, or `skipped` when nothing was judged."""
        if self.failures:
            return "failed"
        return "passed" if self.passed else "skipped"

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "file": self.file,
            "outcome": self.outcome,
            "passed": self.passed,
            "failures": [{"case": failure.case, "why": failure.why} for failure in self.failures],
            "skipped": dict(self.skipped),
            "depot_files": self.depot_files,
            "commits": self.commits,
            "atomic_commits": self.atomic_commits,
            "wall_s": round(self.wall_s, 3),
        }


@dataclass(frozen=True)
class Totals:
    """The sums over files."""

    files: Counter[str]
    passed: int
    failed: int
    skipped: Counter[str]

    @staticmethod
    def of(results: Iterable[FileResult]) -> Totals:
        """The sums over these."""
        files: Counter[str] = Counter()
        skipped: Counter[str] = Counter()
        passed = failed = 0
        for result in results:
            files[result.outcome] += 1
            passed += result.passed
            failed += len(result.failures)
            skipped.update(result.skipped)
        return Totals(files, passed, failed, skipped)
