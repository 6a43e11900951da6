"""The state of one open database in one instance: pages not durable yet, the page cache, size, locks, aux files.

Upholds DUR-2 and DUR-3: written pages are buffered and leave in one commit, at xSync, which returns after the reply.
Nothing else publishes them: closing or dropping an instance and giving up the write lock discard the buffer, so pages
of a transaction that SQLite has not committed never become durable, not even when its rollback failed.

Only a fence mismatch is fatal (`death`); any other failure fails one callback and leaves the instance usable. A failed
commit may have happened all the same: SQLite then rolls back and syncs the old content, and the head fence tells which
it was.

Pages between the smallest size since the last commit (`low_water`) and the present size read as zeros until they are
written, whatever the depot still holds there.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from simkit.depot.errors import CommitTooLarge, DepotError, QuotaExceeded
from simkit.depot.storage import DirectStorage
from simkit.vfs.cache import PageCache
from simkit.vfs.errors import InstanceDead, StorageFailed
from simkit.vfs.events import (
    FileClosed,
    FileOpened,
    InstanceDied,
    SyncReturned,
    SyncStarted,
    TransactionBegan,
    TransactionEnded,
    VfsRegistered,
    VfsUnregistered,
)
from simkit.vfs.locks import LockTable
from simkit.vfs.settings import VfsSettings


class Database:
    """One instance's view of its database. Call `open` in a task before use."""

    def __init__(self, storage: DirectStorage, settings: VfsSettings) -> None:
        self.storage = storage
        self.settings = settings
        self.kernel = storage.kernel
        self.page_size = storage.page_size
        self.page_count = 0
        self.low_water = 0
        self.dirty: dict[int, bytes] = {}
        self.cache = PageCache(settings.page_cache_pages)
        self.locks = LockTable()
        #: content of journals and temporary files by name; gone with the process
        self.aux: dict[str, bytearray] = {}
        self.death: str | None = None
        #: called with the name of each storage operation before it happens, when set: for crash points
        self.on_io: Callable[[str], None] | None = None
        #: main-file handles opened so far
        self.handles = 0
        #: numbers of those that are open
        self.open_handles: set[int] = set()
        #: False for whoever only inspects the database: what it does is no part of the history
        self._observed = not storage.immediate
        self._zeros = bytes(self.page_size)
        #: the last commit was refused for its size
        self._refused = False
        #: size and low water at the last moment when nothing was buffered
        self._settled = (0, 0)

    def open(self) -> None:
        """Learns size and head from the depot. Raises `StorageFailed`."""
        try:
            reply = self.storage.open()
        except DepotError as error:
            raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
        self.page_count = self.low_water = reply.page_count
        self._settled = (reply.page_count, reply.page_count)
        if reply.pages[0] is not None:
            self.cache.put(1, reply.pages[0])

    def die(self, cause: str) -> None:
        """Refuses every further operation on the main file. The first cause is kept."""
        if self.death is None:
            self.death = cause

    def require_alive(self) -> None:
        """Raises `InstanceDead` once `die` was called."""
        if self.death is not None:
            raise InstanceDead(f"{self.storage.instance} is dead: {self.death}")

    def read_page(self, number: int) -> bytes:
        """The content of a page within the size: buffered, cached, or fetched."""
        page = self.dirty.get(number)
        if page is None:
            page = self.cache.pages.get(number)
            if page is None:
                return self._fetch(number)
        return page

    def write_page(self, number: int, page: bytes) -> None:
        """Buffers a whole page; the database grows to hold it."""
        self.dirty[number] = page
        self.page_count = max(self.page_count, number)

    def begin(self) -> None:
        """A handle may write from here on: what `discard` returns to."""
        if not self.dirty:
            self._settled = (self.page_count, self.low_water)

    def discard(self) -> None:
        """Forgets the buffered pages: the writer gives up its lock and has not committed them (DUR-2)."""
        self.dirty.clear()
        self.page_count, self.low_water = self._settled

    # What handles do, for the history

    def registered(self, known: bool) -> None:
        """SQLite knows the VFS of this instance, or does not any more."""
        if self._observed:
            event = VfsRegistered if known else VfsUnregistered
            self.kernel.record(event(self.kernel.now, self._task_name(), self.storage.instance))

    def handle_opened(self, writable: bool) -> int:
        """The number of a new handle on the main file."""
        self.handles += 1
        self.open_handles.add(self.handles)
        if self._observed:
            self.kernel.record(
                FileOpened(self.kernel.now, self._task_name(), self.storage.instance, self.handles, writable)
            )
        return self.handles

    def handle_closed(self, handle: int) -> None:
        self.open_handles.discard(handle)
        if self._observed:
            self.kernel.record(FileClosed(self.kernel.now, self._task_name(), self.storage.instance, handle))

    def transaction_began(self, handle: int) -> None:
        if self._observed:
            kernel, storage = self.kernel, self.storage
            task = kernel.current
            name, operation = ("", -1) if task is None else (task.name, task.operation_number)
            kernel.record(TransactionBegan(kernel.now, name, storage.instance, handle, operation, storage.head or 0))

    def transaction_ended(self, handle: int) -> None:
        if self._observed:
            self.kernel.record(TransactionEnded(self.kernel.now, self._task_name(), self.storage.instance, handle))

    def _task_name(self) -> str:
        task = self.kernel.current
        return task.name if task is not None else ""

    def forget_aux(self, name: str) -> None:
        """Deletes an auxiliary file; handles that are open keep its content."""
        self.aux.pop(name, None)

    def truncate(self, page_count: int) -> None:
        """Cuts the database. What lay beyond leaves buffer and cache; the depot hears of it with the next commit.

        With nothing buffered it is the end of a commit: SQLite cuts the file after it synced, while it has the lock.
        """
        for number in [number for number in self.dirty if number > page_count]:
            del self.dirty[number]
        self.cache.drop_beyond(page_count)
        self.page_count = page_count
        self.low_water = min(self.low_water, page_count)
        if not self.dirty:
            self._settled = (self.page_count, self.low_water)

    def sync(self, handle: int = 0) -> None:
        """Commits the buffered pages, and returns when the depot acknowledged them (DUR-3).

        A cancellation of the task waits for that: what it would leave behind is a commit that nobody knows of.
        """
        if self._refused:
            self._drop_unchanged()
        if not self.dirty:
            return
        kernel, instance = self.kernel, self.storage.instance
        task = kernel.require_task("sync")
        operation = task.operation_number
        kernel.record(SyncStarted(kernel.now, task.name, instance, operation, len(self.dirty), handle))
        with kernel.shield():
            self.commit()
        kernel.record(SyncReturned(kernel.now, task.name, instance, operation))

    def commit(self) -> None:
        """Sends the buffered pages and the size as one commit."""
        for number in range(self.low_water + 1, self.page_count + 1):
            if number not in self.dirty:
                self.dirty[number] = self._zeros
        pages = {number: self.dirty[number] for number in sorted(self.dirty)}
        page_count = self.page_count
        try:
            self.storage.commit(pages, page_count)
        except DepotError as error:
            self._refused = isinstance(error, QuotaExceeded | CommitTooLarge)
            raise self._failure(error, apsw.SQLITE_IOERR_FSYNC) from error
        self._refused = False
        self.low_water = page_count
        self._settled = (page_count, page_count)
        self.cache.put_all(pages)
        self.dirty.clear()

    def _drop_unchanged(self) -> None:
        """Forgets buffered pages that are what the depot holds.

        After a commit that was refused for its size, SQLite writes back what was there before. Sent as a commit, that
        would be refused as well, and no statement of this instance would ever succeed again.
        """
        durable_count, _ = self._settled
        if self.page_count != durable_count:
            return
        numbers = [number for number in sorted(self.dirty) if number <= durable_count]
        try:
            missing = tuple(number for number in numbers if number not in self.cache.pages)
            fetched = dict(zip(missing, self.storage.get_pages(missing), strict=True)) if missing else {}
        except DepotError as error:
            raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
        for number in numbers:
            durable = fetched[number] if number in fetched else self.cache.pages[number]
            if self.dirty[number] == durable:
                del self.dirty[number]
        self._refused = False

    def _fetch(self, number: int) -> bytes:
        if number > self.low_water:
            return self._zeros
        commits = self.storage.commits
        try:
            page = self.storage.get_pages((number,))[0]
        except DepotError as error:
            raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
        if page is None:
            raise StorageFailed(f"the depot has no page {number} of {self.page_count}", apsw.SQLITE_IOERR_READ)
        # A reply older than the newest commit must not outlive this read.
        if self.storage.commits == commits:
            self.cache.put(number, page)
        return page

    def _failure(self, error: DepotError, extended_result: int) -> StorageFailed:
        message = f"{error.code}: {error}"
        if not error.fatal:
            failure = StorageFailed(message, extended_result)
            match error:
                case QuotaExceeded():
                    failure.result = failure.extendedresult = apsw.SQLITE_FULL
                case CommitTooLarge():
                    failure.result = failure.extendedresult = apsw.SQLITE_TOOBIG
            return failure
        if self.death is None:
            kernel = self.kernel
            task = kernel.current
            kernel.record(
                InstanceDied(kernel.now, task.name if task is not None else "", self.storage.instance, error.code)
            )
        self.die(message)
        return InstanceDead(message, extended_result)
