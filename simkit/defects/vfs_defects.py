"""Broken VFS parts: databases and storages that publish too early, too late, too often, or hide an error.

They break DUR-1, DUR-2, DUR-3, PROG-3 and DET-1 on purpose by overriding one operation of the instance's view of its
database. The depot below and SQLite above are the real ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress

from simkit.depot.errors import DepotError
from simkit.depot.request import Reply
from simkit.depot.storage import DirectStorage
from simkit.kernel import Lock
from simkit.kernel.units import MICROSECOND, MILLISECOND
from simkit.vfs.database import Database
from simkit.vfs.errors import StorageFailed
from simkit.vfs.events import SyncReturned, SyncStarted
from simkit.vfs.settings import VfsSettings

_BUFFERED_PAGES_MAX = 4
_RETRY_AFTER_NS = 10 * MILLISECOND


class SyncAcksBeforeCommit(Database):
    """Answers xSync at once and commits in the background, one commit after the other.

    Reads of the depot wait for the commits under way, so that nothing but the early answer is wrong.
    """

    def __init__(self, storage: DirectStorage, settings: VfsSettings) -> None:
        super().__init__(storage, settings)
        self._order = Lock(self.kernel, f"{storage.instance}.background commits")
        self._unwritten: dict[int, bytes] = {}

    def sync(self, handle: int = 0) -> None:
        if not self.dirty:
            return
        kernel, instance = self.kernel, self.storage.instance
        task = kernel.require_task("sync")
        operation = task.operation_number
        kernel.record(SyncStarted(kernel.now, task.name, instance, operation, len(self.dirty), handle))
        for number in range(self.low_water + 1, self.page_count + 1):
            self.dirty.setdefault(number, self._zeros)
        pages = {number: self.dirty[number] for number in sorted(self.dirty)}
        self._unwritten.update(pages)
        self.low_water = self.page_count
        self.dirty.clear()
        kernel.spawn(self._commit_later, pages, self.page_count, operation, name="background commit", background=True)
        kernel.record(SyncReturned(kernel.now, task.name, instance, operation))

    def read_page(self, number: int) -> bytes:
        page = self._unwritten.get(number)
        return page if page is not None and number not in self.dirty else super().read_page(number)

    def _commit_later(self, pages: Mapping[int, bytes], page_count: int, operation: int) -> None:
        self.kernel.require_task("commit").context = operation
        with self._order:
            if self.death is not None:
                return  # the process is gone, and with it what it had not sent
            try:
                self.storage.commit(pages, page_count)
            except DepotError as error:
                self.die(f"a background commit failed: {error}")
                return
            for number, page in pages.items():
                if self._unwritten.get(number) is page:
                    del self._unwritten[number]
                    self.cache.put(number, page)

    def fetch(
        self, numbers: tuple[int, ...], ranged: bool = False, overflow: dict[int, bytes] | None = None
    ) -> list[bytes | None]:
        with self._order:
            return super().fetch(numbers, ranged, overflow)


class FlushPublishesUncommitted(Database):
    """Empties its write buffer into the depot when it holds four pages, wherever SQLite is in its transaction."""

    def write_page(self, number: int, page: bytes) -> None:
        super().write_page(number, page)
        if len(self.dirty) > _BUFFERED_PAGES_MAX:
            self.commit()


class ReadErrorAsEmpty(Database):
    """Takes an error of the depot for "there is nothing": no database when it opens, zeros when it reads."""

    def open(self) -> None:
        try:
            super().open()
        except StorageFailed:
            if self.death is not None:
                raise
            self.page_count = self.low_water = 0

    def fetch(
        self, numbers: tuple[int, ...], ranged: bool = False, overflow: dict[int, bytes] | None = None
    ) -> list[bytes | None]:
        try:
            return super().fetch(numbers, ranged, overflow)
        except StorageFailed:
            if self.death is not None:
                raise
            return [self._zeros] * len(numbers)


class TransientErrorPoisons(Database):
    """Takes a read that failed for the loss of the database."""

    def fetch(
        self, numbers: tuple[int, ...], ranged: bool = False, overflow: dict[int, bytes] | None = None
    ) -> list[bytes | None]:
        try:
            return super().fetch(numbers, ranged, overflow)
        except StorageFailed as failure:
            self.die(str(failure))
            raise


class FatalErrorRetried(Database):
    """Repeats a failed commit until it works, whatever the error says."""

    def commit(self) -> None:
        while True:
            try:
                super().commit()
            except StorageFailed:
                self.kernel.sleep(_RETRY_AFTER_NS)
            else:
                return


class FailedCommitTakenForNothing(Database):
    """Takes a commit that failed for one that did not happen: learns the head anew, and spares itself the rollback."""

    _spared = False

    def commit(self) -> None:
        try:
            super().commit()
        except StorageFailed:
            if self.death is None:
                self._spared = True
                self.storage.head = None
                with suppress(DepotError):
                    self.storage.open()
            raise

    def sync(self, handle: int = 0) -> None:
        if self._spared:
            # The old pages, which SQLite puts back: the depot has them, or so this believes.
            self._spared = False
            self.discard()
        else:
            super().sync(handle)


class CountingStorage(DirectStorage):
    """Waits before each read for a time that depends on how many reads this process has made, in whatever run."""

    _reads_of_process = itertools.count(1)

    def get_pages(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        self._wait()
        return super().get_pages(numbers, overflow)

    def open(self, numbers: tuple[int, ...] = (1,)) -> Reply:
        self._wait()
        return super().open(numbers)

    def _wait(self) -> None:
        self.kernel.sleep(next(self._reads_of_process) % 1_009 * MICROSECOND)
