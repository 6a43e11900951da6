"""Plans: drawn alike from the same seed, exact as JSON, one client independent of another."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.depot.fault_points import FaultPoint
from simkit.scenario.generate import PlanGenerator, draw_plan, setup_statements
from simkit.scenario.model import Scenario
from simkit.scenario.plan import (
    ClientPlan,
    Plan,
    PlannedCrash,
    PlannedFault,
    Sleep,
    Statement,
    Transaction,
    crash_at_marked_io,
    plan_from_json,
    plan_to_json,
)

Load = Callable[..., Scenario]

INSERT = (
    "operations:\n  add: {sql: 'INSERT INTO t VALUES(:a, :b, 0)', params: {a: {sequence: 10}, b: {int: [1, 1000000]}}}"
)
TWO = "clients: [{name: one, operations: 4, mix: {add: 1}}, {name: two, operations: 4, mix: {add: 1}}]"


def params_of(plan: Plan, name: str) -> list[Any]:
    return [step.params[name] for client in plan.clients for step in client.steps if isinstance(step, Statement)]


def one_value(value: Any) -> Plan:
    step = Statement(operation="a", sql="SELECT :v", params={"v": value})
    return Plan(clients=(ClientPlan(name="a", steps=(step,)),))


def test_same_seed_gives_the_same_plan(loaded: Load) -> None:
    scenario = loaded(operations=INSERT, clients=TWO)
    assert draw_plan(scenario, 5) == draw_plan(scenario, 5)


def test_generator_keeps_no_state_between_plans(loaded: Load) -> None:
    generator = PlanGenerator(loaded(operations=INSERT, clients=TWO))
    first = generator.draw(1)
    generator.draw(2)
    assert generator.draw(1) == first


def test_other_seed_gives_another_plan(loaded: Load) -> None:
    scenario = loaded(operations=INSERT, clients=TWO)
    assert draw_plan(scenario, 5) != draw_plan(scenario, 6)


def test_more_draws_of_one_client_move_no_other(loaded: Load) -> None:
    few = draw_plan(loaded(operations=INSERT, clients=TWO), 3)
    more = draw_plan(loaded(operations=INSERT, clients=TWO.replace("operations: 4", "operations: 9", 1)), 3)
    assert (few.clients[1], len(more.clients[0].steps)) == (more.clients[1], 9)


def test_sequence_is_unique_over_all_clients(loaded: Load) -> None:
    values = params_of(draw_plan(loaded(operations=INSERT, clients=TWO), 1), "a")
    assert (len(set(values)), min(values)) == (8, 10)


def test_sequence_grows_for_each_client(loaded: Load) -> None:
    plan = draw_plan(loaded(operations=INSERT, clients=TWO), 1)
    assert [step.params["a"] for step in plan.clients[1].steps if isinstance(step, Statement)] == [11, 13, 15, 17]


def test_counted_clients_are_numbered(loaded: Load) -> None:
    plan = draw_plan(loaded(clients="clients: [{name: c, count: 2, mix: {read: 1}}]"), 1)
    assert [client.name for client in plan.clients] == ["c-1", "c-2"]


def test_number_of_operations_is_drawn_from_its_range(loaded: Load) -> None:
    generator = PlanGenerator(loaded(clients="clients: [{name: c, operations: [2, 4], mix: {read: 1}}]"))
    assert {len(generator.draw(seed).clients[0].steps) for seed in range(50)} == {2, 3, 4}


def test_mix_follows_the_weights(loaded: Load) -> None:
    operations = "operations:\n  a: {sql: SELECT 1}\n  b: {sql: SELECT 2}"
    clients = "clients: [{name: c, operations: 1000, mix: {a: 3, b: 1}}]"
    steps = draw_plan(loaded(operations=operations, clients=clients), 1).clients[0].steps
    count = sum(isinstance(step, Statement) and step.operation == "a" for step in steps)
    assert 700 < count < 800


def test_script_is_planned_as_written(loaded: Load) -> None:
    script = "script: [read, {sleep: 5ms}, {sql: 'SELECT :x', params: {x: 1}}, {operation: read, marked: true}]"
    plan = draw_plan(loaded(clients=f"clients: [{{name: c, think: 1ms, {script}}}]"), 1)
    read = Statement(operation="read", sql="SELECT count(*) FROM t", think_ns=1_000_000)
    assert plan.clients[0].steps == (
        read,
        Sleep(duration_ns=6_000_000),
        Statement(operation="", sql="SELECT :x", params={"x": 1}, think_ns=1_000_000),
        msgspec.structs.replace(read, marked=True),
    )


def test_transaction_draws_each_parameter_once(loaded: Load) -> None:
    params = "params: {a: {int: [1, 99]}, b: 2}"
    body = f"{{transaction: ['DELETE FROM t WHERE a = :a', 'SELECT :a, :b'], {params}, rollback: true}}"
    (step,) = (
        draw_plan(
            loaded(operations=f"operations:\n  x: {body}", clients="clients: [{name: c, operations: 1, mix: {x: 1}}]"),
            1,
        )
        .clients[0]
        .steps
    )
    assert isinstance(step, Transaction)
    assert step.rollback
    assert step.statements[0].params == {"a": step.statements[1].params["a"]}


def test_crash_is_drawn_with_its_probability(loaded: Load) -> None:
    generator = PlanGenerator(loaded(crash="crash: {at: {io: [1, 3]}, probability: 0.5}"))
    crashes = [generator.draw(seed).crashes for seed in range(400)]
    assert 150 < sum(map(len, crashes)) < 250
    assert {crash.io for each in crashes for crash in each} == {1, 2, 3}


def test_takeover_time_is_drawn_from_its_range(loaded: Load) -> None:
    generator = PlanGenerator(loaded(takeover="takeover: {at: {time: [5ms, 30ms]}}"))
    times = [generator.draw(seed).takeovers[0].at_ns for seed in range(50)]
    assert 5_000_000 <= min(times) < max(times) <= 30_000_000


def test_every_io_is_left_to_the_search(loaded: Load) -> None:
    clients = "clients: [{name: a, script: [{operation: read, marked: true}]}]"
    plan = draw_plan(loaded(clients=clients, crash="crash: {at: every io}"), 1)
    assert plan.crashes == ()
    assert crash_at_marked_io(plan, 4).crashes == (PlannedCrash(io=4, marked=True),)


def test_plan_without_a_marked_step_takes_no_such_crash(loaded: Load) -> None:
    with pytest.raises(ValueError, match="no marked step"):
        crash_at_marked_io(draw_plan(loaded(), 1), 1)


def test_fault_rules_are_planned(loaded: Load) -> None:
    rules = (
        "faults:\n"
        "- {point: commit.before_tx, when: {nth: 2}, action: fail, expected: true}\n"
        "- {point: read.after_pidx_scan, when: {probability: 0.05}, once: true, action: {delay: 3ms}}\n"
        "- {point: commit.after_kv_commit, when: {nth: 1}, action: {pause: {until: rest}}}\n"
    )
    assert draw_plan(loaded(faults=rules), 1).faults == (
        PlannedFault(point=FaultPoint.COMMIT_BEFORE_TX, action="fail", nth=2, expected=True),
        PlannedFault(
            point=FaultPoint.READ_AFTER_PIDX_SCAN, action="delay", probability_ppm=50_000, once=True, delay_ns=3_000_000
        ),
        PlannedFault(
            point=FaultPoint.COMMIT_AFTER_KV_COMMIT, action="pause", nth=1, until="rest", at_most_ns=30_000_000_000
        ),
    )


def test_fault_delay_is_drawn_from_its_distribution(loaded: Load) -> None:
    rule = "faults: [{point: commit.before_tx, when: {nth: 2}, action: {delay: [1ms, 2ms]}}]"
    generator = PlanGenerator(loaded(faults=rule))
    assert len({generator.draw(seed).faults[0].delay_ns for seed in range(20)}) > 5


def test_setup_repeats_with_drawn_parameters(loaded: Load) -> None:
    setup = "setup:\n- CREATE TABLE t(a)\n- {sql: 'INSERT INTO t VALUES(:a)', repeat: 3, params: {a: {sequence: 1}}}"
    assert [statement.params for statement in setup_statements(loaded(setup=setup))] == [
        {},
        {"a": 1},
        {"a": 2},
        {"a": 3},
    ]


VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary(max_size=50)
)


@given(VALUES)
def test_json_keeps_every_value_and_its_type(value: Any) -> None:
    plan = one_value(value)
    back = plan_from_json(plan_to_json(plan))
    (kept,) = params_of(back, "v")
    assert (back, type(kept), str(kept)) == (plan, type(value), str(value))


@pytest.mark.parametrize("value", [-0.0, math.inf, -math.inf, math.nan, 5e-324, 2**53 + 1, 1.0, "a\0b", {}])
def test_json_keeps_values_that_json_cannot_write(value: Any) -> None:
    if value == {}:
        value = b"\0\xff"
    (kept,) = params_of(plan_from_json(plan_to_json(one_value(value))), "v")
    assert repr(kept) == repr(value)


def test_whole_plan_survives_json(loaded: Load) -> None:
    plan = draw_plan(loaded(operations=INSERT, clients=TWO, crash="crash: {at: {time: [1ms, 9ms]}}"), 1)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_plan_of_every_key_survives_json(loaded: Load) -> None:
    operations = (
        "operations:\n"
        "  add: {sql: 'REPLACE INTO t VALUES(1, :v, 0)', params: {v: {sequence: 1}}, effect: {write: [1, v]},"
        " via: lease, timeout: [1ms, 9ms]}\n"
        "  left: {transaction: [SELECT b FROM t], effects: [{read: 1}], leave: linger, pause: [1ms, 2ms]}\n"
        "  both: {sql: SELECT 1; SELECT 2, several: true}\n"
        "  shut: {close: true, timeout: 5ms}"
    )
    clients = "clients: [{name: c, in_flight: 4, operations: 40, mix: {add: 1, left: 1, both: 1, shut: 1}}]"
    plan = draw_plan(loaded(system="system: pool", operations=operations, clients=clients), 1)
    assert len({type(step) for step in plan.clients[0].steps}) == 3
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("value", ['{"real": "x"}', '{"blob": "***"}', '{"set": 1}', "[1]", "1.5"])
def test_damaged_parameter_is_refused(value: str) -> None:
    text = plan_to_json(one_value(12345)).decode().replace("12345", value)
    with pytest.raises(msgspec.ValidationError, match="parameter value"):
        plan_from_json(text)


def test_planned_crash_has_one_moment() -> None:
    with pytest.raises(ValueError, match="not both"):
        PlannedCrash(at_ns=1, io=1)
