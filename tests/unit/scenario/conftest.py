"""A scenario to change one thing of."""

from collections.abc import Callable

import pytest

from simkit.scenario.load import parse_scenario
from simkit.scenario.model import Scenario
from simkit.scenario.problems import Problem, ScenarioError

PARTS = {
    "name": "name: example",
    "attacks": "attacks: Nothing in particular.",
    "setup": "setup:\n- CREATE TABLE t(a INTEGER PRIMARY KEY, b, c DEFAULT CURRENT_TIMESTAMP)",
    "operations": "operations:\n  read: {sql: SELECT count(*) FROM t}",
    "clients": "clients: [{name: one, mix: {read: 1}}]",
}


def text_of(**changes: str) -> str:
    """The example with some keys written otherwise (`key: value` text) and others added."""
    return "\n".join({**PARTS, **changes}.values()) + "\n"


def load(**changes: str) -> Scenario:
    return parse_scenario(text_of(**changes), "example.yaml")


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "example.yaml")
    return caught.value.errors


@pytest.fixture
def scenario_text() -> Callable[..., str]:
    return text_of


@pytest.fixture
def loaded() -> Callable[..., Scenario]:
    return load


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """The only problem of the example changed in this way."""

    def only(**changes: str) -> Problem:
        found = problems_of(text_of(**changes))
        assert len(found) == 1, [str(each) for each in found]
        return found[0]

    return only


@pytest.fixture
def problems() -> Callable[[str], list[Problem]]:
    return problems_of
