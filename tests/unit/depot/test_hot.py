"""Hot jobs: what they fold, what they install, and what is left when they fail."""

from random import Random
from typing import Any

import pytest

from simkit.depot.events import FaultFired, HotInstalled, HotStaged, JobFailed
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Action, Crash, Delay, Drop, Fail, FaultRule
from simkit.depot.hot_stage import FoldedShard, groups_of
from simkit.depot.records import BranchRecord, Head, PitrInterval, decode_row, encode_row
from simkit.depot.settings import DepotSettings

MS = 1_000_000
SECOND = 1_000 * MS
HOT_POINTS = [point for point in FaultPoint if point.group == "hot"]

Benches = Any


def some_commits(bench: Any, random: Random, count: int) -> None:
    """Commits that overwrite, grow, shrink and grow again, across shards of 4 pages."""
    for _ in range(count):
        old = len(bench.model[bench.head])
        size = max(1, old + random.choice([0, 0, 0, 1, 3, -1, -5]))
        size = min(size, 14)
        bench.commit(*random.sample(range(1, size + 1), random.randint(1, min(size, 3))), size=size)


# Folding


@pytest.mark.parametrize("seed", range(12))
def test_what_is_folded_is_what_was_committed(new_bench: Benches, seed: int) -> None:
    bench = new_bench(lag_threshold=3, hot_after_ns=20 * MS, reclaim_after_ns=50 * MS, settle_after_ns=100 * MS)
    steps: list[list[int]] = []

    def script() -> None:
        bench.compaction.on_step = lambda _: steps.append(bench.wrong())
        some_commits(bench, Random(seed), 40)
        bench.settle()
        assert bench.wrong() == []

    bench.run(script)
    assert len(bench.events(HotInstalled)) >= 3
    assert all(wrong == [] for wrong in steps)
    quota, stored = bench.quota_and_bytes()
    assert quota == stored


def test_kept_versions_are_folded_as_well(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=8)

    def script() -> None:
        some_commits(bench, Random(5), 3)
        bench.pin(2)
        bench.pin(3, "another")
        some_commits(bench, Random(6), 6)
        bench.settle()

    bench.run(script)
    assert bench.watermark == 9
    assert bench.readable() == [2, 3, 9]
    assert bench.wrong() == []


def test_the_last_commit_of_each_interval_stays_readable(new_bench: Benches) -> None:
    settings = DepotSettings(shard_pages=4, chunk_bytes=700, pitr_interval_ms=1_000, pitr_retention_ms=100_000)
    bench = new_bench(settings=settings, lag_threshold=9)

    def script() -> None:
        for _ in range(3):
            bench.commits(3)
            bench.sleep(SECOND)
        bench.settle()
        rows = [decode_row(PitrInterval, raw) for _, raw in bench.rows(bench.keys.pitr_range())]
        assert [row.txid for row in rows] == [3, 6, 9]
        assert all(row.expires_at_ms == row.wall_clock_ms + 100_000 for row in rows)
        assert bench.readable() == [3, 6, 9]
        assert bench.wrong() == []

    bench.run(script)


def test_an_interval_that_ended_is_folded_below_the_threshold(new_bench: Benches) -> None:
    settings = DepotSettings(shard_pages=4, chunk_bytes=700, pitr_interval_ms=1_000)
    bench = new_bench(settings=settings)

    def script() -> None:
        bench.commits(4)
        while not bench.events(HotInstalled):
            bench.sleep(MS)
        bench.commits(2)
        bench.settle()

    bench.run(script)
    assert bench.watermark == 6


def test_a_branch_derived_from_another_is_folded_over_its_parent(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=1000)

    def script() -> None:
        bench.commit(1, size=10)
        bench.commit(6)
        fork_id = bench.core.new_branch_id()
        parent = bench.keys
        row = bench.commit_row(2)
        record = BranchRecord(
            branch_id=fork_id,
            database_id="fork",
            parent=parent.branch_id,
            parent_txid=2,
            parent_versionstamp=row.versionstamp,
            fork_depth=1,
        )
        view = bench.core.view("fork")
        with bench.core.store.begin() as transaction:
            fork = type(parent)(fork_id)
            transaction.set(fork.record, encode_row(record))
            transaction.set(view.pointer_key, fork_id)
            transaction.set(fork.head_at_fork, Head(2, 10, 0, fork_id).encode())
            transaction.commit()
        bench.pin(2)
        bench.commit(2, 6)
        writer = type(bench.writer)(bench.depot, "fork-writer", bench.depot.allocate("fork"), database="fork")
        page = b"of the fork".ljust(bench.page_bytes, b".")
        writer.head = 2
        writer.commit({5: page}, 9)
        for keys in (bench.keys, fork):
            bench.compaction.force(keys)
        bench.sleep(5 * SECOND)
        expected = {number: content for number, content in bench.model[2].items() if number <= 9} | {5: page}
        snapshot = bench.core.store.snapshot()
        assert bench.core.sources.watermark(snapshot, fork) == 3
        assert bench.core.sources.contents(snapshot, fork, 3) == expected
        assert bench.rows(fork.shard_versions_range(0)) == []
        assert bench.rows(fork.shard_versions_range(1)) != []

    bench.run(script)
    assert bench.wrong() == []


