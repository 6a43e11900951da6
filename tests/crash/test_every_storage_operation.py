"""A crash at every storage operation of a statement: a fresh instance recovers, and the whole run is judged clean."""

from collections.abc import Callable
from typing import Any

import pytest

from simkit.check.events import StateObserved
from simkit.kernel import Decisions
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import parts_for
from simkit.scenario.plan import crash_at_marked_io
from simkit.search.execute import Run, execute

MARKED = {
    "insert": '{sql: "INSERT INTO t(x) VALUES (1)", marked: true}',
    "insert of many pages": '{sql: "INSERT INTO t(x) SELECT zeroblob(3000) FROM t", marked: true}',
    "transaction": "{operation: update, marked: true}",
    "spill": "{operation: spill, marked: true}",
    "vacuum": '{sql: "VACUUM", marked: true}',
    "rollback": "{operation: undo, marked: true}",
    "schema": '{sql: "CREATE INDEX i ON t(x)", marked: true}',
    "refused": '{sql: "INSERT INTO t SELECT id + 1, zeroblob(3000) FROM t", marked: true}',
}

SCENARIO = """
name: crash-everywhere
attacks: one statement, crashed at each of its storage operations
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, x)
  - {{sql: "INSERT INTO t(x) VALUES (zeroblob(:size))", repeat: 40, params: {{size: 1500}}}}
  - DELETE FROM t WHERE id > 20
operations:
  update:
    transaction: [UPDATE t SET x = 1 WHERE id < 4, DELETE FROM t WHERE id = 5, SELECT count(*) FROM t]
  spill:
    transaction: [UPDATE t SET x = zeroblob(1400), UPDATE t SET x = zeroblob(1300), SELECT sum(length(x)) FROM t]
  undo:
    transaction: [UPDATE t SET x = zeroblob(1400), DELETE FROM t]
    rollback: true
clients:
  - name: client
    script:
      - {{sql: "INSERT INTO t(x) VALUES ('before')"}}
      - {step}
      - {{sql: "INSERT INTO t(x) VALUES ('after')"}}
      - {{sql: "SELECT count(*), sum(length(x)) FROM t"}}
instances: {{sqlite_cache_kib: {cache}}}
vfs: {{page_cache_pages: 10, protected_pages: 0, read_ahead: none}}
"""


@pytest.fixture(scope="module")
def runs() -> Callable[..., list[Run]]:
    """The run without a crash, then one for each storage operation of the marked step."""

    def run_all(step: str, cache_kib: int = 20) -> list[Run]:
        scenario = parse_scenario(SCENARIO.format(step=MARKED[step], cache=cache_kib), "crash.yaml")
        prepared = prepare(scenario)
        parts = parts_for(scenario.system)
        plan = prepared.plans.draw(1)
        runs = [execute(prepared, plan, Decisions(1), parts)]
        runs.extend(
            execute(prepared, crash_at_marked_io(plan, io), Decisions(1), parts)
            for io in range(1, runs[0].marked_io + 1)
        )
        return runs

    return run_all


@pytest.mark.parametrize("step", list(MARKED))
def test_crash_at_every_storage_operation_is_recovered_from(runs: Any, step: str) -> None:
    calm, *crashed = runs(step)
    assert calm.violations == []
    assert len(crashed) >= 4, "the step reaches storage"
    for io, run in enumerate(crashed, 1):
        assert run.violations == [], f"crash at storage operation {io} of {step}"
        found = [event.when for event in run.history if isinstance(event, StateObserved)]
        assert found == ["recovery", "end"], f"crash at storage operation {io} of {step} did not happen"


def test_spilling_transaction_really_spills(runs: Any) -> None:
    assert runs("spill", cache_kib=20)[0].marked_io > runs("spill", cache_kib=2000)[0].marked_io


def test_both_outcomes_of_a_crashed_insert_occur(runs: Any) -> None:
    states = {
        next(event.state for event in run.history if isinstance(event, StateObserved)) for run in runs("insert")[1:]
    }
    assert len(states) == 2
