"""What each branch of a depot holds at each commit, told from the commits themselves: the yardstick of COMP-1.

The content of a version is a checksum of 64 bits, the exclusive or of one hash for each page, taken from its number and
bytes. So a commit costs its own pages however large the database is, and two versions are equal when their checksums
are. Which pages differ is told from the hashes of the single pages, kept with the commits that brought them.

The newest content of a branch is kept as it is, too: it is compared byte by byte, which needs no hashes, and commits
are hashed only when somebody asks for an older version, or many of them have gathered.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Mapping

_PENDING_PAGES_MAX = 1024
_HASH_BYTES = 8
_ABSENT = 0
"""Stands for the hash of a page beyond the size."""

Pages = Mapping[int, bytes]


def page_hash(number: int, content: bytes) -> int:
    """A number of 64 bits that tells pages apart, by their numbers as well, the same in every process."""
    hasher = hashlib.sha1(content, usedforsecurity=False)
    hasher.update(number.to_bytes(4, "big"))
    return int.from_bytes(hasher.digest()[:_HASH_BYTES], "big")


def checksum_of(pages: Pages) -> int:
    """The checksum of a whole database."""
    checksum = 0
    for number, content in pages.items():
        checksum ^= page_hash(number, content)
    return checksum


class _Branch:
    """One branch. `latest` is None where the newest content is known by its hashes alone."""

    def __init__(self) -> None:
        self.latest: dict[int, bytes] | None = {}
        self.newest = 0
        #: commits that were not hashed yet: (transaction, size, pages)
        self.pending: list[tuple[int, int, Pages]] = []
        self.pending_pages = 0
        self.checksums: dict[int, int] = {}
        #: of the newest commit that was hashed
        self.size = 0
        self.checksum = 0
        #: by page: transactions that changed it, and its hash since
        self.changes: dict[int, list[tuple[int, int]]] = {}
        self._own: set[int] | None = None

    def copy(self) -> _Branch:
        twin = _Branch()
        twin.latest = dict(self.latest) if self.latest is not None else None
        twin.newest, twin.size, twin.checksum = self.newest, self.size, self.checksum
        twin.pending, twin.pending_pages = list(self.pending), self.pending_pages
        twin.checksums, twin.changes = dict(self.checksums), dict(self.changes)
        twin._own = set()
        return twin

    def commit(self, txid: int, page_count: int, pages: Pages) -> None:
        if self.latest is not None:
            shrinks = len(self.latest) > page_count
            self.latest.update(pages)
            if shrinks:
                self.latest = {number: page for number, page in self.latest.items() if number <= page_count}
        self.newest = txid
        self.pending.append((txid, page_count, pages))
        self.pending_pages += len(pages)
        if self.pending_pages > _PENDING_PAGES_MAX:
            self.fold()

    def fold(self) -> None:
        """Hashes what was not hashed yet."""
        for txid, page_count, pages in self.pending:
            for number, content in pages.items():
                if number <= page_count:
                    self._change(txid, number, page_hash(number, content))
            for number in range(page_count + 1, self.size + 1):
                self._change(txid, number, _ABSENT)
            self.size = page_count
            self.checksums[txid] = self.checksum
        self.pending.clear()
        self.pending_pages = 0

    def _change(self, txid: int, number: int, hashed: int) -> None:
        changes = self.changes.get(number)
        if changes is None:
            changes = self.changes[number] = []
            if self._own is not None:
                self._own.add(number)
        elif self._own is not None and number not in self._own:
            self._own.add(number)
            changes = self.changes[number] = list(changes)
        before = changes[-1][1] if changes else _ABSENT
        if hashed != before:
            self.checksum ^= before ^ hashed
            changes.append((txid, hashed))

    def hash_at(self, number: int, txid: int) -> int:
        """The hash of a page at a version."""
        changes = self.changes.get(number, [])
        place = bisect_right(changes, txid, key=lambda change: change[0])
        return changes[place - 1][1] if place else _ABSENT

    def forget(self, kept: Collection[int]) -> None:
        """Forgets the versions that nobody will ask for any more."""
        oldest = min(kept)
        self.checksums = {txid: checksum for txid, checksum in self.checksums.items() if txid in kept or txid > oldest}
        for number, changes in self.changes.items():
            place = bisect_right(changes, oldest, key=lambda change: change[0])
            if place > 1:
                self.changes[number] = changes[place - 1 :]
                if self._own is not None:
                    self._own.add(number)


class Contents:
    """The contents of all branches, by number of the branch and transaction."""

    def __init__(self) -> None:
        self._branches: dict[int, _Branch] = {}
        #: branches that begin with something nobody knows
        self._unknown: set[int] = set()

    def copy(self) -> Contents:
        twin = Contents()
        twin._branches = {number: branch.copy() for number, branch in self._branches.items()}
        twin._unknown = set(self._unknown)
        return twin

    def __contains__(self, branch: object) -> bool:
        return branch in self._branches or branch in self._unknown

    def commit(self, branch: int, txid: int, page_count: int, pages: Pages) -> None:
        """A commit became durable: the pages that it brought, and the size that it left.

        On a branch that begins with something unknown it tells nothing, because most pages of it are not in the commit.
        """
        if branch in self._unknown:
            return
        known = self._branches.get(branch)
        if known is None:
            known = self._branches[branch] = _Branch()
        known.commit(txid, page_count, pages)

    def derive(self, branch: int, parent: int, txid: int) -> None:
        """A branch was derived from another one at a commit.

        When that commit is unknown, or was forgotten since nothing kept it any more, the whole branch is unknown.
        """
        origin = self._branches.get(parent)
        if origin is not None:
            origin.fold()
        if origin is None or txid not in origin.checksums:
            self._unknown.add(branch)
            return
        derived = _Branch()
        if txid == origin.newest:
            derived.latest = dict(origin.latest) if origin.latest is not None else None
        else:
            derived.latest = None
        for number in origin.changes:
            hashed = origin.hash_at(number, txid)
            if hashed != _ABSENT:
                derived.changes[number] = [(txid, hashed)]
                derived.checksum ^= hashed
        derived.size = max(derived.changes, default=0)
        derived.newest = txid
        derived.checksums[txid] = derived.checksum
        self._branches[branch] = derived

    def checksum(self, branch: int, txid: int) -> int | None:
        """The checksum of a version; None when nothing is known of it."""
        known = self._branches.get(branch)
        if known is None:
            return None
        known.fold()
        return known.checksums.get(txid)

    def is_latest(self, branch: int, txid: int, pages: Pages) -> bool:
        """Whether a version is the newest one of its branch, and these are its pages."""
        known = self._branches.get(branch)
        return known is not None and known.newest == txid and known.latest == pages

    def differing(self, branch: int, txid: int, pages: Pages) -> list[int]:
        """The numbers of the pages that are not what was committed, or are missing. The version must be known."""
        known = self._branches[branch]
        known.fold()
        wrong = {
            number for number, content in pages.items() if page_hash(number, content) != known.hash_at(number, txid)
        }
        wrong.update(
            number for number in known.changes if number not in pages and known.hash_at(number, txid) != _ABSENT
        )
        return sorted(wrong)

    def shard_problem(self, branch: int, txid: int, pages: Pages) -> str | None:
        """How some pages of a version differ from what was committed; "" when they do not, None: not known."""
        known = self._branches.get(branch)
        if known is None:
            return None
        known.fold()
        if not known.checksums or txid < min(known.checksums):
            return None
        wrong = [number for number, page in pages.items() if page_hash(number, page) != known.hash_at(number, txid)]
        return f"page {wrong[0]} (of {len(wrong)}) is not what was committed" if wrong else ""

    def forget(self, branch: int, kept: Collection[int]) -> None:
        """Forgets the versions of a branch below the oldest of these that are not among them."""
        known = self._branches.get(branch)
        if known is not None and kept and len(known.checksums) + len(known.pending) > 64 + 2 * len(kept):
            known.fold()
            known.forget(kept)
