"""Cases: the runs that a scenario asks for, each named by a seed and, where crashes are enumerated, a storage
operation.

`crash: {at: every io}` turns one seed into as many cases as the marked step has storage operations: a first run without
that crash counts them, then one run crashes at each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simkit.kernel import Decisions
from simkit.scenario.plan import Plan, crash_at_marked_io
from simkit.search.execute import Run, execute
from simkit.search.subject import Subject


@dataclass(frozen=True)
class Case:
    """One run of a scenario: `io` is the storage operation of the marked step to crash at, from 1, or None."""

    seed: int
    io: int | None = None

    def __str__(self) -> str:
        return f"seed {self.seed}" + (f", storage operation {self.io}" if self.io is not None else "")


def plan_of(subject: Subject, case: Case) -> Plan:
    """The plan of a case. Raises `ValueError` when a storage operation is given and no step is marked."""
    plan = subject.prepared.plans.draw(case.seed)
    return plan if case.io is None else crash_at_marked_io(plan, case.io)


def run_case(subject: Subject, case: Case) -> Run:
    """Draws and executes one case."""
    return execute(subject.prepared, plan_of(subject, case), Decisions(case.seed), subject.parts)


def runs_of_seed(subject: Subject, seed: int) -> Iterator[tuple[Case, Run]]:
    """Every run that a seed stands for."""
    case = Case(seed)
    run = run_case(subject, case)
    yield case, run
    if subject.scenario.enumerates_crashes:
        for io in range(1, run.marked_io + 1):
            case = Case(seed, io)
            yield case, run_case(subject, case)
