"""Reads: what is answered, what is refused, and that the way over time answers as the one at an instant does."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from simkit.depot import read as read_module
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import (
    DatabaseNotFound,
    GenerationFenceMismatch,
    HeadFenceMismatch,
    InjectedFault,
    MetaMissing,
    ShardCoverageMissing,
)
from simkit.depot.events import FaultFired
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Delay, Drop, Fail, FaultRule, Faults, Scope
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.ltx import encode_ltx, split_chunks
from simkit.depot.read import PageZero
from simkit.depot.records import BranchRecord, CompactionRoot, Head, encode_row
from simkit.depot.settings import DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel

PAGE = 512
MS = 1_000_000
SETTINGS = DepotSettings(shard_pages=4, chunk_bytes=700)
FINE = msgspec.structs.replace(SETTINGS, grain="operation", operation_ns=1 * MS)


class Site:
    """A depot and one instance on it."""

    def __init__(self, rules: Sequence[FaultRule] = (), settings: DepotSettings = SETTINGS) -> None:
        self.kernel = Kernel(Decisions(1))
        faults = Faults(self.kernel, rules, lambda name: None) if rules else None
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE), settings, faults)
        self.storage = DirectStorage(self.depot, "instance-1", self.depot.allocate())
        keys = self.depot.core.view("main").branch(self.depot.store.snapshot())
        assert keys is not None
        self.keys = keys

    def run(self, body: Callable[["Site"], None]) -> None:
        task = self.kernel.spawn(lambda: body(self), name="test", supervised=True)
        try:
            self.kernel.run()
            if task.error is not None:
                raise task.error
        finally:
            self.kernel.close()

    def commit(self, letters: str) -> None:
        """Writes one page for each letter, from the first on; a dot leaves a page alone."""
        pages = {number: page(letter) for number, letter in enumerate(letters, 1) if letter != "."}
        self.storage.commit(pages, len(letters))

    def read(self, *numbers: int) -> str:
        """The letters of the pages; a dash for those beyond the end."""
        pages = self.storage.get_pages(numbers)
        return "".join("-" if found is None else chr(found[0]) for found in pages)

    def write(self, rows: dict[bytes, bytes | None]) -> None:
        with self.depot.store.begin() as transaction:
            for key, value in rows.items():
                if value is None:
                    transaction.clear(key)
                else:
                    transaction.set(key, value)
            transaction.commit()

    def fold(self, as_of: int, letters: str, keep_rows: bool = False) -> None:
        """Shards as of a commit, of pages of these letters, as compaction leaves them."""
        rows: dict[bytes, bytes | None] = {self.keys.root: encode_row(CompactionRoot(hot_watermark_txid=as_of))}
        pages = {number: page(letter) for number, letter in enumerate(letters, 1)}
        for shard in range(len(letters) // 4 + 1):
            content = {number: found for number, found in pages.items() if number // 4 == shard}
            blob = encode_ltx(as_of, len(letters), PAGE, content, first_txid=1)
            for number, chunk in enumerate(split_chunks(blob, 700)):
                rows[self.keys.shard(shard, as_of, number)] = chunk
        if not keep_rows:
            index = self.depot.store.snapshot().get_range(*self.keys.pidx_range())
            rows.update({key: None for key, owner in index if int.from_bytes(owner, "big") <= as_of})
        self.write(rows)

    def lose_delta(self, txid: int) -> None:
        rows = self.depot.store.snapshot().get_range(*self.keys.delta_range(txid))
        self.write({key: None for key, _ in rows})

    def passed(self) -> list[str]:
        return [event.point for event in self.kernel.history if isinstance(event, FaultFired)]


def page(letter: str) -> bytes:
    return letter.encode() * PAGE


def delays(*points: FaultPoint) -> list[FaultRule]:
    return [FaultRule(point, Delay(1 * MS)) for point in points]


READ_POINTS = [point for point in FaultPoint if point.group == "read"]
WAYS: dict[str, Callable[[], Site]] = {
    "at one instant": Site,
    "with fault rules": lambda: Site(delays(*READ_POINTS)),
    "operation by operation": lambda: Site(settings=FINE),
}


@pytest.fixture(params=WAYS)
def site(request: pytest.FixtureRequest) -> Site:
    return WAYS[request.param]()


def test_pages_come_in_the_order_asked_and_as_often(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.commit(".B.")
        assert site.read(3, 1, 2, 3) == "caBc"

    site.run(body)


def test_pages_beyond_the_end_are_none(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abcd")
        site.commit("A")
        assert site.read(9, 1, 2) == "-A-"

    site.run(body)


def test_cut_and_grown_again_does_not_show_old_pages(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abcdefgh")
        site.fold(1, "abcdefgh")
        site.commit("A")
        site.commit(".BCDE")
        assert site.read(1, 2, 5, 6) == "ABE-"

    site.run(body)


def test_folded_pages_come_from_shards_and_newer_ones_from_deltas(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abcdef")
        site.commit("..C...")
        site.fold(2, "abCdef")
        site.lose_delta(1)
        site.commit("....E.")
        assert site.read(1, 3, 5, 6) == "aCEf"

    site.run(body)


def test_missing_delta_is_answered_from_a_shard_that_is_as_new(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.fold(1, "abc", keep_rows=True)
        site.lose_delta(1)
        assert site.read(1, 2) == "ab"

    site.run(body)


def test_missing_delta_is_an_error_beside_an_older_shard(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.fold(1, "abc")
        site.commit(".B.")
        site.lose_delta(2)
        with pytest.raises(ShardCoverageMissing, match="delta 2 of branch 1 is missing"):
            site.read(2)

    site.run(body)


def test_damaged_delta_is_an_error(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.write({site.keys.delta(1, 0): b"damaged"})
        with pytest.raises(ShardCoverageMissing, match="cannot be decoded"):
            site.read(2)

    site.run(body)


def test_missing_chunk_is_an_error(site: Site) -> None:
    def body(site: Site) -> None:
        noise = {number: bytes((7 * at * number + at * at) % 251 for at in range(PAGE)) for number in range(1, 5)}
        site.storage.commit(noise, 4)
        assert site.depot.store.snapshot().get(site.keys.delta(1, 1)) is not None
        site.write({site.keys.delta(1, 1): None})
        with pytest.raises(ShardCoverageMissing, match="delta 1 of branch 1 cannot be decoded"):
            site.read(2)

    site.run(body)


def test_page_zero_is_refused(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        with pytest.raises(PageZero):
            site.read(1, 0)

    site.run(body)


def test_database_without_a_pointer_is_not_found(site: Site) -> None:
    def body(site: Site) -> None:
        other = DirectStorage(site.depot, "instance-1", 1, database="nowhere")
        with pytest.raises(DatabaseNotFound):
            other.get_pages((1,))

    site.run(body)


def test_database_without_a_head_is_not_empty(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.write({site.keys.head: None})
        with pytest.raises(MetaMissing):
            site.read(1)
        with pytest.raises(MetaMissing):
            site.storage.open()

    site.run(body)


def test_fences_are_checked(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        stale = DirectStorage(site.depot, "instance-1", 1)
        stale.open()
        site.commit("A..")
        with pytest.raises(HeadFenceMismatch):
            stale.get_pages((1,))
        site.depot.allocate()
        with pytest.raises(GenerationFenceMismatch):
            site.read(1)

    site.run(body)


def test_fork_reads_its_parent_until_it_writes(site: Site) -> None:
    def body(site: Site) -> None:
        site.commit("abcdef")
        site.fold(1, "abcdef")
        site.commit("A.....")
        fork = forked(site, 2, 6)
        site.commit("XY....")
        assert letters(fork, 1, 2, 6, 7) == "Abf-"
        fork.commit({2: page("B")}, 6)
        assert letters(fork, 1, 2, 6) == "ABf"
        assert site.read(1, 2, 6) == "XYf"

    site.run(body)


def forked(site: Site, txid: int, page_count: int) -> DirectStorage:
    keys = BranchKeys(site.depot.core.new_branch_id())
    record = BranchRecord(
        branch_id=keys.branch_id, database_id="fork", parent=site.keys.branch_id, parent_txid=txid, fork_depth=1
    )
    site.write(
        {
            keys.record: encode_row(record),
            keys.head_at_fork: Head(txid, page_count, 0, keys.branch_id).encode(),
            database_pointer_key("fork"): keys.branch_id,
        }
    )
    storage = DirectStorage(site.depot, "instance-of-fork", site.depot.allocate("fork"), database="fork")
    assert storage.open().head == txid
    return storage


def letters(storage: DirectStorage, *numbers: int) -> str:
    return "".join("-" if found is None else chr(found[0]) for found in storage.get_pages(numbers))


# Fault points


def test_points_are_passed_in_code_order() -> None:
    def body(site: Site) -> None:
        site.commit("abcdef")
        site.fold(1, "abcdef")
        site.commit("A.....")
        assert site.read(1, 6) == "Af"

    site = Site(delays(*READ_POINTS))
    site.run(body)
    assert site.passed() == [
        "read.before_scope_resolve",
        "read.after_scope_resolve",
        "read.after_pidx_scan",
        "read.after_delta_blob_load",
        "read.after_shard_blob_load",
        "read.before_return_pages",
    ]


@pytest.mark.parametrize("point", [point for point in READ_POINTS if point is not FaultPoint.READ_DELTA_BLOB_MISSING])
def test_failure_at_any_point_is_an_error_and_the_next_read_is_right(point: FaultPoint) -> None:
    def body(site: Site) -> None:
        site.commit("abcdef")
        site.fold(1, "abcdef")
        site.commit("A.....")
        with pytest.raises(InjectedFault):
            site.read(1, 6)
        assert site.read(1, 6) == "Af"

    Site([FaultRule(point, Fail(), nth=1)]).run(body)


def test_failure_where_a_delta_is_missing() -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.fold(1, "abc", keep_rows=True)
        site.lose_delta(1)
        with pytest.raises(InjectedFault):
            site.read(1)
        assert site.read(1) == "a"

    Site([FaultRule(FaultPoint.READ_DELTA_BLOB_MISSING, Fail(), nth=1)]).run(body)


def test_delta_that_gets_lost_is_answered_from_a_shard_as_new_or_not_at_all() -> None:
    rules = [FaultRule(FaultPoint.READ_AFTER_DELTA_BLOB_LOAD, Drop()), *delays(FaultPoint.READ_DELTA_BLOB_MISSING)]

    def body(site: Site) -> None:
        site.commit("abc")
        with pytest.raises(ShardCoverageMissing):
            site.read(1)
        site.fold(1, "abc", keep_rows=True)
        assert site.read(1, 2) == "ab"

    site = Site(rules)
    site.run(body)
    assert site.passed() == ["read.after_delta_blob_load", "read.delta_blob_missing"] * 2


def test_shard_that_gets_lost_is_an_error() -> None:
    def body(site: Site) -> None:
        site.commit("abc")
        site.fold(1, "abc")
        site.commit("A..")
        site.fold(2, "Abc")
        with pytest.raises(ShardCoverageMissing, match="shard 0 as of commit 2 of branch 1 is lost"):
            site.read(2)
        assert site.read(2) == "b"

    Site([FaultRule(FaultPoint.READ_AFTER_SHARD_BLOB_LOAD, Drop(), nth=1)]).run(body)


@pytest.mark.parametrize(("scope", "fails"), [(Scope(page=5), True), (Scope(shard=1), True), (Scope(page=6), False)])
def test_scope_of_a_loaded_shard(scope: Scope, fails: bool) -> None:
    def body(site: Site) -> None:
        site.commit("abcdef")
        site.fold(1, "abcdef")
        if fails:
            with pytest.raises(InjectedFault):
                site.read(1, 5)
        else:
            assert site.read(1, 5) == "ae"

    Site([FaultRule(FaultPoint.READ_AFTER_SHARD_BLOB_LOAD, Fail(), scope=scope)]).run(body)


# One version, however long it takes


# Overflow pages that come along


def leaf(first: int) -> bytes:
    """A table's leaf page with one row of 1,500 bytes, which goes on at page `first`."""
    cell = bytes([0x8B, 0x5C, 1]) + b"x" * 39 + first.to_bytes(4, "big")
    begin = (PAGE - len(cell)).to_bytes(2, "big")
    return (bytes([13, 0, 0, 0, 1]) + begin + bytes(1) + begin).ljust(PAGE - len(cell), bytes(1)) + cell


