"""Each check on whole runs: silent on the sound parts, and fires where one part is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apsw
import pytest

from simkit.kernel import Decisions
from simkit.pool.result import Parameters, Result
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts, parts_for
from simkit.search.execute import Run, execute
from simkit.vfs.database import Database
from simkit.vfs.events import SyncReturned, SyncStarted

SCENARIO = """
name: small
attacks: everything a little
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)
  - CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, x)
  - {sql: "INSERT INTO t VALUES (:id, 9007199254740993, 100)", repeat: 5, params: {id: {sequence: 1}}}
operations:
  move:
    transaction: ["UPDATE t SET b = b - :n WHERE id = 1", "UPDATE t SET b = b + :n WHERE id = 2", SELECT sum(b) FROM t]
    params: {n: {int: [1, 9]}}
  undone: {transaction: [DELETE FROM t, SELECT count(*) FROM t], rollback: true}
  store: {sql: "UPDATE t SET a = :a WHERE id = 3", params: {a: {edge: any}}}
  big: {sql: "UPDATE t SET a = :a WHERE id = 4", params: {a: {int: [9007199254740993, 9007199254750993]}}}
  nothing: {sql: "UPDATE t SET a = 0 WHERE id = 99"}
  append: {sql: "INSERT INTO log(x) VALUES (:x)", params: {x: {unique: row}}}
  refused: {sql: "INSERT INTO t VALUES (1, 1, 1)"}
  look: {sql: SELECT * FROM t}
  vacuum: {sql: VACUUM}
clients:
  - name: client
    count: 2
    operations: 8
    think: [0ms, 5ms]
    mix: {move: 3, undone: 1, store: 2, big: 2, nothing: 1, append: 2, refused: 1, look: 4, vacuum: 1}
crash: {at: {time: [20ms, 150ms]}, probability: 0.7}
takeover: {at: {time: [20ms, 150ms]}, probability: 0.5}
faults:
  - {point: commit.before_head_write, when: {probability: 0.05}, action: fail}
  - {point: commit.after_kv_commit, when: {probability: 0.05}, action: fail}
  - {point: read.before_return_pages, when: {probability: 0.03}, action: fail}
holds:
  - {sql: SELECT sum(b) FROM t, equals: 500}
bounds: {steps: 20000, time: 60s}
"""


@pytest.fixture(scope="module")
def run_seeds() -> Callable[..., list[Run]]:
    scenario = parse_scenario(SCENARIO, "small.yaml")
    prepared = prepare(scenario)

    def run(seeds: int, **changes: Any) -> list[Run]:
        parts: Parts = replace(parts_for(scenario.system), **changes)
        return [execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts) for seed in range(seeds)]

    return run


def found(runs: list[Run]) -> set[str]:
    return {violation.invariant for run in runs for violation in run.violations}


def test_sound_parts_are_never_reported(run_seeds: Any) -> None:
    for run in run_seeds(150):
        assert run.violations == [], f"seed {run.seed}"


class DropsCommits(Database):
    """Answers every third commit without sending it."""

    count = 0

    def commit(self) -> None:
        self.count += 1
        if self.count % 3:
            super().commit()
            return
        self.cache.put_all(self.dirty)
        self.low_water = self.page_count
        self.dirty.clear()


class AnswersSyncAtOnce(Database):
    """Returns from xSync with nothing sent."""

    def sync(self, handle: int = 0) -> None:
        self.kernel.record(SyncStarted(self.kernel.now, "x", self.storage.instance, -1, len(self.dirty)))
        self.kernel.record(SyncReturned(self.kernel.now, "x", self.storage.instance, -1))


class Rounds(SingleConnection):
    """Hands integers out through a float."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        result = super().execute(sql, params)
        rows = tuple(tuple(int(float(v)) if type(v) is int else v for v in row) for row in result.rows)
        return Result(result.columns, rows, result.changes, result.last_insert_rowid)


class Remembers(SingleConnection):
    """Answers a query from memory when it has seen it before."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._answers: dict[str, Result] = {}

    def execute(self, sql: str, params: Parameters = None) -> Result:
        if not sql.startswith("SELECT *"):
            return super().execute(sql, params)
        if sql not in self._answers:
            self._answers[sql] = super().execute(sql, params)
        return self._answers[sql]


class NobodysTransaction(SingleConnection):
    """Lets everybody into an open transaction."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        self._owner = None
        if self._turn.owner is not None and self._turn.owner is not self._kernel.current:
            self._kernel.sleep(100)
        self._owner = self._kernel.current
        try:
            return super().execute(sql, params)
        finally:
            self._kernel.sleep(1_000_000)


class NeverReleases(SingleConnection):
    """Has the connection taken by a task that forgets it, after a refused statement."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        try:
            return super().execute(sql, params)
        except apsw.ConstraintError:
            self._kernel.spawn(self._turn.acquire, name="forgetful", background=True)
            raise


class Spins(SingleConnection):
    """Tries a refused statement again for ever."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        while True:
            try:
                return super().execute(sql, params)
            except apsw.ConstraintError:
                self._kernel.checkpoint("again")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"database": DropsCommits}, {"DUR-1"}),
        ({"database": AnswersSyncAtOnce}, {"DUR-1", "DUR-3"}),
        ({"system": Rounds}, {"VAL-1"}),
        ({"system": Remembers}, {"ISO-1"}),
        ({"system": NobodysTransaction}, {"ISO-2"}),
        ({"system": NeverReleases}, {"PROG-2"}),
        ({"system": Spins}, {"PROG-3"}),
    ],
)
def test_broken_part_is_reported(run_seeds: Any, changes: dict[str, Any], expected: set[str]) -> None:
    assert expected <= found(run_seeds(12, **changes))
