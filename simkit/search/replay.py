"""Replaying, and running twice: DET-1, the same decisions give the same history.

A replay takes plan and decisions from the record. It either reproduces the run to the byte, or stops at the first
decision that differs, or shows the first event that does.
"""

from __future__ import annotations

from dataclasses import dataclass

from simkit.check.verdict import Violation
from simkit.kernel import Decision, Record, RecordedDecisions, ReplayDivergence
from simkit.scenario.plan import Plan
from simkit.search.capsule import Capsule
from simkit.search.execute import Run, execute
from simkit.search.subject import Subject


@dataclass(frozen=True)
class Replay:
    """A replayed capsule. `faithful` tells whether it is the recorded run to the byte."""

    run: Run
    faithful: bool


def replay(subject: Subject, capsule: Capsule) -> Replay:
    """Runs a capsule again. Raises `ReplayDivergence` at the first decision that differs."""
    run = run_recorded(subject, capsule.seed, capsule.plan, capsule.decisions)
    return Replay(run, run.digest() == capsule.digest)


def run_recorded(subject: Subject, seed: int, plan: Plan, decisions: list[Decision]) -> Run:
    """Runs a plan with recorded decisions. Raises `ReplayDivergence` at the first that differs."""
    recorded = RecordedDecisions(seed, decisions)
    try:
        return execute(subject.prepared, plan, recorded, subject.parts)
    except Exception:
        if recorded.divergence is not None:
            raise recorded.divergence from None
        raise


def check_determinism(subject: Subject, run: Run) -> Violation | None:
    """Runs `run` again from its own record; a violation of DET-1 when anything differs."""
    try:
        again = run_recorded(subject, run.seed, run.plan, run.decisions)
    except ReplayDivergence as divergence:
        lines = str(divergence).splitlines()
        return Violation("DET-1", "run-twice", lines[0], run.simulated_ns, details=tuple(lines[1:]))
    if again.digest() == run.digest():
        return None
    return describe_difference(run.history, again.history)


def describe_difference(first: list[Record], second: list[Record]) -> Violation:
    """The first event in which two histories of the same decisions differ."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if repr(left) != repr(right):
            return Violation(
                "DET-1",
                "run-twice",
                f"the same decisions gave another history: event {index} differs",
                left.at,
                (left.task,),
                details=(f"first run:  {left!r}", f"second run: {right!r}"),
            )
    shorter = min(len(first), len(second))
    return Violation(
        "DET-1",
        "run-twice",
        f"the same decisions gave histories of {len(first)} and {len(second)} events",
        first[shorter - 1].at if shorter else 0,
    )
