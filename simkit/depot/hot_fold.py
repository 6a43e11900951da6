"""Folding: what a shard holds as of a commit, from its newest version and the deltas since.

Upholds COMP-1: a page is taken from the newest delta that has it, else from the version of the shard folded before,
else from the branch this one was derived from. A page within the size that none of them has is an error, because a
database that grows brings every new page along; it is never left out and never zeros.

Nothing here writes, and nothing takes simulated time.
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.depot.blobs import Readable
from simkit.depot.core import Core
from simkit.depot.errors import ShardCoverageMissing
from simkit.depot.keys import BranchKeys


def shard_numbers(shard: int, shard_pages: int, page_count: int) -> range:
    """The page numbers of a shard of a database of `page_count` pages. Page 0 does not exist."""
    return range(max(1, shard * shard_pages), min(page_count, (shard + 1) * shard_pages - 1) + 1)


def fold_shard(
    core: Core,
    readable: Readable,
    keys: BranchKeys,
    shard: int,
    as_of: int,
    page_count: int,
    touched_by: Sequence[int] | None = None,
) -> dict[int, bytes]:
    """Every page of a shard as of a commit, ascending by number; empty when the database ends before the shard.

    Parameters:
        page_count: the size of the database at `as_of`.
        touched_by: the commits above the watermark that brought pages of this shard, ascending, where they are known;
            otherwise every delta is looked into.

    Raises ShardCoverageMissing, BlobCorrupt.
    """
    missing = dict.fromkeys(shard_numbers(shard, core.settings.shard_pages, page_count))
    base = core.blobs.newest_shard(readable, keys, shard, as_of)
    # What was folded before is in the base; without one, the shard was empty as of the watermark.
    floor = max(core.sources.watermark(readable, keys), base or 0)
    candidates = range(floor + 1, as_of + 1) if touched_by is None else touched_by
    pages: dict[int, bytes] = {}
    for txid in reversed(candidates):
        if not missing:
            break
        if not floor < txid <= as_of:
            continue
        delta = core.blobs.delta(readable, keys, txid)
        if delta is None:
            raise ShardCoverageMissing(f"delta {txid} of branch {keys.number} is missing while shard {shard} is folded")
        for number in [number for number in missing if number in delta]:
            pages[number] = delta[number]
            del missing[number]
    if missing:
        pages.update(_older(core, readable, keys, shard, base, as_of, list(missing)))
    return dict(sorted(pages.items()))


def _older(
    core: Core, readable: Readable, keys: BranchKeys, shard: int, base: int | None, as_of: int, numbers: Sequence[int]
) -> dict[int, bytes]:
    """The pages that no delta since the base has."""
    if base is not None:
        version = core.blobs.shard(readable, keys, shard, base)
        assert version is not None, f"COMP-1: version {base} of shard {shard} went while it was read"
        source, found = f"version {base}", {number: version[number] for number in numbers if number in version}
    else:
        record = core.sources.record(readable, keys.branch_id)
        source, found = "any delta", {}
        if record is not None and record.parent:
            source = f"branch {int.from_bytes(record.parent, 'big')}"
            cap = record.parent_txid
            found = {number: core.sources.page(readable, keys, number, cap) for number in numbers}
    for number in numbers:
        if number not in found:
            raise ShardCoverageMissing(
                f"page {number} of branch {keys.number} is not in {source} of shard {shard}, "
                f"and no delta up to {as_of} has it"
            )
    return found
