"""What a search has done so far, and what that shows.

Slices come back in any order and are counted in the order of their seeds. So the same seeds give the same totals, and
the same first failures, however many processes ran them; what lies behind the run at which a search stops is not
counted at all.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from simkit.check.verdict import Violation
from simkit.search.subject import Source
from simkit.search.watchdog import HANG_AFTER_S
from simkit.search.worker import FAILING_NAMED_MAX, FAILURES_KEPT_MAX, Broken, Failure, Slice


@dataclass(frozen=True)
class FuzzSettings:
    """How much to run. With `seeds` each scenario runs that many; with `budget_s` all of them share that time.

    Attributes:
        jobs: processes; 1 runs in this one.
        stop_at_violation: end the search of a scenario at its first violation.
        capsule_dir: where failing runs are written, or None.
        hang_after_s: a run that takes longer than this is stuck, and ends its process; None: never.
    """

    seeds: int | None = None
    budget_s: float | None = None
    first_seed: int = 0
    jobs: int = 1
    stop_at_violation: bool = False
    capsule_dir: Path | None = None
    hang_after_s: float | None = HANG_AFTER_S


@dataclass
class ScenarioTotals:
    """What was run of one scenario so far.

    Attributes:
        label: its name, with the file if another scenario of the search has the same name.
        wall_s: time spent on what is counted, over all processes.
        failing: seed and storage operation of the violating runs, lowest seeds first, at most `FAILING_NAMED_MAX`.
        cut_short: the search ended before it did what was asked for.
    """

    source: Source
    name: str
    label: str
    expect_violation: bool
    expected_check: str | None
    enumerates: bool
    first_seed: int
    seeds: int = 0
    runs: int = 0
    run_twice: int = 0
    crash_points: int = 0
    requests: int = 0
    steps: int = 0
    simulated_ns: int = 0
    wall_s: float = 0.0
    violating_runs: int = 0
    broken_runs: int = 0
    unfired: int = 0
    found: bool = False
    cut_short: bool = False
    violated: Counter[str] = field(default_factory=Counter)
    failing: list[tuple[int, int | None]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    coverage: Counter[str] = field(default_factory=Counter)
    _early: dict[int, Slice] = field(default_factory=dict)
    _reference: str = ""

    def add(self, part: Slice) -> None:
        """Takes a slice; it counts as soon as all those before it do."""
        self._compare(part.reference)
        self._early[part.first_seed] = part
        while not self.found and (following := self._early.pop(self.first_seed + self.seeds, None)) is not None:
            self._count(following)
            if not following.seeds:
                break

    def settle(self) -> None:
        """Nothing more will come: counts what is left, gaps or not."""
        for first_seed in sorted(self._early):
            if not self.found:
                self._count(self._early[first_seed])
        self._early.clear()

    def _compare(self, reference: str) -> None:
        """Every process did the same run; what differs depends on the process (DET-1)."""
        if not reference or reference == self._reference:
            return
        if not self._reference:
            self._reference = reference
        elif not self.violated["DET-1"]:
            sentence = f"seed {self.first_seed} gave another history in another process (one that hashes differently)"
            violation = Violation("DET-1", "other-process", sentence, 0)
            self.violated["DET-1"] += 1
            self.violating_runs += 1
            self.failures.append(Failure(self.first_seed, None, (violation,), (), None))

    def _count(self, part: Slice) -> None:
        self.seeds += part.seeds
        self.runs += part.runs
        self.run_twice += part.run_twice
        self.crash_points += part.crash_points
        self.requests += part.requests
        self.steps += part.steps
        self.simulated_ns += part.simulated_ns
        self.wall_s += part.wall_s
        self.violating_runs += part.violating_runs
        self.broken_runs += part.broken_runs
        self.unfired += part.unfired
        self.found = self.found or part.found
        self.violated.update(part.violated)
        self.coverage.update(part.coverage)
        self.failing.extend(part.failing[: FAILING_NAMED_MAX - len(self.failing)])
        self.failures.extend(part.failures[: FAILURES_KEPT_MAX - len(self.failures)])
        self.broken.extend(part.broken[: FAILURES_KEPT_MAX - len(self.broken)])

    @property
    def found_expected(self) -> bool:
        """Whether a violation of the kind that the scenario must show was found."""
        if self.expected_check is None:
            return bool(self.violating_runs)
        return bool(self.violated[self.expected_check])

    @property
    def exhausted(self) -> bool:
        """Whether every run of its seeds that the scenario enumerates was run, and none broke."""
        return self.enumerates and self.crash_points > 0 and not self.broken_runs and not self._unfinished_runs

    @property
    def _unfinished_runs(self) -> int:
        """Runs of seeds that were cut short."""
        return self.runs - self.seeds - self.crash_points

    @property
    def good(self) -> bool:
        """Whether the scenario came out as it says it must, as far as it was run."""
        if self.broken_runs:
            return False
        if self.expect_violation:
            return self.found_expected or self.cut_short
        return not self.violating_runs


@dataclass
class FuzzTotals:
    """What a whole search did. `died` says which worker process was lost, if one was."""

    scenarios: list[ScenarioTotals]
    settings: FuzzSettings
    begun: float
    ended: float | None = None
    interrupted: bool = False
    died: str = ""

    @property
    def wall_s(self) -> float:
        return (self.ended if self.ended is not None else time.monotonic()) - self.begun

    @property
    def runs(self) -> int:
        return sum(scenario.runs for scenario in self.scenarios)

    @property
    def violating_runs(self) -> int:
        """Runs that violated something, except in scenarios that expect it."""
        return sum(scenario.violating_runs for scenario in self.scenarios if not scenario.expect_violation)

    @property
    def good(self) -> bool:
        return not self.died and all(scenario.good for scenario in self.scenarios)

    @property
    def broken(self) -> bool:
        return any(scenario.broken_runs for scenario in self.scenarios)
