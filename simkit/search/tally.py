"""What running some seeds of a scenario came to: the one set of counters, for a slice of a search and for its totals.

Adding slices in the order of their seeds gives the same tally however the seeds were cut; lists keep their first
entries, so that they do too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from simkit.check.verdict import Violation

FAILURES_KEPT_MAX = 3
"""Failing runs of a scenario that are shown and written to capsules."""

FAILING_NAMED_MAX = 1000
"""Failing runs whose seeds are kept."""


class Failure(msgspec.Struct, frozen=True):
    """A run that violated something.

    Attributes:
        events: the last ones before the violation, rendered.
        capsule: its path, or None.
        capsule_error: why it could not be written, or "".
    """

    seed: int
    io: int | None
    violations: tuple[Violation, ...]
    events: tuple[str, ...]
    capsule: str | None
    capsule_error: str = ""


class Broken(msgspec.Struct, frozen=True):
    """A run in which simkit itself or the system under test failed, in a way that is no answer to a client."""

    seed: int
    io: int | None
    error: str
    trace: str


@dataclass(kw_only=True)
class Tally:
    """Counters of runs.

    Attributes:
        seeds: seeds that were run to their end.
        crash_points: storage operations that were crashed at, of those seeds.
        wall_s: time spent, over all processes.
        unfired: runs in which a fault that is `expected` did not fire.
        unfired_at: seed and storage operation of those runs, lowest seeds first, at most `FAILING_NAMED_MAX`.
        found: the run to stop at was found.
        violated: runs by the invariant that they violated.
        failing: seed and storage operation of the violating runs, lowest seeds first, at most `FAILING_NAMED_MAX`.
        coverage: how often what is worth counting happened.
        marks: runs by the mark that they hit.
    """

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
    unfired_at: list[tuple[int, int | None]] = field(default_factory=list)
    found: bool = False
    violated: Counter[str] = field(default_factory=Counter)
    failing: list[tuple[int, int | None]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    coverage: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)

    def count(self, other: Tally) -> None:
        """Adds the runs of another tally, of later seeds."""
        self.seeds += other.seeds
        self.runs += other.runs
        self.run_twice += other.run_twice
        self.crash_points += other.crash_points
        self.requests += other.requests
        self.steps += other.steps
        self.simulated_ns += other.simulated_ns
        self.wall_s += other.wall_s
        self.violating_runs += other.violating_runs
        self.broken_runs += other.broken_runs
        self.unfired += other.unfired
        self.unfired_at.extend(other.unfired_at[: FAILING_NAMED_MAX - len(self.unfired_at)])
        self.found = self.found or other.found
        self.violated.update(other.violated)
        self.coverage.update(other.coverage)
        self.marks.update(other.marks)
        self.failing.extend(other.failing[: FAILING_NAMED_MAX - len(self.failing)])
        self.failures.extend(other.failures[: FAILURES_KEPT_MAX - len(self.failures)])
        self.broken.extend(other.broken[: FAILURES_KEPT_MAX - len(self.broken)])
