"""What a search has done so far, and what that shows.

Slices come back in any order and are counted in the order of their seeds. So the same seeds give the same totals, and
the same first failures, however many processes ran them; what lies behind the run at which a search stops is not
counted at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from simkit.check.verdict import Violation
from simkit.scenario.model_marks import MODE_MARKS
from simkit.search.coverage import MARK_RUNS_MIN, MODE_RUNS_MIN, POOL
from simkit.search.subject import Source
from simkit.search.tally import Failure, Tally
from simkit.search.watchdog import HANG_AFTER_S
from simkit.search.worker import Slice


@dataclass(frozen=True)
class FuzzSettings:
    """How much to run. With `seeds` each scenario runs that many; with `budget_s` all of them share that time.

    Attributes:
        jobs: processes; 1 runs in this one.
        stop_at_violation: end the search of a scenario at its first violation.
        capsule_dir: where failing runs are written, or None.
        hang_after_s: a run that takes longer than this is stuck, and ends its process; None: never.
        modes_expected: all the scenarios there are are searched: together they must hit each mode transition.
    """

    seeds: int | None = None
    budget_s: float | None = None
    first_seed: int = 0
    jobs: int = 1
    stop_at_violation: bool = False
    capsule_dir: Path | None = None
    hang_after_s: float | None = HANG_AFTER_S
    modes_expected: bool = False


@dataclass
class ScenarioTotals(Tally):
    """What was run of one scenario so far.

    Attributes:
        label: its name, with the file if another scenario of the search has the same name.
        system: the system that it names.
        sometimes: marks that a search of it must have hit.
        cut_short: the search ended before it did what was asked for.
    """

    source: Source
    name: str
    label: str
    expect_violation: bool
    expected_check: str | None
    enumerates: bool
    first_seed: int
    system: str = ""
    sometimes: tuple[str, ...] = ()
    cut_short: bool = False
    _early: dict[int, Slice] = field(default_factory=dict)
    _reference: str = ""

    def add(self, part: Slice) -> None:
        """Takes a slice; it counts as soon as all those before it do."""
        self._compare(part.reference)
        self._early[part.first_seed] = part
        while not self.found and (following := self._early.pop(self.first_seed + self.seeds, None)) is not None:
            self.count(following)
            if not following.seeds:
                break

    def settle(self) -> None:
        """Nothing more will come: counts what is left, gaps or not."""
        for first_seed in sorted(self._early):
            if not self.found:
                self.count(self._early[first_seed])
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
        return not self.violating_runs and not self.misses and not self.unfired

    @property
    def never_hit(self) -> tuple[str, ...]:
        """The marks of `sometimes` that no run has hit."""
        return tuple(mark for mark in self.sometimes if not self.marks[mark])

    @property
    def misses(self) -> bool:
        """Whether it was run long enough to hit all of `sometimes`, and did not."""
        stopped = self.found or self.cut_short
        return bool(self.never_hit) and self.runs >= MARK_RUNS_MIN and not stopped

    @property
    def tells_modes(self) -> bool:
        """Whether it counts towards the mode transitions that the sound connection manager is to go through."""
        return self.system == POOL and self.source.defect is None and not self.expect_violation


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
    def mode_runs(self) -> int:
        """Runs that count towards the mode transitions."""
        return sum(scenario.runs for scenario in self.scenarios if scenario.tells_modes)

    @property
    def modes_hit(self) -> dict[str, int]:
        """In how many of `mode_runs` each mode transition was hit."""
        telling = [scenario for scenario in self.scenarios if scenario.tells_modes]
        return {mark: sum(scenario.marks[mark] for scenario in telling) for mark in MODE_MARKS}

    @property
    def modes_never_hit(self) -> tuple[str, ...]:
        """The mode transitions that no run has hit; none without runs that could."""
        return tuple(mark for mark, runs in self.modes_hit.items() if not runs) if self.mode_runs else ()

    @property
    def misses_modes(self) -> bool:
        """Whether there were runs enough to hit every mode transition, and there is one that none did."""
        stopped = (
            self.interrupted or self.died or any(scenario.found for scenario in self.scenarios if scenario.tells_modes)
        )
        enough = self.settings.modes_expected and self.mode_runs >= MODE_RUNS_MIN and not stopped
        return enough and bool(self.modes_never_hit)

    @property
    def good(self) -> bool:
        return not self.died and not self.misses_modes and all(scenario.good for scenario in self.scenarios)

    @property
    def broken(self) -> bool:
        return any(scenario.broken_runs for scenario in self.scenarios)
