"""The world around the depot: compaction rests before the last look, sweeps follow its steps, and the operator acts."""

from collections.abc import Callable
from typing import Any

import pytest

from simkit.check.events import DepotSwept, InstanceCrashed, InstanceOpened, OperationEnded, RunEnded, StateObserved
from simkit.depot.depot import Depot
from simkit.depot.events import (
    CommitApplied,
    DatabaseForked,
    DatabaseRolledBack,
    HotInstalled,
    InstanceAllocated,
    JobFailed,
    Reclaimed,
    RestorePointDeleted,
    RestorePointMade,
)
from simkit.depot.settings import CompactionSettings
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.pool.single import SingleConnection
from simkit.scenario import depot_watch
from simkit.scenario.depot_watch import DepotWatch, settle_ns_max
from simkit.scenario.events import DepotMeasured, ForkObserved, OperatorFailed
from simkit.scenario.parts import Parts

Tell = Callable[..., Any]

INSERTS = """\
latency: loopback
operations:
  add: {sql: "INSERT INTO t VALUES(:id, zeroblob(1000))", params: {id: {sequence: 1}}}
clients: [{name: one, operations: 12, think: 5ms, mix: {add: 1}}]
"""
SOON = "throttle_ms: 1, max_silence_ms: 40, hot_after_ms: 1, reclaim_after_ms: 2, settle_after_ms: 5, job_service_ms: 1"
COMPACTED = f"depot: {{shard_pages: 4, compaction: {{lag_threshold: 2, {SOON}}}}}\n"


def operator(*steps: str) -> str:
    return "".join(["operator:\n", *(f"  - {{{step}}}\n" for step in steps)])


def count_at_the_end(told: Any) -> int:
    """Rows of the table t."""
    state = told.all(StateObserved)[-1].state
    return next(len(rows) for name, _, rows in state if name == "t")


# Compaction


def test_compaction_rests_before_the_last_look(story: Tell) -> None:
    told = story(INSERTS + COMPACTED)
    assert told.run.violations == []
    assert told.all(HotInstalled)
    last = told.all(DepotSwept)[-1]
    assert (last.when, last.at_rest) == ("end", True)


def test_every_commit_is_folded_at_the_end_when_each_wakes(story: Tell) -> None:
    told = story(INSERTS + COMPACTED.replace("lag_threshold: 2", "lag_threshold: 1"))
    assert told.all(HotInstalled)[-1].watermark == max(event.txid for event in told.all(CommitApplied))


def test_each_install_and_reclaim_is_followed_by_a_sweep(story: Tell) -> None:
    history = story(INSERTS + COMPACTED).run.history
    steps = [index for index, event in enumerate(history) if isinstance(event, HotInstalled | Reclaimed)]
    assert steps
    swept_at = {event.at for event in history if isinstance(event, DepotSwept)}
    assert {history[index].at for index in steps} <= swept_at


def test_without_compaction_the_depot_is_swept_once(story: Tell) -> None:
    assert [event.when for event in story(INSERTS).all(DepotSwept)] == ["end"]


def test_recoveries_are_swept_when_somebody_compacts(story: Tell) -> None:
    told = story(INSERTS + COMPACTED + "crash: {at: {time: 30ms}}\n")
    assert "recovery" in [event.when for event in told.all(DepotSwept)]


def test_run_that_deadlocks_is_swept_where_it_ended(story: Tell) -> None:
    class WaitsForEver(SingleConnection):
        def execute(self, sql: str, params: Any = None) -> Any:
            self._kernel.park("wait", "for nobody")

    told = story(INSERTS + COMPACTED, parts=Parts(WaitsForEver))
    assert told.all(RunEnded)[0].reason == "deadlock"
    assert told.all(DepotSwept)[-1].at_rest is False


