"""The scan of a depot's rows: silent on what a depot made, and one damaged or missing row trips its invariant."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from simkit.check.depot_scan import DepotScan, scan_store
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.keys import BranchKeys, branch_record_key, database_pointer_key, restore_point_key
from simkit.depot.kv import KeyValueImage, KeyValueStore, Transaction, encode_counter
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.ltx import decode_ltx, encode_ltx
from simkit.depot.operator import Operator
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    DirtyMarker,
    Pin,
    PitrInterval,
    RestorePoint,
    decode_commit_row,
    decode_head,
    decode_row,
    encode_generation,
    encode_row,
    encode_txid,
)
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel

PAGE, SHARD = 512, 4
MS = 1_000_000
SETTINGS = DepotSettings(
    shard_pages=SHARD,
    compaction=CompactionSettings(
        enabled=True, lag_threshold=6, hot_after_ns=MS, reclaim_after_ns=2 * MS, settle_after_ns=5 * MS
    ),
)
COST = RequestLatency(rtt=constant(MS), server=constant(MS))
PROFILE = LatencyProfile(name="quick", source="made for these tests", get_pages=COST, commit=COST, open=COST)


class Scene(NamedTuple):
    """A depot's rows at rest: commits 1 to 9, folded up to the 6th, with a restore point and a fork at the 8th."""

    image: KeyValueImage
    now_ms: int
    main: BranchKeys
    fork: BranchKeys
    restore_point: str


def page(number: int, txid: int) -> bytes:
    return f"page {number} of commit {txid}".encode().ljust(PAGE, b".")


@pytest.fixture(scope="module")
def scene() -> Scene:
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, PROFILE, DepotImage(None, 0, PAGE), SETTINGS)
    made: list[str] = []

    def work() -> None:
        assert depot.compaction is not None
        storage = DirectStorage(depot, "writer", depot.allocate())

        def commit(txid: int, *numbers: int) -> None:
            storage.commit({number: page(number, txid) for number in numbers}, 9)

        commit(1, *range(1, 10))
        for txid in range(2, 7):
            commit(txid, 1, txid)
        while not depot.compaction.idle:
            kernel.sleep(10 * MS)
        commit(7, 2)
        commit(8, 9)
        made.append(Operator(depot).make_restore_point().id)
        Operator(depot).fork("copy")
        commit(9, 1, 5)
        depot.compaction.stop()

    kernel.spawn(work)
    kernel.run()
    main, fork = BranchKeys((1).to_bytes(16, "big")), BranchKeys((2).to_bytes(16, "big"))
    return Scene(depot.store.image(), depot.core.now_ms, main, fork, made[0])


Change = Callable[[Transaction, Scene], None]


def found(scene: Scene, *changes: Change, at_rest: bool = False) -> list[str]:
    """The invariants that are reported after changes."""
    store = KeyValueStore(scene.image)
    transaction = store.begin()
    for change in changes:
        change(transaction, scene)
    transaction.commit()
    findings = scan_store(store, PAGE, SHARD, scene.now_ms, at_rest)
    return list(dict.fromkeys(invariant for invariant, _ in findings))


def get(transaction: Transaction, key: bytes) -> bytes:
    raw = transaction.get(key)
    assert raw is not None
    return raw


def clear(key: Callable[[Scene], bytes]) -> Change:
    return lambda transaction, scene: transaction.clear(key(scene))


def put(key: Callable[[Scene], bytes], value: bytes) -> Change:
    return lambda transaction, scene: transaction.set(key(scene), value)


def stamp(transaction: Transaction, scene: Scene, txid: int) -> bytes:
    return decode_commit_row(get(transaction, scene.main.commits(txid))).versionstamp


def record(**changes: object) -> Change:
    def change(transaction: Transaction, scene: Scene) -> None:
        row = decode_row(BranchRecord, get(transaction, scene.fork.record))
        transaction.set(scene.fork.record, encode_row(msgspec.structs.replace(row, **changes)))

    return change


