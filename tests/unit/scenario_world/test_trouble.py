"""Runs with faults at every point of the depot, and with every kind of network trouble: the checks find nothing."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from simkit.check.events import OperationEnded
from simkit.depot.events import CommitApplied, FaultFired, NetworkDisturbed, RequestFailed
from simkit.depot.fault_points import FaultPoint

Tell = Callable[..., Any]

CLIENT = """
instances: {sqlite_cache_kib: 4}
vfs: {page_cache_pages: 0, read_ahead: none}
page_size: 512
operations:
  grow: {sql: "INSERT INTO t VALUES(:a, :b)", params: {a: {sequence: 1}, b: {blob: [300, 900]}}}
  count: {sql: "SELECT count(*), sum(length(b)) FROM t"}
clients: [{name: one, operations: 24, think: [1ms, 4ms], mix: {grow: 2, count: 1}}]
"""
COMPACTION = """
depot:
  shard_pages: 4
  compaction: {lag_threshold: 3, throttle_ms: 2, max_silence_ms: 60, hot_after_ms: 1, reclaim_after_ms: 3,
    settle_after_ms: 10, job_service_ms: 1, restart_after_ms: 5}
"""


@pytest.mark.parametrize("group", ["commit", "read", "hot", "reclaim"])
def test_no_fault_of_the_matrix_breaks_anything(story: Tell, group: str) -> None:
    matrix = f"faults: {{each: [{group}], nth: [1, 3], delay: [1ms, 60ms], pause: {{until: rest, at_most: 100ms}}}}\n"
    fired: Counter[str] = Counter()
    for seed in range(len([point for point in FaultPoint if point.group == group]) * 4):
        told = story(CLIENT + COMPACTION + matrix, seed)
        assert told.run.violations == [], f"seed {seed}: {told.run.plan.faults}"
        fired.update({event.point for event in told.all(FaultFired)})
    assert set(fired) >= {point.value for point in FaultPoint if point.group == group}


NETWORK = [
    "{lose: request, when: {probability: 0.1}, timeout: 40ms}",
    "{lose: reply, when: {probability: 0.1}, timeout: 40ms}",
    "{reorder: reply, by: [1ms, 20ms], when: {probability: 0.3}}",
    "{duplicate: request, by: [0ms, 10ms], when: {probability: 0.5}}",
    "{slow: disk, takes: [5ms, 60ms], when: {probability: 0.1}}",
    "{partition: {at: [1ms, 100ms], lasts: [1ms, 40ms]}, timeout: 40ms}",
    "{clog: {at: [1ms, 100ms], lasts: [1ms, 40ms]}}",
    "{swizzle_clog: {at: [1ms, 100ms], lasts: [10ms, 40ms]}}",
]


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("rule", NETWORK, ids=[rule.split(":")[0][1:] for rule in NETWORK])
def test_no_trouble_of_the_network_breaks_anything(story: Tell, rule: str, order: str) -> None:
    text = f"{CLIENT}network: [{rule}]\nstrategy: {{name: random-walk, order: {order}}}\n"
    disturbed = 0
    for seed in range(4):
        told = story(text, seed)
        assert told.run.violations == [], f"seed {seed}"
        disturbed += len(told.all(NetworkDisturbed))
    assert disturbed


def test_doubled_commits_of_sqlite_apply_once(story: Tell) -> None:
    told = story(CLIENT + "network: [{duplicate: request, by: 1ms, when: {probability: 1}, scope: {kind: commit}}]")
    applied = Counter(event.request for event in told.all(CommitApplied))
    assert applied
    assert set(applied.values()) == {1}
    assert {event.outcome for event in told.all(OperationEnded)} == {"ok"}


def test_client_of_a_lost_commit_gets_an_error_and_not_the_end_of_the_instance(story: Tell) -> None:
    rule = "{lose: request, when: {nth: 1}, timeout: 40ms, scope: {kind: commit}}"
    told = story(CLIENT + f"network: [{rule}]")
    assert [event.error for event in told.all(RequestFailed)] == ["transport_failed"]


def test_after_a_lost_reply_the_fence_ends_the_instance(story: Tell) -> None:
    rule = "{lose: reply, when: {nth: 1}, timeout: 40ms, scope: {kind: commit}}"
    told = story(CLIENT + f"network: [{rule}]")
    assert [event.error for event in told.all(RequestFailed)] == ["transport_failed", "head_fence_mismatch"]


def test_jobs_may_pause_until_rest(story: Tell) -> None:
    rule = "{point: hot.install_before_root_update, when: {nth: 1}, action: {pause: {until: rest, at_most: 1s}}}"
    told = story(CLIENT + COMPACTION + f"faults: [{rule}]")
    assert [event.action for event in told.all(FaultFired)] == ["pause"]
    assert told.run.violations == []


def test_fault_that_was_expected_and_did_not_act_is_told(story: Tell) -> None:
    rule = "{point: hot.install_before_root_update, when: {nth: 999}, action: fail, expected: true}"
    told = story(CLIENT + COMPACTION + f"faults: [{{each: [read]}}, {rule}]")
    assert told.run.unfired == (1,)