def link(following: int, letter: str) -> bytes:
    """An overflow page."""
    return following.to_bytes(4, "big") + letter.encode() * (PAGE - 4)


def chained(site: Site, *links: bytes) -> None:
    """Two commits: page 2 is a leaf, its row goes on at page 3, and `links` are the pages from there on."""
    pages = {number: page("-") for number in range(1, 10)}
    site.storage.commit({**pages, 2: leaf(3)}, 9)
    site.storage.commit(dict(enumerate(links, 3)), 9)


def come_along(site: Site, *numbers: int) -> dict[int, bytes]:
    overflow: dict[int, bytes] = {}
    plain = site.storage.get_pages(numbers)
    assert site.storage.get_pages(numbers, overflow) == plain, "what was asked for is not affected"
    return overflow


def test_overflow_pages_come_along_as_they_are_now(site: Site) -> None:
    def body(site: Site) -> None:
        chained(site, link(5, "o"), page("b"), link(0, "p"))
        assert come_along(site, 2, 1) == {3: link(5, "o"), 5: link(0, "p")}
        assert come_along(site, 1, 4) == {}
        site.storage.commit({5: link(0, "P")}, 9)
        assert come_along(site, 2) == {3: link(5, "o"), 5: link(0, "P")}
        site.storage.commit({2: leaf(5)}, 9)
        assert come_along(site, 2) == {5: link(0, "P")}

    site.run(body)


