"""Executes one run: a plan, with decisions, on parts; gives back what happened and what the checks say of it.

Everything that searches, replays or enumerates goes through here.
"""

from __future__ import annotations

from dataclasses import dataclass

from simkit.check.judge import judge, judge_connections
from simkit.check.verdict import Violation
from simkit.kernel import Decision, Decisions, Record, ReplayDivergence, digest
from simkit.kernel.kernel import CarrierKind
from simkit.scenario.image import Prepared
from simkit.scenario.parts import Parts
from simkit.scenario.plan import Plan
from simkit.scenario.world import World


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        simulated_ns: simulated time at the end.
        steps: scheduler steps taken.
        requests: requests sent to the depot.
        marked_io: storage operations of the marked step.
        unfired: numbers of the fault rules that were expected to act and did not.
    """

    seed: int
    plan: Plan
    history: list[Record]
    decisions: list[Decision]
    violations: list[Violation]
    simulated_ns: int
    steps: int
    requests: int
    marked_io: int
    unfired: tuple[int, ...]

    def digest(self) -> str:
        """The fingerprint of history and decisions."""
        return digest(self.history, self.decisions)


def execute(
    prepared: Prepared, plan: Plan, decisions: Decisions, parts: Parts, carrier: CarrierKind = "greenlet"
) -> Run:
    """Runs `plan` and judges its history. Raises `ReplayDivergence` when recorded decisions do not fit.

    An error that ends the run in the middle is raised as it is, with a note of each violation that came before it.
    """
    world = World(prepared, plan, decisions, parts, carrier)
    kernel, checks = world.kernel, prepared.scenario.checks
    timed = kernel.order == "timed"  # in any order, time jumps over whatever is outstanding, and bounds say nothing
    operation_bound_ns = prepared.scenario.bounds.operation if timed else None
    idle_ttl_ns = plan.pool.idle_ttl_ns if timed else None
    compaction = plan.depot.compaction if timed else None
    try:
        world.run()
        decisions.finish()
    except ReplayDivergence:
        raise
    except Exception as error:
        for violation in judge_connections(kernel.history, checks, operation_bound_ns, idle_ttl_ns):
            error.add_note(f"before that, {violation.invariant} was violated: {violation.sentence}")
        raise
    violations = judge(
        kernel.history,
        checks,
        prepared.oracle,
        prepared.holds,
        operation_bound_ns,
        idle_ttl_ns,
        compaction,
        plan.depot.operation_ns if plan.depot.grain == "operation" else 0,
    )
    return Run(
        seed=decisions.seed,
        plan=plan,
        history=kernel.history,
        decisions=decisions.log,
        violations=violations,
        simulated_ns=kernel.now,
        steps=kernel.steps,
        requests=world.depot.requests_total,
        marked_io=world.marked_io,
        unfired=tuple(world.faults.unfired()) if world.faults is not None else (),
    )
