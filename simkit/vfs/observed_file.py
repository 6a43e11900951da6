"""A main file that tells the history what SQLite was given, and what was committed.

For ISO-1 as an insider sees it. Content is told by its hash, taken from the very bytes that go to SQLite and to the
depot: neither the page cache nor anybody's idea of a version has a say in it, so a stale cache, a page of zeros and an
altered byte all show. Asks the depot for nothing and never waits, so a run does the same with and without it.

What counts as seen: whole pages within the size that the database had when the transaction began, unless the handle
wrote them itself and has not committed yet; and bytes 24 to 39 of page 1, by which SQLite tells whether its own cache
is still good, as page 0. Other parts of pages do not count, nor does what is read without a lock. Pages that SQLite has
in its own cache are not asked for again: page 0 stands for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

import apsw

from simkit.vfs.database import Database
from simkit.vfs.events import PagesCommitted, PagesSeen
from simkit.vfs.main_file import MainFile

STAMP = 0
"""The page number that stands for the stamp of the version, part of page 1."""

_STAMP_BEGIN, _STAMP_END = 24, 40
_HASH_BYTES = 8


def content_hash(content: bytes) -> int:
    """A number of 64 bits that tells contents apart, the same in every process."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=_HASH_BYTES).digest(), "big")


def observe_commits(database: Database) -> None:
    """Has the content of each commit of this database told, whichever way the commit is made."""
    database.storage.on_commit = partial(_tell_commit, database)


def _tell_commit(database: Database, pages: Mapping[int, bytes]) -> None:
    hashes = [(number, content_hash(page)) for number, page in pages.items()]
    if 1 in pages:
        hashes.append((STAMP, content_hash(pages[1][_STAMP_BEGIN:_STAMP_END])))
    kernel = database.kernel
    task = kernel.require_task("commit")
    kernel.record(PagesCommitted(kernel.now, task.name, database.storage.instance, tuple(hashes)))


class ObservedFile(MainFile):
    """One handle on the main file, observed."""

    __slots__ = ("_operation", "_own", "_seen", "_size")

    def __init__(self, database: Database, writable: bool) -> None:
        super().__init__(database, writable)
        self._operation = -1
        #: pages that count when they are read: those up to this number; 0 outside a transaction
        self._size = 0
        #: pages written and not committed yet
        self._own: set[int] = set()
        #: (number, hash); a dict for its order
        self._seen: dict[tuple[int, int], None] = {}

    def xRead(self, amount: int, offset: int) -> bytes:
        content = super().xRead(amount, offset)
        if self._size:
            self._note(content, offset)
        return content

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        page_size = self._database.page_size
        self._own.update(range(offset // page_size + 1, (offset + len(data) - 1) // page_size + 2))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._size = min(self._size, self._database.page_count)

    def xSync(self, flags: int) -> None:
        if self._database.dirty:
            self._tell(commits=True)
            super().xSync(flags)
            self._own.clear()
            self._size = self._database.page_count

    def xFileControl(self, operation: int, pointer: int) -> bool:
        commits = operation == apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE and bool(self._database.dirty)
        if commits:
            self._tell(commits=True)
        handled = super().xFileControl(operation, pointer)
        if commits and handled:
            self._own.clear()
            self._size = self._database.page_count
        return handled

    def xLock(self, level: int) -> None:
        locks = self._database.locks
        before = locks.level(self)
        super().xLock(level)
        if before == apsw.SQLITE_LOCK_NONE != locks.level(self):
            task = self._database.kernel.current
            self._operation = task.operation_number if task is not None else -1
            self._size = self._database.page_count

    def xUnlock(self, level: int) -> None:
        if level == apsw.SQLITE_LOCK_NONE:
            self._tell(commits=False)
            self._size = 0
        super().xUnlock(level)
        # What was written is committed by now, or the database has forgotten it.
        self._own.clear()

    def _note(self, content: bytes, offset: int) -> None:
        page_size = self._database.page_size
        end = offset + len(content)
        if offset <= _STAMP_BEGIN and _STAMP_END <= end < page_size and 1 not in self._own:
            stamp = content[_STAMP_BEGIN - offset : _STAMP_END - offset]
            self._seen[STAMP, content_hash(stamp)] = None
        for number in range(-(-offset // page_size) + 1, min(end // page_size, self._size) + 1):
            if number not in self._own:
                begin = (number - 1) * page_size - offset
                self._seen[number, content_hash(content[begin : begin + page_size])] = None

    def _tell(self, commits: bool) -> None:
        if not self._seen:
            return
        database, kernel = self._database, self._database.kernel
        task = kernel.current
        name = task.name if task is not None else ""
        pages = tuple(self._seen)
        self._seen.clear()
        kernel.record(
            PagesSeen(kernel.now, name, database.storage.instance, self.number, self._operation, pages, commits)
        )
