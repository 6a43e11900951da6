"""Where pages come from: every version that is kept reads right, whatever was folded, cut off, forked or deleted."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import RestoreTargetExpired, ShardCoverageMissing
from simkit.depot.hot_fold import fold_shard
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.ltx import encode_ltx, split_chunks
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    Head,
    Pin,
    decode_commit_row,
    encode_row,
)
from simkit.depot.settings import DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel

PAGE = 512
SHARD_PAGES = 4
CHUNK = 700

Pages = dict[int, bytes]


@dataclass
class Branch:
    """A branch as it has to be: its contents by version, those it inherited included."""

    keys: BranchKeys
    storage: DirectStorage
    start: int
    versions: dict[int, Pages]
    parent: "Branch | None" = None
    watermark: int = 0
    pins: list[int] = field(default_factory=list)
    shards: dict[int, list[int]] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return max(self.versions)

    @property
    def kept(self) -> list[int]:
        """Versions of its own that must be readable."""
        made = range(self.start + 1, self.head + 1)
        return [txid for txid in made if txid > self.watermark or txid == self.head or txid in self.pins]


class Site:
    """A depot that is compacted, forked and reclaimed by hand. Use it in a task."""

    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        image = DepotImage(None, 0, PAGE)
        chosen = DepotSettings(shard_pages=SHARD_PAGES, chunk_bytes=CHUNK)
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], image, chosen)
        self.core = self.depot.core
        self.branches: list[Branch] = []

    def first(self) -> Branch:
        storage = self._storage("main")
        keys = self.core.view("main").branch(self.snapshot)
        assert keys is not None
        self.branches.append(Branch(keys, storage, 0, {0: {}}))
        return self.branches[0]

    def _storage(self, database: str) -> DirectStorage:
        generation = self.depot.allocate(database)
        storage = DirectStorage(self.depot, f"instance-{generation}", generation, database=database)
        storage.open()
        return storage

    @property
    def snapshot(self) -> Any:
        return self.core.store.snapshot()

    def write(self, rows: dict[bytes, bytes | None]) -> None:
        with self.core.store.begin() as transaction:
            for key, value in rows.items():
                if value is None:
                    transaction.clear(key)
                else:
                    transaction.set(key, value)
            transaction.commit()

    def commit(self, branch: Branch, size: int, *numbers: int) -> int:
        """Writes new content to pages, and to all that are new."""
        old, txid = branch.versions[branch.head], branch.head + 1
        wanted = {number for number in numbers if 1 <= number <= size} | set(range(len(old) + 1, size + 1))
        pages = {
            number: f"{branch.keys.number}/{txid}/{number}".encode().ljust(PAGE, b".")
            for number in sorted(wanted or {1})
        }
        branch.storage.commit(pages, size)
        branch.versions[txid] = {number: page for number, page in {**old, **pages}.items() if number <= size}
        return txid

    def pin(self, branch: Branch, txid: int, kind: str = "restore_point", name: str = "") -> None:
        row = decode_commit_row(self.snapshot.get(branch.keys.commits(txid)))
        pin = encode_row(Pin(txid=txid, versionstamp=row.versionstamp))
        self.write({branch.keys.pin(kind, name or f"{txid}"): pin})
        branch.pins.append(txid)

    def fork(self, owner: Branch, txid: int) -> Branch:
        """A database of its own that begins at a commit made on `owner`."""
        name = f"fork-{len(self.branches)}"
        keys = BranchKeys(self.core.new_branch_id())
        self.pin(owner, txid, "fork", str(keys.number))
        row = decode_commit_row(self.snapshot.get(owner.keys.commits(txid)))
        record = BranchRecord(
            branch_id=keys.branch_id,
            database_id=name,
            parent=owner.keys.branch_id,
            parent_txid=txid,
            parent_versionstamp=row.versionstamp,
            fork_depth=1,
        )
        head = Head(txid, row.page_count, 0, keys.branch_id)
        rows: dict[bytes, bytes | None] = {keys.record: encode_row(record), keys.head_at_fork: head.encode()}
        self.write({**rows, database_pointer_key(name): keys.branch_id})
        versions = {version: pages for version, pages in owner.versions.items() if version <= txid}
        branch = Branch(keys, self._storage(name), txid, versions, owner, watermark=txid)
        self.branches.append(branch)
        return branch

    def fold(self, branch: Branch, target: int, clears: Callable[[int], bool] = lambda number: True) -> None:
        """What a hot job leaves behind: shards, fewer rows of the page index, and a watermark."""
        rows: dict[bytes, bytes | None] = {}
        previous = branch.watermark
        for as_of in sorted({target, *(pin for pin in branch.pins if branch.watermark < pin <= target)}):
            for shard in self._touched(branch, previous, as_of):
                pages = {n: page for n, page in branch.versions[as_of].items() if n // SHARD_PAGES == shard}
                count = len(branch.versions[as_of])
                assert fold_shard(self.core, self.snapshot, branch.keys, shard, as_of, count) == pages
                if pages:
                    blob = encode_ltx(as_of, count, PAGE, pages, first_txid=1)
                    for number, chunk in enumerate(split_chunks(blob, CHUNK)):
                        rows[branch.keys.shard(shard, as_of, number)] = chunk
                    branch.shards.setdefault(shard, []).append(as_of)
            previous = as_of
        for key, raw in self.snapshot.get_range(*branch.keys.pidx_range()):
            if int.from_bytes(raw, "big") <= target and clears(branch.keys.parse_pidx(key)):
                rows[key] = None
        self.write({**rows, branch.keys.root: encode_row(CompactionRoot(hot_watermark_txid=target))})
        branch.watermark = target

    def _touched(self, branch: Branch, after: int, until: int) -> list[int]:
        deltas = [self.core.blobs.delta(self.snapshot, branch.keys, txid) or {} for txid in range(after + 1, until + 1)]
        return sorted({number // SHARD_PAGES for pages in deltas for number in pages})

    def reclaim(self, branch: Branch) -> None:
        """Deletes what no readable version needs."""
        rows: dict[bytes, bytes | None] = {}
        named = {int.from_bytes(raw, "big") for _, raw in self.snapshot.get_range(*branch.keys.pidx_range())}
        for key, _ in self.snapshot.get_range(*branch.keys.all_deltas_range()):
            txid = branch.keys.parse_delta(key)[0]
            if txid <= branch.watermark and txid not in named:
                rows[key] = None
        for key, _ in self.snapshot.get_range(*branch.keys.commits_range()):
            txid = branch.keys.parse_commits(key)
            if txid <= branch.watermark and txid != branch.head and txid not in branch.pins:
                rows[key] = None
        for shard, versions in branch.shards.items():
            tops = [branch.watermark, *branch.pins]
            needed = [max((s for s in versions if s <= top), default=0) for top in tops]
            for as_of in [version for version in versions if version not in needed]:
                versions.remove(as_of)
                for key, _ in self.snapshot.get_range(*branch.keys.shard_range(shard, as_of)):
                    rows[key] = None
        self.write(rows)

    def contents(self, branch: Branch, txid: int) -> Pages:
        return self.core.sources.contents(self.snapshot, branch.keys, txid)

    def page(self, branch: Branch, number: int, cap: int) -> bytes:
        return self.core.sources.page(self.snapshot, branch.keys, number, cap)

    def check(self) -> None:
        for branch in self.branches:
            for txid, expected in branch.versions.items():
                owner = branch
                while owner.parent is not None and txid <= owner.start:
                    owner = owner.parent
                if txid in owner.kept:
                    assert self.contents(branch, txid) == expected
                    assert {n: self.page(branch, n, txid) for n in expected} == expected
                else:
                    with suppress(RestoreTargetExpired):
                        assert self.contents(branch, txid) == expected
            if branch.head:
                assert self.present(branch) == branch.versions[branch.head]

    def present(self, branch: Branch) -> Pages:
        numbers = tuple(range(1, 20))
        pages = zip(numbers, branch.storage.get_pages(numbers), strict=True)
        return {number: page for number, page in pages if page is not None}


@pytest.fixture
def in_site() -> Callable[[Callable[[Site], None]], None]:
    return in_a_site


def in_a_site(body: Callable[[Site], None]) -> None:
    site = Site()
    task = site.kernel.spawn(lambda: body(site), name="test", supervised=True)
    try:
        site.kernel.run()
        if task.error is not None:
            raise task.error
    finally:
        site.kernel.close()


Run = Callable[[Callable[[Site], None]], None]

NUMBER = st.integers(0, 40)
COMMIT = st.tuples(st.just("commit"), NUMBER, st.integers(1, 14), st.lists(st.integers(1, 14), max_size=3))
OTHER = st.tuples(st.sampled_from(["pin", "fork", "fold", "reclaim"]), NUMBER, NUMBER, st.lists(NUMBER, max_size=4))


def carry_out(site: Site, step: tuple[str, int, int, list[int]]) -> None:
    kind, which, amount, numbers = step
    branch = site.branches[which % len(site.branches)]
    match kind:
        case "commit":
            site.commit(branch, amount, *numbers)
        case "pin" | "fork" if branch.kept:
            txid = branch.kept[amount % len(branch.kept)]
            if kind == "fork":
                site.fork(branch, txid)
            elif txid not in branch.pins:
                site.pin(branch, txid)
        case "fold" if branch.head > branch.watermark:
            target = branch.watermark + 1 + amount % (branch.head - branch.watermark)
            site.fold(branch, target, lambda number: number not in numbers)
        case "reclaim":
            site.reclaim(branch)


@settings(max_examples=120)
@given(st.lists(st.one_of(COMMIT, COMMIT, OTHER), max_size=25))
def test_every_kept_version_reads_as_it_was_written(steps: list[tuple[str, int, int, list[int]]]) -> None:
    def body(site: Site) -> None:
        site.first()
        for step in steps:
            carry_out(site, step)
            if step[0] == "fold":
                site.check()
        site.check()

    in_a_site(body)


def folded(site: Site, clears: Callable[[int], bool] = lambda number: True) -> Branch:
    """Six pages; commit 2 rewrites page 5; both are folded. Commit 3 rewrites page 1."""
    branch = site.first()
    site.commit(branch, 6)
    site.commit(branch, 6, 5)
    site.fold(branch, 2, clears)
    site.commit(branch, 6, 1)
    return branch


def lose(site: Site, branch: Branch, txid: int) -> None:
    site.write({key: None for key, _ in site.snapshot.get_range(*branch.keys.delta_range(txid))})


def test_missing_delta_is_an_error_without_a_shard_that_covers_it(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        lose(site, branch, 3)
        with pytest.raises(ShardCoverageMissing, match="delta 3 of branch 1 is missing"):
            site.page(branch, 1, 3)
        with pytest.raises(ShardCoverageMissing, match="delta 3 of branch 1 is missing"):
            site.contents(branch, 3)

    in_site(body)


def test_shard_older_than_the_missing_delta_proves_nothing(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        site.write({branch.keys.pidx(1): None})
        lose(site, branch, 3)
        with pytest.raises(ShardCoverageMissing, match="no version of shard 0 covers page 1"):
            site.page(branch, 1, 3)

    in_site(body)


def test_shard_that_is_as_new_stands_in_for_a_missing_delta(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site, clears=lambda number: False)
        lose(site, branch, 1)
        lose(site, branch, 2)
        assert site.contents(branch, 3) == branch.versions[3]
        assert site.page(branch, 5, 3) == branch.versions[3][5]

    in_site(body)


def test_row_lost_from_the_page_index_does_not_bring_an_older_page(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        site.write({branch.keys.pidx(1): None})
        assert site.page(branch, 1, 3) == branch.versions[3][1]

    in_site(body)


def test_page_without_any_source_is_no_page_of_zeros(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        site.write({key: None for key, _ in site.snapshot.get_range(*branch.keys.shard_range(1, 2))})
        with pytest.raises(ShardCoverageMissing, match="page 5 at commit 3 of branch 1: no delta and no shard"):
            site.page(branch, 5, 3)
        with pytest.raises(ShardCoverageMissing, match="page 4 at commit 3"):
            site.contents(branch, 3)

    in_site(body)


@pytest.mark.parametrize("family", ["delta", "shard"])
def test_damaged_blob_is_an_error(in_site: Run, family: str) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        key = branch.keys.delta(3, 0) if family == "delta" else branch.keys.shard(0, 2, 0)
        site.write({key: b"damaged"})
        with pytest.raises(ShardCoverageMissing, match="cannot be decoded"):
            site.contents(branch, 3)
        with pytest.raises(ShardCoverageMissing, match="cannot be decoded"):
            site.page(branch, 1 if family == "delta" else 2, 3)

    in_site(body)


def test_owner_without_the_page_is_an_error(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        site.write({branch.keys.pidx(2): (3).to_bytes(8, "big")})
        with pytest.raises(ShardCoverageMissing, match="page 2 is not in delta 3 of branch 1, its owner"):
            site.contents(branch, 3)

    in_site(body)


def test_version_that_nothing_keeps_is_refused(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        with pytest.raises(RestoreTargetExpired, match="commit 1 of branch 1 is folded, and nothing keeps it"):
            site.contents(branch, 1)
        site.reclaim(branch)
        with pytest.raises(RestoreTargetExpired, match="has no row any more"):
            site.contents(branch, 1)

    in_site(body)


def test_size_of_the_empty_database_is_known(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = site.first()
        assert site.core.sources.page_count_at(site.snapshot, branch.keys, 0) == 0
        assert site.contents(branch, 0) == {}

    in_site(body)


def test_commit_belongs_to_the_branch_that_made_it(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = site.first()
        for _ in range(3):
            site.commit(branch, 5, 2)
        child = site.fork(branch, 2)
        site.commit(child, 6)
        grandchild = site.fork(child, 3)
        owners = [site.core.sources.owner_of(site.snapshot, grandchild.keys, txid).number for txid in (1, 2, 3, 4)]
        assert owners == [1, 1, 2, 3]
        caps = [
            (source.keys.number, source.cap) for source in site.core.sources.ancestry(site.snapshot, grandchild.keys)
        ]
        assert caps == [(2, 3), (1, 2)]

    in_site(body)


def test_shard_of_a_fork_wins_over_its_ancestors(in_site: Run) -> None:
    def body(site: Site) -> None:
        branch = folded(site)
        child = site.fork(branch, 3)
        site.commit(child, 2)
        site.commit(child, 7, 1)
        site.fold(child, 5)
        site.reclaim(child)
        site.commit(branch, 6, 4)
        assert site.contents(child, 5) == child.versions[5]
        site.check()

    in_site(body)
