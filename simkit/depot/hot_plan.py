"""What one hot job takes on: how far it folds, at which commits, and what it starts from.

Upholds COMP-1: the watermark a job aims at is the last commit of its batch, never the head it did not get to; each
readable version in between is folded as well, because the deltas below the watermark may go afterwards.

A plan is data of one look at the branch. Whether it still holds is for the installation to find out.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from simkit.depot.blobs import Readable
from simkit.depot.content import read_head
from simkit.depot.core import Core
from simkit.depot.errors import ShardCoverageMissing
from simkit.depot.job import JobRejected
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import DEFAULT_LIMITS, Transaction, decode_counter
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    PitrInterval,
    decode_commit_row,
)
from simkit.depot.retention import readable_versions

Interval = tuple[int, PitrInterval]


class VersionReads:
    """A transaction as something to read only, at its version: what is read here never makes it conflict."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def get(self, key: bytes) -> bytes | None:
        return self._transaction.get(key, snapshot=True)

    def get_range(
        self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return self._transaction.get_range(begin, end, snapshot=True, limit=limit, reverse=reverse)


class BranchState(msgspec.Struct, frozen=True, gc=False):
    """Where a branch stands. `head` is 0 before its first commit, `marker` the raw dirty marker."""

    record: BranchRecord | None
    head: int
    root: CompactionRoot
    marker: bytes | None

    @property
    def live(self) -> bool:
        return self.record is not None and self.record.state == "live"

    @property
    def watermark(self) -> int:
        return self.root.hot_watermark_txid


class HotPlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One batch.

    Attributes:
        lifecycle_generation, manifest_generation: those of the branch and its root when this was planned.
        base: the watermark the batch starts above.
        target: the watermark after it.
        coverage: the commits as of which shards are folded, ascending; the last is the target.
        page_counts: the size of the database at each of them.
        touched: for each of them the shards that changed since the one before, ascending.
        touched_by: for each shard the commits of the batch that brought pages of it, ascending.
        owners: pages of the batch with the row of the page index that was seen, where it is not above the target.
        intervals: the rows of intervals of time whose commit is in the batch, by their start.
    """

    lifecycle_generation: int
    manifest_generation: int
    base: int
    target: int
    coverage: tuple[int, ...]
    page_counts: tuple[int, ...]
    touched: tuple[tuple[int, ...], ...]
    touched_by: dict[int, list[int]]
    owners: tuple[tuple[int, bytes], ...]
    intervals: tuple[Interval, ...]


def read_state(core: Core, readable: Readable, keys: BranchKeys) -> BranchState:
    """Where the branch stands as of `readable`."""
    record = core.sources.record(readable, keys.branch_id)
    head = read_head(readable, keys)
    root = core.sources.root(readable, keys)
    return BranchState(record, head.txid if head is not None else 0, root, readable.get(keys.dirty))


def hot_reason(core: Core, readable: Readable, keys: BranchKeys, state: BranchState) -> str | None:
    """Why a branch is worth a hot job: "lag", "quota", "pin", "interval"; None when it is not."""
    if not state.live or state.head <= state.watermark:
        return None
    if state.head - state.watermark >= core.settings.compaction.lag_threshold:
        return "lag"
    # As soon as a commit may be refused: none is larger than a transaction.
    remaining_bytes = core.settings.quota_bytes - decode_counter(readable.get(keys.quota))
    if remaining_bytes < DEFAULT_LIMITS.transaction_bytes:
        return "quota"
    if any(state.watermark < kept.txid <= state.head for kept in readable_versions(readable, keys, core.now_ms)):
        return "pin"
    # The interval that time is in has no last commit yet.
    present = _interval_start(core, core.now_ms)
    if any(start < present for start, _ in _intervals(core, readable, keys, state.watermark + 1, state.head)):
        return "interval"
    return None


def plan_hot(core: Core, readable: Readable, keys: BranchKeys) -> HotPlan | None:
    """The next batch of a branch, None when everything is folded.

    Raises JobRejected, ShardCoverageMissing, BlobCorrupt.
    """
    state = read_state(core, readable, keys)
    record = state.record
    if record is None or not state.live:
        raise JobRejected(f"branch {keys.number} is not live")
    base = state.watermark
    if state.head <= base:
        return None
    target = batch_end(core, readable, keys, base, state.head)
    intervals = _intervals(core, readable, keys, base + 1, target)
    kept = [version.txid for version in readable_versions(readable, keys, core.now_ms)]
    wanted = [target, *kept, *(row.txid for _, row in intervals)]
    coverage = tuple(sorted(dict.fromkeys(txid for txid in wanted if base < txid <= target)))
    touched: list[tuple[int, ...]] = []
    touched_by: dict[int, list[int]] = {}
    numbers: dict[int, None] = {}
    first = base + 1
    for covered in coverage:
        shards: dict[int, None] = {}
        for txid in range(first, covered + 1):
            pages = _delta(core, readable, keys, txid)
            numbers.update(dict.fromkeys(pages))
            for shard in dict.fromkeys(number // core.settings.shard_pages for number in pages):
                shards[shard] = None
                touched_by.setdefault(shard, []).append(txid)
        touched.append(tuple(sorted(shards)))
        first = covered + 1
    return HotPlan(
        lifecycle_generation=record.lifecycle_generation,
        manifest_generation=state.root.manifest_generation,
        base=base,
        target=target,
        coverage=coverage,
        page_counts=tuple(_page_count(readable, keys, txid) for txid in coverage),
        touched=tuple(touched),
        touched_by=touched_by,
        owners=_owners(readable, keys, sorted(numbers), target),
        intervals=intervals,
    )


def batch_end(core: Core, readable: Readable, keys: BranchKeys, base: int, head: int) -> int:
    """The last commit above `base` that the limits of a batch let in; at least one commit."""
    settings = core.settings.compaction
    rows = value_bytes = 0
    for txid in range(base + 1, head + 1):
        chunks = readable.get_range(*keys.delta_range(txid))
        rows += len(chunks)
        value_bytes += sum(len(content) for _, content in chunks)
        if txid > base + 1 and (rows > settings.batch_keys or value_bytes > settings.batch_bytes):
            return txid - 1
    return head


def _intervals(core: Core, readable: Readable, keys: BranchKeys, first: int, last: int) -> tuple[Interval, ...]:
    """The commits from `first` to `last` that stand for an interval of time: the newest in each."""
    retention_ms = core.settings.pitr_retention_ms
    found: dict[int, PitrInterval] = {}
    for key, raw in readable.get_range(keys.commits(first), keys.commits(last + 1)):
        row = decode_commit_row(raw)
        expires_at_ms = row.wall_clock_ms + retention_ms
        if expires_at_ms > core.now_ms:
            found[_interval_start(core, row.wall_clock_ms)] = PitrInterval(
                txid=keys.parse_commits(key),
                versionstamp=row.versionstamp,
                wall_clock_ms=row.wall_clock_ms,
                expires_at_ms=expires_at_ms,
            )
    return tuple(found.items())


def _interval_start(core: Core, wall_clock_ms: int) -> int:
    return wall_clock_ms - wall_clock_ms % core.settings.pitr_interval_ms


def _page_count(readable: Readable, keys: BranchKeys, txid: int) -> int:
    raw = readable.get(keys.commits(txid))
    if raw is None:
        raise ShardCoverageMissing(f"commit {txid} of branch {keys.number} has no row")
    return decode_commit_row(raw).page_count


def _delta(core: Core, readable: Readable, keys: BranchKeys, txid: int) -> Iterable[int]:
    pages = core.blobs.delta(readable, keys, txid)
    if pages is None:
        raise ShardCoverageMissing(f"delta {txid} of branch {keys.number} is missing, it is not folded yet")
    return pages


def _owners(readable: Readable, keys: BranchKeys, numbers: Iterable[int], target: int) -> tuple[tuple[int, bytes], ...]:
    """The rows of the page index that may go once everything up to `target` is in shards."""
    found = []
    for number in numbers:
        owner = readable.get(keys.pidx(number))
        if owner is not None and int.from_bytes(owner, "big") <= target:
            found.append((number, owner))
    return tuple(found)
