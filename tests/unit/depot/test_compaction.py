"""When compaction wakes, what it does then, and how it comes to rest."""

from contextlib import nullcontext, suppress
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest

from simkit.depot.compaction import Compaction
from simkit.depot.depot import Depot
from simkit.depot.errors import InjectedFault, QuotaExceeded
from simkit.depot.events import (
    CompactionRested,
    HotInstalled,
    HotStaged,
    JobFailed,
    ManagerLooked,
    Reclaimed,
    WakeSent,
)
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Crash, Drop, Fail, FaultRule
from simkit.depot.keys import BranchKeys
from simkit.depot.records import DirtyMarker, encode_row
from simkit.depot.settings import DepotSettings
from simkit.depot.signaler import WakeMessages
from simkit.kernel import Deadlock, Event

MS = 1_000_000
SECOND = 1_000 * MS

Benches = Any


def test_commits_up_to_the_threshold_wake_it_and_are_folded(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=32)

    def script() -> None:
        bench.commits(31)
        assert not bench.events(WakeSent)
        bench.commits(1)
        assert [(event.txid, event.lag) for event in bench.events(WakeSent)] == [(32, 32)]
        bench.settle()

    bench.run(script)
    assert [event.watermark for event in bench.events(HotInstalled)] == [32]
    assert bench.wrong() == []


def test_nothing_is_done_below_the_threshold(new_bench: Benches) -> None:
    bench = new_bench()

    def script() -> None:
        bench.commits(3)
        bench.sleep(100 * SECOND)
        assert bench.compaction.idle

    bench.run(script)
    assert bench.events(ManagerLooked) == []


def test_the_job_starts_after_its_deadline(new_bench: Benches) -> None:
    bench = new_bench(hot_after_ns=3 * SECOND)
    bench.run(lambda: (bench.commits(4), bench.settle()))
    looked, staged = bench.events(ManagerLooked)[0], bench.events(HotStaged)[0]
    assert 3 * SECOND < staged.at - looked.at < 3 * SECOND + 100 * MS


def test_after_its_work_it_looks_once_more_and_clears_the_marker(new_bench: Benches) -> None:
    bench = new_bench(settle_after_ns=30 * SECOND)

    def script() -> None:
        bench.commits(4)
        assert bench.marker is not None
        bench.settle()
        assert bench.marker is None

    bench.run(script)
    rested = bench.events(CompactionRested)
    last_job = bench.events(Reclaimed)[-1]
    assert len(rested) == 1
    assert rested[0].at - last_job.at >= 30 * SECOND
    assert bench.events(ManagerLooked)[-1].why == "settle"


def test_at_rest_only_what_is_needed_is_left(new_bench: Benches) -> None:
    bench = new_bench()
    bench.run(lambda: (bench.commits(9), bench.settle()))
    assert bench.rows(bench.keys.all_deltas_range()) == bench.rows(bench.keys.all_deltas_range(bench.watermark + 1))
    assert bench.rows(bench.keys.stage_range()) == []
    assert bench.wrong() == []
    quota, stored = bench.quota_and_bytes()
    assert quota == stored


class WakesGetLost(WakeMessages):
    def wake(self, keys: BranchKeys, txid: int, lag: int) -> None:
        pass


class DeafCompaction(Compaction):
    def make_signaler(self) -> WakeMessages:
        return WakesGetLost(self._core.kernel, self._heard, self._watch)


class DeafDepot(Depot):
    def make_compaction(self) -> Compaction:
        return DeafCompaction(self.core)


def test_a_lost_wake_is_found_within_the_longest_silence(new_bench: Benches) -> None:
    bench = new_bench(depot=DeafDepot, max_silence_ns=30 * SECOND)

    def script() -> None:
        bench.commits(4)
        bench.settle()

    bench.run(script)
    looked = bench.events(ManagerLooked)[0]
    assert looked.why == "silence"
    assert looked.at - bench.events(WakeSent)[0].at <= 30 * SECOND
    assert bench.watermark == 4


@pytest.mark.parametrize(
    "point", [FaultPoint.COMMIT_AFTER_KV_COMMIT, FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL], ids=str
)
def test_a_wake_that_a_fault_prevents_is_found_as_well(new_bench: Benches, point: FaultPoint) -> None:
    action = Drop() if point.can_drop else Fail()
    bench = new_bench(rules=[FaultRule(point, action, nth=4)])

    def script() -> None:
        bench.commits(3)
        with nullcontext() if point.can_drop else pytest.raises(InjectedFault):
            bench.commit(1)
        bench.head = 4
        bench.model[4] = {**bench.model[3], 1: bench.content(4, 1)}
        bench.settle()

    bench.run(script)
    assert bench.events(ManagerLooked)[0].why == "silence"
    assert bench.watermark == 4
    assert bench.wrong() == []


