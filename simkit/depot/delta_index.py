"""Which commit above the watermark wrote a page last, asked in one go instead of by a look into every delta.

For each branch a map from pages to the commits that brought them, made from the deltas themselves and carried on as the
head grows; what the watermark passes is dropped. The content of a page never comes from here, only the commit in whose
delta it is looked up. A delta that was missing or could not be decoded when its turn came counts as one with every
page, so that a search meets it and has to find proof elsewhere.

What a delta was seen to hold stays true, because a commit is never written again. So a version is answered whichever
snapshot asks, an old one in the middle of a transaction, too.
"""

from __future__ import annotations

from bisect import bisect_right

from simkit.depot.blobs import Blobs, Readable
from simkit.depot.keys import BranchKeys
from simkit.depot.ltx import BlobCorrupt


class DeltaIndex:
    """The newest commit of each page, by branch."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._branches: dict[bytes, _Written] = {}

    def newest(self, readable: Readable, keys: BranchKeys, number: int, watermark: int, cap: int) -> int | None:
        """The newest commit above `watermark` up to `cap` that wrote a page, or whose delta is lost; None for none."""
        if cap <= watermark:
            return None
        written = self._branches.get(keys.branch_id)
        if written is None or written.top < watermark:
            written = self._branches[keys.branch_id] = _Written(watermark)
        elif written.floor > watermark:
            # An old snapshot, from before the last move of the watermark: too rare to keep anything for it.
            written = _Written(watermark)
        written.drop_to(watermark)
        for txid in range(written.top + 1, cap + 1):
            written.append(txid, self._pages_of(readable, keys, txid))
        return written.newest(number, cap)

    def _pages_of(self, readable: Readable, keys: BranchKeys, txid: int) -> tuple[int, ...] | None:
        try:
            pages = self._blobs.delta(readable, keys, txid)
        except BlobCorrupt:
            return None
        return None if pages is None else tuple(pages)


class _Written:
    """The commits of one branch above `floor` up to and with `top`."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.top = floor
        self._pages: dict[int, tuple[int, ...] | None] = {}
        #: ascending, like the lists of commits by page
        self._lost: list[int] = []
        self._commits: dict[int, list[int]] = {}

    def append(self, txid: int, pages: tuple[int, ...] | None) -> None:
        """Adds the next commit; None for its pages means that nobody knows them."""
        assert txid == self.top + 1, f"COMP-1: commit {txid} does not follow {self.top}"
        self.top = txid
        self._pages[txid] = pages
        if pages is None:
            self._lost.append(txid)
        for number in pages or ():
            self._commits.setdefault(number, []).append(txid)

    def drop_to(self, floor: int) -> None:
        """Forgets the commits up to and with `floor`."""
        while self.floor < floor:
            self.floor += 1
            pages = self._pages.pop(self.floor)
            if pages is None:
                del self._lost[0]
            for number in pages or ():
                commits = self._commits[number]
                del commits[0]
                if not commits:
                    del self._commits[number]

    def newest(self, number: int, cap: int) -> int | None:
        """The newest commit up to `cap` that has the page, or may have it."""
        commits = self._commits.get(number, ())
        known, lost = bisect_right(commits, cap), bisect_right(self._lost, cap)
        return max(commits[known - 1] if known else 0, self._lost[lost - 1] if lost else 0) or None
