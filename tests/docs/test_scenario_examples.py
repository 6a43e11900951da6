"""Every YAML example of docs/scenario-file.md is a scenario that loads, and the error it shows is the real one."""

import re
from pathlib import Path

import pytest

from simkit.kernel import Decisions
from simkit.scenario.generate import draw_plan
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.model import Scenario
from simkit.scenario.parts import parts_for
from simkit.scenario.positions import read_yaml
from simkit.scenario.problems import ScenarioError
from simkit.search.execute import execute

PAGE = Path(__file__).parents[2] / "docs" / "scenario-file.md"
FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(match[1], match[2], match[3]) for match in FENCE.finditer(PAGE.read_text(encoding="utf-8"))]
COMPLETE = [text for language, mark, text in BLOCKS if language == "yaml" and mark == "complete"]
FRAGMENTS = [text for language, mark, text in BLOCKS if language == "yaml" and mark is None]

# What a fragment leaves out. Operations need the setup they were written for.
BASE = {
    "name": "name: example\n",
    "attacks": "attacks: An example of the documentation.\n",
    "setup": COMPLETE[0][COMPLETE[0].index("setup:") : COMPLETE[0].index("operations:")],
    "operations": COMPLETE[0][COMPLETE[0].index("operations:") : COMPLETE[0].index("clients:")],
    "clients": "clients: [{name: one, script: [{sql: SELECT 1, marked: true}]}]\n",
}


def whole(fragment: str) -> str:
    given, problems = read_yaml(fragment, "fragment")
    assert not problems
    needed = [key for key in BASE if key not in given and not (key == "operations" and "setup" in given)]
    return fragment + "".join(BASE[key] for key in needed)


@pytest.mark.parametrize("text", COMPLETE)
def test_complete_example_loads_and_gives_a_plan(text: str) -> None:
    assert draw_plan(parse_scenario(text, "example.yaml"), 1).clients


@pytest.mark.parametrize("text", COMPLETE)
def test_complete_example_runs_without_violation(text: str) -> None:
    scenario = parse_scenario(text, "example.yaml")
    prepared = prepare(scenario)
    for seed in range(20):
        run = execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts_for(scenario.system))
        assert run.violations == []


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_fragment_loads_within_a_scenario(fragment: str, tmp_path: Path) -> None:
    (tmp_path / "round-trips.csv").write_text("milliseconds\n1.5\n2.25\n", encoding="utf-8")
    assert draw_plan(parse_scenario(whole(fragment), str(tmp_path / "example.yaml")), 1).clients


def test_the_error_shown_is_the_error_given() -> None:
    (wrong,) = (text for _, mark, text in BLOCKS if mark == "wrong")
    (shown,) = (text for language, _, text in BLOCKS if language == "text")
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(wrong, "typo.yaml")
    assert str(caught.value) == shown.strip()


@pytest.mark.parametrize("key", list(Scenario.model_fields))
def test_every_key_has_an_example(key: str) -> None:
    assert any(re.search(rf"^{key}:", text, re.MULTILINE) for text in COMPLETE + FRAGMENTS)
