"""Sweeps of a real depot: silent while it is sound, and what is wrong with a version is named and judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simkit.check.events import DepotSwept, VersionRead
from simkit.check.sweep import Sweeper
from simkit.check.swept import check_sweeps
from simkit.check.verdict import Violation
from simkit.depot.blobs import Pages, Readable
from simkit.depot.commands import AtRestorePoint
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.events import HotStaged
from simkit.depot.keys import BranchKeys
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.ltx import encode_ltx
from simkit.depot.operator import Operator
from simkit.depot.request import Request
from simkit.depot.settings import CompactionSettings, DepotSettings, Grain
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel, Record

PAGE = 512
MS = 1_000_000
COST = RequestLatency(rtt=constant(MS), server=constant(MS))
PROFILE = LatencyProfile(name="quick", source="made for these tests", get_pages=COST, commit=COST, open=COST)
COMPACTION = CompactionSettings(
    enabled=True, lag_threshold=4, hot_after_ns=MS, reclaim_after_ns=2 * MS, settle_after_ns=5 * MS
)


class Bench:
    """A depot with small pages and a sweeper."""

    def __init__(self, grain: Grain = "transaction", image: DepotImage | None = None) -> None:
        self.kernel = Kernel(Decisions(1))
        settings = DepotSettings(shard_pages=4, grain=grain, compaction=COMPACTION)
        self.depot = Depot(self.kernel, PROFILE, image or DepotImage(None, 0, PAGE), settings)
        self.sweeper = Sweeper(self.depot)
        self.txid = 0

    def run(self, script: Callable[[], None]) -> None:
        def work() -> None:
            script()
            assert self.depot.compaction is not None
            self.depot.compaction.stop()

        self.kernel.spawn(work)
        self.kernel.run()

    def commits(self, storage: DirectStorage, *numbers: int, size: int = 9) -> None:
        for number in numbers:
            self.txid += 1
            present = range(1, size + 1) if self.txid == 1 else (number,)
            content = f"{number} of {self.txid}".encode().ljust(PAGE, b".")
            storage.commit(dict.fromkeys(present, content), size)

    def settle(self) -> None:
        assert self.depot.compaction is not None
        while not self.depot.compaction.idle:
            self.kernel.sleep(MS)

    def overwrite(self, key: bytes, value: bytes) -> None:
        with self.depot.store.begin() as transaction:
            transaction.set(key, value)
            transaction.commit()


def verdict(history: list[Record]) -> list[tuple[str, str]]:
    return [(violation.invariant, violation.check) for violation in check_sweeps(history)]


@pytest.mark.parametrize("grain", ["transaction", "operation"])
def test_silent_through_compaction_restore_points_forks_and_rollbacks(grain: Grain) -> None:
    bench = Bench(grain)
    assert bench.depot.compaction is not None
    bench.depot.compaction.on_step = lambda label: (bench.sweeper.sweep(label), None)[1]

    points: list[str] = []

    def script() -> None:
        storage = DirectStorage(bench.depot, "writer", bench.depot.allocate())
        operator = Operator(bench.depot)
        bench.commits(storage, 1, 2, 3, 9, 5)
        point = operator.make_restore_point().id
        points.append(point)
        bench.commits(storage, 2, 3, 4, 2, 8, 7)
        bench.settle()
        operator.fork("copy", AtRestorePoint(point))
        bench.commits(storage, 1, 2, size=5)
        operator.rollback(AtRestorePoint(point))
        later = DirectStorage(bench.depot, "later", bench.depot.allocate())
        later.open()
        bench.commits(later, 4, 3, 2, 1, 6)
        bench.settle()
        bench.sweeper.sweep("end", at_rest=True)

    bench.run(script)
    sweeps = [event for event in bench.kernel.history if isinstance(event, DepotSwept)]
    assert check_sweeps(bench.kernel.history) == []
    assert all(sweep.versions == () for sweep in sweeps)
    assert {kept.split(":")[0] for kept in sweeps[-1].kept} == {"1", "2", "3"}
    assert [kept for kept in sweeps[-1].kept if kept.startswith("1:5:")] == [
        f"1:5:restore_point {points[0]}",
        "1:5:fork 2",
        "1:5:fork 3",
    ]
    assert len(sweeps) > 5


def test_commits_still_reach_whoever_listened_before() -> None:
    heard: list[int] = []

    def listen(request: Request) -> None:
        heard.append(request.txid)

    bench = Bench()
    bench.depot.on_applied = listen
    bench.sweeper = Sweeper(bench.depot)
    bench.run(lambda: bench.commits(DirectStorage(bench.depot, "writer", bench.depot.allocate()), 1, 2))
    assert heard == [1, 2]


def damage_a_delta(bench: Bench) -> None:
    def script() -> None:
        bench.commits(DirectStorage(bench.depot, "writer", bench.depot.allocate()), 1, 2)
        keys = bench.depot.core.view("main").branch(bench.depot.store.snapshot())
        assert keys is not None
        bench.overwrite(keys.delta(2, 0), encode_ltx(2, 9, PAGE, {2: b"x" * PAGE}))

    bench.run(script)


def test_page_that_is_not_what_was_committed_is_named() -> None:
    bench = Bench()
    damage_a_delta(bench)
    event = bench.sweeper.sweep("end")
    assert [(version.txid, version.error) for version in event.versions] == [(2, "pages 2 are not what was committed")]


def test_wrong_version_is_a_lost_commit_while_nothing_was_compacted_and_compactions_doing_afterwards() -> None:
    bench = Bench()
    damage_a_delta(bench)
    event = bench.sweeper.sweep("end")
    assert ("DUR-1", "readable-versions") in verdict([event])
    assert ("COMP-1", "readable-versions") in verdict([HotStaged(0, "", 1, 1, 0, 2, 1), event])


def test_version_that_cannot_be_read_is_named() -> None:
    bench = Bench()

    def script() -> None:
        bench.commits(DirectStorage(bench.depot, "writer", bench.depot.allocate()), 1, 2)
        keys = bench.depot.core.view("main").branch(bench.depot.store.snapshot())
        assert keys is not None
        bench.overwrite(keys.delta(2, 0), b"nonsense")

    bench.run(script)
    event = bench.sweeper.sweep("end")
    (version,) = event.versions
    assert version.error.startswith("it cannot be read: ShardCoverageMissing")
    assert ("DEPOT-5", "depot-scan") in verdict([event])


def test_run_that_begins_with_an_image_knows_its_contents() -> None:
    first = Bench()
    first.run(lambda: first.commits(DirectStorage(first.depot, "writer", first.depot.allocate()), 1, 2, 3))
    image = first.depot.image()
    for _ in range(2):
        bench = Bench(image=image)
        event = bench.sweeper.sweep("start")
        assert (event.versions, event.kept) == ((), ("1:3:head",))
        assert event.findings == ()


def test_finding_is_reported_once_however_often_it_is_seen() -> None:
    swept = [DepotSwept(at, "", "step", False, (("DEPOT-4", "a commit has no row"),), ()) for at in (5, 6)]
    assert check_sweeps(swept) == [Violation("DEPOT-4", "depot-scan", "a commit has no row", 5, details=("seen step",))]


def test_ten_findings_of_a_check_are_enough() -> None:
    versions = tuple(VersionRead(1, txid, "head", 1, 2, "wrong") for txid in range(20))
    assert len(check_sweeps([DepotSwept(0, "", "end", True, (), versions)])) == 10


def reads_of(bench: Bench, occasion: str) -> list[int]:
    """The transactions that a sweep has the depot read."""
    read: list[int] = []
    sources = bench.depot.core.sources
    plain = sources.contents

    def contents(readable: Readable, keys: BranchKeys, txid: int) -> Pages:
        read.append(txid)
        return plain(readable, keys, txid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "contents", contents)
        bench.sweeper.sweep(occasion)
    return read


def test_version_is_read_again_when_a_row_at_or_below_it_changed_and_at_the_end() -> None:
    bench = Bench()
    read: list[list[int]] = []

    def script() -> None:
        storage = DirectStorage(bench.depot, "writer", bench.depot.allocate())
        bench.commits(storage, 1, 2)
        Operator(bench.depot).make_restore_point()
        bench.commits(storage, 3)
        read.extend([reads_of(bench, "step"), reads_of(bench, "step")])
        bench.commits(storage, 3)
        read.append(reads_of(bench, "step"))
        keys = BranchKeys((1).to_bytes(16, "big"))
        blob = bench.depot.store.snapshot().get(keys.delta(2, 0))
        assert blob is not None
        bench.overwrite(keys.delta(2, 0), bytes(bytearray(blob)))
        read.extend([reads_of(bench, "step"), reads_of(bench, "end")])

    bench.run(script)
    assert read == [[2, 3], [], [4], [2, 4], [2, 4]]


def test_wrong_version_is_found_by_every_sweep() -> None:
    bench = Bench()
    damage_a_delta(bench)
    assert [len(bench.sweeper.sweep("step").versions) for _ in range(3)] == [1, 1, 1]
