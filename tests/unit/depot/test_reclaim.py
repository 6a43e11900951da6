"""Reclaim deletes what no readable version needs, and nothing else (COMP-1, DEPOT-19)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from simkit.depot.commands import AtTime
from simkit.depot.errors import InjectedFault, RestoreTargetExpired
from simkit.depot.events import JobFailed, Reclaimed
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Action, Crash, Drop, Fail, FaultRule
from simkit.depot.job import Job
from simkit.depot.operator import Operator
from simkit.depot.reclaim_plan import ReclaimPlan
from simkit.depot.records import PitrInterval, RestorePoint, encode_row, encode_txid
from simkit.depot.settings import DepotSettings

MS = 1_000_000
NEVER = 1_000_000
HOUR_MS = 3_600_000
ACTIONS: tuple[Action, ...] = (Fail(), Crash(), Drop())
FAULTS = [
    pytest.param(point, action, id=f"{type(action).__name__} at {point}")
    for point in FaultPoint
    if point.group == "reclaim"
    for action in ACTIONS
    if point.can_drop or not isinstance(action, Drop)
]

Bench = Any


@pytest.fixture
def bench(new_bench: type[Bench]) -> Bench:
    """A depot in which compaction does nothing by itself."""
    return new_bench(lag_threshold=NEVER)


def finish(bench: Bench, job: Generator[Any, Any, Any]) -> Any:
    """Runs a generator of the depot to its end, within a task."""
    ends: list[tuple[Any, Exception | None]] = []
    bench.kernel.process(job, lambda result, error: ends.append((result, error)))
    while not ends:
        bench.sleep(MS)
    result, error = ends[0]
    if error is not None:
        raise error
    return result


def fold(bench: Bench, number: int = 1) -> None:
    """Folds everything up to the head."""
    job = Job(-number, "hot compacter", "main", bench.keys.number)
    staged = finish(bench, bench.compaction.stager.stage(job, bench.keys))
    finish(bench, bench.compaction.installer.install(job, bench.keys, staged))


def plan(bench: Bench) -> ReclaimPlan:
    made = bench.compaction.reclaimer.plan(bench.core.store.snapshot(), bench.keys)
    assert isinstance(made, ReclaimPlan)
    return made


def reclaim(bench: Bench) -> Reclaimed:
    job = Job(-77, "reclaimer", "main", bench.keys.number)
    done = finish(bench, bench.compaction.reclaimer.run(job, bench.keys, lambda _: False))
    assert isinstance(done, Reclaimed)
    return done


def deltas(bench: Bench) -> list[int]:
    return sorted({bench.keys.parse_delta(key)[0] for key, _ in bench.rows(bench.keys.all_deltas_range())})


def commit_rows(bench: Bench) -> list[int]:
    return [bench.keys.parse_commits(key) for key, _ in bench.rows(bench.keys.commits_range())]


def versions(bench: Bench) -> list[tuple[int, int]]:
    """All (shard, as of)."""
    return sorted({bench.keys.parse_shard(key)[:2] for key, _ in bench.rows(bench.keys.all_shards_range())})


def keep_interval(bench: Bench, txid: int, expires_in_ms: int) -> int:
    """Writes the row of an interval whose commit is `txid`; returns its wall clock."""
    row = bench.commit_row(txid)
    interval = PitrInterval(
        txid=txid,
        versionstamp=row.versionstamp,
        wall_clock_ms=row.wall_clock_ms,
        expires_at_ms=bench.core.now_ms + expires_in_ms,
    )
    with bench.core.store.begin() as transaction:
        transaction.set(bench.keys.pitr(row.wall_clock_ms), encode_row(interval))
        transaction.commit()
    return int(row.wall_clock_ms)


def forget_intervals(bench: Bench) -> None:
    with bench.core.store.begin() as transaction:
        transaction.clear_range(*bench.keys.pitr_range())
        transaction.commit()


def test_nothing_goes_before_it_is_folded(bench: Bench) -> None:
    def script() -> None:
        bench.commits(5)
        assert plan(bench).empty
        assert plan(bench).reason == "reclaim:no-actionable-work"

    bench.run(script)


def test_what_is_folded_goes_but_for_the_row_of_the_watermark(bench: Bench) -> None:
    def script() -> None:
        bench.commits(5)
        fold(bench)
        done = reclaim(bench)
        assert (done.deltas, done.commits) == (5, 4)
        assert deltas(bench) == []
        assert commit_rows(bench) == [5]
        assert len(bench.rows(bench.keys.vtx_range())) == 1
        assert bench.contents(5) == bench.model[5]
        assert plan(bench).empty

    bench.run(script)


def test_what_is_above_the_watermark_stays(bench: Bench) -> None:
    def script() -> None:
        bench.commits(3)
        fold(bench)
        bench.commits(3)
        reclaim(bench)
        assert deltas(bench) == [4, 5, 6]
        assert commit_rows(bench) == [3, 4, 5, 6]
        assert bench.wrong() == []

    bench.run(script)


def test_older_versions_of_a_shard_go(bench: Bench) -> None:
    def script() -> None:
        for number in (1, 2, 3):
            bench.commits(3)
            fold(bench, number)
            forget_intervals(bench)
        assert len(versions(bench)) > 2
        reclaim(bench)
        assert versions(bench) == [(0, 9), (1, 6)]
        assert bench.wrong() == []

    bench.run(script)


def test_the_quota_follows(bench: Bench) -> None:
    def script() -> None:
        bench.commits(6)
        fold(bench)
        reclaim(bench)
        quota, stored = bench.quota_and_bytes()
        assert quota == stored > 0

    bench.run(script)


def test_a_delta_that_the_page_index_names_stays(bench: Bench) -> None:
    def script() -> None:
        bench.commits(5)
        fold(bench)
        with bench.core.store.begin() as transaction:
            transaction.set(bench.keys.pidx(1), encode_txid(1))
            transaction.commit()
        reclaim(bench)
        assert deltas(bench) == [1]
        assert plan(bench).reason == "reclaim:pidx-dependencies"

    bench.run(script)


def test_a_delta_without_a_shard_that_covers_it_stays(bench: Bench) -> None:
    def script() -> None:
        bench.commits(5)
        fold(bench)
        with bench.core.store.begin() as transaction:
            transaction.clear_range(*bench.keys.shard_versions_range(0))
            transaction.commit()
        reclaim(bench)
        assert deltas(bench) == [1, 2, 3]
        assert plan(bench).reason == "reclaim:missing-shard-coverage"

    bench.run(script)


def test_a_delta_that_cannot_be_decoded_stays(bench: Bench) -> None:
    def script() -> None:
        bench.commits(2)
        fold(bench)
        with bench.core.store.begin() as transaction:
            transaction.set(bench.keys.delta(1, 0), b"damaged")
            transaction.commit()
        reclaim(bench)
        assert deltas(bench) == [1]

    bench.run(script)


def test_a_kept_commit_stays_readable_until_it_is_given_up(bench: Bench) -> None:
    def script() -> None:
        bench.commits(3)
        bench.pin(2)
        fold(bench)
        bench.commits(6)
        fold(bench, 2)
        forget_intervals(bench)
        reclaim(bench)
        assert deltas(bench) == []
        assert commit_rows(bench) == [2, 9]
        assert bench.contents(2) == bench.model[2]
        kept = len(versions(bench))
        with bench.core.store.begin() as transaction:
            transaction.clear_range(*bench.keys.pins_range())
            transaction.commit()
        reclaim(bench)
        assert commit_rows(bench) == [9]
        assert len(versions(bench)) < kept
        assert bench.wrong() == []

    bench.run(script)


def test_a_fork_reads_on_while_its_parent_is_reclaimed(bench: Bench) -> None:
    def script() -> None:
        bench.commits(3)
        Operator(bench.depot).fork("copy")
        fold(bench)
        bench.commits(6)
        fold(bench, 2)
        forget_intervals(bench)
        reclaim(bench)
        snapshot = bench.core.store.snapshot()
        copy = bench.core.view("copy").branch(snapshot)
        assert bench.core.sources.contents(snapshot, copy, 3) == bench.model[3]

    bench.run(script)


def test_pages_that_were_cut_off_need_no_cover_and_their_shards_go(bench: Bench) -> None:
    def script() -> None:
        bench.commit(size=14)
        fold(bench)
        bench.commit(2, size=3)
        fold(bench, 2)
        forget_intervals(bench)
        reclaim(bench)
        assert deltas(bench) == []
        assert versions(bench) == [(0, 2)]
        bench.commit(5, size=9)
        assert bench.contents(3) == bench.model[3]
        fold(bench, 3)
        reclaim(bench)
        assert bench.wrong() == []

    bench.run(script)


def test_a_cut_that_is_folded_with_what_it_cut_off_leaves_no_delta(bench: Bench) -> None:
    def script() -> None:
        bench.commit(size=14)
        bench.commit(2, size=3)
        fold(bench)
        forget_intervals(bench)
        reclaim(bench)
        assert deltas(bench) == []

    bench.run(script)


def test_an_interval_keeps_its_commit_until_it_expires(bench: Bench) -> None:
    def script() -> None:
        bench.commits(2)
        keep_interval(bench, 1, expires_in_ms=1000)
        fold(bench)
        reclaim(bench)
        assert bench.contents(1) == bench.model[1]
        rows = len(bench.rows(bench.keys.pitr_range()))
        bench.sleep(1000 * MS)
        reclaim(bench)
        assert len(bench.rows(bench.keys.pitr_range())) == rows - 1
        assert commit_rows(bench) == [2]

    bench.run(script)


def test_what_a_job_staged_goes_once_it_does_not_run(bench: Bench) -> None:
    def script() -> None:
        bench.commits(1)
        with bench.core.store.begin() as transaction:
            transaction.set(bench.keys.stage(5, 0, 1, 0), b"five")
            transaction.set(bench.keys.stage(6, 0, 1, 0), b"six")
            transaction.commit()
        job = Job(-77, "reclaimer", "main", bench.keys.number)
        finish(bench, bench.compaction.reclaimer.run(job, bench.keys, lambda job: job == 6))
        assert [content for _, content in bench.rows(bench.keys.stage_range())] == [b"six"]

    bench.run(script)


def test_batches_are_small_and_never_part_a_blob(new_bench: type[Bench]) -> None:
    bench = new_bench(lag_threshold=NEVER, batch_keys=3)
    seen: list[str] = []

    def step(label: str) -> None:
        seen.append(label)
        for txid in deltas(bench):
            chunks = [bench.keys.parse_delta(key)[1] for key, _ in bench.rows(bench.keys.delta_range(txid))]
            assert chunks == list(range(len(chunks)))
            bench.core.blobs.delta(bench.core.store.snapshot(), bench.keys, txid)
        assert bench.wrong() == []
        quota, stored = bench.quota_and_bytes()
        assert quota == stored

    def script() -> None:
        bench.commit(size=14)
        bench.commits(5)
        for number in range(1, 9):
            if plan(bench).watermark < bench.head:
                fold(bench, number)
        bench.compaction.on_step = step
        reclaim(bench)
        assert deltas(bench) == []

    bench.run(script)
    assert len(seen) > 3


def test_a_commit_that_is_kept_while_the_job_runs_ends_the_job(bench: Bench) -> None:
    def script() -> None:
        bench.commits(5)
        fold(bench)
        job = Job(-77, "reclaimer", "main", bench.keys.number)
        ends: list[Any] = []
        generator = bench.compaction.reclaimer.run(job, bench.keys, lambda _: False)
        bench.kernel.process(generator, lambda result, error: ends.append((result, error)))
        bench.pin(2)
        bench.sleep(100 * MS)
        ((done, error),) = ends
        assert error is None
        assert (done.deltas, done.commits, done.shards) == (0, 0, 0)
        assert deltas(bench) == [1, 2, 3, 4, 5]

    bench.run(script)


@pytest.mark.parametrize("seed", range(12))
def test_a_time_that_expires_beside_a_reclaim_is_kept_whole_or_refused(new_bench: type[Bench], seed: int) -> None:
    settings = DepotSettings(shard_pages=4, chunk_bytes=700, grain="operation")
    bench = new_bench(seed=seed, lag_threshold=NEVER, settings=settings)
    outcomes: list[RestorePoint | RestoreTargetExpired] = []

    def script() -> None:
        bench.commits(4)
        keep_interval(bench, 2, expires_in_ms=HOUR_MS)
        fold(bench)
        at_ms = keep_interval(bench, 2, expires_in_ms=20)
        bench.sleep((14 + seed // 2) * MS)

        def restore() -> None:
            try:
                outcomes.append(Operator(bench.depot).make_restore_point(AtTime(at_ms)))
            except RestoreTargetExpired as error:
                outcomes.append(error)

        task = bench.kernel.spawn(restore, name="operator")
        bench.sleep(seed * MS)
        reclaim(bench)
        task.join()
        reclaim(bench)

    bench.run(script)
    (outcome,) = outcomes
    if isinstance(outcome, RestorePoint):
        assert bench.contents(2) == bench.model[2]
    else:
        assert 2 not in commit_rows(bench)


@pytest.mark.parametrize(("point", "action"), FAULTS)
def test_a_fault_changes_no_readable_version_and_the_work_is_done_later(
    new_bench: type[Bench], point: FaultPoint, action: Action
) -> None:
    rule = FaultRule(point, action, nth=1, expected=True)
    bench = new_bench(rules=[rule], hot_after_ns=MS, reclaim_after_ns=5 * MS, settle_after_ns=50 * MS, batch_keys=6)
    wrong: list[int] = []

    def script() -> None:
        bench.compaction.on_step = lambda _: wrong.extend(bench.wrong())
        bench.commits(5)
        bench.settle()
        bench.commits(4)
        bench.settle()
        assert all(txid > bench.watermark for txid in deltas(bench))

    bench.run(script)
    assert wrong == []
    assert bench.wrong() == []
    assert bench.depot.faults.unfired() == []
    assert bool(bench.events(JobFailed)) == (not isinstance(action, Drop))


def test_a_delete_that_is_lost_takes_nothing_away(new_bench: type[Bench]) -> None:
    rule = FaultRule(FaultPoint.RECLAIM_BEFORE_HOT_DELETE, Drop(), nth=1)
    bench = new_bench(rules=[rule], lag_threshold=NEVER)

    def script() -> None:
        bench.commits(3)
        fold(bench)
        assert reclaim(bench).deltas == 0
        assert deltas(bench) == [1, 2, 3]
        assert reclaim(bench).deltas == 3

    bench.run(script)


def test_a_job_that_fails_half_way_says_what_it_deleted(new_bench: type[Bench]) -> None:
    rule = FaultRule(FaultPoint.RECLAIM_AFTER_HOT_DELETE, Fail(), nth=1)
    bench = new_bench(rules=[rule], lag_threshold=NEVER)

    def script() -> None:
        bench.commits(3)
        fold(bench)
        with pytest.raises(InjectedFault):
            reclaim(bench)

    bench.run(script)
    (event,) = bench.events(Reclaimed)
    assert event.deltas == 3