def count_bytes(by: int) -> Change:
    """Puts the quota right after rows were added or cleared."""

    def change(transaction: Transaction, scene: Scene) -> None:
        transaction.add(scene.main.quota, by)

    return change


def replace_head(transaction: Transaction, scene: Scene) -> None:
    head = decode_head(get(transaction, scene.main.head))
    transaction.set(scene.main.head, msgspec.structs.replace(head, branch_id=scene.fork.branch_id).encode())


def move_head(transaction: Transaction, scene: Scene) -> None:
    head = decode_head(get(transaction, scene.main.head))
    transaction.set(scene.main.head, msgspec.structs.replace(head, page_count=8).encode())


def drop_stamp(transaction: Transaction, scene: Scene) -> None:
    transaction.clear(scene.main.vtx(stamp(transaction, scene, 7)))


def grow_delta(transaction: Transaction, scene: Scene) -> None:
    transaction.set(scene.main.delta(7, 0), encode_ltx(7, 9, PAGE, {2: page(2, 7), 10: page(10, 7)}))


def renumber_delta(transaction: Transaction, scene: Scene) -> None:
    transaction.set(scene.main.delta(7, 0), encode_ltx(6, 9, PAGE, {2: page(2, 7)}))


def cut_delta(transaction: Transaction, scene: Scene) -> None:
    transaction.set(scene.main.delta(7, 0), get(transaction, scene.main.delta(7, 0))[:-1])


def change_shard(transaction: Transaction, scene: Scene) -> None:
    """An older page in a shard version, as a stale stage would leave it; the deltas are there to tell."""
    blob = decode_ltx(get(transaction, scene.main.shard(0, 6, 0)))
    pages = {**blob.pages, 1: page(1, 7)}
    pages[2] = page(2, 1)
    wrong = encode_ltx(7, 9, PAGE, pages, first_txid=1)
    transaction.set(scene.main.shard(0, 7, 0), wrong)
    transaction.add(scene.main.quota, len(scene.main.shard(0, 7, 0)) + len(wrong))


def strange_shard(transaction: Transaction, scene: Scene) -> None:
    key = scene.main.shard(0, 6, 0)
    blob = decode_ltx(get(transaction, key))
    row = encode_ltx(6, 9, PAGE, {**blob.pages, 5: page(5, 5)}, first_txid=1)
    transaction.add(scene.main.quota, len(row) - len(get(transaction, key)))
    transaction.set(key, row)


def move_root(txid: int) -> Change:
    def change(transaction: Transaction, scene: Scene) -> None:
        row = decode_row(CompactionRoot, get(transaction, scene.main.root))
        transaction.set(scene.main.root, encode_row(msgspec.structs.replace(row, hot_watermark_txid=txid)))

    return change