def test_deadlock_of_clients_is_found_beside_compaction(story: Tell) -> None:
    class StopsAtTheSixth(SingleConnection):
        asked = 0

        def execute(self, sql: str, params: Any = None) -> Any:
            self.asked += 1
            if self.asked == 6:
                self._kernel.park("wait", "for nobody")
            return super().execute(sql, params)

    told = story(INSERTS + COMPACTED, parts=Parts(StopsAtTheSixth))
    assert told.all(HotInstalled)
    assert told.all(RunEnded)[0].reason == "deadlock"


def test_compaction_that_never_rests_does_not_hold_the_run_up_for_ever(story: Tell) -> None:
    faults = (
        "faults: [{point: hot.stage_before_input_read, when: {probability: 1.0}, action: fail}]\n"
        "checks: {without: [COMP-2]}\n"
    )
    told = story(INSERTS + COMPACTED + faults)
    assert told.all(JobFailed)
    assert told.all(RunEnded)[0].reason == "done"
    assert told.all(DepotSwept)[-1].at_rest is False


def test_job_that_pauses_until_rest_goes_on_when_the_clients_are_done(story: Tell) -> None:
    faults = "faults: [{point: hot.stage_before_input_read, when: {nth: 1}, action: {pause: {until: rest}}}]\n"
    told = story(INSERTS + COMPACTED + faults)
    assert told.all(HotInstalled)
    assert told.all(RunEnded)[0].at < SECOND


@pytest.mark.parametrize("seed", range(5))
def test_compaction_rests_in_any_order_too(story: Tell, seed: int) -> None:
    told = story(INSERTS + COMPACTED + "strategy: {name: random-walk, order: any}\n", seed)
    assert told.run.violations == []
    assert told.all(DepotSwept)[-1].at_rest is True


def test_time_to_rest_covers_the_longest_way_there() -> None:
    settings = CompactionSettings(enabled=True)
    needed = settings.max_silence_ns + settings.hot_after_ns + settings.reclaim_after_ns + settings.settle_after_ns
    assert settle_ns_max(settings) > needed


def test_rows_and_bytes_are_measured_with_compaction(story: Tell) -> None:
    (measured,) = story(INSERTS + COMPACTED).all(DepotMeasured)
    assert measured.rows > 5
    assert measured.stored_bytes > 100
    assert story(INSERTS).all(DepotMeasured) == []


# Settings


def test_setup_has_no_limits(story: Tell) -> None:
    told = story(INSERTS + "depot: {quota: 1, commit_pages_max: 1}\n")
    assert "ok" not in {event.outcome for event in told.all(OperationEnded)}
    assert count_at_the_end(told) == 0


def test_settings_are_those_of_the_plan(story: Tell) -> None:
    told = story(INSERTS + "depot: {concurrency: [1, 2, 3]}\n", seed=4)
    assert told.run.plan.depot.concurrency in (1, 2, 3)


# The operator


def test_operator_does_its_steps_in_order(story: Tell) -> None:
    steps = operator(
        "restore_point: before, after: 20ms",
        "fork: copy, at: before",
        "rollback: before, after: 20ms",
        "delete: before",
        "compact: true",
    )
    told = story(INSERTS + COMPACTED + steps)
    assert told.run.violations == []
    assert (
        told.kinds(RestorePointMade, DatabaseForked, DatabaseRolledBack, RestorePointDeleted, OperatorFailed)
        == [
            "RestorePointMade",
            "DatabaseForked",
            "RestorePointMade",  # what the rollback leaves
            "DatabaseRolledBack",
            "RestorePointDeleted",
        ]
        or told.kinds(OperatorFailed) == []
    )


def test_rollback_is_followed_by_a_later_instance(story: Tell) -> None:
    told = story(INSERTS + operator("restore_point: before", "rollback: before, after: 30ms"))
    (rolled_back,) = told.all(DatabaseRolledBack)
    later = [event for event in told.all(InstanceOpened) if event.at > rolled_back.at]
    assert later
    assert told.run.violations == []