@pytest.mark.parametrize("broken", [link(3, "o"), link(10, "o"), link(1 << 31, "o"), bytes(PAGE), b"\xff" * PAGE])
def test_chain_that_is_none_ends_where_it_is_broken(site: Site, broken: bytes) -> None:
    def body(site: Site) -> None:
        chained(site, link(4, "o"), broken)
        assert come_along(site, 2) == {3: link(4, "o"), 4: broken}

    site.run(body)


def test_chain_leads_on_through_pages_that_were_asked_for(site: Site) -> None:
    def body(site: Site) -> None:
        chained(site, link(4, "o"), link(5, "p"), link(0, "q"))
        assert come_along(site, 2, 3) == {4: link(5, "p"), 5: link(0, "q")}
        assert come_along(site, 4, 2) == {3: link(4, "o"), 5: link(0, "q")}
        assert come_along(site, 2, 3, 4, 5) == {}
        site.storage.commit({5: link(3, "q")}, 9)
        assert come_along(site, 2, 3, 5) == {4: link(5, "p")}

    site.run(body)


def test_as_many_overflow_pages_come_along_as_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_module, "OVERFLOW_PAGES_MAX", 3)

    def body(site: Site) -> None:
        chained(site, *(link(number, "o") for number in range(4, 9)), link(0, "p"))
        assert list(come_along(site, 2)) == [3, 4, 5]

    site.run(body)


@pytest.mark.parametrize("make", [lambda: Site(delays(*READ_POINTS[1:])), lambda: Site(settings=FINE)])
@pytest.mark.parametrize("after_ns", [1 * MS // 2 * step for step in range(1, 12)])
def test_read_sees_one_version_whatever_commits_meanwhile(make: Callable[[], Site], after_ns: int) -> None:
    seen: list[Any] = []

    def body(site: Site) -> None:
        site.commit("abcdef")
        site.fold(1, "abcdef")
        site.commit("A....F")
        reader = DirectStorage(site.depot, "instance-1", 1)  # knows no head: it is not fenced

        def read() -> None:
            seen.append(letters(reader, 1, 2, 6, 7))

        task = site.kernel.spawn(read, name="reader", supervised=True)
        site.kernel.sleep(after_ns)
        site.commit("XY...ZW")
        site.fold(3, "XYcdeZW")
        site.lose_delta(1)
        site.lose_delta(2)
        task.join()

    make().run(body)
    assert seen[0] in ("AbF-", "XYZW")
