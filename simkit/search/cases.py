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


class NoSuchCase(Exception):
    """The scenario has no run of this name; the message says why."""


def plan_of(subject: Subject, case: Case) -> Plan:
    """The plan of a case. Raises `NoSuchCase` when a storage operation is given and no step is marked."""
    plan = subject.prepared.plans.draw(case.seed)
    if case.io is None:
        return plan
    if plan.marked_step is None:
        raise NoSuchCase(
            f"{subject.source.file_name}: no step is marked, so there is no storage operation {case.io} of it to crash "
            "at; mark one step of a script: {operation: NAME, marked: true}"
        )
    return crash_at_marked_io(plan, case.io)


def run_case(subject: Subject, case: Case) -> Run:
    """Draws and executes one case. Raises `NoSuchCase`."""
    return execute(subject.prepared, plan_of(subject, case), Decisions(case.seed), subject.parts)


def run_named_case(subject: Subject, case: Case) -> Run:
    """`run_case` for a case that somebody named: raises `NoSuchCase` also when the crash it names never came."""
    run = run_case(subject, case)
    if case.io is not None and run.marked_io < case.io:
        raise NoSuchCase(
            f"the marked step of {subject.scenario.name}, seed {case.seed}, has {run.marked_io} storage operations; "
            f"it cannot crash at number {case.io}"
        )
    return run


def further_cases(subject: Subject, first: Run) -> Iterator[Case]:
    """The cases that the first run of a seed (without a crash at the marked step) shows to exist."""
    if subject.scenario.enumerates_crashes:
        for io in range(1, first.marked_io + 1):
            yield Case(first.seed, io)
