"""Where the content of a page at a version comes from: finding it at one instant, and what belongs to it.

Upholds ISO-2 and the read side of COMP-1 with the proofs of page_search.py: a version that is answered is answered
right, and one that is not kept readable is refused. Which branch owns a commit, how large the database was and up to
where a branch is folded is told here, too. Nothing is cached but decodings, by the very bytes they were made from, and
which commit above the watermark wrote which page (delta_index.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from simkit.depot.blobs import Pages, Readable
from simkit.depot.delta_index import DeltaIndex
from simkit.depot.errors import RestoreTargetExpired, ShardCoverageMissing
from simkit.depot.keys import BranchKeys, branch_record_key
from simkit.depot.ltx import BlobCorrupt
from simkit.depot.page_search import Question, Source, search
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    decode_commit_row,
    decode_head,
    decode_row,
    decode_txid,
)
from simkit.depot.request import NO_HEAD
from simkit.depot.retention import readable_versions

if TYPE_CHECKING:
    from simkit.depot.core import Core

__all__ = ["PageSources", "Source"]


class PageSources:
    """Finds pages. Keeps only decodings of records, by their bytes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._records: dict[bytes, tuple[bytes, BranchRecord]] = {}
        self._roots: dict[bytes, tuple[bytes, CompactionRoot]] = {}
        self._keys: dict[bytes, BranchKeys] = {}
        self._deltas = DeltaIndex(core.blobs)

    def record(self, readable: Readable, branch_id: bytes) -> BranchRecord | None:
        """The record of a branch."""
        raw = readable.get(branch_record_key(branch_id))
        if raw is None:
            return None
        entry = self._records.get(branch_id)
        if entry is None or entry[0] is not raw:
            entry = self._records[branch_id] = raw, decode_row(BranchRecord, raw)
        return entry[1]

    def ancestry(self, readable: Readable, keys: BranchKeys) -> tuple[Source, ...]:
        """The branches that this one was derived from, nearest first, each up to the commit it was derived at."""
        found: list[Source] = []
        record = self.record(readable, keys.branch_id)
        cap = 0
        while record is not None and record.parent:
            # A parent that was itself derived later than this one's start counts no further than that start.
            cap = record.parent_txid if not found else min(cap, record.parent_txid)
            found.append(Source(self._keys_of(record.parent), cap))
            record = self.record(readable, record.parent)
        return tuple(found)

    def lineage(self, readable: Readable, keys: BranchKeys, cap: int) -> tuple[Source, ...]:
        """Where to look for the version `cap` of a branch: itself, then its ancestors, nearest first."""
        ancestors = (Source(ancestor, min(cap, limit)) for ancestor, limit in self.ancestry(readable, keys))
        return (Source(keys, cap), *ancestors)

    def owner_of(self, readable: Readable, keys: BranchKeys, txid: int) -> BranchKeys:
        """The branch on which the commit was made that this branch knows as `txid`: itself or an ancestor."""
        record = self.record(readable, keys.branch_id)
        while record is not None and record.parent and txid <= record.parent_txid:
            keys = self._keys_of(record.parent)
            record = self.record(readable, record.parent)
        return keys

    def watermark(self, readable: Readable, keys: BranchKeys) -> int:
        """Up to which commit the branch is folded into shards."""
        return self.root(readable, keys).hot_watermark_txid

    def root(self, readable: Readable, keys: BranchKeys) -> CompactionRoot:
        """How far a branch is compacted; one that never was has generation 0 and is folded up to where it began."""
        raw = readable.get(keys.root)
        if raw is not None:
            entry = self._roots.get(keys.branch_id)
            if entry is None or entry[0] is not raw:
                entry = self._roots[keys.branch_id] = raw, decode_row(CompactionRoot, raw)
            return entry[1]
        record = self.record(readable, keys.branch_id)
        return CompactionRoot(hot_watermark_txid=record.parent_txid if record is not None else 0)

    def page_count_at(self, readable: Readable, keys: BranchKeys, txid: int) -> int:
        """The size of the database at a version, in pages. Raises RestoreTargetExpired when nothing tells it."""
        if txid == NO_HEAD:
            return 0
        owner = self.owner_of(readable, keys, txid)
        row = readable.get(owner.commits(txid))
        if row is not None:
            return decode_commit_row(row).page_count
        for key in (owner.head, keys.head_at_fork):
            raw = readable.get(key)
            if raw is not None and (head := decode_head(raw)).txid == txid:
                return head.page_count
        raise RestoreTargetExpired(f"commit {txid} of branch {keys.number} has no row any more")

    def page(
        self,
        readable: Readable,
        keys: BranchKeys,
        number: int,
        cap: int,
        answers: dict[Question, Any] | None = None,
    ) -> bytes:
        """A page within the size of version `cap`, which must be the head, above the watermark, or a kept version.

        `answers` are those given before in the same snapshot. Raises ShardCoverageMissing.
        """
        asking = search(self.lineage(readable, keys, cap), number, self._core.settings.shard_pages)
        known = {} if answers is None else answers
        try:
            question = next(asking)
            while True:
                if question in known:
                    answer = known[question]
                else:
                    answer = known[question] = self.answer(readable, question)
                question = asking.send(answer)
        except StopIteration as found:
            page: bytes = found.value
            return page

    def answer(self, readable: Readable, question: Question) -> Any:
        """The answer to one question of a search. Raises ShardCoverageMissing for a blob that cannot be decoded."""
        kind, keys, number, cap = question
        match kind:
            case "owner":
                raw = readable.get(keys.pidx(number))
                return None if raw is None else decode_txid(raw)
            case "newest":
                return self._deltas.newest(readable, keys, number, self.watermark(readable, keys), cap)
            case "delta":
                return self._delta(readable, keys, number)
            case "shard":
                as_of = self._core.blobs.newest_shard(readable, keys, number, cap)
                return None if as_of is None else (as_of, self._shard(readable, keys, number, as_of))
        assert_never(kind)

    def contents(self, readable: Readable, keys: BranchKeys, txid: int) -> Pages:
        """All pages of a version, from 1 to its size.

        Raises RestoreTargetExpired for a version that is not kept readable, ShardCoverageMissing for a lost page.
        """
        page_count = self.page_count_at(readable, keys, txid)
        self._require_readable(readable, self.owner_of(readable, keys, txid), txid)
        found: Pages = {}
        missing = list(range(1, page_count + 1))
        for source in self.lineage(readable, keys, txid):
            if missing:
                found.update(self._pages_in(readable, source, missing))
                missing = [number for number in missing if number not in found]
        if missing:
            raise ShardCoverageMissing(
                f"page {missing[0]} at commit {txid} of branch {keys.number}: no delta and no shard holds it"
            )
        return {number: found[number] for number in range(1, page_count + 1)}

    def _pages_in(self, readable: Readable, source: Source, wanted: list[int]) -> Pages:
        """What one branch has of the pages, all at once; by the rules of a search, which decides the rare cases."""
        keys, cap = source
        found: Pages = {}
        owners = {keys.parse_pidx(key): decode_txid(raw) for key, raw in readable.get_range(*keys.pidx_range())}
        watermark = self.watermark(readable, keys)
        deltas: dict[int, Pages | None] = {}
        rest = []
        for number in wanted:
            writer = owners.get(number)
            if writer is None or writer > cap:
                writer = self._deltas.newest(readable, keys, number, watermark, cap)
            if writer is None:
                rest.append(number)
                continue
            if writer not in deltas:
                deltas[writer] = self._delta(readable, keys, writer)
            page = (deltas[writer] or {}).get(number)
            found[number] = page if page is not None else self.page(readable, keys, number, cap)
        answers: dict[Question, Any] = {}
        shard_pages = self._core.settings.shard_pages
        for number in rest:
            question = Question("shard", keys, number // shard_pages, cap)
            if question not in answers:
                answers[question] = self.answer(readable, question)
            if answers[question] is not None:
                as_of, pages = answers[question]
                if pages is None or number not in pages:
                    raise ShardCoverageMissing(
                        f"shard {question.number} as of commit {as_of} of branch {keys.number} lacks page {number}"
                    )
                found[number] = pages[number]
        return found

    def _require_readable(self, readable: Readable, owner: BranchKeys, txid: int) -> None:
        if txid >= self.watermark(readable, owner):
            return
        kept = readable_versions(readable, owner, self._core.now_ms)
        if not any(version.txid == txid for version in kept):
            raise RestoreTargetExpired(f"commit {txid} of branch {owner.number} is folded, and nothing keeps it")

    def _delta(self, readable: Readable, keys: BranchKeys, txid: int) -> Pages | None:
        try:
            return self._core.blobs.delta(readable, keys, txid)
        except BlobCorrupt as error:
            raise ShardCoverageMissing(f"delta {txid} of branch {keys.number} cannot be decoded: {error}") from error

    def _shard(self, readable: Readable, keys: BranchKeys, shard: int, as_of: int) -> Pages | None:
        try:
            return self._core.blobs.shard(readable, keys, shard, as_of)
        except BlobCorrupt as error:
            raise ShardCoverageMissing(
                f"shard {shard} as of commit {as_of} of branch {keys.number} cannot be decoded: {error}"
            ) from error

    def _keys_of(self, branch_id: bytes) -> BranchKeys:
        keys = self._keys.get(branch_id)
        if keys is None:
            keys = self._keys[branch_id] = BranchKeys(branch_id)
        return keys