# Batches


def test_the_watermark_stops_where_the_batch_ends(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=20, batch_keys=6)
    bench.run(lambda: (bench.commits(20), bench.settle()))
    installed = [event.watermark for event in bench.events(HotInstalled)]
    assert installed[0] <= 6
    assert installed == sorted(installed)
    assert bench.head - bench.watermark < 20
    assert bench.wrong() == []


def test_a_batch_is_limited_in_bytes_as_well(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=6, batch_bytes=2_000)
    random = Random(1)
    bench.content = lambda txid, number: random.randbytes(512)
    bench.run(lambda: (bench.commits(6), bench.compaction.force(bench.keys), bench.settle()))
    staged = bench.events(HotStaged)
    assert len(staged) >= 2
    assert staged[-1].watermark == 6


def test_one_commit_larger_than_the_limits_is_folded_in_several_transactions(new_bench: Benches) -> None:
    settings = DepotSettings()
    bench = new_bench(settings=settings, page_bytes=65_536, lag_threshold=1000)
    labels: list[str] = []
    # Content that does not compress, and not more than one transaction of the store takes.
    random = Random(3)
    bench.content = lambda txid, number: random.randbytes(65_536)

    def script() -> None:
        bench.compaction.on_step = labels.append
        for _ in range(3):
            bench.commit(size=len(bench.model[bench.head]) + 100)
        bench.compaction.force(bench.keys)
        bench.settle()

    bench.run(script)
    assert bench.watermark == 3
    assert labels.count("hot job 1 staged") > 1
    assert labels.count("hot job 1 published") > 1
    assert bench.wrong() == []
    quota, stored = bench.quota_and_bytes()
    assert quota == stored


def test_a_commit_of_three_hundred_pages_is_folded(new_bench: Benches) -> None:
    bench = new_bench(settings=DepotSettings(), page_bytes=65_536, lag_threshold=1, staged_bytes=100_000)
    labels: list[str] = []

    def script() -> None:
        bench.compaction.on_step = labels.append
        bench.commit(size=300)
        bench.settle()

    bench.run(script)
    assert labels.count("hot job 1 staged") >= 1
    assert bench.watermark == 1
    assert bench.wrong() == []


def test_groups_keep_order_and_limit() -> None:
    shards = [FoldedShard(shard, 1, size, b"") for shard, size in enumerate([5, 5, 11, 1, 2])]
    assert [[folded.blob_bytes for folded in group] for group in groups_of(shards, 10)] == [[5, 5], [11], [1, 2]]
    assert groups_of([], 10) == []


# Installing


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(25))
def test_commits_inside_its_transactions_keep_their_rows(new_bench: Benches, seed: int, order: str) -> None:
    settings = DepotSettings(shard_pages=4, chunk_bytes=700, grain="operation")
    bench = new_bench(
        seed=seed,
        order=order,
        settings=settings,
        lag_threshold=3,
        hot_after_ns=1 * MS,
        reclaim_after_ns=3 * MS,
        settle_after_ns=50 * MS,
        job_service_ns=1 * MS,
    )
    steps: list[list[int]] = []

    def applied(request: Any) -> None:
        # The writer hears of it later; until then the model knows what it asked for.
        old = bench.model[request.txid - 1]
        pages = {**old, **request.pages}
        bench.model[request.txid] = {number: page for number, page in pages.items() if number <= request.page_count}
        bench.head = request.txid

    def script() -> None:
        bench.depot.on_applied = applied
        bench.compaction.on_step = lambda _: steps.append(bench.wrong())
        random = Random(seed)
        for _ in range(25):
            size = min(12, max(1, len(bench.model[bench.head]) + random.choice([0, 1, 2, -3])))
            head = bench.head
            bench.commit(*random.sample(range(1, size + 1), min(size, 2)), size=size)
            assert bench.head == head + 1
        bench.settle()
        assert bench.wrong() == []

    bench.run(script)
    assert bench.events(HotInstalled)
    assert all(wrong == [] for wrong in steps)
    quota, stored = bench.quota_and_bytes()
    assert quota == stored
    assert bench.rows(bench.keys.stage_range()) == []


def test_busy_pages_do_not_keep_it_from_installing(new_bench: Benches) -> None:
    bench = new_bench(lag_threshold=8, job_service_ns=20 * MS)

    def script() -> None:
        while len(bench.events(HotInstalled)) < 5:
            assert bench.head < 4_000
            bench.commit(1 + bench.head % 8)
        bench.settle()

    bench.run(script)
    assert bench.head < 2_000
    assert bench.events(JobFailed) == []


