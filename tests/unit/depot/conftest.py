"""A depot with small pages beside a plain model of what it has to hold, and a task that uses it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import pytest

from simkit.depot.compaction import Compaction
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.events import JobFailed
from simkit.depot.faults import FaultRule, Faults
from simkit.depot.keys import BranchKeys
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.records import CommitRow, DirtyMarker, Pin, decode_commit_row, decode_row, encode_row
from simkit.depot.retention import readable_versions
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel, Record
from simkit.kernel.kernel import Order

MS = 1_000_000
SECOND = 1_000 * MS
PAGE_BYTES = 512

_R = TypeVar("_R", bound=Record)
_COST = RequestLatency(rtt=constant(2 * MS), server=constant(1 * MS))
QUICK = LatencyProfile(name="quick", source="made for these tests", get_pages=_COST, commit=_COST, open=_COST)


class DepotBench:
    """One depot, one writer of the database "main", and the contents of every commit so far as a model.

    `compaction` are settings of compaction; it is on unless `enabled` says otherwise. Shards have 4 pages.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        order: Order = "timed",
        rules: Sequence[FaultRule] = (),
        image: DepotImage | None = None,
        page_bytes: int = PAGE_BYTES,
        depot: type[Depot] = Depot,
        settings: DepotSettings | None = None,
        **compaction: Any,
    ) -> None:
        self.kernel = Kernel(Decisions(seed), order=order)
        faults = Faults(self.kernel, rules, lambda _: None) if rules else None
        base = settings or DepotSettings(shard_pages=4, chunk_bytes=700)
        compaction_settings = CompactionSettings(**{"enabled": True, "lag_threshold": 4, **compaction})
        self.settings = msgspec.structs.replace(base, compaction=compaction_settings)
        self.page_bytes = page_bytes
        start = image or DepotImage(None, 0, page_bytes)
        self.depot = depot(self.kernel, QUICK, start, self.settings, faults)
        self.core = self.depot.core
        self.writer = DirectStorage(self.depot, "writer", self.depot.allocate())
        #: by commit the pages of the database
        self.model: dict[int, dict[int, bytes]] = {0: {}}
        self.head = 0

    # Inside a task

    def commit(self, *numbers: int, size: int | None = None) -> int:
        """Writes new content to the pages, and whatever pages it takes to make the database `size` pages long."""
        old = self.model[self.head]
        size = max([len(old), *numbers]) if size is None else size
        txid = self.head + 1
        wanted = {number for number in numbers if number <= size} | set(range(len(old) + 1, size + 1))
        pages = {number: self.content(txid, number) for number in sorted(wanted or {1})}
        self.writer.head = self.head
        self.writer.commit(pages, size)
        self.model[txid] = {number: page for number, page in {**old, **pages}.items() if number <= size}
        self.head = txid
        return txid

    def content(self, txid: int, number: int) -> bytes:
        """What a commit writes to a page."""
        return f"page {number} of commit {txid};".encode().ljust(self.page_bytes, b".")

    def commits(self, count: int, pages: int = 6) -> None:
        """A few commits, each of one of the first pages."""
        for _ in range(count):
            self.commit(1 + self.head % pages)

    def sleep(self, duration_ns: int) -> None:
        self.kernel.sleep(duration_ns)

    def settle(self, bound_ns: int = 600 * SECOND) -> None:
        """Waits until compaction has nothing left to do."""
        end_ns = self.kernel.now + bound_ns
        while not self.compaction.idle:
            assert self.kernel.now < end_ns, f"compaction is not idle after {bound_ns} ns: {self.failures()}"
            self.sleep(SECOND // 10)

    # Looking

    @property
    def compaction(self) -> Compaction:
        assert self.depot.compaction is not None
        return self.depot.compaction

    @property
    def keys(self) -> BranchKeys:
        keys = self.core.view("main").branch(self.core.store.snapshot())
        assert keys is not None
        return keys

    @property
    def watermark(self) -> int:
        return self.core.sources.watermark(self.core.store.snapshot(), self.keys)

    @property
    def marker(self) -> DirtyMarker | None:
        raw = self.core.store.snapshot().get(self.keys.dirty)
        return None if raw is None else decode_row(DirtyMarker, raw)

    def contents(self, txid: int) -> dict[int, bytes]:
        """What the depot says the database held at a commit."""
        return self.core.sources.contents(self.core.store.snapshot(), self.keys, txid)

    def readable(self) -> list[int]:
        """The commits that must be readable now."""
        kept = readable_versions(self.core.store.snapshot(), self.keys, self.core.now_ms)
        return sorted({version.txid for version in kept} | set(range(self.watermark, self.head + 1)) - {0})

    def wrong(self) -> list[int]:
        """The readable commits at which the depot does not hold what it has to."""
        return [txid for txid in self.readable() if self.contents(txid) != self.model[txid]]

    def rows(self, prefix: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        return self.core.store.snapshot().get_range(*prefix)

    def quota_and_bytes(self) -> tuple[int, int]:
        """What the quota says of the branch, and what its rows add up to."""
        keys = self.keys
        ranges = (keys.all_deltas_range(), keys.all_shards_range(), keys.commits_range(), keys.vtx_range())
        stored = sum(len(key) + len(value) for rows in ranges for key, value in self.rows(rows))
        raw = self.core.store.snapshot().get(keys.quota)
        return (0 if raw is None else int.from_bytes(raw, "little", signed=True)), stored

    def events(self, kind: type[_R]) -> list[_R]:
        return [event for event in self.kernel.history if isinstance(event, kind)]

    def failures(self) -> list[str]:
        return [f"{event.kind} {event.error}" for event in self.events(JobFailed)]

    def commit_row(self, txid: int) -> CommitRow:
        raw = self.core.store.snapshot().get(self.keys.commits(txid))
        assert raw is not None
        return decode_commit_row(raw)

    # Doing by hand

    def pin(self, txid: int, name: str = "by-hand") -> None:
        """Keeps a commit readable, as a restore point does."""
        row = encode_row(Pin(txid=txid, versionstamp=self.commit_row(txid).versionstamp))
        with self.core.store.begin() as transaction:
            transaction.set(self.keys.pin("restore_point", name), row)
            transaction.commit()

    def run(self, *scripts: Callable[[], object], until_ns: int = 7200 * SECOND) -> None:
        """Runs each script as a task, to its end."""
        for number, script in enumerate(scripts):
            self.kernel.spawn(script, name=f"script-{number}")
        self.kernel.run(until_ns=until_ns)


@pytest.fixture
def new_bench() -> type[DepotBench]:
    """Makes depots to work with; see `DepotBench`."""
    return DepotBench
