"""Faults of a file: rules with scopes, drops, and matrices of which every run gets one fault."""

from collections.abc import Callable

import pytest

from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Crash, Delay, Drop, Fail, Pause, Scope
from simkit.kernel.units import MILLISECOND
from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.model_fault_matrix import FaultMatrix
from simkit.scenario.model_marks import DEPOT_MARKS, FAULT_MARKS
from simkit.scenario.plan import PlannedFault, plan_from_json, plan_to_json
from simkit.scenario.problems import Problem
from simkit.scenario.schema import json_schema

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]

COMPACTION = {"depot": "depot: {compaction: true}"}


def drawn(loaded: Load, faults: str, seeds: int = 1, **changes: str) -> list[tuple[PlannedFault, ...]]:
    plans = PlanGenerator(loaded(faults=f"faults: {faults}", **changes))
    return [plans.draw(seed).faults for seed in range(seeds)]


def pairs(loaded: Load, faults: str, seeds: int, **changes: str) -> list[tuple[str, str]]:
    return [(rule[-1].point.value, rule[-1].action) for rule in drawn(loaded, faults, seeds, **changes)]


def test_scope_reaches_the_rule_of_the_depot(loaded: Load) -> None:
    scope = "{instance: instance-2, database: copy, page: 3, shard: 0}"
    ((rule,),) = drawn(loaded, f"[{{point: commit.before_tx, when: {{nth: 1}}, action: fail, scope: {scope}}}]")
    assert rule.rule().scope == Scope("instance-2", "copy", 3, 0)


def test_rule_without_scope_is_planned_without_one(loaded: Load) -> None:
    ((rule,),) = drawn(loaded, "[{point: commit.before_tx, when: {nth: 1}, action: fail}]")
    assert rule.scope is None
    assert rule.rule().scope == Scope()


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("fail", Fail()),
        ("crash", Crash()),
        ("drop", Drop()),
        ("{delay: 3ms}", Delay(3 * MILLISECOND)),
        ("{pause: {until: takeover, at_most: 5ms}}", Pause("takeover", 5 * MILLISECOND)),
    ],
)
def test_every_action_reaches_the_depot(loaded: Load, action: str, expected: object) -> None:
    ((rule,),) = drawn(loaded, f"[{{point: read.after_delta_blob_load, when: {{nth: 1}}, action: {action}}}]")
    assert rule.rule().action == expected


def test_plan_with_scoped_faults_and_network_is_saved_whole(loaded: Load) -> None:
    plan = draw_plan(
        loaded(
            faults="faults: [{point: commit.before_tx, when: {nth: 1}, action: fail, scope: {page: 3}}, {each: all}]",
            network="network: [{lose: reply, when: {nth: 2}}, {swizzle_clog: {at: 1ms, lasts: [1ms, 9ms]}}]",
        ),
        3,
    )
    assert plan_from_json(plan_to_json(plan)) == plan


def test_as_many_seeds_in_a_row_as_a_matrix_has_see_every_fault_once(loaded: Load) -> None:
    first = pairs(loaded, "{each: [commit], actions: [fail, delay]}", 26, **COMPACTION)
    assert len(set(first)) == 26
    assert {action for _, action in first} == {"fail", "delay"}


def test_matrix_begins_again_after_its_last_fault(loaded: Load) -> None:
    found = pairs(loaded, "{each: [commit.before_tx, commit.after_kv_commit], actions: [fail]}", 4)
    assert found[:2] == found[2:]


def test_matrix_drops_only_where_something_can_be_lost(loaded: Load) -> None:
    found = pairs(loaded, "{each: all}", 200, **COMPACTION)
    assert {point for point, action in found if action == "drop"} == {p.value for p in FaultPoint if p.can_drop}


def test_matrix_of_all_has_every_point(loaded: Load) -> None:
    assert {point for point, _ in pairs(loaded, "{each: all}", 200, **COMPACTION)} == {p.value for p in FaultPoint}


@pytest.mark.parametrize("each", ["all", "[commit, read]"])
def test_matrix_leaves_out_what_nobody_passes_without_compaction(loaded: Load, each: str) -> None:
    points = {point for point, _ in pairs(loaded, f"{{each: {each}}}", 200)}
    assert points == {point.value for point in FaultPoint if not point.needs_compaction}


def test_passage_of_a_matrix_fault_is_drawn(loaded: Load) -> None:
    found = drawn(loaded, "{each: [commit.before_tx], actions: [fail], nth: [2, 4]}", 60)
    assert {rule.nth for (rule,) in found} == {2, 3, 4}


def test_delay_of_a_matrix_fault_is_drawn(loaded: Load) -> None:
    found = drawn(loaded, "{each: [commit.before_tx], actions: [delay], delay: [1ms, 9ms]}", 20)
    assert len({rule.delay_ns for (rule,) in found}) > 5


def test_pause_of_a_matrix_fault_is_that_of_the_matrix(loaded: Load) -> None:
    ((rule,),) = drawn(loaded, "{each: [commit.before_tx], actions: [pause], pause: {until: crash, at_most: 7ms}}")
    assert (rule.until, rule.at_most_ns) == ("crash", 7 * MILLISECOND)


def test_point_that_needs_a_lost_delta_brings_the_loss_along(loaded: Load) -> None:
    ((lost, rule),) = drawn(loaded, "{each: [read.delta_blob_missing], actions: [delay], nth: 3, scope: {page: 2}}")
    assert (lost.point, lost.action, lost.nth) == (FaultPoint.READ_AFTER_DELTA_BLOB_LOAD, "drop", 3)
    assert (rule.point, rule.nth) == (FaultPoint.READ_DELTA_BLOB_MISSING, 1)
    assert lost.scope == rule.scope == Scope(page=2)


