"""Each defect is caught on its scenario, by the check of the invariant that it breaks."""

from dataclasses import replace

import apsw
import pytest

from simkit.check.verdict import INVARIANTS
from simkit.defects.measure import SCENARIOS, DefectRow, measure, violations_of
from simkit.defects.registry import DEFECTS, Defect
from simkit.kernel import Decisions
from simkit.scenario.image import prepare
from simkit.scenario.load import load_scenario
from simkit.scenario.parts import parts_for
from simkit.search.execute import execute

SEEDS = 3
RUNS_MAX = 120
SOUND = Defect("none", "", "", "smallest.yaml", "DUR-1", lambda parts: parts)


@pytest.fixture(scope="module", params=list(DEFECTS.values()), ids=list(DEFECTS))
def row(request: pytest.FixtureRequest) -> DefectRow:
    return measure(request.param, SEEDS, RUNS_MAX)


def test_a_defect_is_caught_from_every_start_seed(row: DefectRow) -> None:
    assert row.caught == SEEDS


def test_the_sound_parts_stay_silent_on_the_runs_of_a_defect(row: DefectRow) -> None:
    assert row.false_alarms == 0


def test_the_first_failing_seed_shows_the_violation_again(row: DefectRow) -> None:
    defect = DEFECTS[row.id]
    scenario = load_scenario(SCENARIOS / defect.scenario)
    prepared = prepare(scenario.model_copy(update={"checks": tuple(INVARIANTS)}))
    assert row.first_failing_seed is not None
    found = violations_of(prepared, defect.parts(parts_for(scenario.system)), row.first_failing_seed, row.invariant)
    assert (row.invariant, row.check) in [(violation.invariant, violation.check) for violation in found]


def test_an_early_answer_of_xsync_also_loses_an_acknowledged_transaction() -> None:
    defect = replace(DEFECTS["sync-acks-before-commit"], invariant="DUR-1")
    assert measure(defect, SEEDS, RUNS_MAX).caught == SEEDS


def test_the_violation_of_another_invariant_is_shown_and_not_counted_as_caught() -> None:
    row = measure(replace(DEFECTS["sync-acks-before-commit"], invariant="VAL-1"), seeds=1, runs_max=5)
    assert (row.caught, row.check, row.median_runs, row.first_failing_seed) == (0, "", None, None)
    assert row.others["DUR-3"] == 5


@pytest.mark.parametrize("name", sorted(DEFECTS.keys() - {"process-counter-leaks"}))
def test_a_run_with_a_defect_can_be_repeated(name: str) -> None:
    defect = DEFECTS[name]
    scenario = load_scenario(SCENARIOS / defect.scenario)
    prepared = prepare(scenario)
    parts = defect.parts(parts_for(scenario.system))
    first, second = (execute(prepared, prepared.plans.draw(3), Decisions(3), parts).digest() for _ in range(2))
    assert first == second


def test_a_vfs_that_a_defect_leaves_registered_is_gone_in_the_next_run() -> None:
    left = set()
    for _ in range(3):
        measure(DEFECTS["registration-leaks-on-error"], seeds=2, runs_max=5)
        left.add(len(apsw.vfs_names()))
    assert len(left) == 1


def test_sound_parts_are_not_caught() -> None:
    row = measure(SOUND, seeds=2, runs_max=10)
    assert (row.caught, row.others, row.healthy_runs) == (0, {}, 20)


def test_progress_is_told_after_each_start_seed() -> None:
    told = []
    measure(SOUND, seeds=3, runs_max=1, on_progress=lambda done, caught: told.append((done, caught)))
    assert told == [(1, 0), (2, 0), (3, 0)]
