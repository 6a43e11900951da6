"""`depot`: settings of one value stand, those of a list are drawn, and sizes that make no sense are refused."""

from collections.abc import Callable

import pytest

from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.kernel.units import MICROSECOND, MILLISECOND
from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.model_depot import Compaction, Depot, Pitr
from simkit.scenario.plan import plan_from_json, plan_to_json
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]


def test_every_setting_of_the_depot_can_be_written() -> None:
    written = [*Depot.model_fields, *(f"pitr_{name}" for name in Pitr.model_fields)]
    plain = {"operation_ns": "operation", "quota_bytes": "quota"}
    settings = {plain.get(name, name) for name in DepotSettings.__struct_fields__}
    assert settings == set(written) - {"pitr"} | {"attempts_max"}


def test_every_setting_of_compaction_can_be_written() -> None:
    settings = [name.replace("_ns", "_ms") for name in CompactionSettings.__struct_fields__]
    assert settings == list(Compaction.model_fields)


def test_without_the_key_settings_are_the_defaults(loaded: Load) -> None:
    assert draw_plan(loaded(), 1).depot == DepotSettings()


@pytest.mark.parametrize("text", ["depot: {compaction: true}", "depot: {compaction: {}}"])
def test_compaction_is_on_with_its_defaults(loaded: Load, text: str) -> None:
    assert draw_plan(loaded(depot=text), 1).depot == DepotSettings(compaction=CompactionSettings(enabled=True))


def test_compaction_is_switched_off_by_false(loaded: Load) -> None:
    assert loaded(depot="depot: {compaction: false}").depot.settings() == DepotSettings()


def test_single_values_stand(loaded: Load) -> None:
    text = """\
depot:
  concurrency: 3
  grain: operation
  operation: 20us
  chunk_bytes: 1KiB
  shard_pages: 4
  shard_versions_max: 5
  commit_pages_max: 6
  quota: 2MiB
  fork_depth_max: 7
  restore_points_max: 8
  pitr: {interval_ms: 9, retention_ms: 10}
  compaction: {enabled: true, lag_threshold: 2, throttle_ms: 0.5, max_silence_ms: 40, hot_after_ms: 1,
    reclaim_after_ms: 2, settle_after_ms: 3, batch_keys: 4, batch_bytes: 5000, staged_bytes: 6KiB, job_service_ms: 0,
    restart_after_ms: 7}
"""
    assert draw_plan(loaded(depot=text), 1).depot == DepotSettings(
        concurrency=3,
        grain="operation",
        operation_ns=20 * MICROSECOND,
        chunk_bytes=1024,
        shard_pages=4,
        shard_versions_max=5,
        commit_pages_max=6,
        quota_bytes=2 * 1024**2,
        fork_depth_max=7,
        restore_points_max=8,
        pitr_interval_ms=9,
        pitr_retention_ms=10,
        compaction=CompactionSettings(
            enabled=True,
            lag_threshold=2,
            throttle_ns=500 * MICROSECOND,
            max_silence_ns=40 * MILLISECOND,
            hot_after_ns=1 * MILLISECOND,
            reclaim_after_ns=2 * MILLISECOND,
            settle_after_ns=3 * MILLISECOND,
            batch_keys=4,
            batch_bytes=5000,
            staged_bytes=6 * 1024,
            job_service_ns=0,
            restart_after_ns=7 * MILLISECOND,
        ),
    )


def test_value_of_a_list_is_drawn_in_each_run(loaded: Load) -> None:
    text = "depot: {grain: [transaction, operation], compaction: {lag_threshold: [2, 8, 32]}}"
    generator = PlanGenerator(loaded(depot=text))
    drawn = {(plan.depot.grain, plan.depot.compaction.lag_threshold) for plan in map(generator.draw, range(60))}
    assert drawn == {(grain, lag) for grain in ("transaction", "operation") for lag in (2, 8, 32)}


def test_drawn_settings_move_no_client(loaded: Load) -> None:
    clients = "clients: [{name: c, operations: [1, 9], mix: {read: 1}}]"
    plain = draw_plan(loaded(clients=clients), 3)
    drawn = draw_plan(loaded(clients=clients, depot="depot: {shard_pages: [1, 4, 64]}"), 3)
    assert drawn.clients == plain.clients


def test_settings_survive_json(loaded: Load) -> None:
    plan = draw_plan(loaded(depot="depot: {grain: [transaction, operation], compaction: true}"), 1)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("depot", "message"),
    [
        ("{concurrency: 0}", "0 is out of bounds; at least 1"),
        ("{grain: row}", "'row' is no grain; allowed: transaction, operation"),
        ("{grain: []}", "this is empty"),
        ("{operation: 0us}", "more than nothing and at most 1s"),
        ("{chunk_bytes: 0}", "0 is out of bounds; at least 1"),
        ("{chunk_bytes: 1MiB}", "out of bounds; at most 100000"),
        ("{shard_pages: many}", "expected a whole number, not 'many'"),
        ("{commit_pages_max: 0}", "write for example 4096, or null"),
        ("{quota: 10 GB}", "write a number of bytes, or for example 512KiB or 10GiB"),
        ("{fork_depth_max: -1}", "at least 0"),
        ("{pitr: {interval_ms: 0}}", "longer than nothing"),
        ("{pitr: {interval_ms: 5min}}", "write for example 60000"),
        ("{pitr: {retention_ms: -1}}", "no whole number of milliseconds"),
        ("{compaction: {throttle_ms: 500ms}}", "'500ms' is no number of milliseconds: write for example 500"),
        ("{compaction: {max_silence_ms: 0}}", "longer than nothing"),
        ("{compaction: {lag_threshold: 0}}", "at least 1"),
        ("{compaction: {staged_bytes: 10MiB}}", "at most 7500000"),
        ("{compaction: {lag_treshold: 4}}", "unknown key 'lag_treshold'; did you mean 'lag_threshold'?"),
        ("{compaction: often}", "expected true, false, or a mapping"),
        ("{compaction: [true, false]}", "expected true, false, or a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused(problem: OnlyProblem, depot: str, message: str) -> None:
    found = problem(depot=f"depot: {depot}")
    assert message in f"{found.message}; {found.hint}"
