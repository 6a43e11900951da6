"""A fault rule that was expected to act and did not fails the run and the search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Simkit = Callable[..., Result]

NEVER = "faults: [{point: commit.before_tx, when: {nth: 999}, action: fail, expected: true}]\n"


@pytest.fixture
def unfired(place: Path) -> str:
    with (place / "sound.yaml").open("a") as file:
        file.write(NEVER)
    return "sound.yaml"


def test_run_ends_with_the_code_of_a_violation(simkit: Simkit, unfired: str) -> None:
    result = simkit("run", unfired)
    assert result.exit_code == 1
    assert "fault rule 1 (commit.before_tx) was expected to fire and did not" in result.stdout


def test_run_with_json_ends_with_the_code_of_a_violation(simkit: Simkit, unfired: str) -> None:
    result = simkit("run", unfired, "--json")
    assert result.exit_code == 1
    assert '"unfired_faults"' in result.stdout


def test_replay_ends_with_the_code_of_a_violation(simkit: Simkit, unfired: str) -> None:
    simkit("run", unfired, "--capsule", "run.capsule.json")
    assert simkit("replay", "run.capsule.json").exit_code == 1


def test_search_fails_and_says_how_to_see_it(simkit: Simkit, unfired: str) -> None:
    result = simkit("fuzz", unfired, "--seeds", "3", "--jobs", "1")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert (
        "in 3 of 3 runs a fault that is `expected` did not fire; to see which: simkit run sound.yaml --seed 0" in text
    )


def test_search_with_json_names_the_runs(simkit_json: Callable[..., Any], unfired: str) -> None:
    (scenario,) = simkit_json("fuzz", unfired, "--seeds", "2", "--jobs", "1")["scenarios"]
    assert scenario["unfired_at"] == [{"seed": 0, "io": None}, {"seed": 1, "io": None}]
    assert scenario["good"] is False
