"""How soon a defect is caught: runs its scenario from several start seeds until the invariant it breaks is violated.

Every check judges these runs, whatever the scenario asks for, and the sound parts do the same runs beside it: what is
reported of those is a false alarm. DET-1 has no single history to show it, so its defects are run twice. A violation
of another invariant is counted beside, and never as caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from simkit.check.verdict import INVARIANTS, Violation
from simkit.defects.registry import Defect
from simkit.kernel import Decisions
from simkit.scenario.image import Prepared, prepare
from simkit.scenario.load import load_scenario
from simkit.scenario.parts import Parts, parts_for
from simkit.search.execute import execute

_PACKAGE = Path(__file__).resolve().parents[1]
SCENARIOS = next(
    (
        folder
        for folder in (_PACKAGE.parent / "scenarios", _PACKAGE / "_scenarios")
        if (folder / "smallest.yaml").exists()
    ),
    _PACKAGE.parent / "scenarios",
)
"""The scenarios of the checkout, or those that a wheel brings along."""

SEEDS_DEFAULT = 20
RUNS_MAX_DEFAULT = 200


@dataclass(frozen=True)
class DefectRow:
    """What measuring one defect gave.

    Attributes:
        caught: start seeds from which the invariant was found violated within the budget, of `seeds`.
        check: the check that reported it first.
        median_runs: runs up to and with the one that caught it, the middle over the seeds that caught it.
        worst_runs: the most.
        first_failing_seed: a run seed that shows the violation, for a capsule.
        others: other invariants that were violated on the way, with the number of runs.
        healthy_runs: runs of the sound parts on the same run seeds.
        false_alarms: how many of those were reported.
    """

    id: str
    invariant: str
    seeds: int
    caught: int
    check: str
    median_runs: float | None
    worst_runs: int | None
    first_failing_seed: int | None
    others: dict[str, int]
    healthy_runs: int
    false_alarms: int


def measure(
    defect: Defect,
    seeds: int = SEEDS_DEFAULT,
    runs_max: int = RUNS_MAX_DEFAULT,
    on_progress: Callable[[int, int], None] | None = None,
    scenarios: Path = SCENARIOS,
) -> DefectRow:
    """Measures one defect.

    Args:
        defect: which.
        seeds: start seeds; run k from start seed s has the run seed s * runs_max + k.
        runs_max: the budget of runs for each start seed.
        on_progress: called with (start seeds done, caught so far) after each.
        scenarios: the directory that the defect's scenario is relative to.

    Raises `ScenarioError` when the scenario cannot be loaded.
    """
    assert seeds >= 1
    assert runs_max >= 1
    scenario = load_scenario(scenarios / defect.scenario)
    prepared = prepare(scenario.model_copy(update={"checks": tuple(INVARIANTS)}))
    sound = parts_for(scenario.system)
    broken = defect.parts(sound)
    needed: list[int] = []
    others: Counter[str] = Counter()
    check, first_failing_seed, healthy_runs, false_alarms = "", None, 0, 0
    for start in range(seeds):
        for run in range(runs_max):
            seed = start * runs_max + run
            healthy_runs += 1
            false_alarms += bool(violations_of(prepared, sound, seed, defect.invariant))
            found = violations_of(prepared, broken, seed, defect.invariant)
            others.update({violation.invariant for violation in found} - {defect.invariant})
            caught = next((violation for violation in found if violation.invariant == defect.invariant), None)
            if caught is not None:
                needed.append(run + 1)
                if first_failing_seed is None:
                    check, first_failing_seed = caught.check, seed
                break
        if on_progress is not None:
            on_progress(start + 1, len(needed))
    return DefectRow(
        id=defect.id,
        invariant=defect.invariant,
        seeds=seeds,
        caught=len(needed),
        check=check,
        median_runs=median(needed) if needed else None,
        worst_runs=max(needed, default=None),
        first_failing_seed=first_failing_seed,
        others=dict(sorted(others.items())),
        healthy_runs=healthy_runs,
        false_alarms=false_alarms,
    )


def violations_of(prepared: Prepared, parts: Parts, seed: int, invariant: str) -> list[Violation]:
    """What the checks say of one run; for DET-1 also whether a second run of the same seed differs from it."""
    plan = prepared.plans.draw(seed)
    run = execute(prepared, plan, Decisions(seed), parts)
    if invariant != "DET-1":
        return run.violations
    again = execute(prepared, plan, Decisions(seed), parts)
    if run.digest() == again.digest():
        return run.violations
    at = next((mine.at for mine, other in zip(run.history, again.history, strict=False) if mine != other), 0)
    sentence = f"seed {seed} gave two different histories in one process"
    return [*run.violations, Violation("DET-1", "run-twice", sentence, at)]