def test_a_row_that_a_commit_has_moved_on_is_not_cleared(new_bench: Benches) -> None:
    bench = new_bench(job_service_ns=40 * MS)

    def script() -> None:
        bench.commits(4)
        while not bench.events(HotStaged):
            bench.sleep(MS)
        bench.commit(2)
        bench.settle()

    bench.run(script)
    installed = bench.events(HotInstalled)[0]
    assert (installed.watermark, installed.cleared) == (4, 3)
    assert [bench.keys.parse_pidx(key) for key, _ in bench.rows(bench.keys.pidx_range())] == [2]
    assert bench.wrong() == []


def test_a_stage_is_rejected_when_a_commit_in_it_began_to_be_kept(new_bench: Benches) -> None:
    bench = new_bench(job_service_ns=40 * MS)

    def script() -> None:
        bench.commits(4)
        while not bench.events(HotStaged):
            bench.sleep(MS)
        bench.pin(2)
        bench.settle()

    bench.run(script)
    failed = bench.events(JobFailed)
    assert [(event.kind, event.error) for event in failed] == [("hot", "job_rejected")]
    assert "commit 2 is kept by restore_point by-hand now" in failed[0].message
    assert bench.watermark == 4
    assert bench.readable() == [2, 4]
    assert bench.wrong() == []


def test_a_published_shard_that_was_changed_is_not_installed(new_bench: Benches) -> None:
    rules = [FaultRule(FaultPoint.HOT_INSTALL_AFTER_SHARD_PUBLISH_BEFORE_PIDX_CLEAR, Delay(SECOND), nth=1)]
    bench = new_bench(rules=rules)

    def script() -> None:
        bench.commits(4)
        while not bench.events(FaultFired):
            bench.sleep(MS)
        key, content = bench.rows(bench.keys.all_shards_range())[0]
        with bench.core.store.begin() as transaction:
            transaction.set(key, content[:-1] + b"?")
            transaction.commit()
        bench.sleep(2 * SECOND)
        assert bench.watermark == 0
        assert bench.contents(4) == bench.model[4]
        bench.compaction.stop()

    bench.run(script)
    assert "is not what was folded" in bench.events(JobFailed)[0].message


def test_publishing_again_what_a_failed_job_published_changes_nothing(new_bench: Benches) -> None:
    rules = [FaultRule(FaultPoint.HOT_INSTALL_BEFORE_ROOT_UPDATE, Fail(), nth=1)]
    bench = new_bench(rules=rules)
    bench.run(lambda: (bench.commits(4), bench.settle()))
    assert len(bench.events(HotStaged)) == 2
    quota, stored = bench.quota_and_bytes()
    assert quota == stored


# Failing


def actions_at(point: FaultPoint) -> list[Action]:
    return [Fail(), Crash(), Delay(3 * SECOND), *([Drop()] if point.can_drop else [])]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(
    ("point", "action"),
    [(point, action) for point in HOT_POINTS for action in actions_at(point)],
    ids=lambda value: value.value if isinstance(value, FaultPoint) else type(value).__name__.lower(),
)
def test_a_fault_changes_no_readable_version_and_work_goes_on(
    new_bench: Benches, point: FaultPoint, action: Action, nth: int
) -> None:
    rules = [FaultRule(point, action, nth=nth)]
    bench = new_bench(rules=rules, lag_threshold=4, settle_after_ns=2 * SECOND, reclaim_after_ns=2 * SECOND)
    steps: list[list[int]] = []

    def script() -> None:
        bench.compaction.on_step = lambda _: steps.append(bench.wrong())
        random = Random(nth)
        for _ in range(4):
            some_commits(bench, random, 2)
            bench.pin(bench.head, f"pin-{bench.head}")
            some_commits(bench, random, 2)
            assert bench.wrong() == []
            bench.sleep(SECOND)
            assert bench.wrong() == []
        bench.settle()
        assert bench.wrong() == []

    bench.run(script)
    assert bench.events(FaultFired)
    assert bench.head - bench.watermark < 4
    assert all(wrong == [] for wrong in steps)
    assert bench.rows(bench.keys.stage_range()) == []
    assert bench.rows((bench.keys.all_deltas_range()[0], bench.keys.delta(bench.watermark + 1, 0))) == []
    quota, stored = bench.quota_and_bytes()
    assert quota == stored


def test_a_delta_that_is_lost_stops_the_watermark(new_bench: Benches) -> None:
    bench = new_bench(hot_after_ns=SECOND)

    def script() -> None:
        bench.commits(4)
        with bench.core.store.begin() as transaction:
            transaction.clear_range(*bench.keys.delta_range(2))
            transaction.commit()
        bench.sleep(60 * SECOND)
        bench.compaction.stop()

    bench.run(script)
    assert bench.watermark == 0
    failed = bench.events(JobFailed)
    assert {event.error for event in failed} == {"shard_coverage_missing"}
    assert 2 <= len(failed) <= 8
