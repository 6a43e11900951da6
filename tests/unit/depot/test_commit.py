"""Commits: what they write, what they refuse, whom they wake, and what a failure at each point leaves behind."""

from collections.abc import Callable, Sequence
from hashlib import sha256

import msgspec
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import (
    BranchNotWritable,
    CommitInvalid,
    CommitTooLarge,
    DepotError,
    GenerationFenceMismatch,
    HeadFenceMismatch,
    InjectedFault,
    QuotaExceeded,
    TransportFailed,
)
from simkit.depot.events import CommitApplied, FaultFired, RequestFailed, WakeSent
from simkit.depot.fault_points import Boundary, FaultPoint
from simkit.depot.faults import Delay, Drop, Fail, FaultRule, Faults
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.network import Network
from simkit.depot.network_rules import LinkScope, Lose, NetworkRule
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    DirtyMarker,
    Head,
    decode_commit_row,
    decode_head,
    decode_row,
    encode_row,
)
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.kernel import Order

PAGE = 512
MS = 1_000_000
SETTINGS = DepotSettings(chunk_bytes=700, compaction=CompactionSettings(lag_threshold=3, throttle_ns=100 * MS))
FINE = msgspec.structs.replace(SETTINGS, grain="operation", operation_ns=1 * MS)
COMMIT_POINTS = [point for point in FaultPoint if point.group == "commit"]


class Signaler:
    """Remembers who was woken, and who was marked dirty."""

    def __init__(self) -> None:
        self.woken: list[tuple[int, int]] = []
        self.marks = 0

    def wake(self, keys: BranchKeys, txid: int, lag: int) -> None:
        self.woken.append((txid, lag))

    def marked(self, keys: BranchKeys) -> None:
        self.marks += 1


class Site:
    """A depot that signals to nobody but the test, and an instance on it."""

    def __init__(
        self,
        rules: Sequence[FaultRule] = (),
        settings: DepotSettings = SETTINGS,
        order: Order = "timed",
        seed: int = 1,
        network: Sequence[NetworkRule] = (),
    ) -> None:
        self.kernel = Kernel(Decisions(seed), order=order)
        faults = Faults(self.kernel, rules, lambda name: None) if rules else None
        image, wires = DepotImage(None, 0, PAGE), Network(self.kernel, network) if network else None
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], image, settings, faults, wires)
        self.signaler = self.depot.core.signaler = Signaler()
        self.generation = self.depot.allocate()
        self.storage = self.connection()
        keys = self.depot.core.view("main").branch(self.depot.store.snapshot())
        assert keys is not None
        self.keys = keys

    def connection(self) -> DirectStorage:
        """Another connection of the same instance. It knows no head: until it commits its requests are not fenced."""
        return DirectStorage(self.depot, "instance-1", self.generation)

    def run(self, body: Callable[["Site"], None]) -> None:
        task = self.kernel.spawn(lambda: body(self), name="test", supervised=True)
        try:
            self.kernel.run()
            if task.error is not None:
                raise task.error
        finally:
            self.kernel.close()

    def commit(self, *numbers: int, size: int = 6) -> None:
        head = self.head()
        count = head.page_count if head is not None else 0
        wanted = sorted({*numbers, *range(count + 1, size + 1)})
        self.storage.commit({number: page(number) for number in wanted}, size)

    def write(self, rows: dict[bytes, bytes | None]) -> None:
        with self.depot.store.begin() as transaction:
            for key, value in rows.items():
                if value is None:
                    transaction.clear(key)
                else:
                    transaction.set(key, value)
            transaction.commit()

    def get(self, key: bytes) -> bytes | None:
        return self.depot.store.snapshot().get(key)

    def head(self) -> Head | None:
        raw = self.get(self.keys.head)
        return None if raw is None else decode_head(raw)

    def owners(self) -> dict[int, int]:
        rows = self.depot.store.snapshot().get_range(*self.keys.pidx_range())
        return {self.keys.parse_pidx(key): int.from_bytes(owner, "big") for key, owner in rows}

    def all_rows(self) -> list[tuple[bytes, bytes]]:
        return self.depot.store.snapshot().get_range(b"", b"\xff")

    def quota_and_bytes(self) -> tuple[int, int]:
        """What the quota says, and what the rows that it counts add up to."""
        keys, snapshot = self.keys, self.depot.store.snapshot()
        ranges = (keys.all_deltas_range(), keys.all_shards_range(), keys.commits_range(), keys.vtx_range())
        stored = sum(len(key) + len(value) for rows in ranges for key, value in snapshot.get_range(*rows))
        return int.from_bytes(self.get(keys.quota) or b"", "little", signed=True), stored