def interval(txid: int, of: int) -> Change:
    """An interval row of commit `txid`, with the stamp of commit `of`."""

    def change(transaction: Transaction, scene: Scene) -> None:
        row = decode_commit_row(get(transaction, scene.main.commits(of)))
        value = PitrInterval(
            txid=txid,
            versionstamp=row.versionstamp,
            wall_clock_ms=row.wall_clock_ms,
            expires_at_ms=scene.now_ms + 1000,
        )
        transaction.set(scene.main.pitr(row.wall_clock_ms // 1000 * 1000), encode_row(value))

    return change


def change_point(**changes: object) -> Change:
    def change(transaction: Transaction, scene: Scene) -> None:
        key = restore_point_key("main", scene.restore_point)
        row = decode_row(RestorePoint, get(transaction, key))
        transaction.set(key, encode_row(msgspec.structs.replace(row, **changes)))

    return change


def pin_without_commit(transaction: Transaction, scene: Scene) -> None:
    key = scene.main.pin("restore_point", scene.restore_point)
    transaction.set(key, encode_row(Pin(txid=8, versionstamp=bytes(16))))


def leave_needless_delta(transaction: Transaction, scene: Scene) -> None:
    row = encode_ltx(6, 9, PAGE, {1: page(1, 6), 6: page(6, 6)})
    transaction.set(scene.main.delta(6, 0), row)
    transaction.add(scene.main.quota, len(row) + len(scene.main.delta(6, 0)))


def later_commit_earlier(transaction: Transaction, scene: Scene) -> None:
    """The time of a commit is before that of the one before it."""
    key = scene.main.commits(9)
    row = decode_commit_row(get(transaction, key))
    transaction.set(key, msgspec.structs.replace(row, wall_clock_ms=row.wall_clock_ms - 1000).encode())


def pin_of_another_commit(transaction: Transaction, scene: Scene) -> None:
    key = scene.main.pin("restore_point", scene.restore_point)
    transaction.set(key, encode_row(Pin(txid=7, versionstamp=stamp(transaction, scene, 7))))


def leave_shard(transaction: Transaction, scene: Scene) -> None:
    """What shard 1 was as of commit 5: nothing but an expired interval ever needed it."""
    blob = decode_ltx(get(transaction, scene.main.shard(1, 6, 0)))
    pages = {**blob.pages, 6: page(6, 1)}
    row = encode_ltx(5, 9, PAGE, pages, first_txid=1)
    transaction.set(scene.main.shard(1, 5, 0), row)
    transaction.add(scene.main.quota, len(row) + len(scene.main.shard(1, 5, 0)))


def leave_commit(transaction: Transaction, scene: Scene) -> None:
    """The row of commit 5, which nothing keeps, with its stamp."""
    newer = decode_commit_row(get(transaction, scene.main.commits(6)))
    older = (int.from_bytes(newer.versionstamp, "big") - 1).to_bytes(16, "big")
    row = msgspec.structs.replace(newer, versionstamp=older).encode()
    transaction.set(scene.main.commits(5), row)
    transaction.set(scene.main.vtx(older), encode_txid(5))
    transaction.add(scene.main.quota, len(scene.main.commits(5)) + len(row) + len(scene.main.vtx(older)) + 8)


def leave_interval(expires_at_ms: int) -> Change:
    def change(transaction: Transaction, scene: Scene) -> None:
        row = PitrInterval(txid=3, versionstamp=bytes(16), wall_clock_ms=5, expires_at_ms=expires_at_ms)
        transaction.set(scene.main.pitr(0), encode_row(row))

    return change


DAMAGES: dict[str, tuple[str, list[Change]]] = {
    "pointer to nowhere": ("DEPOT-1", [put(lambda _: database_pointer_key("main"), (9).to_bytes(16, "big"))]),
    "pointer cut": ("DEPOT-1", [put(lambda _: database_pointer_key("main"), b"short")]),
    "pointer to another database": (
        "DEPOT-1",
        [put(lambda _: database_pointer_key("third"), (1).to_bytes(16, "big"))],
    ),
    "two pointers": ("DEPOT-1", [put(lambda _: database_pointer_key("main", b"b" * 16), (1).to_bytes(16, "big"))]),
    "pointer to a frozen branch": ("DEPOT-1", [record(state="frozen")]),
    "record lost": ("DEPOT-2", [clear(lambda scene: scene.main.record)]),
    "record of another": ("DEPOT-2", [record(branch_id=b"x" * 16)]),
    "record damaged": ("DEPOT-2", [put(lambda scene: scene.fork.record, b"nonsense")]),
    "parent lost": ("DEPOT-2", [record(parent=b"\x00" * 15 + b"\x07")]),
    "depth wrong": ("DEPOT-2", [record(fork_depth=3)]),
    "live and unused": ("DEPOT-2", [clear(lambda _: database_pointer_key("copy"))]),
    "head of another branch": ("DEPOT-3", [replace_head]),
    "head damaged": ("DEPOT-3", [put(lambda scene: scene.main.head, b"head")]),
    "head of another size": ("DEPOT-3", [move_head]),
    "head lost": ("DEPOT-3", [clear(lambda scene: scene.main.head)]),
    "fork without its first head": ("DEPOT-3", [clear(lambda scene: scene.fork.head_at_fork)]),
    "commit row lost": ("DEPOT-4", [clear(lambda scene: scene.main.commits(7))]),
    "commit row damaged": ("DEPOT-4", [put(lambda scene: scene.main.commits(7), b"row")]),
    "commit before its time": ("DEPOT-4", [later_commit_earlier]),
    "stamp lost": ("DEPOT-4", [drop_stamp]),
    "stamp of no commit": ("DEPOT-4", [put(lambda scene: scene.main.vtx(b"s" * 16), encode_txid(3))]),
    "delta cut": ("DEPOT-5", [cut_delta]),
    "delta lost": ("DEPOT-5", [clear(lambda scene: scene.main.delta(7, 0))]),
    "delta of another commit": ("DEPOT-5", [renumber_delta]),
    "delta beyond the size": ("DEPOT-5", [grow_delta]),
    "delta with a second part": ("DEPOT-5", [put(lambda scene: scene.main.delta(7, 2), b"more")]),
    "shard damaged": ("DEPOT-6", [put(lambda scene: scene.main.shard(0, 6, 0), b"shard")]),
    "page of another shard": ("DEPOT-6", [strange_shard]),
    "unknown partition": ("DEPOT-7", [put(lambda _: b"\x02\x99", b"")]),
    "unknown family": ("DEPOT-7", [put(lambda scene: scene.main.head + b"x", b"")]),
    "unknown subspace": ("DEPOT-7", [put(lambda _: b"\x03", b"")]),
    "hints damaged": ("DEPOT-7", [put(lambda scene: scene.main.hints, b"hints")]),
    "index row lost": ("DEPOT-8", [clear(lambda scene: scene.main.pidx(2))]),
    "index row beyond the size": ("DEPOT-8", [put(lambda scene: scene.main.pidx(10), encode_txid(9))]),
    "index row of a commit to come": ("DEPOT-8", [put(lambda scene: scene.main.pidx(2), encode_txid(10))]),
    "index row unbacked": ("DEPOT-8", [put(lambda scene: scene.main.pidx(3), encode_txid(9))]),
    "index row stale": ("DEPOT-8", [put(lambda scene: scene.main.pidx(5), encode_txid(5))]),
    "index row cut": ("DEPOT-8", [put(lambda scene: scene.main.pidx(2), b"2")]),
    "watermark above the head": ("DEPOT-9", [move_root(10)]),
    "watermark past what is folded": ("DEPOT-9", [move_root(8)]),
    "root damaged": ("DEPOT-9", [put(lambda scene: scene.main.root, b"root")]),
    "marker above the head": (
        "DEPOT-10",
        [put(lambda scene: scene.main.dirty, encode_row(DirtyMarker(observed_head_txid=10, updated_at_ms=0)))],
    ),
    "marker damaged": ("DEPOT-10", [put(lambda scene: scene.main.dirty, b"dirty")]),
    "interval of no commit": ("DEPOT-12", [interval(3, of=8)]),
    "interval above the head": ("DEPOT-12", [interval(30, of=8)]),
    "interval with another stamp": ("DEPOT-12", [interval(8, of=7)]),
    "interval damaged": ("DEPOT-12", [put(lambda scene: scene.main.pitr(0), b"interval")]),
    "restore point elsewhere": ("DEPOT-13", [change_point(branch_id=b"y" * 16)]),
    "restore point renamed": ("DEPOT-13", [change_point(id="another")]),
    "restore point with another stamp": ("DEPOT-13", [change_point(versionstamp=bytes(16))]),
    "restore point of a stranger": (
        "DEPOT-13",
        [
            lambda transaction, scene: transaction.set(
                restore_point_key("third", scene.restore_point),
                get(transaction, restore_point_key("main", scene.restore_point)),
            )
        ],
    ),
    "restore point without pin": (
        "DEPOT-13",
        [clear(lambda scene: scene.main.pin("restore_point", scene.restore_point))],
    ),
    "restore point with the pin of another commit": ("DEPOT-13", [pin_of_another_commit]),
    "fork without pin": ("DEPOT-14", [clear(lambda scene: scene.main.pin("fork", "2"))]),
    "pin for nothing": (
        "DEPOT-14",
        [clear(lambda scene: restore_point_key("main", scene.restore_point))],
    ),
    "pin without commit": ("DEPOT-14", [pin_without_commit]),
    "pin damaged": ("DEPOT-14", [put(lambda scene: scene.main.pin("fork", "2"), b"pin")]),
    "quota too high": ("DEPOT-15", [count_bytes(1)]),
    "quota lost": ("DEPOT-15", [clear(lambda scene: scene.main.quota)]),
    "quota cut": ("DEPOT-15", [put(lambda scene: scene.main.quota, encode_counter(1)[:4])]),
    "older page in a shard": ("DEPOT-17", [change_shard]),
    "shard lost": ("DEPOT-18", [clear(lambda scene: scene.main.shard(1, 6, 0))]),
}


def test_silent_on_the_rows_of_a_depot(scene: Scene) -> None:
    assert found(scene) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_trips_its_invariant(scene: Scene, name: str) -> None:
    invariant, changes = DAMAGES[name]
    assert invariant in found(scene, *changes)


@pytest.mark.parametrize(
    "name",
    [
        "head of another branch",
        "index row lost",
        "index row stale",
        "marker above the head",
        "interval with another stamp",
        "restore point without pin",
        "fork without pin",
        "quota too high",
        "commit before its time",
        "restore point with the pin of another commit",
        "older page in a shard",
        "unknown family",
        "two pointers",
        "depth wrong",
    ],
)
def test_damage_trips_nothing_else(scene: Scene, name: str) -> None:
    invariant, changes = DAMAGES[name]
    others = {"DEPOT-14"} if name == "restore point without pin" else set()
    assert set(found(scene, *changes)) - others == {invariant}


def test_staged_row_is_reported_only_at_rest(scene: Scene) -> None:
    stage = put(lambda scene: scene.main.stage(3, 0, 9, 0), b"anything")
    assert found(scene, stage) == []
    assert found(scene, stage, at_rest=True) == ["DEPOT-16"]


def test_needless_delta_is_reported_only_at_rest(scene: Scene) -> None:
    assert found(scene, leave_needless_delta) == []
    assert found(scene, leave_needless_delta, at_rest=True) == ["DEPOT-19"]


@pytest.mark.parametrize("leave", [leave_shard, leave_commit, leave_interval(6)])
def test_what_nothing_needs_is_reported_only_at_rest(scene: Scene, leave: Change) -> None:
    assert found(scene, leave) == []
    assert found(scene, leave, at_rest=True) == ["DEPOT-19"]


def test_what_the_clock_made_needless_after_the_last_look_is_no_finding(scene: Scene) -> None:
    store = KeyValueStore(scene.image)
    with store.begin() as transaction:
        leave_interval(scene.now_ms - 2)(transaction, scene)
        transaction.commit()
    scan = DepotScan(store, PAGE, SHARD)
    late, early, never = ({1: scene.now_ms - 1}, {1: scene.now_ms - 3}, dict[int, int]())
    assert [name for name, _ in scan.run(scene.now_ms, True, looked_ms=late)] == ["DEPOT-19"]
    assert scan.run(scene.now_ms, True, looked_ms=early) == []
    assert scan.run(scene.now_ms, True, looked_ms=never) == []


@pytest.mark.parametrize(
    ("key", "lower", "invariant", "what"),
    [
        ("generation", encode_generation(0), "DEPOT-2", "the generation went back from 1 to 0"),
        (
            "root",
            encode_row(CompactionRoot(manifest_generation=0, hot_watermark_txid=6)),
            "DEPOT-9",
            "the manifest generation went back from 1 to 0",
        ),
    ],
)
def test_generation_that_goes_back_is_reported(scene: Scene, key: str, lower: bytes, invariant: str, what: str) -> None:
    store = KeyValueStore(scene.image)
    scan = DepotScan(store, PAGE, SHARD)
    assert scan.run(scene.now_ms, False) == []
    with store.begin() as transaction:
        transaction.set(getattr(scene.main, key), lower)
        transaction.commit()
    assert (invariant, f"branch 1: {what}") in scan.run(scene.now_ms, False)


def test_record_whose_generation_goes_back_is_reported(scene: Scene) -> None:
    store = KeyValueStore(scene.image)
    scan = DepotScan(store, PAGE, SHARD)
    findings: list[tuple[str, str]] = []
    for generation in (5, 4):
        with store.begin() as transaction:
            record(lifecycle_generation=generation)(transaction, scene)
            transaction.commit()
        findings = scan.run(scene.now_ms, False)
    assert findings == [("DEPOT-2", "branch 2: the lifecycle generation went back from 5 to 4")]


def test_interval_that_expired_may_outlive_its_commit(scene: Scene) -> None:
    def expired(transaction: Transaction, scene: Scene) -> None:
        row = PitrInterval(txid=3, versionstamp=bytes(16), wall_clock_ms=5, expires_at_ms=6)
        transaction.set(scene.main.pitr(0), encode_row(row))

    assert found(scene, expired) == []


def test_row_that_changes_between_two_scans_is_seen(scene: Scene) -> None:
    store = KeyValueStore(scene.image)
    scan = DepotScan(store, PAGE, SHARD)
    assert scan.run(scene.now_ms, False) == []
    with store.begin() as transaction:
        transaction.clear(scene.main.pidx(2))
        transaction.commit()
    assert [invariant for invariant, _ in scan.run(scene.now_ms, False)] == ["DEPOT-8"]
    with store.begin() as transaction:
        transaction.set(scene.main.pidx(2), encode_txid(7))
        transaction.commit()
    assert scan.run(scene.now_ms, False) == []


def test_row_that_is_added_and_cleared_again_leaves_nothing(scene: Scene) -> None:
    store = KeyValueStore(scene.image)
    scan = DepotScan(store, PAGE, SHARD)
    with store.begin() as transaction:
        transaction.set(b"\x03", b"")
        transaction.commit()
    assert scan.run(scene.now_ms, False) != []
    with store.begin() as transaction:
        transaction.clear(b"\x03")
        transaction.commit()
    assert scan.run(scene.now_ms, False) == []


def test_watermark_that_goes_back_is_reported(scene: Scene) -> None:
    store = KeyValueStore(scene.image)
    scan = DepotScan(store, PAGE, SHARD)
    assert scan.run(scene.now_ms, False) == []
    with store.begin() as transaction:
        transaction.set(scene.main.root, encode_row(CompactionRoot(manifest_generation=2, hot_watermark_txid=5)))
        transaction.commit()
    assert ("DEPOT-9", "branch 1: the watermark went back from 6 to 5") in scan.run(scene.now_ms, False)


def test_branch_of_which_everything_is_gone_is_not_missed(scene: Scene) -> None:
    store = KeyValueStore(KeyValueImage({branch_record_key(b"z" * 16): b"nonsense"}, 1))
    scan = DepotScan(store, PAGE, SHARD)
    assert [invariant for invariant, _ in scan.run(0, False)] == ["DEPOT-2"]
    with store.begin() as transaction:
        transaction.clear(branch_record_key(b"z" * 16))
        transaction.commit()
    assert scan.run(0, False) == []
