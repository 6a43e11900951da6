"""The rules for the rows of one branch: DEPOT-3 to 6, 8 to 10, 12, 15, 17 and 18; and of hints, DEPOT-7.

Each rule is a generator of findings over rows that were sorted before (`depot_rows`). A row that does not decode is
reported by its own rule and skipped by the others, so that one damaged row is one finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simkit.check.depot_reading import (
    head_of,
    kept_versions,
    missing_at,
    newest_shards,
    page_count_at,
    record_of,
    start_of,
    watermark_of,
)
from simkit.check.depot_rows import BranchRows, DepotRows
from simkit.depot.kv import decode_counter
from simkit.depot.ltx import LtxBlob
from simkit.depot.records import (
    CommitRow,
    CompactionRoot,
    DirtyMarker,
    Head,
    PitrInterval,
    RecordCorrupt,
    decode_commit_row,
    decode_head,
    decode_hints,
    decode_row,
)

Finding = tuple[str, str]
"""An invariant, and a sentence that says what is wrong."""


class BranchScan:
    """One scan of one branch, among the others of its depot."""

    def __init__(self, depot: DepotRows, rows: BranchRows, page_size: int, shard_pages: int, now_ms: int) -> None:
        self._depot = depot
        self._rows = rows
        self._page_size = page_size
        self._shard_pages = shard_pages
        self._now_ms = now_ms
        self._where = f"branch {rows.number}"
        self._start = start_of(rows)
        self._watermark = watermark_of(rows)
        self._head = head_of(rows)
        self._commits: dict[int, CommitRow] = {}

    def findings(self) -> list[Finding]:
        """What is wrong with rows that nobody else's rows and no clock have a say in."""
        return [
            *self._commit_rows(),
            *self._heads(),
            *self._deltas(),
            *self._shards(),
            *self._page_index(),
            *self._root(),
            *self._dirty(),
            *self._quota(),
            *self._hints(),
        ]

    # Heads and commits

    def _heads(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        for name in ("head", "head_at_fork"):
            raw = rows.single.get(name)
            if raw is None:
                continue
            try:
                head = decode_head(raw)
            except RecordCorrupt as error:
                yield "DEPOT-3", f"{where}: META/{name} does not decode: {error.reason}"
                continue
            if name == "head":
                yield from self._own_head(head)
            elif "head" in rows.single:
                yield "DEPOT-3", f"{where} has a head of its own and still the one that it began with"
            elif head.txid != self._start:
                yield "DEPOT-3", f"{where} begins with head {head.txid}, and was derived at commit {self._start}"
        record = record_of(rows)
        if (
            self._head is None
            and "head" not in rows.single
            and (rows.commits or (record is not None and record.parent))
        ):
            yield "DEPOT-3", f"{where} has commits and no head"

    def _own_head(self, head: Head) -> Iterator[Finding]:
        where = self._where
        if head.branch_id != self._rows.keys.branch_id:
            yield "DEPOT-3", f"{where} has the head of branch {int.from_bytes(head.branch_id, 'big')}"
        if head.txid not in self._rows.commits:
            yield "DEPOT-3", f"{where}: the head is commit {head.txid}, which has no row"
        elif head.txid in self._commits and self._commits[head.txid].page_count != head.page_count:
            size = self._commits[head.txid].page_count
            yield "DEPOT-3", f"{where}: the head has {head.page_count} pages, its commit {head.txid} has {size}"

    def _commit_rows(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        stamps: dict[bytes, int] = {}
        before, before_ms = b"", 0
        for txid in sorted(rows.commits):
            try:
                row = self._commits[txid] = decode_commit_row(rows.commits[txid])
            except RecordCorrupt as error:
                yield "DEPOT-4", f"{where}: the row of commit {txid} does not decode: {error.reason}"
                continue
            if row.page_count < 1:
                yield "DEPOT-4", f"{where}: commit {txid} leaves {row.page_count} pages"
            if row.versionstamp <= before:
                yield "DEPOT-4", f"{where}: commit {txid} has a versionstamp that is not above those before it"
            if row.wall_clock_ms < before_ms:
                yield "DEPOT-4", f"{where}: commit {txid} is of an earlier time than a commit before it"
            before, before_ms = row.versionstamp, max(row.wall_clock_ms, before_ms)
            stamps[row.versionstamp] = txid
            raw = rows.vtx.get(row.versionstamp)
            if raw is None or raw != txid.to_bytes(8, "big"):
                yield "DEPOT-4", f"{where}: the versionstamp of commit {txid} does not lead back to it"
        for stamp, raw in rows.vtx.items():
            if stamp not in stamps:
                named = int.from_bytes(raw, "big")
                yield "DEPOT-4", f"{where}: a versionstamp names commit {named}, which has another or no row"
        last = self._head.txid if self._head is not None and "head" in rows.single else self._start
        for txid in range(min(self._watermark, last) + 1, last + 1):
            if txid not in rows.commits:
                yield "DEPOT-4", f"{where}: commit {txid} has no row, between watermark and head {last}"
        for txid in rows.commits:
            if not self._start < txid <= last:
                yield "DEPOT-4", f"{where}: commit {txid} has a row outside of {self._start + 1} to head {last}"

    # Blobs

    def _deltas(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        last = self._head.txid if self._head is not None else self._start
        for txid in rows.deltas.names():
            blob, problem = rows.deltas.decoded(txid)
            what = f"{where}: delta {txid}"
            if blob is None:
                yield "DEPOT-5", f"{what} does not decode: {problem}"
                continue
            if not self._start < txid <= last:
                yield "DEPOT-5", f"{what} is outside of commits {self._start + 1} to {last}"
            if (blob.first_txid, blob.txid) != (txid, txid):
                yield "DEPOT-5", f"{what} says that it stands for commits {blob.first_txid} to {blob.txid}"
            yield from self._blob_pages("DEPOT-5", what, blob)
            row = self._commits.get(txid)
            if row is not None and row.page_count != blob.page_count:
                yield "DEPOT-5", f"{what} is of {blob.page_count} pages, its commit row says {row.page_count}"
        for txid in range(max(self._watermark, self._start) + 1, last + 1):
            if txid not in rows.deltas:
                yield "DEPOT-5", f"{where}: commit {txid} is above watermark {self._watermark} and has no delta"

    def _blob_pages(self, invariant: str, what: str, blob: LtxBlob) -> Iterator[Finding]:
        if blob.page_size != self._page_size:
            yield invariant, f"{what} has pages of {blob.page_size} bytes instead of {self._page_size}"
        if blob.pages and max(blob.pages) > blob.page_count:
            yield invariant, f"{what} has page {max(blob.pages)}, and the database {blob.page_count} pages"

    def _shards(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        last = self._head.txid if self._head is not None else self._start
        for shard, as_of in rows.shards.names():
            what = f"{where}: shard {shard} as of commit {as_of}"
            blob, problem = rows.shards.decoded((shard, as_of))
            if blob is None:
                yield "DEPOT-6", f"{what} does not decode: {problem}"
                continue
            if not self._start < as_of <= last:
                yield "DEPOT-6", f"{what} is outside of commits {self._start + 1} to {last}"
            if blob.txid != as_of:
                yield "DEPOT-6", f"{what} says that it is as of commit {blob.txid}"
            strangers = [number for number in blob.pages if number // self._shard_pages != shard]
            if strangers:
                yield "DEPOT-6", f"{what} has page {strangers[0]}, which belongs to another shard"
            yield from self._blob_pages("DEPOT-6", what, blob)
            row = self._commits.get(as_of)
            if row is not None and blob.pages and max(blob.pages) > row.page_count:
                yield "DEPOT-6", f"{what} has page {max(blob.pages)}, its commit leaves {row.page_count}"
        for (shard, as_of), problem in rows.bad_shards.items():
            yield "DEPOT-17", f"{where}: in shard {shard} as of commit {as_of} {problem}"

    # The page index

    def _page_index(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        size = self._head.page_count if self._head is not None else 0
        last = self._head.txid if self._head is not None else 0
        newest = self._newest_owners()
        for number, raw in rows.pidx.items():
            owner = int.from_bytes(raw, "big")
            if len(raw) == 8 and 1 <= number <= size and owner == newest.get(number) and owner <= last:
                continue
            what = f"{where}: the index row of page {number}"
            if len(raw) != 8:
                yield "DEPOT-8", f"{what} has {len(raw)} bytes, a transaction has 8"
            elif not 1 <= number <= size:
                yield "DEPOT-8", f"{what} is beyond the size of {size} pages"
            elif not self._start < owner <= last:
                yield "DEPOT-8", f"{what} names commit {owner}, outside of {self._start + 1} to {last}"
            elif owner < newest.get(number, 0):
                yield "DEPOT-8", f"{what} names commit {owner}, and commit {newest[number]} is newer"
            elif number not in rows.deltas.pages(owner) and not self._shard_holds(number, owner):
                yield "DEPOT-8", f"{what} names commit {owner}, whose delta has no such page, nor has any shard since"
        for number, owner in newest.items():
            if owner > self._watermark and number <= size and number not in rows.pidx:
                yield (
                    "DEPOT-8",
                    f"{where}: page {number} of commit {owner}, above the watermark, has no index row",
                )

    def _newest_owners(self) -> dict[int, int]:
        """By page the newest delta that has it."""
        newest: dict[int, int] = {}
        for txid in self._rows.deltas.names():
            newest.update(dict.fromkeys(self._rows.deltas.pages(txid), txid))
        return newest

    def _shard_holds(self, number: int, owner: int) -> bool:
        shards, shard = self._rows.shards, number // self._shard_pages
        return any(
            name == shard and as_of >= owner and number in shards.pages((name, as_of)) for name, as_of in shards.names()
        )

    # Compaction, quota

    def _root(self) -> Iterator[Finding]:
        rows, where = self._rows, self._where
        last = self._head.txid if self._head is not None else self._start
        raw = rows.single.get("root")
        if raw is None:
            return
        try:
            root = decode_row(CompactionRoot, raw)
        except RecordCorrupt as error:
            yield "DEPOT-9", f"{where}: the compaction root does not decode: {error.reason}"
            return
        watermark = root.hot_watermark_txid
        if not self._start <= watermark <= last:
            yield "DEPOT-9", f"{where}: watermark {watermark} is outside of {self._start} to head {last}"
        size = page_count_at(self._depot, rows, watermark)
        folded = newest_shards(rows, watermark)
        for txid in rows.deltas.names():
            if txid > watermark or size is None:
                break
            for shard in {number // self._shard_pages: None for number in rows.deltas.pages(txid) if number <= size}:
                if folded.get(shard, 0) < txid:
                    yield (
                        "DEPOT-9",
                        f"{where}: the watermark is {watermark}, and commit {txid} is not folded into shard {shard}",
                    )

    def _dirty(self) -> Iterator[Finding]:
        raw = self._rows.single.get("dirty")
        if raw is None:
            return
        last = self._head.txid if self._head is not None else 0
        try:
            observed = decode_row(DirtyMarker, raw).observed_head_txid
        except RecordCorrupt as error:
            yield "DEPOT-10", f"{self._where}: the dirty marker does not decode: {error.reason}"
            return
        if observed > last:
            yield "DEPOT-10", f"{self._where}: the dirty marker is of commit {observed}, the head is {last}"

    def _quota(self) -> Iterator[Finding]:
        raw, counted = self._rows.single.get("quota"), self._rows.counted_bytes
        if raw is not None and len(raw) != 8:
            yield "DEPOT-15", f"{self._where}: the quota counter has {len(raw)} bytes instead of 8"
        elif decode_counter(raw) != counted:
            yield "DEPOT-15", f"{self._where}: the quota says {decode_counter(raw)} bytes, the rows have {counted}"

    def _hints(self) -> Iterator[Finding]:
        """Whoever opens the database ignores such a row, so nobody else would notice it."""
        raw = self._rows.single.get("hints")
        if raw is None:
            return
        try:
            decode_hints(raw)
        except RecordCorrupt as error:
            yield "DEPOT-7", f"{self._where}: the hints do not decode: {error.reason}"

    # What others and the clock have a say in

    def intervals(self) -> Iterator[Finding]:
        """DEPOT-12. A row that has expired may outlive its commit."""
        rows = self._rows
        last = self._head.txid if self._head is not None else 0
        for start_ms, raw in rows.pitr.items():
            what = f"{self._where}: the interval row of {start_ms} ms"
            try:
                interval = decode_row(PitrInterval, raw)
            except RecordCorrupt as error:
                yield "DEPOT-12", f"{what} does not decode: {error.reason}"
                continue
            if not self._start < interval.txid <= last:
                yield "DEPOT-12", f"{what} names commit {interval.txid}, outside of {self._start + 1} to {last}"
                continue
            if interval.expires_at_ms < interval.wall_clock_ms or interval.wall_clock_ms < start_ms:
                yield "DEPOT-12", f"{what} is of {interval.wall_clock_ms} ms and expires at {interval.expires_at_ms} ms"
            if interval.expires_at_ms <= self._now_ms:
                continue
            commit = rows.commits.get(interval.txid)
            if commit is None:
                yield "DEPOT-12", f"{what} names commit {interval.txid}, which has no row"
                continue
            try:
                row = decode_commit_row(commit)
            except RecordCorrupt:
                continue
            if (row.versionstamp, row.wall_clock_ms) != (interval.versionstamp, interval.wall_clock_ms):
                yield "DEPOT-12", f"{what} has another versionstamp or time than commit {interval.txid}"

    def needed(self) -> dict[int, str]:
        """The versions that must be readable, and why."""
        wanted = kept_versions(self._rows, self._now_ms)
        if self._head is not None:
            wanted.setdefault(self._head.txid, "head")
        return wanted

    def readability(self, wanted: Mapping[int, str]) -> Iterator[Finding]:
        """DEPOT-18, for these versions."""
        for txid, why in wanted.items():
            missing = missing_at(self._depot, self._rows, txid, self._shard_pages)
            what = f"{self._where}: commit {txid} ({why})"
            if missing is None:
                yield "DEPOT-18", f"{what} cannot be read: nothing tells its size"
            elif missing:
                yield "DEPOT-18", f"{what} cannot be read: page {missing[0]} (of {len(missing)}) has no source"
