"""`latency: path/to/profile.yaml`: read beside the scenario, kept with it, its mistakes told with their line."""

from pathlib import Path

import pytest

from simkit.depot.distribution import constant
from simkit.depot.latency import LATENCY_PROFILES
from simkit.kernel.units import MILLISECOND
from simkit.scenario.load import load_scenario, parse_scenario
from simkit.scenario.model import Scenario
from simkit.scenario.problems import ScenarioError

PROFILE = "name: mine\nsource: Made up.\nbase: network-20ms\nopen: {rtt: 3ms}\n"
SCENARIO = """\
name: example
attacks: Nothing in particular.
setup: [CREATE TABLE t(a INTEGER PRIMARY KEY)]
clients: [{name: one, script: [{sql: SELECT count(*) FROM t}]}]
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    file = tmp_path / "latency" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(PROFILE, encoding="utf-8")
    return file


def load(folder: Path, latency: str) -> Scenario:
    file = folder / "example.yaml"
    file.write_text(f"{SCENARIO}latency: {latency}\n", encoding="utf-8")
    return load_scenario(file)


def problems_of(folder: Path, latency: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(folder, latency)
    return str(caught.value)


def test_a_path_is_relative_to_the_scenario(tmp_path: Path, profile: Path) -> None:
    assert load(tmp_path, "latency/mine.yaml").latency.open.rtt == constant(3 * MILLISECOND)


def test_a_path_can_be_the_base_of_an_inline_profile(tmp_path: Path, profile: Path) -> None:
    made = load(tmp_path, "{base: latency/mine.yaml, commit: {rtt: 1ms}}").latency
    assert (made.open.rtt, made.commit.rtt) == (constant(3 * MILLISECOND), constant(MILLISECOND))


def test_a_name_is_no_path(tmp_path: Path) -> None:
    assert load(tmp_path, "cross-region").latency == LATENCY_PROFILES["cross-region"]


def test_the_text_of_the_profile_is_kept_with_the_scenario(tmp_path: Path, profile: Path) -> None:
    scenario = load(tmp_path, "latency/mine.yaml")
    profile.unlink()
    again = parse_scenario(scenario.source_text, "elsewhere/example.yaml", scenario.attachments)
    assert again.latency == scenario.latency


def test_a_saved_scenario_looks_for_no_file(tmp_path: Path, profile: Path) -> None:
    text = f"{SCENARIO}latency: latency/mine.yaml\n"
    with pytest.raises(ScenarioError, match="not among the files that came with this scenario"):
        parse_scenario(text, str(tmp_path / "example.yaml"), {})


def test_a_mistake_in_the_profile_is_told_with_both_places(tmp_path: Path, profile: Path) -> None:
    profile.write_text(PROFILE + "commit: {rtt: 5}\n")
    problem = problems_of(tmp_path, "latency/mine.yaml")
    assert "example.yaml:5:10: latency/mine.yaml:5:15: '5' is not a duration; write 5ms" in problem


def test_further_mistakes_of_the_profile_are_counted(tmp_path: Path, profile: Path) -> None:
    profile.write_text(PROFILE + "commit: {rtt: 5, server: 6}\n")
    assert "(1 more of its problems after this one)" in problems_of(tmp_path, "latency/mine.yaml")


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    assert "'latency/none.yaml': No such file" in problems_of(tmp_path, "latency/none.yaml")


def test_a_misspelt_name_gets_the_closest_one_and_the_way_to_a_file(tmp_path: Path) -> None:
    problem = problems_of(tmp_path, "cross-regio")
    assert "'cross-regio' is no latency profile; did you mean 'cross-region'?" in problem
    assert "latency/mine.yaml" in problem
