"""The search for the content of a page at a version, in the deltas and shards of a branch and of its ancestors.

Upholds ISO-2 and the read side of COMP-1: a source is used only where it is proven to hold the page as of the asked
version; otherwise the read is an error, never zeros. The proofs rest on four rules of the data:

1. A database that grows brings every new page along, so a page within the size was written since it was last cut off.
2. A row of the page index names the newest commit of its page; rows are missing only for pages cut off, and for pages
   whose newest commit compaction has folded.
3. Up to the hot watermark every kept version has the full content of each shard in the newest version of that shard
   which is not younger; above the watermark every commit has its delta.
4. What a derived branch has folded itself is complete, so its own shard wins over every ancestor.

Not proven is the third rule itself: where the newest version of a shard is gone with all its rows, an older one is
taken for it. That is for the checks to find.

A search is a generator of questions to the store and does not read itself: whoever drives it may let others come in
before each answer, or answer that something is missing. Driving it at one instant is the matter of sources.py, over
time that of read.py.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal, NamedTuple

from simkit.depot.blobs import Pages
from simkit.depot.errors import ShardCoverageMissing
from simkit.depot.keys import BranchKeys


class Source(NamedTuple):
    """A branch whose commits up to and with `cap` count."""

    keys: BranchKeys
    cap: int


class Question(NamedTuple):
    """What a search wants to know of one branch.

    The answers, by kind:

    owner: what the page index says of page `number`, a txid or None.
    newest: the newest commit above the watermark up to `cap` that wrote page `number`, or whose delta is lost; or None.
    delta: the pages of commit `number`, None when its delta is missing.
    shard: as of which commit the newest version of shard `number` up to `cap` is, and its pages (None: lost); None
        when the branch has no such version.
    """

    kind: Literal["owner", "newest", "delta", "shard"]
    keys: BranchKeys
    number: int = 0
    cap: int = 0


Search = Generator[Question, Any, bytes]


def search(lineage: Sequence[Source], number: int, shard_pages: int) -> Search:
    """Finds a page within the size of the version at the first source. Raises ShardCoverageMissing."""
    for source in lineage:
        page = yield from _search_branch(source, number, number // shard_pages)
        if page is not None:
            return page
    keys, cap = lineage[0]
    raise ShardCoverageMissing(f"page {number} at commit {cap} of branch {keys.number}: no delta and no shard holds it")


def _search_branch(source: Source, number: int, shard: int) -> Generator[Question, Any, bytes | None]:
    """The page as this branch has it; None when it was last written before the branch began."""
    keys, cap = source
    owner = yield Question("owner", keys, number)
    if owner is not None and owner <= cap:
        return (yield from _in_delta(source, number, shard, owner, "its owner"))
    newest = yield Question("newest", keys, number, cap)
    if newest is not None:
        return (yield from _in_delta(source, number, shard, newest, "which wrote it"))
    return (yield from _newest_in_shard(source, number, shard, 0))


def _in_delta(source: Source, number: int, shard: int, txid: int, why: str) -> Generator[Question, Any, bytes]:
    """The page from the delta that has to have it."""
    keys = source.keys
    pages: Pages | None = yield Question("delta", keys, txid)
    if pages is None:
        return (yield from _proven_by_shard(source, number, shard, txid))
    if number not in pages:
        raise ShardCoverageMissing(f"page {number} is not in delta {txid} of branch {keys.number}, {why}")
    return pages[number]


def _proven_by_shard(source: Source, number: int, shard: int, missing: int) -> Generator[Question, Any, bytes]:
    """The page from a shard that is not older than the delta which is missing."""
    page = yield from _newest_in_shard(source, number, shard, missing)
    if page is None:
        raise ShardCoverageMissing(
            f"delta {missing} of branch {source.keys.number} is missing, and no version of shard {shard} covers page "
            f"{number}"
        )
    return page


def _newest_in_shard(
    source: Source, number: int, shard: int, first_as_of: int
) -> Generator[Question, Any, bytes | None]:
    keys, cap = source
    version: tuple[int, Pages | None] | None = yield Question("shard", keys, shard, cap)
    if version is None:
        return None
    as_of, pages = version
    if as_of < first_as_of:
        return None
    page = pages.get(number) if pages is not None else None
    if page is None:
        lost = "is lost" if pages is None else f"lacks page {number}"
        raise ShardCoverageMissing(f"shard {shard} as of commit {as_of} of branch {keys.number} {lost}")
    return page