def test_matrix_beside_rules(loaded: Load) -> None:
    ((first, second),) = drawn(
        loaded, "[{point: commit.before_tx, when: {nth: 1}, action: fail}, {each: [read], expected: true}]"
    )
    assert (first.point.group, second.point.group) == ("commit", "read")
    assert (first.expected, second.expected) == (False, True)


def test_swarm_keeps_or_removes_a_matrix_as_a_whole(loaded: Load) -> None:
    found = drawn(loaded, "{each: [read.delta_blob_missing], actions: [fail]}", 40, swarm="swarm: true")
    assert {len(rules) for rules in found} == {0, 2}


def test_defaults_of_a_matrix_are_those_of_the_schema(loaded: Load) -> None:
    (matrix,) = loaded(faults="faults: {each: [read]}").faults
    assert isinstance(matrix, FaultMatrix)
    fields = json_schema()["$defs"]["FaultMatrix"]["properties"]
    shown = {name: field["default"] for name, field in fields.items() if name in ("nth", "delay", "pause", "actions")}
    assert shown == {
        "nth": [1, 6],
        "delay": ["1ms", "200ms"],
        "pause": {"until": "rest", "at_most": "5s"},
        "actions": "all",
    }
    written = ", ".join(f"{name}: {value}" for name, value in shown.items()).replace("'", "")
    assert loaded(faults=f"faults: {{each: [read], {written}}}").faults == (matrix,)


@pytest.mark.parametrize(
    ("faults", "message", "hint"),
    [
        (
            "[{point: commit.before_tx, when: {nth: 1}, action: drop}]",
            "nothing can be dropped at commit.before_tx",
            "read.after_delta_blob_load",
        ),
        ("{each: [commit], actions: [drop]}", "nothing can be dropped at any of these", "add an action"),
        ("{each: [commit.before_tx], actions: [drop]}", "nothing can be dropped at any of these", "add an action"),
        ("{each: [read, hot]}", "no run passes hot: there is no compaction", "add depot: {compaction: true}"),
        (
            "[{point: reclaim.before_hot_delete, when: {nth: 1}, action: fail}]",
            "no run passes reclaim.before_hot_delete: there is no compaction",
            "add depot: {compaction: true}",
        ),
        ("{each: [comit]}", "'comit' is no fault point or group", "did you mean 'commit'?"),
        ("{each: some}", "'some' is no choice of fault point or groups", "all"),
        ("{each: []}", "this is empty", "give at least one"),
        ("{each: [read, read]}", "'read' is given twice", ""),
        ("{each: [read], actions: [fial]}", "'fial' is no action", "did you mean 'fail'?"),
        ("{each: [read], delay: 31s}", "a delay is at most 30s", ""),
        ("{each: [read], nth: [3, 1]}", "the range is empty", ""),
        ("{each: [read], when: {nth: 1}}", "unknown key 'when'", "nth"),
        ("[{pont: commit.before_tx}]", "is no fault", "did you mean 'point'?"),
        ("[{point: commit.before_tx, when: {nth: 1}, action: fail, scope: {pages: 1}}]", "unknown key 'pages'", "page"),
        ("[{point: commit.before_tx, when: {nth: 1}, action: fail, scope: {page: 0}}]", "0 is out of bounds", ""),
    ],
)
def test_mistake_is_explained(problem: OnlyProblem, faults: str, message: str, hint: str) -> None:
    found = problem(faults=f"faults: {faults}")
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(("key", "value"), [("page", 3), ("shard", 0)])
def test_scope_that_no_passage_can_be_in_is_refused(problem: OnlyProblem, key: str, value: int) -> None:
    rule = f"{{point: reclaim.before_hot_delete, when: {{nth: 1}}, action: fail, scope: {{{key}: {value}}}}}"
    found = problem(faults=f"faults: [{rule}]", **COMPACTION)
    assert found.message == f"no single {key} is in hand at reclaim.before_hot_delete"


def test_marks_of_points_can_be_asked_for_where_faults_are(loaded: Load) -> None:
    marks = ", ".join(f"'{mark}'" for mark in FAULT_MARKS)
    scenario = loaded(faults="faults: {each: all}", sometimes=f"sometimes: [{marks}]", **COMPACTION)
    assert len(scenario.sometimes) == len(FaultPoint)


def test_mark_of_a_point_without_a_fault_is_refused(problem: OnlyProblem) -> None:
    found = problem(faults="faults: {each: [read]}", sometimes="sometimes: [fault commit.before_tx]")
    assert found.message == "no fault of this file is at commit.before_tx"


def test_mark_of_no_point_is_refused(problem: OnlyProblem) -> None:
    found = problem(system="system: my.own:system", sometimes="sometimes: [fault commit.before_ty]")
    assert "is no fault point" in found.message
    assert "'commit.before_tx'" in found.hint


@pytest.mark.parametrize("mark", DEPOT_MARKS)
def test_mark_of_the_depot_needs_a_cause(problem: OnlyProblem, mark: str) -> None:
    assert problem(sometimes=f"sometimes: [{mark}]").message == f"nothing of this file can be the cause of '{mark}'"


def test_marks_of_compaction_can_be_asked_for_where_it_is(loaded: Load) -> None:
    scenario = loaded(sometimes="sometimes: [depot installed, depot reclaimed, depot wake lost]", **COMPACTION)
    assert len(scenario.sometimes) == 3