def test_wakes_of_a_dirty_branch_are_throttled(new_bench: Benches) -> None:
    bench = new_bench(throttle_ns=500 * MS, hot_after_ns=60 * SECOND)

    def script() -> None:
        for _ in range(20):
            bench.commit(1)
            bench.sleep(97 * MS)
        bench.compaction.stop()

    bench.run(script)
    times = [event.at for event in bench.events(WakeSent)]
    assert 3 <= len(times) <= 5
    assert all(later - earlier >= 500 * MS for earlier, later in pairwise(times))


def test_a_marker_that_a_newer_commit_wrote_is_not_cleared(new_bench: Benches) -> None:
    bench = new_bench(settle_after_ns=SECOND, reclaim_after_ns=SECOND, job_service_ns=50 * MS)

    def script() -> None:
        bench.commits(4)
        while not bench.events(HotInstalled):
            bench.sleep(10 * MS)
        while not any(event.why == "settle" for event in bench.events(ManagerLooked)):
            bench.sleep(MS)
        # The look has just been; its transaction that clears the marker is under way.
        newer = encode_row(DirtyMarker(observed_head_txid=4, updated_at_ms=bench.core.now_ms))
        with bench.core.store.begin() as transaction:
            transaction.set(bench.keys.dirty, newer)
            transaction.commit()
        bench.sleep(60 * MS)
        assert bench.marker is not None
        assert bench.marker.updated_at_ms > 0
        bench.settle()

    bench.run(script)
    assert len(bench.events(CompactionRested)) == 1


def test_a_marker_in_the_image_is_looked_at_from_the_start(new_bench: Benches) -> None:
    first = new_bench(hot_after_ns=60 * SECOND)
    first.run(lambda: (first.commits(5), first.compaction.stop()))
    bench = new_bench(image=first.depot.image())
    bench.model, bench.head = first.model, first.head
    bench.run(bench.settle)
    assert bench.events(ManagerLooked)[0].why == "restart"
    assert bench.watermark == 5
    assert bench.wrong() == []


def test_force_folds_below_the_threshold_and_reclaims_at_once(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=1000)

    def script() -> None:
        bench.commits(5)
        bench.compaction.force(bench.keys)
        bench.sleep(SECOND)

    bench.run(script)
    assert bench.watermark == 5
    assert bench.events(Reclaimed)[-1].deltas == 5
    assert bench.compaction.idle
    assert bench.wrong() == []


def test_force_goes_on_until_the_head_it_saw(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=1000, batch_keys=3)

    def script() -> None:
        bench.commits(10)
        bench.compaction.force(bench.keys)
        bench.sleep(3 * SECOND)

    bench.run(script)
    assert bench.watermark == 10
    assert len(bench.events(HotInstalled)) > 1


@pytest.mark.parametrize("forced_again", [True, False])
def test_force_outlives_the_crash_of_the_manager(new_bench: Benches, forced_again: bool) -> None:
    rules = [FaultRule(FaultPoint.HOT_STAGE_BEFORE_INPUT_READ, Crash(), nth=1)]
    bench = new_bench(rules=rules, lag_threshold=1000)

    def script() -> None:
        bench.commits(5)
        bench.compaction.force(bench.keys)
        bench.sleep(100 * MS)
        assert bench.failures() == ["hot NodeCrashed"]
        if forced_again:
            bench.commits(1)
            bench.compaction.force(bench.keys)
        bench.sleep(2 * SECOND)

    bench.run(script)
    assert bench.watermark == bench.head == (6 if forced_again else 5)
    assert bench.rows(bench.keys.all_deltas_range()) == []
    assert bench.compaction.idle


def test_force_is_still_known_when_the_reclaim_that_follows_has_crashed(new_bench: Benches) -> None:
    rules = [FaultRule(FaultPoint.RECLAIM_BEFORE_HOT_DELETE, Crash(), nth=1)]
    bench = new_bench(rules=rules, lag_threshold=1000, reclaim_after_ns=60 * SECOND)

    def script() -> None:
        bench.commits(5)
        bench.compaction.force(bench.keys)
        bench.sleep(2 * SECOND)

    bench.run(script)
    assert bench.failures() == ["reclaim NodeCrashed"]
    assert bench.rows(bench.keys.all_deltas_range()) == []


# A database that is full


