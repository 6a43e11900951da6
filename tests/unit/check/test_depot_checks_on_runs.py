"""The checks of the depot on whole runs: silent on the sound one, and they fire where one part is broken."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from simkit.check.events import DepotSwept
from simkit.depot.commit import Committer
from simkit.depot.depot import Depot
from simkit.depot.events import DatabaseRolledBack, HotInstalled, Reclaimed
from simkit.depot.kv import Transaction
from simkit.depot.request import Request
from simkit.kernel import Decisions, Happening
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import parts_for
from simkit.search.execute import Run, execute

SCENARIO = """
name: small
attacks: a depot with everything
observe_pages: true
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)
  - {sql: "INSERT INTO t VALUES (:id, 0, zeroblob(3000))", repeat: 8, params: {id: {sequence: 1}}}
operations:
  store: {sql: "UPDATE t SET a = :a WHERE id = :id", params: {a: {unique: value}, id: {int: [1, 8]}}}
  look: {sql: SELECT * FROM t}
clients:
  - {name: client, count: 2, operations: 10, think: [0ms, 5ms], mix: {store: 4, look: 1}}
faults:
  - {point: commit.before_head_write, when: {probability: 0.05}, action: fail}
  - {point: commit.after_kv_commit, when: {probability: 0.05}, action: fail}
  - {point: hot.install_before_root_update, when: {nth: 1}, action: fail}
network:
  - {lose: reply, when: {probability: 0.02}, timeout: 200ms, scope: {kind: commit}}
depot:
  grain: [transaction, operation]
  shard_pages: 2
  pitr: {interval_ms: 50, retention_ms: 500}
  compaction: {lag_threshold: 4, throttle_ms: 5, max_silence_ms: 80, hot_after_ms: 2, reclaim_after_ms: 10,
    settle_after_ms: 20, job_service_ms: 1, restart_after_ms: 5}
operator:
  - {restore_point: before, after: [20ms, 60ms]}
  - {fork: copy, at: before, after: 5ms}
  - {rollback: before, after: [1ms, 60ms], probability: 0.5}
bounds: {steps: 50000, time: 120s}
"""


@pytest.fixture(scope="module")
def run_seeds() -> Callable[..., list[Run]]:
    scenario = parse_scenario(SCENARIO, "small.yaml")
    prepared = prepare(scenario)

    def run(seeds: int, **changes: Any) -> list[Run]:
        parts = replace(parts_for(scenario.system), **changes)
        return [execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts) for seed in range(seeds)]

    return run


def test_silent_on_a_sound_depot(run_seeds: Callable[..., list[Run]]) -> None:
    runs = run_seeds(6)
    assert [violation for run in runs for violation in run.violations] == []
    seen = {type(event) for run in runs for event in run.history}
    assert {DepotSwept, HotInstalled, Reclaimed, DatabaseRolledBack} <= seen


class ForgetfulCommitter(Committer):
    """Loses the index row of a page that it writes."""

    def _write(self, transaction: Transaction, request: Request, service_ns: int) -> Generator[Happening, Any, int]:
        txid = yield from super()._write(transaction, request, service_ns)
        keys = self._core.view(request.database).branch(transaction)
        assert keys is not None
        transaction.clear(keys.pidx(request.numbers[-1]))
        return txid


class ForgetfulDepot(Depot):
    """Commits without whole index rows."""

    def make_committer(self) -> Committer:
        return ForgetfulCommitter(self.core)


def test_index_row_that_is_never_written_is_found(run_seeds: Callable[..., list[Run]]) -> None:
    (run,) = run_seeds(1, depot=ForgetfulDepot)
    assert "DEPOT-8" in {violation.invariant for violation in run.violations}
