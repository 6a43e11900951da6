"""The checks of connections, leases and closes on whole runs: silent on sound systems, and firing on broken ones."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.check.judge import judge
from simkit.kernel import Decisions
from simkit.kernel.units import MILLISECOND
from simkit.pool.result import Parameters, Result
from simkit.pool.single import SingleConnection, run_statement
from simkit.pool.system import DatabaseClosed, Instance
from simkit.scenario.image import Prepared, prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import SYSTEMS, Parts
from simkit.search.execute import execute

SCENARIO = """\
name: closes
attacks: Statements, transactions and closes beside each other.
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER)
  - {sql: "INSERT INTO t VALUES(:id, 0)", repeat: 4, params: {id: {sequence: 1}}}
operations:
  add: {sql: "UPDATE t SET v = v + 1 WHERE id = :id", params: {id: {int: [1, 4]}}}
  again: {sql: "INSERT INTO t VALUES(1, 1)"}
  look: {sql: SELECT * FROM t}
  swap: {transaction: ["UPDATE t SET v = v + 1 WHERE id = 1", "UPDATE t SET v = v - 1 WHERE id = 2"]}
  shut: {close: true}
clients:
  - {name: user, count: 3, operations: 6, think: [0ms, 3ms], mix: {add: 2, again: 1, look: 2, swap: 2}}
  - {name: closer, count: 2, operations: [1, 2], think: [2ms, 20ms], mix: {shut: 1}}
instances: {restart_after: [0ms, 2ms], close_takes: [0ms, 5ms]}
latency: loopback
crash: {at: {time: [5ms, 60ms]}, probability: 0.3}
"""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(parse_scenario(SCENARIO, "closes.yaml"))


def verdicts(prepared: Prepared, system: Callable[[Instance], Any], seeds: int) -> list[str]:
    parts = Parts(system=system)
    return [
        f"{violation.invariant} {violation.check} (seed {seed}): {violation.sentence}"
        for seed in range(seeds)
        for violation in execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts).violations
    ]


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_sound_system_is_not_condemned(prepared: Prepared, name: str) -> None:
    assert verdicts(prepared, SYSTEMS[name], 60) == []


class TwoWriters(SingleConnection):
    """Has a second connection for nothing."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._second = instance.connect()

    def close(self) -> None:
        self._second.close(True)
        super().close()


class SharedTransaction(SingleConnection):
    """Takes turns for statements only, so that a transaction is everybody's."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        with self._turn:
            if self._closing:
                raise DatabaseClosed("the database is closed")
            return run_statement(self._connection, sql, params)


class ClosesAnotherTime(SingleConnection):
    """Goes on with what came behind the call of close, for a while."""

    def close(self) -> None:
        self._kernel.sleep(20 * MILLISECOND)
        super().close()


class RefusesNow(SingleConnection):
    """Refuses every seventh UPDATE."""

    updates = 0

    def execute(self, sql: str, params: Parameters = None) -> Result:
        if sql.startswith("UPDATE"):
            self.updates += 1
            if self.updates % 7 == 0:
                raise apsw.ConstraintError("CHECK constraint failed: v")
        return super().execute(sql, params)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (TwoWriters, "MODE-1 connections"),
        (SharedTransaction, "MODE-2 connections"),
        (ClosesAnotherTime, "CLOSE-2 closing"),
        (RefusesNow, "ISO-2 refusals"),
    ],
)
def test_broken_system_is_named(prepared: Prepared, system: Any, expected: str) -> None:
    assert any(verdict.startswith(expected) for verdict in verdicts(prepared, system, 30))


def test_bounds_are_judged_where_they_are_given(prepared: Prepared) -> None:
    run = execute(prepared, prepared.plans.draw(1), Decisions(1), Parts(system=SingleConnection))
    assert run.violations == []
    assert judge(run.history, ["PROG-3"], prepared.oracle) == []
    late = judge(run.history, ["PROG-3"], prepared.oracle, operation_bound_ns=1)
    assert {violation.check for violation in late} == {"bounds"}


def test_checks_that_nobody_chose_are_silent(prepared: Prepared) -> None:
    run = execute(prepared, prepared.plans.draw(1), Decisions(1), Parts(system=TwoWriters))
    assert judge(run.history, ["MODE-2", "CLOSE-1"], prepared.oracle) == []
    assert {violation.invariant for violation in judge(run.history, ["MODE-1"], prepared.oracle)} == {"MODE-1"}
