"""The network of a file: each kind of rule, what is drawn of it, and mistakes."""

from collections.abc import Callable

import pytest

from simkit.depot.network_rules import (
    Clog,
    Duplicate,
    LinkScope,
    Lose,
    NetworkRule,
    Partition,
    Reorder,
    SlowDisk,
    SwizzleClog,
)
from simkit.kernel.units import MILLISECOND as MS
from simkit.scenario.generate import PlanGenerator
from simkit.scenario.model import Scenario
from simkit.scenario.model_marks import NETWORK_MARKS
from simkit.scenario.model_network import NETWORK_TAGS
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]

RULES: list[tuple[str, NetworkRule]] = [
    ("{lose: request, when: {nth: 3}}", Lose(leg="request", nth=3)),
    (
        "{lose: reply, when: {probability: 0.05}, once: true, timeout: 9ms}",
        Lose(leg="reply", probability_ppm=50_000, once=True, timeout_ns=9 * MS),
    ),
    ("{reorder: reply, by: 2ms, when: {nth: 1}}", Reorder(leg="reply", by_ns=(2 * MS,), nth=1)),
    (
        "{duplicate: request, by: 0ms, when: {nth: 1}, scope: {kind: commit, instance: instance-2}}",
        Duplicate(after_ns=(0,), nth=1, scope=LinkScope("commit", "instance-2")),
    ),
    ("{slow: disk, takes: 80ms, when: {nth: 1}}", SlowDisk(takes_ns=(80 * MS,), nth=1)),
    ("{partition: {at: 1ms, lasts: 2ms}, timeout: 3ms}", Partition(at_ns=MS, lasts_ns=2 * MS, timeout_ns=3 * MS)),
    ("{clog: {at: 1ms, lasts: 2ms}, scope: {kind: open}}", Clog(at_ns=MS, lasts_ns=2 * MS, scope=LinkScope("open"))),
    ("{swizzle_clog: {at: 1ms, lasts: 2ms}}", SwizzleClog(at_ns=MS, lasts_ns=2 * MS)),
]


@pytest.mark.parametrize(("text", "rule"), RULES, ids=[text.split(":")[0][1:] for text, _ in RULES])
def test_rule_is_planned(loaded: Load, text: str, rule: NetworkRule) -> None:
    assert PlanGenerator(loaded(network=f"network: [{text}]")).draw(0).network == (rule,)


def test_every_kind_of_rule_is_tried_here() -> None:
    assert {text.split(":")[0][1:] for text, _ in RULES} == set(NETWORK_TAGS)


def test_times_of_a_partition_are_drawn(loaded: Load) -> None:
    plans = PlanGenerator(loaded(network="network: [{partition: {at: [1ms, 90ms], lasts: [1ms, 90ms]}}]"))
    found = [plans.draw(seed).network[0] for seed in range(20)]
    assert len({rule.at_ns for rule in found if isinstance(rule, Partition)}) > 10
    assert len({rule.lasts_ns for rule in found if isinstance(rule, Partition)}) > 10


def test_how_late_a_message_is_stays_open_until_the_run(loaded: Load) -> None:
    plans = PlanGenerator(loaded(network="network: [{reorder: reply, by: [1ms, 9ms], when: {nth: 1}}]"))
    (rule,) = plans.draw(0).network
    assert isinstance(rule, Reorder)
    assert len(rule.by_ns) > 100


def test_swarm_removes_some_rules(loaded: Load) -> None:
    rules = ", ".join(text for text, _ in RULES)
    plans = PlanGenerator(loaded(network=f"network: [{rules}]", swarm="swarm: true"))
    counts = {len(plans.draw(seed).network) for seed in range(60)}
    assert min(counts) < 3
    assert max(counts) > 5


@pytest.mark.parametrize(
    ("network", "message", "hint"),
    [
        ("[{loose: request, when: {nth: 1}}]", "is no network rule", "did you mean 'lose'?"),
        ("[{lose: requests, when: {nth: 1}}]", "'requests' is no way of a message", "did you mean 'request'?"),
        ("[{lose: request}]", "the key 'when' is missing", "add it"),
        ("[{lose: request, when: {nth: 1}, timeout: 0ms}]", "this must be longer than nothing", ""),
        ("[{duplicate: reply, by: 1ms, when: {nth: 1}}]", "'reply' is no way of a message", "request"),
        ("[{slow: disc, takes: 1ms, when: {nth: 1}}]", "'disc' is no part that is slow", "did you mean 'disk'?"),
        ("[{partition: {at: 1ms}}]", "the key 'lasts' is missing", "add it"),
        ("[{clog: {at: 1, lasts: 2ms}}]", "has no unit", ""),
        ("[{clog: {at: 1ms, lasts: 2ms}, scope: {kind: commits}}]", "'commits' is no kind of request", "'commit'"),
        ("[lose]", "expected a network rule", ""),
    ],
)
def test_mistake_is_explained(problem: OnlyProblem, network: str, message: str, hint: str) -> None:
    found = problem(network=f"network: {network}")
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize("mark", NETWORK_MARKS)
def test_mark_of_the_network_needs_a_rule_that_brings_it_about(problem: OnlyProblem, loaded: Load, mark: str) -> None:
    rules = ", ".join(text for text, _ in RULES)
    assert loaded(network=f"network: [{rules}]", sometimes=f"sometimes: [{mark}]").sometimes == (mark,)
    assert "can be the cause of" in problem(sometimes=f"sometimes: [{mark}]").message
