"""Runs a scenario with changes to its plan and its parts, and looks into what happened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from simkit.kernel import Decisions, Record
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts, parts_for
from simkit.search.execute import Run, execute

BASE = """\
name: world
attacks: The world itself.
setup:
  - CREATE TABLE t(a INTEGER PRIMARY KEY, b)
  - CREATE TABLE child(a INTEGER PRIMARY KEY, parent INTEGER REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)
"""


@dataclass(frozen=True)
class Story:
    """One run, by its events."""

    run: Run

    def all(self, kind: type[Record]) -> list[Any]:
        return [event for event in self.run.history if type(event) is kind]

    def kinds(self, *kinds: type[Record]) -> list[str]:
        return [type(event).__name__ for event in self.run.history if type(event) in kinds]


@pytest.fixture
def story() -> Callable[..., Story]:
    """Runs BASE with more YAML; keywords of a plan replace what was drawn, `parts` what it runs on."""

    def tell(text: str, seed: int = 0, parts: Parts | None = None, **plan: Any) -> Story:
        scenario = parse_scenario(BASE + text, "world.yaml")
        prepared = prepare(scenario)
        drawn = msgspec.structs.replace(prepared.plans.draw(seed), **plan)
        return Story(execute(prepared, drawn, Decisions(seed), parts or parts_for(scenario.system)))

    return tell
