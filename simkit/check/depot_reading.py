"""Reads the database at a version straight from the rows, for the scan: another way than the depot's own.

The content at a version is what its branch began with, then each commit and each shard version up to it in their order:
a commit replaces the pages that it brings, a shard version stands for all pages of its shard. The page index is not
looked at. What a version does not have is missing; nothing is made up.
"""

from __future__ import annotations

from simkit.check.depot_rows import BranchRows, DepotRows
from simkit.depot.records import (
    BranchRecord,
    CompactionRoot,
    Head,
    Pin,
    PitrInterval,
    RecordCorrupt,
    decode_commit_row,
    decode_head,
    decode_row,
)

Pages = dict[int, bytes]


def record_of(rows: BranchRows) -> BranchRecord | None:
    """The record of a branch, None where there is none that decodes."""
    raw = rows.single.get("record")
    try:
        return decode_row(BranchRecord, raw) if raw is not None else None
    except RecordCorrupt:
        return None


def head_of(rows: BranchRows) -> Head | None:
    """The head of a branch: its own, else the one it began with. None where there is none that decodes."""
    raw = rows.single.get("head", rows.single.get("head_at_fork"))
    try:
        return decode_head(raw) if raw is not None else None
    except RecordCorrupt:
        return None


def start_of(rows: BranchRows) -> int:
    """The commit of its parent that a branch begins at; 0 for one without a parent."""
    record = record_of(rows)
    return record.parent_txid if record is not None else 0


def watermark_of(rows: BranchRows) -> int:
    """Up to which commit a branch is folded into shards."""
    raw = rows.single.get("root")
    try:
        return decode_row(CompactionRoot, raw).hot_watermark_txid if raw is not None else start_of(rows)
    except RecordCorrupt:
        return start_of(rows)


def parent_of(depot: DepotRows, rows: BranchRows) -> tuple[BranchRows, int] | None:
    """The branch that this one was derived from, and at which commit. Ids count up, so an older one has a lower."""
    record = record_of(rows)
    if record is None or not rows.keys.branch_id > record.parent:
        return None
    parent = depot.branches.get(record.parent)
    return (parent, record.parent_txid) if parent is not None else None


def page_count_at(depot: DepotRows, rows: BranchRows, txid: int) -> int | None:
    """The size in pages after a commit, as far as the rows tell."""
    raw = rows.commits.get(txid)
    if raw is not None:
        try:
            return decode_commit_row(raw).page_count
        except RecordCorrupt:
            return None
    head = head_of(rows)
    if head is not None and head.txid == txid:
        return head.page_count
    if txid in rows.deltas:
        blob = rows.deltas.decoded(txid).blob
        return blob.page_count if blob is not None else None
    derived = parent_of(depot, rows)
    if derived is not None and txid <= derived[1]:
        return page_count_at(depot, derived[0], txid)
    return None


def keepers(rows: BranchRows, now_ms: int) -> list[tuple[int, str]]:
    """The commits that pins and unexpired intervals keep readable, each with what keeps it. Skips what is corrupt."""
    kept: list[tuple[int, str]] = []
    for (kind, name), raw in rows.pins.items():
        try:
            kept.append((decode_row(Pin, raw).txid, f"{kind} {name}"))
        except RecordCorrupt:
            continue
    for start_ms, raw in rows.pitr.items():
        try:
            interval = decode_row(PitrInterval, raw)
        except RecordCorrupt:
            continue
        if interval.expires_at_ms > now_ms:
            kept.append((interval.txid, f"interval {start_ms}"))
    return kept


def kept_versions(rows: BranchRows, now_ms: int) -> dict[int, str]:
    """The commits that are kept readable, each with the first that keeps it."""
    kept: dict[int, str] = {}
    for txid, why in keepers(rows, now_ms):
        kept.setdefault(txid, why)
    return kept


def newest_shards(rows: BranchRows, txid: int) -> dict[int, int]:
    """By shard the newest version that is not above a commit."""
    return {shard: as_of for shard, as_of in rows.shards.names() if as_of <= txid}


def content_at(depot: DepotRows, rows: BranchRows, txid: int, shard_pages: int) -> Pages:
    """Every page that the rows give for a version, also those beyond its size. Pages without a source are not in it."""
    derived = parent_of(depot, rows)
    pages: Pages = {}
    if derived is not None:
        parent, start = derived[0], min(txid, derived[1])
        pages = content_at(depot, parent, start, shard_pages)
        size = page_count_at(depot, parent, start)
        if size is not None and len(pages) > size:
            pages = {number: page for number, page in pages.items() if number <= size}
    steps: list[tuple[int, int]] = [(delta, -1) for delta in rows.deltas.names() if delta <= txid]
    steps += [(as_of, shard) for shard, as_of in newest_shards(rows, txid).items()]
    for step, shard in sorted(steps):
        if shard < 0:
            pages.update(rows.deltas.pages(step))
            continue
        for number in range(shard * shard_pages, (shard + 1) * shard_pages):
            pages.pop(number, None)
        pages.update(rows.shards.pages((shard, step)))
    return pages


def missing_at(depot: DepotRows, rows: BranchRows, txid: int, shard_pages: int) -> list[int] | None:
    """The page numbers within the size of a version that have no source; None when its size is not known."""
    size = page_count_at(depot, rows, txid)
    if size is None:
        return None
    pages = content_at(depot, rows, txid, shard_pages)
    return [number for number in range(1, size + 1) if number not in pages]


def replay_shard(depot: DepotRows, rows: BranchRows, shard: int, as_of: int, shard_pages: int) -> Pages | None:
    """The pages of a shard version by the version before it and the commits since. None: some of them are gone."""
    older = [version for number, version in rows.shards.names() if number == shard and version < as_of]
    base = older[-1] if older else start_of(rows)
    if any(txid not in rows.deltas for txid in range(base + 1, as_of + 1)):
        return None
    pages: Pages = {}
    if older:
        pages.update(rows.shards.pages((shard, base)))
    else:
        derived = parent_of(depot, rows)
        if derived is not None:
            first, end = shard * shard_pages, (shard + 1) * shard_pages
            start_size = page_count_at(depot, *derived)
            inherited = content_at(depot, *derived, shard_pages)
            end = end if start_size is None else min(end, start_size + 1)
            pages = {number: inherited[number] for number in range(first, end) if number in inherited}
    for txid in range(base + 1, as_of + 1):
        for number, page in rows.deltas.pages(txid).items():
            if number // shard_pages == shard:
                pages[number] = page
    size = page_count_at(depot, rows, as_of)
    if size is None:
        return None
    return {number: page for number, page in pages.items() if number <= size}
