"""Swarms: each run keeps some parts of its scenario, and what it keeps is the same as without the swarm."""

from collections.abc import Callable

from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.plan import Plan, Statement

Load = Callable[..., Scenario]

OPERATIONS = "operations:\n  a: {sql: SELECT 1}\n  b: {sql: SELECT 2}\n  c: {sql: SELECT 3}\n  d: {sql: SELECT 4}"
CLIENTS = (
    "clients: [{name: x, count: 2, operations: 12, mix: {a: 1, b: 1, c: 1, d: 1}},"
    " {name: y, operations: 12, mix: {a: 1, b: 2}}, {name: z, script: [a, b]}]"
)
TROUBLE = {
    "crash": "crash: [{at: {time: [1ms, 9ms]}}, {at: {io: [1, 9]}}]",
    "takeover": "takeover: [{at: {time: [1ms, 9ms]}}, {at: {time: [1ms, 9ms]}}]",
    "faults": (
        "faults: [{point: commit.before_tx, when: {nth: 1}, action: {delay: [1ms, 9ms]}},"
        " {point: commit.before_tx, when: {nth: 2}, action: fail}]"
    ),
}
SWARM = {"swarm": "swarm: true"}


def names(plan: Plan, client: int) -> frozenset[str]:
    return frozenset(step.operation for step in plan.clients[client].steps if isinstance(step, Statement))


def generator(loaded: Load, **changes: str) -> PlanGenerator:
    return PlanGenerator(loaded(operations=OPERATIONS, clients=CLIENTS, **changes))


def test_every_combination_of_a_mix_comes_up(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    seen = {names(plans.draw(seed), 2) for seed in range(60)}
    assert seen == {frozenset("a"), frozenset("b"), frozenset("ab")}


def test_half_of_the_entries_go(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    kept = sum(len(names(plans.draw(seed), 0)) for seed in range(200))
    assert 340 < kept < 480


def test_at_least_one_entry_stays(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    assert all(len(client.steps) > 0 for seed in range(60) for client in plans.draw(seed).clients)


def test_every_entry_may_be_the_one_that_stays(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    alone = {names(plans.draw(seed), 0) for seed in range(300) if len(names(plans.draw(seed), 0)) == 1}
    assert alone == {frozenset(name) for name in "abcd"}


def test_clients_that_are_alike_keep_the_same(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    alike = [names(plans.draw(seed), 0) | names(plans.draw(seed), 1) for seed in range(60)]
    assert min(map(len, alike)) == 1


def test_script_stays_whole(loaded: Load) -> None:
    plans = generator(loaded, **SWARM)
    assert all(len(plans.draw(seed).clients[3].steps) == 2 for seed in range(20))


def test_trouble_may_all_go_and_all_stay(loaded: Load) -> None:
    plans = generator(loaded, **SWARM, **TROUBLE)
    counts = [
        (len(plan.crashes), len(plan.takeovers), len(plan.faults)) for plan in (plans.draw(seed) for seed in range(400))
    ]
    assert (min(counts), max(counts)) == ((0, 0, 0), (2, 2, 2))


def test_what_stays_is_as_without_the_swarm(loaded: Load) -> None:
    with_swarm, without = generator(loaded, **SWARM, **TROUBLE), generator(loaded, **TROUBLE)
    for seed in range(30):
        some, every = with_swarm.draw(seed), without.draw(seed)
        assert set(some.crashes) <= set(every.crashes)
        assert set(some.takeovers) <= set(every.takeovers)
        assert set(some.faults) <= set(every.faults)
        assert some.clients[3] == every.clients[3]


def test_trouble_moves_no_mix(loaded: Load) -> None:
    quiet, troubled = generator(loaded, **SWARM), generator(loaded, **SWARM, **TROUBLE)
    assert all(quiet.draw(seed).clients == troubled.draw(seed).clients for seed in range(20))


def test_crashes_at_every_io_are_not_part_of_it(loaded: Load) -> None:
    clients = "clients: [{name: one, script: [{operation: read, marked: true}]}]"
    scenario = loaded(clients=clients, crash="crash: [{at: every io}, {at: {io: 5}}]", swarm="swarm: true")
    assert scenario.enumerates_crashes
    assert {len(draw_plan(scenario, seed).crashes) for seed in range(20)} == {0, 1}
