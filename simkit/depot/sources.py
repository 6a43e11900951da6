"""Where the content of a page at a version comes from: deltas and shards of a branch and of those it was derived from.

Upholds ISO-2 and the read side of COMP-1: a source is used only where it is proven to hold the page as of the asked
version; otherwise the read is an error, never zeros and never an older page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simkit.depot.blobs import Readable
from simkit.depot.keys import BranchKeys, branch_record_key
from simkit.depot.records import BranchRecord, CompactionRoot, decode_row

if TYPE_CHECKING:
    from simkit.depot.core import Core


class Source(NamedTuple):
    """A branch whose commits up to and with `cap` count."""

    keys: BranchKeys
    cap: int


class PageSources:
    """Finds pages. Keeps only decodings of branch records, by their bytes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._records: dict[bytes, tuple[bytes, BranchRecord]] = {}

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
            found.append(Source(BranchKeys(record.parent), cap))
            record = self.record(readable, record.parent)
        return tuple(found)

    def watermark(self, readable: Readable, keys: BranchKeys) -> int:
        """Up to which commit the branch is folded into shards; for a branch never compacted, where it began."""
        raw = readable.get(keys.root)
        if raw is not None:
            return decode_row(CompactionRoot, raw).hot_watermark_txid
        record = self.record(readable, keys.branch_id)
        return record.parent_txid if record is not None else 0