def page(number: int) -> bytes:
    """A page that does not compress."""
    return b"".join(sha256(b"%d/%d" % (number, part)).digest() for part in range(PAGE // 32))


def fork(site: Site, txid: int, page_count: int) -> tuple[BranchKeys, DirectStorage]:
    keys = BranchKeys(site.depot.core.new_branch_id())
    record = BranchRecord(
        branch_id=keys.branch_id, database_id="fork", parent=site.keys.branch_id, parent_txid=txid, fork_depth=1
    )
    rows: dict[bytes, bytes | None] = {
        keys.record: encode_row(record),
        keys.head_at_fork: Head(txid, page_count, 0, keys.branch_id).encode(),
        database_pointer_key("fork"): keys.branch_id,
    }
    site.write(rows)
    return keys, DirectStorage(site.depot, "instance-of-fork", site.depot.allocate("fork"), database="fork")


# What is written


def test_head_index_commit_row_and_versionstamp_are_written() -> None:
    def body(site: Site) -> None:
        site.commit()
        site.commit(2)
        head = site.head()
        assert head is not None
        assert (head.txid, head.page_count, head.branch_id) == (2, 6, site.keys.branch_id)
        assert site.owners() == {1: 1, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1}
        row = decode_commit_row(site.get(site.keys.commits(2)) or b"")
        assert (row.page_count, row.wall_clock_ms) == (6, site.depot.core.now_ms)
        assert site.get(site.keys.vtx(row.versionstamp)) == (2).to_bytes(8, "big")

    Site().run(body)


def test_shrinking_cuts_the_page_index_and_no_shard() -> None:
    def body(site: Site) -> None:
        site.commit()
        shard = site.keys.shard(0, 1, 0)
        site.write({shard: b"kept"})
        site.commit(1, size=2)
        assert site.owners() == {1: 2, 2: 1}
        assert site.get(shard) == b"kept"

    Site().run(body)


@pytest.mark.parametrize("settings", [SETTINGS, FINE])
def test_quota_is_exactly_what_the_rows_add_up_to(settings: DepotSettings) -> None:
    def body(site: Site) -> None:
        for numbers, size in (((), 6), ((2, 3), 6), ((1,), 2), ((), 9), ((4,), 9)):
            site.commit(*numbers, size=size)
            quota, stored = site.quota_and_bytes()
            assert quota == stored > 0

    Site(settings=settings).run(body)


def test_first_commit_of_a_fork_goes_on_from_where_it_began() -> None:
    def body(site: Site) -> None:
        site.commit()
        site.commit(2)
        keys, storage = fork(site, 2, 6)
        storage.open()
        storage.commit({3: page(3)}, 6)
        assert storage.head == 3
        assert site.get(keys.head_at_fork) is None
        head = decode_head(site.get(keys.head) or b"")
        assert (head.txid, head.page_count) == (3, 6)
        assert site.get(keys.commits(3)) is not None
        own = site.head()
        assert own is not None
        assert own.txid == 2

    Site().run(body)


# What is refused


@pytest.mark.parametrize(
    ("pages", "size"),
    [
        ({}, 6),
        ({0: page(0)}, 6),
        ({2: page(2), 1: page(1)}, 6),
        ({1: b"short"}, 6),
        ({7: page(7)}, 6),
        ({8: page(8)}, 8),
    ],
)
def test_pages_that_break_the_contract_are_refused(pages: dict[int, bytes], size: int) -> None:
    def body(site: Site) -> None:
        site.commit()
        before = site.all_rows()
        with pytest.raises(CommitInvalid):
            site.storage.commit(pages, size)
        assert site.all_rows() == before

    Site().run(body)


def test_stale_head_and_stale_generation_are_fenced() -> None:
    def body(site: Site) -> None:
        stale = site.connection()
        stale.open()
        site.commit()
        before = site.all_rows()
        with pytest.raises(HeadFenceMismatch):
            stale.commit({1: page(1)}, 1)
        assert site.all_rows() == before
        site.depot.allocate()
        with pytest.raises(GenerationFenceMismatch):
            site.commit(1)

    Site().run(body)


def test_frozen_branch_takes_no_commit() -> None:
    def body(site: Site) -> None:
        site.commit()
        record = decode_row(BranchRecord, site.get(site.keys.record) or b"")
        site.write({site.keys.record: encode_row(msgspec.structs.replace(record, state="frozen"))})
        with pytest.raises(BranchNotWritable, match="branch 1 of main is frozen"):
            site.commit(1)

    Site().run(body)


def test_branch_that_is_frozen_while_a_commit_runs_does_not_get_it() -> None:
    def body(site: Site) -> None:
        site.commit()
        record = decode_row(BranchRecord, site.get(site.keys.record) or b"")
        frozen = encode_row(msgspec.structs.replace(record, state="frozen"))
        task = site.kernel.spawn(lambda: site.commit(1), name="writer", supervised=True)
        site.kernel.sleep(5 * MS)
        site.write({site.keys.record: frozen})
        with pytest.raises(BranchNotWritable):
            task.join()

    Site([FaultRule(FaultPoint.COMMIT_BEFORE_HEAD_WRITE, Delay(10 * MS), nth=2)]).run(body)


def test_too_many_pages_are_refused() -> None:
    def body(site: Site) -> None:
        site.commit(size=4)
        with pytest.raises(CommitTooLarge, match="5 pages, the limit is 4"):
            site.commit(size=9)

    Site(settings=msgspec.structs.replace(SETTINGS, commit_pages_max=4)).run(body)


def test_commit_beyond_the_limits_of_a_transaction_is_refused() -> None:
    def body(site: Site) -> None:
        with pytest.raises(CommitTooLarge, match="transaction mutates"):
            site.commit(size=20_000)
        assert site.head() is None

    Site().run(body)


def test_quota_is_a_limit_and_nothing_is_written_beyond_it() -> None:
    def body(site: Site) -> None:
        site.commit(size=4)
        quota, _ = site.quota_and_bytes()
        before = site.all_rows()
        with pytest.raises(QuotaExceeded) as caught:
            site.commit(1, 2, 3, 4, size=4)
        assert caught.value.remaining_bytes == 4_000 - quota < caught.value.payload_bytes
        assert site.all_rows() == before
        site.commit(1, size=4)

    Site(settings=msgspec.structs.replace(SETTINGS, quota_bytes=4_000)).run(body)


def test_adding_to_the_quota_does_not_conflict() -> None:
    def body(site: Site) -> None:
        site.commit()
        task = site.kernel.spawn(lambda: site.commit(1), name="writer", supervised=True)
        site.kernel.sleep(5 * MS)
        with site.depot.store.begin() as job:
            job.add(site.keys.quota, -100)
            job.set(site.keys.root, encode_row(CompactionRoot()))
            job.commit()
        task.join()
        assert site.kernel.now == 10 * MS
        quota, stored = site.quota_and_bytes()
        assert quota == stored - 100

    Site([FaultRule(FaultPoint.COMMIT_BEFORE_HEAD_WRITE, Delay(10 * MS), nth=2)]).run(body)


# Whom it wakes


def test_lag_marks_the_branch_and_wakes_once() -> None:
    def body(site: Site) -> None:
        site.commit()
        site.commit(1)
        assert site.get(site.keys.dirty) is None
        for _ in range(3):
            site.commit(1)
        assert site.signaler.woken == [(3, 3)]
        assert site.signaler.marks == 3
        marker = decode_row(DirtyMarker, site.get(site.keys.dirty) or b"")
        assert marker == DirtyMarker(observed_head_txid=5, updated_at_ms=site.depot.core.now_ms)
        wakes = [event for event in site.kernel.history if isinstance(event, WakeSent)]
        assert [(event.branch, event.txid, event.lag, event.lost) for event in wakes] == [(1, 3, 3, False)]

    Site().run(body)


def test_dirty_branch_wakes_again_after_the_throttle() -> None:
    def body(site: Site) -> None:
        for _ in range(3):
            site.commit(1)
        site.kernel.sleep(99 * MS)
        site.commit(1)
        site.kernel.sleep(1 * MS)
        site.commit(1)
        assert site.signaler.woken == [(3, 3), (5, 5)]

    Site().run(body)


def test_branch_that_was_cleaned_wakes_at_once() -> None:
    def body(site: Site) -> None:
        for _ in range(3):
            site.commit(1)
        site.write({site.keys.dirty: None})
        site.commit(1)
        assert site.signaler.woken == [(3, 3), (4, 4)]

    Site().run(body)


def test_lag_is_counted_from_the_watermark() -> None:
    def body(site: Site) -> None:
        for _ in range(2):
            site.commit(1)
        site.write({site.keys.root: encode_row(CompactionRoot(hot_watermark_txid=2))})
        for _ in range(3):
            site.commit(1)
        assert site.signaler.woken == [(5, 3)]

    Site().run(body)


def test_lag_of_a_fork_is_counted_from_its_start() -> None:
    def body(site: Site) -> None:
        for _ in range(2):
            site.commit(1)
        _, storage = fork(site, 2, 6)
        storage.open()
        for _ in range(3):
            storage.commit({1: page(1)}, 6)
        assert site.signaler.woken == [(5, 3)]

    Site().run(body)


def test_nobody_is_marked_while_compaction_is_off() -> None:
    def body(site: Site) -> None:
        site.depot.core.signaler = None
        for _ in range(5):
            site.commit(1)
        assert site.get(site.keys.dirty) is None

    Site().run(body)


def test_lost_wake_is_told_and_the_next_commit_sends_one() -> None:
    def body(site: Site) -> None:
        for _ in range(4):
            site.commit(1)
        assert site.signaler.woken == [(4, 4)]
        wakes = [event for event in site.kernel.history if isinstance(event, WakeSent)]
        assert [(event.txid, event.lost) for event in wakes] == [(3, True), (4, False)]

    Site([FaultRule(FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL, Drop(), nth=3)]).run(body)


@pytest.mark.parametrize("point", [FaultPoint.COMMIT_AFTER_KV_COMMIT, FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL])
def test_request_that_fails_before_its_wake_leaves_it_to_the_next(point: FaultPoint) -> None:
    def body(site: Site) -> None:
        for _ in range(2):
            site.commit(1)
        with pytest.raises(InjectedFault):
            site.commit(1)
        assert site.signaler.woken == []
        assert site.signaler.marks == 1
        site.storage.head = 3
        site.commit(1)
        assert site.signaler.woken == [(4, 4)]

    Site([FaultRule(point, Fail(), nth=3)]).run(body)


def test_marker_that_is_cleared_while_a_commit_runs_does_not_swallow_its_wake() -> None:
    def body(site: Site) -> None:
        for _ in range(3):
            site.commit(1)
        task = site.kernel.spawn(lambda: site.commit(1), name="writer", supervised=True)
        site.kernel.sleep(5 * MS)
        site.write({site.keys.dirty: None})
        task.join()
        assert site.signaler.woken == [(3, 3), (4, 4)]

    Site([FaultRule(FaultPoint.COMMIT_BEFORE_HEAD_WRITE, Delay(10 * MS), nth=4)]).run(body)


# Fault points


def test_points_are_passed_in_code_order() -> None:
    site = Site([FaultRule(point, Delay(1)) for point in COMMIT_POINTS])
    site.run(lambda site: site.commit(1))
    passed = [event.point for event in site.kernel.history if isinstance(event, FaultFired)]
    assert passed == [point.value for point in COMMIT_POINTS]
    assert len(passed) == 13


@pytest.mark.parametrize("grain", [SETTINGS, FINE])
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_failure_leaves_the_old_state_before_the_commit_and_the_new_one_after_it(
    point: FaultPoint, grain: DepotSettings
) -> None:
    def body(site: Site) -> None:
        site.commit()
        before = site.all_rows()
        with pytest.raises(InjectedFault):
            site.commit(1, 2)
        if point.boundary is Boundary.PRE_DURABLE:
            assert site.all_rows() == before
        else:
            assert site.owners() == {1: 2, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1}
            site.storage.head = 2
        quota, stored = site.quota_and_bytes()
        assert quota == stored
        site.commit(3)

    Site([FaultRule(point, Fail(), nth=2)], grain).run(body)


# Overlapping commits


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(6))
def test_of_commits_on_one_head_exactly_one_succeeds(order: Order, seed: int) -> None:
    def body(site: Site) -> None:
        site.commit()
        rivals = [site.connection() for _ in range(3)]
        outcomes: list[str] = []

        def commit(storage: DirectStorage, number: int) -> None:
            try:
                storage.commit({number: page(number + 10)}, 6)
                outcomes.append("applied")
            except DepotError as error:
                outcomes.append(error.code)

        for rival in rivals:
            rival.open()
        tasks = [site.kernel.spawn(commit, rival, number) for number, rival in enumerate(rivals, 1)]
        for task in tasks:
            task.join()
        assert sorted(outcomes) == ["applied", "head_fence_mismatch", "head_fence_mismatch"]
        quota, stored = site.quota_and_bytes()
        assert quota == stored

    Site(settings=FINE, order=order, seed=seed).run(body)


# A reply that never came


def test_commit_without_a_reply_leaves_the_head_to_the_fence() -> None:
    def body(site: Site) -> None:
        site.commit()
        site.commit(1)
        with pytest.raises(TransportFailed) as caught:
            site.commit(1)
        assert not caught.value.fatal
        assert (site.storage.head, site.storage.commits) == (2, 2)
        with pytest.raises(HeadFenceMismatch):
            site.commit(2)
        failed = [event.error for event in site.kernel.history if isinstance(event, RequestFailed)]
        assert failed == ["transport_failed", "head_fence_mismatch"]
        assert len([event for event in site.kernel.history if isinstance(event, CommitApplied)]) == 3

    Site(network=[Lose(leg="reply", nth=3, scope=LinkScope(kind="commit"))]).run(body)
