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

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apsw

from simkit.depot.errors import CommitTooLarge, DepotError, HeadFenceMismatch, QuotaExceeded
from simkit.depot.records import PreloadHints
from simkit.depot.storage import DirectStorage
from simkit.kernel import Event, Group
from simkit.vfs.batch_atomic import batch_atomic_supported
from simkit.vfs.counters import PageCounters
from simkit.vfs.errors import InstanceDead, StorageFailed
from simkit.vfs.events import (
    FileClosed,
    FileOpened,
    FlushGivenUp,
    InstanceDied,
    SyncReturned,
    SyncStarted,
    TransactionBegan,
    TransactionEnded,
    VfsRegistered,
    VfsUnregistered,
)
from simkit.vfs.hint_flush import HintFlush
from simkit.vfs.locks import LockTable
from simkit.vfs.page_cache import PageCache
from simkit.vfs.preload import hinted_pages
from simkit.vfs.ranges import is_range
from simkit.vfs.read_ahead import BTREE_TYPES
from simkit.vfs.recent_pages import RecentPages
from simkit.vfs.resolver import Resolver
from simkit.vfs.settings import VfsSettings

_TRACE_MAX = 4_096
"""Pages found in memory that are noted before they are counted."""


@dataclass(frozen=True)
class _Atomic:
    """What a batch-atomic write began with: the buffer, size and low water."""

    dirty: dict[int, bytes]
    page_count: int
    low_water: int


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
        self.cache = self.make_cache()
        #: what is worth loading at the next open; None when nobody is told
        self.recent: RecentPages | None = None
        self._hint_flush: HintFlush | None = None
        self._resolver = self.make_resolver()
        self._cached, self._trace = self.cache.pages, self._resolver.trace
        self._atomic: _Atomic | None = None
        #: why the last batch-atomic write failed, until SQLite was told by a sync
        self._atomic_failure: StorageFailed | None = None
        #: commits that were made as batch-atomic writes
        self.atomic_commits = 0
        #: the first failure since the storage last did what it was asked for
        self.last_failure: StorageFailed | None = None
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
        self._committing = False
        #: made by whoever waits for the commit under way
        self._committed: Event | None = None
        #: size and low water at the last moment when nothing was buffered
        self._settled = (0, 0)

    def make_cache(self) -> PageCache:
        return PageCache.with_settings(self.settings)

    def make_resolver(self) -> Resolver:
        return Resolver(self)

    def open(self) -> None:
        """Learns size and head from the depot, and loads the first pages. Raises `StorageFailed`."""
        settings = self.settings
        first_pages = min(settings.preload_first_pages, max(1, settings.preload_bytes_max // self.page_size))
        try:
            reply = self.storage.open(tuple(range(1, first_pages + 1)))
        except DepotError as error:
            raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
        self.page_count = self.low_water = reply.page_count
        self._settled = (reply.page_count, reply.page_count)
        self._resolver.counters.preloaded_pages += first_pages
        if settings.keeps("startup"):
            if reply.pages[0] is not None:
                self.cache.put(1, reply.pages[0])
            self._keep_loaded(zip(range(2, first_pages + 1), reply.pages[1:], strict=False))
        hints = reply.value if isinstance(reply.value, PreloadHints) else PreloadHints()
        if self._hint_flush is not None:
            self._hint_flush.begin(hints)
        if self._observed:
            self._preload(hinted_pages(hints, settings, self.page_size, first_pages, reply.page_count))

    def _preload(self, numbers: tuple[int, ...]) -> None:
        """Loads pages on the advice of earlier instances. Raises `StorageFailed` only for what ends the instance."""
        if not numbers:
            return
        storage = self.storage
        commits = storage.commits
        self._resolver.counters.preloaded_pages += len(numbers)
        ask = storage.get_range if is_range(numbers, self.settings, self.page_size) else storage.get_pages
        try:
            pages = ask(numbers)
        except DepotError as error:
            if error.fatal:
                raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
            return
        if storage.commits == commits:
            self._keep_loaded(zip(numbers, pages, strict=True))

    def _keep_loaded(self, pages: Iterable[tuple[int, bytes | None]]) -> None:
        now_ns = self.kernel.now
        for number, page in pages:
            if page is not None:
                self.cache.stage(number, page, now_ns)

    def flush_hints_in(self, group: Group) -> None:
        """What is worth loading at the next open is told to the depot, by tasks in `group`. Call it before `open`.

        Does nothing with `VfsSettings.hint_flush` switched off.
        """
        if self.settings.hint_flush:
            self.recent = RecentPages(self.settings)
            self._hint_flush = HintFlush(self, self.recent, group)

    def close(self) -> None:
        """The instance is about to end: tells the depot what is worth loading at the next open, if anything is.

        Takes 250 ms at most and never fails; see `hint_flush` for when it asks the depot at all. Call it in a task.
        """
        if self._hint_flush is not None:
            self._hint_flush.close()

    def hints(self) -> PreloadHints:
        """What is worth loading at the next open, by now; nothing unless `flush_hints_in` was called."""
        self.note_accesses()
        return self.recent.snapshot() if self.recent is not None else PreloadHints()

    def note_accesses(self) -> None:
        """Counts pages that were found in memory and learns from them, which is put off otherwise."""
        self._resolver.note_hits()

    @property
    def counters(self) -> PageCounters:
        """What was asked for and fetched so far. A snapshot."""
        self._resolver.note_hits()
        return self._resolver.counters.copy()

    def die(self, cause: str) -> None:
        """Refuses every further operation on the main file. The first cause is kept."""
        if self.death is None:
            self.death = cause
            if self._hint_flush is not None:
                self._hint_flush.stop()

    def require_alive(self, extended_result: int = apsw.SQLITE_IOERR) -> None:
        """Raises `InstanceDead` once `die` was called."""
        if self.death is not None:
            raise InstanceDead(f"{self.storage.instance} is dead: {self.death}", extended_result)

    def give_up_flush(self, cause: str) -> None:
        """Ends the instance, on record: the end of a connection would take too long."""
        if self._observed:
            self.kernel.record(FlushGivenUp(self.kernel.now, self._task_name(), self.storage.instance, cause))
        self.die(cause)

    @property
    def commit_path(self) -> str:
        """How SQLite commits here: "batch-atomic", or by a "journal"."""
        return "batch-atomic" if self.settings.batch_atomic and batch_atomic_supported() else "journal"

    def read_page(self, number: int) -> bytes:
        """The content of a page within the size: buffered, cached, or fetched."""
        page = self.dirty.get(number)
        if page is None:
            page = self._cached.get(number)
            if page is None:
                return self._resolver.resolve_one(number)
        trace = self._trace
        trace.append(number if page[0] in BTREE_TYPES or number == 1 else -number)
        if len(trace) >= _TRACE_MAX:
            self._resolver.note_hits()
        return page

    def read_pages(self, first: int, last: int, prefetch: bool = True) -> list[bytes]:
        """The content of consecutive pages within the size."""
        numbers = range(first, last + 1)
        pages = self._resolver.resolve(numbers, prefetch)
        return [pages[number] for number in numbers]

    def fetch(
        self, numbers: tuple[int, ...], ranged: bool = False, overflow: dict[int, bytes] | None = None
    ) -> list[bytes | None]:
        """Asks the depot for pages, None for those beyond the end. Raises `StorageFailed`.

        A range (`ranged`: the numbers are consecutive) that fails is asked for as a list; a fence ends the instance.
        Overflow pages that come along are added to `overflow`, unless that is None. A request that a commit of this
        very instance overtook is made again: SQLite looks at the header without a lock when it opens the file.
        """
        head = self.storage.head
        try:
            if ranged:
                try:
                    pages = self.storage.get_range(numbers, overflow)
                except DepotError as error:
                    if error.fatal:
                        raise
                else:
                    self.last_failure = None
                    return pages
            pages = self.storage.get_pages(numbers, overflow)
        except DepotError as error:
            if isinstance(error, HeadFenceMismatch) and self._overtaken(head):
                return self.fetch(numbers, ranged, overflow)
            raise self._failure(error, apsw.SQLITE_IOERR_READ) from error
        self.last_failure = None
        return pages

    def _overtaken(self, head: int | None) -> bool:
        """Whether this instance has committed since its head was that one. Waits for a commit that is under way."""
        if self._committing:
            if self._committed is None:
                self._committed = Event(self.kernel, f"the commit of {self.storage.instance}")
            self._committed.wait()
        return self.storage.head != head

    def write_page(self, number: int, page: bytes) -> None:
        """Buffers a whole page; the database grows to hold it."""
        self.dirty[number] = page
        self.page_count = max(self.page_count, number)

    def begin(self) -> None:
        """A handle may write from here on: what `discard` returns to."""
        self._atomic = None
        self._atomic_failure = None
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
            now_ns, task_name, instance = self.kernel.now, self._task_name(), self.storage.instance
            if known:
                self.kernel.record(VfsRegistered(now_ns, task_name, instance, self.commit_path))
            else:
                self.kernel.record(VfsUnregistered(now_ns, task_name, instance))

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

    def forget_aux(self, name: str, content: bytearray | None = None) -> None:
        """Deletes an auxiliary file, if it has this content; handles that are open keep it."""
        if content is None or self.aux.get(name) is content:
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
        if self._atomic is not None:
            return  # belongs to a batch that ends with `commit_atomic`
        if self._atomic_failure is not None:
            failure, self._atomic_failure = self._atomic_failure, None
            raise type(failure)(str(failure), apsw.SQLITE_IOERR_FSYNC)
        if self._refused:
            self._drop_unchanged()
            self.require_alive(apsw.SQLITE_IOERR_FSYNC)
        if not self.dirty:
            return
        kernel, instance = self.kernel, self.storage.instance
        task = kernel.require_task("sync")
        operation = task.operation_number
        kernel.record(SyncStarted(kernel.now, task.name, instance, operation, len(self.dirty), handle))
        self._committing = True
        try:
            with kernel.shield():
                self.commit()
        finally:
            self._committing = False
            committed, self._committed = self._committed, None
            if committed is not None:
                committed.set()
        kernel.record(SyncReturned(kernel.now, task.name, instance, operation))

    # Batch-atomic writes: what SQLite writes in between is one commit, without a journal

    def begin_atomic(self) -> None:
        """What is written from here on belongs together."""
        self._atomic = _Atomic(dict(self.dirty), self.page_count, self.low_water)
        self._atomic_failure = None

    def commit_atomic(self, handle: int = 0) -> None:
        """Commits the batch. Raises `StorageFailed`; SQLite calls `rollback_atomic` then.

        SQLite would try once more with a journal. Whether the failed commit happened is not known, so the sync of that
        second try fails with the same cause, and the statement with it.
        """
        batch, self._atomic = self._atomic, None
        try:
            self.sync(handle)
        except BaseException as failure:
            self._atomic = batch
            if isinstance(failure, StorageFailed):
                self._atomic_failure = failure
            raise
        self.atomic_commits += 1

    def rollback_atomic(self) -> None:
        """Forgets the batch."""
        batch, self._atomic = self._atomic, None
        if batch is not None:
            self.dirty.clear()
            self.dirty.update(batch.dirty)
            self.page_count, self.low_water = batch.page_count, batch.low_water

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
        self.last_failure = None
        self.low_water = page_count
        self._settled = (page_count, page_count)
        self.cache.put_all(pages)
        self.dirty.clear()
        counters = self._resolver.counters
        counters.commits += 1
        counters.committed_pages += len(pages)

    def _drop_unchanged(self) -> None:
        """Forgets buffered pages that are what the depot holds.

        After a commit that was refused for its size, SQLite writes back what was there before. Sent as a commit, that
        would be refused as well, and no statement of this instance would ever succeed again.
        """
        durable_count, _ = self._settled
        if self.page_count != durable_count:
            return
        # Above the low water what the depot holds does not count any more: what is not sent reads as zeros.
        numbers = [number for number in sorted(self.dirty) if number <= min(durable_count, self.low_water)]
        missing = tuple(number for number in numbers if number not in self.cache.pages)
        fetched = dict(zip(missing, self.fetch(missing), strict=True)) if missing else {}
        for number in numbers:
            durable = fetched[number] if number in fetched else self.cache.pages[number]
            if self.dirty[number] == durable:
                del self.dirty[number]
        self._refused = False

    def _failure(self, error: DepotError, extended_result: int) -> StorageFailed:
        message = f"{error.code}: {error}"
        if not error.fatal:
            failure = StorageFailed(message, extended_result)
            if self.last_failure is None:
                self.last_failure = failure
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
