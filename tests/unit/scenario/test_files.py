"""The scenario files of the project: each folder has its share, says what it attacks, and survives a few runs."""

from pathlib import Path

import pytest

from simkit.kernel import Decisions
from simkit.scenario.generate import PlanGenerator
from simkit.scenario.image import prepare
from simkit.scenario.load import load_scenario
from simkit.scenario.parts import parts_for
from simkit.scenario.plan import plan_from_json, plan_to_json
from simkit.search.execute import execute

SCENARIOS = Path(__file__).parents[3] / "scenarios"
FILES = sorted(SCENARIOS.rglob("*.yaml"))
SOUND = [file for file in FILES if file.parent.name != "planted"]
RUNS = 4


def name(file: Path) -> str:
    return str(file.relative_to(SCENARIOS))


def test_names_are_unique() -> None:
    names = [load_scenario(file).name for file in FILES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("folder", ["reads", "modes", "leases", "close", "transactions", "values"])
def test_folder_has_at_least_three_swarms_of_a_pool(folder: str) -> None:
    scenarios = [load_scenario(file) for file in (SCENARIOS / folder).glob("*.yaml")]
    assert sum(1 for scenario in scenarios if scenario.swarm and scenario.system in ("pool", "worker")) >= 3


@pytest.mark.parametrize("file", FILES, ids=name)
def test_plan_of_a_file_survives_json(file: Path) -> None:
    plan = PlanGenerator(load_scenario(file)).draw(1)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("file", SOUND, ids=name)
def test_file_survives_a_few_runs(file: Path) -> None:
    scenario = load_scenario(file)
    prepared, parts = prepare(scenario), parts_for(scenario.system)
    for seed in range(RUNS):
        assert execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts).violations == []
