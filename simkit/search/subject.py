"""The subject of a search: a scenario, prepared, with the parts it runs on.

`Source` is what it takes to make one again in another process or another month: the text, not the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from simkit.scenario.image import Prepared, prepare
from simkit.scenario.load import load_scenario, parse_scenario
from simkit.scenario.model import Scenario
from simkit.scenario.parts import Parts, SystemNotFound, parts_for
from simkit.scenario.problems import ScenarioError


class Source(msgspec.Struct, frozen=True):
    """A scenario's text with all that it needs. `defect` is the id of a planted breakage, or None."""

    file_name: str
    text: str
    attachments: dict[str, str] = {}
    defect: str | None = None

    def scenario(self) -> Scenario:
        """Raises `ScenarioError`."""
        return parse_scenario(self.text, self.file_name, self.attachments)


def source_of(scenario: Scenario, defect: str | None = None) -> Source:
    """The source of a loaded scenario; `defect` replaces the one that it names itself."""
    attachments: Mapping[str, str] = scenario.attachments
    return Source(scenario.file_name, scenario.source_text, dict(attachments), defect or scenario.defect)


def load_source(path: str, defect: str | None = None) -> Source:
    """The source in a file. Raises `ScenarioError`."""
    return source_of(load_scenario(path), defect)


PlantDefect = Callable[[str, Parts], Parts]
"""Replaces parts by the broken ones of a defect, given its id. Raises when there is no such defect."""


@dataclass(frozen=True)
class Subject:
    """A scenario that is ready to run."""

    source: Source
    prepared: Prepared = field(repr=False)
    parts: Parts = field(repr=False)

    @property
    def scenario(self) -> Scenario:
        return self.prepared.scenario


def make_subject(source: Source, plant: PlantDefect) -> Subject:
    """Raises `ScenarioError`, `SetupFailed`, or what `plant` raises for a defect that the scenario does not name."""
    scenario = source.scenario()
    try:
        parts = parts_for(scenario.system)
    except SystemNotFound as error:
        raise ScenarioError([scenario.problem("system", str(error))]) from error
    if source.defect is not None:
        try:
            parts = plant(source.defect, parts)
        except LookupError as error:
            if source.defect != scenario.defect:
                raise
            raise ScenarioError([scenario.problem("defect", str(error))]) from error
    return Subject(source, prepare(scenario), parts)