def full(new_bench: Benches, quota_bytes: int, **compaction: Any) -> Any:
    settings = DepotSettings(shard_pages=4, chunk_bytes=700, quota_bytes=quota_bytes)
    bench = new_bench(settings=settings, lag_threshold=1000, **compaction)
    random = Random(1)
    bench.content = lambda txid, number: random.randbytes(512)
    return bench


def fill(bench: Any) -> None:
    """Commits until the quota refuses one."""
    with suppress(QuotaExceeded):
        while bench.head < 100:
            bench.commit(1, 2)
    assert bench.head < 100


def test_a_commit_that_the_quota_refuses_wakes_it_and_there_is_room_again(new_bench: Benches) -> None:
    bench = full(new_bench, 20_000)

    def script() -> None:
        fill(bench)
        refused = bench.head
        assert [(event.txid, event.lag, event.lost) for event in bench.events(WakeSent)] == [(refused, refused, False)]
        bench.sleep(20 * SECOND)
        assert bench.watermark == refused
        assert bench.rows(bench.keys.all_deltas_range()) == []
        bench.commit(1, 2)
        bench.settle()

    bench.run(script)
    quota, stored = bench.quota_and_bytes()
    assert quota == stored < 10_000
    assert bench.wrong() == []


def test_refusals_are_throttled_and_find_nothing_where_nothing_can_go(new_bench: Benches) -> None:
    bench = full(new_bench, 6_000, throttle_ns=500 * MS)

    def script() -> None:
        with pytest.raises(QuotaExceeded):
            bench.commit(*range(1, 13))
        bench.commit(*range(1, 7))
        bench.compaction.force(bench.keys)
        bench.sleep(5 * SECOND)
        looks = len(bench.events(ManagerLooked))
        for _ in range(20):
            with pytest.raises(QuotaExceeded):
                bench.commit(*range(1, 7))
            bench.sleep(97 * MS)
        assert 3 <= len(bench.events(ManagerLooked)) - looks <= 6
        bench.settle()

    bench.run(script)
    times = [event.at for event in bench.events(WakeSent)]
    assert all(later - earlier >= 500 * MS for earlier, later in pairwise(times))
    assert len(bench.events(HotInstalled)) == 1
    assert bench.failures() == []


def test_nothing_is_folded_for_room_that_nobody_lacks(new_bench: Benches) -> None:
    bench = full(new_bench, 100_000_000)

    def script() -> None:
        bench.commits(5)
        bench.depot.compaction.signaler.wake(bench.keys, 5, 5)
        bench.sleep(20 * SECOND)

    bench.run(script)
    assert [event.plan for event in bench.events(ManagerLooked)] == ["hot:no-actionable-lag reclaim:no-actionable-work"]


def test_without_compaction_a_refusal_wakes_nobody(new_bench: Benches) -> None:
    bench = full(new_bench, 20_000, enabled=False)
    bench.run(lambda: fill(bench))
    assert bench.events(WakeSent) == []


def test_two_branches_are_compacted_each_by_its_own_manager(new_bench: Benches) -> None:
    bench = new_bench()
    other = bench.core.view("other")
    bench.depot.allocate("other")
    raw = other.branch(bench.core.store.snapshot())

    def script() -> None:
        writer = type(bench.writer)(bench.depot, "other", bench.depot.generation, database="other")
        for txid in range(5):
            writer.commit({1: bench.content(txid, 1)}, 1)
            bench.commit(1)
        bench.settle()

    bench.run(script)
    assert {event.branch for event in bench.events(HotInstalled)} == {bench.keys.number, raw.number}
    assert bench.core.sources.contents(bench.core.store.snapshot(), raw, 5) == {1: bench.content(4, 1)}


def test_a_branch_that_is_frozen_is_folded_no_more(new_bench: Benches) -> None:
    bench = new_bench()

    def script() -> None:
        bench.commits(4)
        freeze(bench)
        bench.settle()

    bench.run(script)
    assert bench.watermark == 0
    assert bench.events(ManagerLooked)[-1].plan.startswith("stop:not-live")
    assert bench.marker is None


def freeze(bench: Any) -> None:
    with bench.core.store.begin() as transaction:
        record = bench.core.sources.record(transaction, bench.keys.branch_id)
        frozen = msgspec.structs.replace(record, state="frozen", lifecycle_generation=record.lifecycle_generation + 1)
        transaction.set(bench.keys.record, encode_row(frozen))
        transaction.commit()


def test_a_branch_frozen_while_a_job_runs_keeps_no_staged_rows(new_bench: Benches) -> None:
    bench = new_bench(job_service_ns=100 * MS)

    def script() -> None:
        bench.commits(4)
        while not bench.events(HotStaged):
            bench.sleep(MS)
        freeze(bench)
        bench.settle()

    bench.run(script)
    assert [event.error for event in bench.events(JobFailed)] == ["job_rejected"]
    assert bench.rows(bench.keys.stage_range()) == []


