"""The scenarios of this repository: well formed, silent on sound parts, and together they reach every fault point."""

import os
from pathlib import Path

import pytest

from simkit.check.events import InstanceCrashed
from simkit.check.verdict import INVARIANTS
from simkit.defects.registry import find_defect
from simkit.depot.fault_points import FaultPoint
from simkit.kernel import Decisions, Record
from simkit.scenario.image import prepare
from simkit.scenario.load import load_scenario
from simkit.scenario.model_fault_matrix import FaultMatrix
from simkit.scenario.parts import parts_for
from simkit.scenario.plan import crash_at_marked_io
from simkit.search.execute import execute

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
FILES = sorted(FOLDER.rglob("*.yaml"))
PLANTED = sorted((FOLDER / "planted").rglob("*.yaml"))
NAMES = [str(file.relative_to(FOLDER)) for file in FILES]
SEEDS = 40


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_scenario_begins_with_the_place_of_its_schema(file: Path) -> None:
    place = os.path.relpath(FOLDER / "scenario.schema.json", file.parent)
    assert file.read_text("utf-8").splitlines()[0] == f"# yaml-language-server: $schema={place}"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_sound_parts_are_silent(file: Path) -> None:
    scenario = load_scenario(file)
    prepared = prepare(scenario.model_copy(update={"checks": tuple(INVARIANTS)}))
    parts = parts_for(scenario.system)
    found = {}
    for seed in range(SEEDS):
        plan = prepared.plans.draw(seed)
        if scenario.enumerates_crashes:
            plan = crash_at_marked_io(plan, seed + 1)
        found[seed] = execute(prepared, plan, Decisions(seed), parts).violations
    assert {seed: violations for seed, violations in found.items() if violations} == {}


@pytest.mark.parametrize("file", PLANTED, ids=[file.name for file in PLANTED])
def test_a_planted_defect_is_found_as_the_scenario_expects(file: Path) -> None:
    scenario = load_scenario(file)
    assert scenario.defect is not None
    prepared = prepare(scenario)
    parts = find_defect(scenario.defect).parts(parts_for(scenario.system))
    runs = (execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts) for seed in range(SEEDS))
    assert any(violation.invariant == scenario.expect.check for run in runs for violation in run.violations)


def test_only_planted_scenarios_name_a_defect() -> None:
    assert [file for file in FILES if load_scenario(file).defect is not None] == PLANTED


def test_the_fault_scenarios_reach_every_fault_point() -> None:
    points: set[FaultPoint] = set()
    for file in sorted((FOLDER / "faults").glob("*.yaml")):
        for entry in load_scenario(file).faults:
            rules = entry.pairs(True) if isinstance(entry, FaultMatrix) else ((entry.point, ""),)
            points.update(point for point, _ in rules)
    assert points == set(FaultPoint)


def test_names_are_unique() -> None:
    names = [load_scenario(file).name for file in FILES]
    assert len(set(names)) == len(names)


def test_a_takeover_while_the_earlier_instance_is_lost_leaves_no_client_waiting() -> None:
    scenario = load_scenario(FOLDER / "any-order" / "overlapping-instances.yaml")
    prepared = prepare(scenario)
    parts = parts_for(scenario.system)
    runs = (execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts) for seed in range(250))
    assert [run.seed for run in runs if run.violations] == []


def test_each_storage_operation_of_the_marked_step_is_crashed_at_and_no_other() -> None:
    scenario = load_scenario(FOLDER / "durability" / "crash-every-io.yaml")
    prepared = prepare(scenario)
    parts = parts_for(scenario.system)
    plan = prepared.plans.draw(0)
    count = execute(prepared, plan, Decisions(0), parts).marked_io
    runs = [execute(prepared, crash_at_marked_io(plan, io), Decisions(0), parts) for io in range(1, count + 2)]
    crashed = [f"storage operation {io}" in map(crash_cause, run.history) for io, run in enumerate(runs, 1)]
    assert crashed == [True] * count + [False]
    assert [run.violations for run in runs] == [[]] * len(runs)


def crash_cause(event: Record) -> str:
    return event.cause if isinstance(event, InstanceCrashed) else ""
