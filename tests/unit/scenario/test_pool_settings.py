"""`pool`: settings of one value stand, those of a list are drawn, and what a system would ignore is refused."""

from collections.abc import Callable

import pytest

from simkit.kernel.units import MILLISECOND, SECOND
from simkit.pool.settings import SETTING_NAMES, PoolSettings
from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.model_pool import Pool
from simkit.scenario.plan import plan_from_json, plan_to_json
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]

SYSTEM = "system: pool"


def test_every_setting_of_the_pool_can_be_written() -> None:
    assert [name.removesuffix("_ns") for name in SETTING_NAMES] == list(Pool.model_fields)


def test_without_the_key_settings_are_the_defaults(loaded: Load) -> None:
    assert draw_plan(loaded(), 1).pool == PoolSettings()


def test_single_values_stand(loaded: Load) -> None:
    pool = (
        "pool: {read_pool_enabled: false, max_readers: 0, idle_ttl: 5ms, waiting_max: 2, transaction_deadline: 50ms,"
        " close_timeout: 1s}"
    )
    assert draw_plan(loaded(system=SYSTEM, pool=pool), 1).pool == PoolSettings(
        read_pool_enabled=False,
        max_readers=0,
        idle_ttl_ns=5 * MILLISECOND,
        waiting_max=2,
        transaction_deadline_ns=50 * MILLISECOND,
        close_timeout_ns=SECOND,
    )


def test_value_of_a_list_is_drawn_in_each_run(loaded: Load) -> None:
    generator = PlanGenerator(loaded(system=SYSTEM, pool="pool: {max_readers: [0, 1, 4], idle_ttl: [5ms, 20ms]}"))
    drawn = [generator.draw(seed).pool for seed in range(60)]
    assert {(pool.max_readers, pool.idle_ttl_ns) for pool in drawn} == {
        (readers, ttl * MILLISECOND) for readers in (0, 1, 4) for ttl in (5, 20)
    }


def test_drawn_settings_move_no_client(loaded: Load) -> None:
    clients = "clients: [{name: c, operations: [1, 9], mix: {read: 1}}]"
    plain = draw_plan(loaded(system=SYSTEM, clients=clients), 3)
    drawn = draw_plan(loaded(system=SYSTEM, clients=clients, pool="pool: {max_readers: [0, 1, 4]}"), 3)
    assert drawn.clients == plain.clients


def test_settings_survive_json(loaded: Load) -> None:
    plan = draw_plan(loaded(system=SYSTEM, pool="pool: {max_readers: [0, 1], idle_ttl: 5ms}"), 1)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("{max_readers: 65}", "65 is out of bounds; at most 64"),
        ("{max_readers: [1, -1]}", "-1 is out of bounds; at least 0"),
        ("{max_readers: []}", "this is empty"),
        ("{max_readers: many}", "expected a whole number, not 'many'"),
        ("{read_pool_enabled: yes}", "YAML 1.2 knows only true and false"),
        ("{idle_ttl: 0ms}", "longer than nothing"),
        ("{idle_ttl: [5ms, 2000min]}", "idle_ttl is at most"),
        ("{idle_ttl: 5}", "write 5ms"),
        ("{waiting_max: 0}", "at least 1"),
        ("{transaction_deadline: 0s}", "longer than nothing"),
        ("{max_reader: 4}", "unknown key 'max_reader'; did you mean 'max_readers'?"),
        ("4", "expected a mapping with the keys read_pool_enabled"),
    ],
)
def test_wrong_setting_is_explained(problem: OnlyProblem, pool: str, message: str) -> None:
    assert message in str(problem(system=SYSTEM, pool=f"pool: {pool}"))


def test_single_has_no_settings(problem: OnlyProblem) -> None:
    assert "the system single has no settings" in problem(pool="pool: {waiting_max: 5}").message


def test_worker_has_no_readers(problem: OnlyProblem) -> None:
    found = problem(system="system: worker", pool="pool: {max_readers: 5, waiting_max: 3}")
    assert found.message == "the system worker has no readers, so no max_readers"