def test_jobs_that_fail_are_tried_again_after_growing_pauses(new_bench: Benches) -> None:
    rules = [FaultRule(FaultPoint.HOT_STAGE_BEFORE_INPUT_READ, Fail())]
    bench = new_bench(rules=rules, hot_after_ns=500 * MS, max_silence_ns=30 * SECOND)

    def script() -> None:
        bench.commits(4)
        for _ in range(300):
            bench.sleep(SECOND)
            bench.commits(1)
        bench.compaction.stop()

    bench.run(script)
    times = [event.at for event in bench.events(JobFailed)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) < 25
    assert pauses[:3] == sorted(pauses[:3])
    assert max(pauses) <= 31 * SECOND


def test_a_crashed_manager_starts_again_from_the_store(new_bench: Benches) -> None:
    rules = [FaultRule(FaultPoint.HOT_INSTALL_BEFORE_SHARD_PUBLISH, Crash(), nth=1)]
    bench = new_bench(rules=rules, restart_after_ns=2 * SECOND)
    bench.run(lambda: (bench.commits(4), bench.settle()))
    crashed = bench.events(JobFailed)[0]
    looked = next(event for event in bench.events(ManagerLooked) if event.at > crashed.at)
    assert (crashed.error, looked.why) == ("NodeCrashed", "restart")
    assert looked.at - crashed.at == 2 * SECOND
    assert bench.watermark == 4
    assert bench.rows(bench.keys.stage_range()) == []


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("after_ms", [0, 1, 400, 502, 508, 513, 520, 11_000])
def test_stopped_it_leaves_nothing_that_happens_later(new_bench: Benches, order: str, after_ms: int) -> None:
    bench = new_bench(order=order)
    never = Event(bench.kernel, "never")

    def script() -> None:
        bench.commits(8)
        bench.sleep(after_ms * MS)
        bench.compaction.stop()
        version = bench.core.store.version
        bench.compaction.force(bench.keys)
        never.wait()
        assert bench.core.store.version == version

    with pytest.raises(Deadlock):
        bench.run(script)


def test_each_step_is_told_of_right_after_its_commit(new_bench: Benches) -> None:
    bench = new_bench()
    steps: list[tuple[str, list[int]]] = []

    def script() -> None:
        bench.compaction.on_step = lambda label: steps.append((label, bench.wrong()))
        bench.commits(5)
        bench.settle()

    bench.run(script)
    assert [label for label, _ in steps][:3] == ["hot job 1 staged", "hot job 1 published", "hot job 1 installed"]
    assert [label for label, _ in steps][3:] == ["reclaim", "marker cleared"]
    assert all(wrong == [] for _, wrong in steps)


def test_it_can_be_stopped_from_within_a_step(new_bench: Benches) -> None:
    bench = new_bench()

    def script() -> None:
        bench.compaction.on_step = lambda _: bench.compaction.stop()
        bench.commits(4)
        bench.sleep(60 * SECOND)

    bench.run(script)
    assert len(bench.events(HotStaged)) <= 1
    assert bench.events(HotInstalled) == []
    assert bench.events(JobFailed) == []


def test_rows_that_an_earlier_process_staged_go_and_are_never_taken_for_its_own(new_bench: Benches) -> None:
    first = new_bench(hot_after_ns=0)

    def until_staged() -> None:
        first.compaction.on_step = lambda _: first.compaction.stop()
        first.commits(4)
        first.sleep(SECOND)

    first.run(until_staged)
    orphans = first.rows(first.keys.stage_range())
    assert {first.keys.parse_stage(key)[0] for key, _ in orphans} == {1}
    bench = new_bench(image=first.depot.image())
    bench.model, bench.head = first.model, first.head
    bench.run(bench.settle)
    assert bench.events(HotStaged)[0].job != 1
    assert bench.rows(bench.keys.stage_range()) == []
    assert bench.wrong() == []


def test_staged_rows_in_an_image_are_removed_though_no_branch_is_dirty(new_bench: Benches) -> None:
    first = new_bench(lag_threshold=1000)

    def until_staged() -> None:
        first.compaction.on_step = lambda _: first.compaction.stop()
        first.commits(4)
        first.compaction.force(first.keys)
        first.sleep(SECOND)

    first.run(until_staged)
    assert first.marker is None
    assert first.rows(first.keys.stage_range())
    bench = new_bench(image=first.depot.image())
    bench.run(bench.settle)
    assert bench.rows(bench.keys.stage_range()) == []