def test_state_after_a_rollback_is_the_earlier_one(story: Tell) -> None:
    steps = operator("restore_point: before, after: 500ms", "rollback: before, after: 1ms")
    clients = INSERTS.replace("operations: 12", "operations: 3")
    assert count_at_the_end(story(clients + steps)) == 3


def test_rollback_is_undone(story: Tell) -> None:
    early = operator("restore_point: before", "rollback: before, after: 500ms")
    assert count_at_the_end(story(INSERTS + early)) < 12
    undone = story(INSERTS + early + "  - {rollback: undo}\n")
    assert undone.run.violations == []
    assert count_at_the_end(undone) == 12


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        (("restore_point: a", "delete: a", "rollback: a"), "restore_point_not_made"),
        (("fork: old, at: {before: 1s}",), "restore_point_expired"),
    ],
)
def test_step_that_the_depot_refuses_ends_nothing(story: Tell, steps: tuple[str, ...], error: str) -> None:
    told = story(INSERTS + operator(*steps, "fork: copy"))
    assert [event.error for event in told.all(OperatorFailed)] == [error]
    assert [event.database for event in told.all(DatabaseForked)] == ["copy"]
    assert told.all(RunEnded)[0].reason == "done"


def test_state_of_a_while_ago_is_found_by_its_time(story: Tell) -> None:
    kept = COMPACTED.replace("shard_pages: 4", "shard_pages: 4, pitr: {interval_ms: 1, retention_ms: 60000}")
    told = story(INSERTS + kept + operator("fork: old, at: {before: 30ms}, after: 500ms"))
    assert told.all(OperatorFailed) == []
    assert told.run.violations == []


def test_forks_are_looked_into_at_the_end(story: Tell) -> None:
    told = story(INSERTS + operator("fork: copy, count: 2, after: 10ms"))
    assert [(event.database, event.integrity) for event in told.all(ForkObserved)] == [
        ("copy-1", ("ok",)),
        ("copy-2", ("ok",)),
    ]


def test_damaged_fork_violates_an_invariant(story: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(watch: DepotWatch, database: str, generation: int) -> ForkObserved:
        return ForkObserved(0, "", database, generation, ("row 1 missing from index i",))

    monkeypatch.setattr(depot_watch.DepotWatch, "_observe_fork", damaged)
    found = story(INSERTS + COMPACTED + operator("fork: copy, after: 100ms")).run.violations
    assert [violation.invariant for violation in found] == ["COMP-1"]
    assert "row 1 missing from index i" in found[0].sentence


def test_fork_is_handed_to_the_inspector_alone(story: Tell) -> None:
    told = story(INSERTS + operator("fork: copy"))
    assert [event.database for event in told.all(InstanceAllocated)].count("copy") == 1


def test_operator_survives_the_crash_of_an_instance(story: Tell) -> None:
    told = story(INSERTS + operator("fork: copy, after: 60ms") + "crash: {at: {time: 20ms}}\n")
    assert told.all(InstanceCrashed)
    assert told.all(DatabaseForked)
    assert told.run.violations == []


def test_pauses_of_steps_are_those_of_the_plan(story: Tell) -> None:
    told = story(INSERTS + operator("fork: a, after: 40ms", "fork: b, after: 40ms"))
    first, second = told.all(DatabaseForked)
    assert second.at - first.at >= 40 * MILLISECOND


def test_rows_that_get_lost_are_found_by_a_sweep(story: Tell) -> None:
    class LosesShards(Depot):
        def allocate(self, database: str = "main") -> int:
            transaction = self.store.begin()
            for key, _ in transaction.get_range(b"", b"\xff"):
                if b"/SHARD/" in key:
                    transaction.clear(key)
            transaction.commit()
            return super().allocate(database)

    found = story(INSERTS + COMPACTED, parts=Parts(SingleConnection, depot=LosesShards)).run.violations
    assert "COMP-1" in {violation.invariant for violation in found}
