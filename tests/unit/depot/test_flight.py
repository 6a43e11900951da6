"""The lean way of a read (`ReadFlight`) and the general one (`Depot.send`) are the same way."""

from dataclasses import replace
from pathlib import Path

import pytest

from simkit.depot.depot import Depot
from simkit.depot.request import Request
from simkit.kernel import Decisions
from simkit.scenario.image import prepare
from simkit.scenario.load import load_scenario
from simkit.scenario.parts import parts_for
from simkit.search.execute import execute

SCENARIOS = Path(__file__).parents[3] / "scenarios"


class GeneralWay(Depot):
    """Sends reads like any other request."""

    def send_read(self, request: Request, arrival_ns: int, service_ns: int, reply_ns: int) -> None:
        self.send(request, arrival_ns, service_ns, reply_ns)


@pytest.mark.parametrize("name", ["reads/readers-beside-writer", "takeover/overlapping-instances", "smallest"])
def test_reads_of_both_ways_give_one_history(name: str) -> None:
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    prepared, parts = prepare(scenario), parts_for(scenario.system)
    for seed in range(8):
        plan = prepared.plans.draw(seed)
        lean = execute(prepared, plan, Decisions(seed), parts)
        general = execute(prepared, plan, Decisions(seed), replace(parts, depot=GeneralWay))
        assert lean.history == general.history
        assert lean.decisions == general.decisions
