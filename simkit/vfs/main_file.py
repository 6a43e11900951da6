"""The main database file: page-granular, backed by the depot through `Database`.

Upholds ROLE-1 (a read-only handle refuses every mutating callback) and DUR-3 (xSync returns after the commit reply).
Lock levels are real. Once its database is dead, a handle only unlocks and closes.

SQLite announces each sync with SQLITE_FCNTL_SYNC, also when PRAGMA synchronous=OFF makes it leave out xSync. The commit
happens there: an instance that dies takes everything that is not in the depot with it, so there is no weaker kind
of durability that the pragma could choose. WAL is refused: its file would live and die with the instance.

Built for it and allowed to (`VfsSettings.batch_atomic`), SQLite commits by batch-atomic writes instead: it announces a
batch, writes and truncates, and asks for the commit, all without a journal.

Every callback fails with the extended code that SQLite knows for it, whatever the storage was doing on its behalf.
"""

from __future__ import annotations

import apsw

from simkit.vfs.database import Database
from simkit.vfs.errors import Refused, failing_as

_SECTOR_BYTES_MAX = 4096

_ATOMIC = {
    apsw.SQLITE_FCNTL_BEGIN_ATOMIC_WRITE: ("begin atomic", apsw.SQLITE_IOERR_BEGIN_ATOMIC),
    apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE: ("commit atomic", apsw.SQLITE_IOERR_COMMIT_ATOMIC),
    apsw.SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE: ("roll back atomic", apsw.SQLITE_IOERR_ROLLBACK_ATOMIC),
}


class MainFile:
    """One handle on the main database file, as SQLite uses it."""

    __slots__ = ("_characteristics", "_database", "_writable", "number")

    def __init__(self, database: Database, writable: bool) -> None:
        self._database = database
        self._writable = writable
        self._characteristics = apsw.SQLITE_IOCAP_BATCH_ATOMIC if database.settings.batch_atomic else 0
        #: counts the handles of the instance, from 1
        self.number = database.handle_opened(writable)

    def xRead(self, amount: int, offset: int) -> bytes:
        database = self._database
        if database.on_io is not None:
            database.on_io("read")
        if database.death is not None:
            database.require_alive(apsw.SQLITE_IOERR_READ)
        page_size = database.page_size
        number, within = divmod(offset, page_size)
        number += 1
        if number > database.page_count:
            return b""
        if within + amount <= page_size:
            page = database.read_page(number)
            return page if amount == page_size else page[within : within + amount]
        return self._read_span(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        database = self._database
        if database.on_io is not None:
            database.on_io("write")
        database.require_alive(apsw.SQLITE_IOERR_WRITE)
        self._require_writable("write")
        page_size = database.page_size
        number, within = divmod(offset, page_size)
        if not within and len(data) == page_size:
            database.write_page(number + 1, bytes(data))
            return
        with failing_as(apsw.SQLITE_IOERR_WRITE):
            self._patch(data, offset)

    def xTruncate(self, size: int) -> None:
        database = self._database
        if database.on_io is not None:
            database.on_io("truncate")
        database.require_alive(apsw.SQLITE_IOERR_TRUNCATE)
        self._require_writable("truncate")
        if size < 0:
            raise Refused(f"a file cannot have {size} bytes", apsw.SQLITE_IOERR_TRUNCATE)
        database.truncate(-(-size // database.page_size))

    def xSync(self, flags: int) -> None:
        database = self._database
        if not database.dirty:
            return
        if database.on_io is not None:
            database.on_io("sync")
        database.require_alive(apsw.SQLITE_IOERR_FSYNC)
        self._require_writable("sync")
        with failing_as(apsw.SQLITE_IOERR_FSYNC):
            database.sync(self.number)
        if database.on_io is not None:
            database.on_io("synced")

    def xFileSize(self) -> int:
        return self._database.page_count * self._database.page_size

    def xLock(self, level: int) -> None:
        database = self._database
        if database.death is not None:
            database.require_alive(apsw.SQLITE_IOERR_LOCK)
        before = database.locks.level(self)
        database.locks.lock(self, level)
        if before == apsw.SQLITE_LOCK_NONE:
            database.transaction_began(self.number)
        if before < apsw.SQLITE_LOCK_RESERVED <= level:
            database.begin()

    def xUnlock(self, level: int) -> None:
        database = self._database
        before = database.locks.level(self)
        database.locks.unlock(self, level)
        if before >= apsw.SQLITE_LOCK_RESERVED and database.dirty:
            # SQLite syncs what it keeps while it holds the lock; the rest belongs to a rollback that failed.
            database.discard()
        if before > level == apsw.SQLITE_LOCK_NONE:
            database.transaction_ended(self.number)

    def xCheckReservedLock(self) -> bool:
        return self._database.locks.reserved()

    def xFileControl(self, operation: int, pointer: int) -> bool:
        if operation == apsw.SQLITE_FCNTL_SYNC:
            # Comes where xSync would, also under PRAGMA synchronous=OFF: a commit is durable all the same (DUR-1).
            self.xSync(0)
        elif operation in _ATOMIC:
            return self._atomic(operation)
        elif operation == apsw.SQLITE_FCNTL_PRAGMA:
            pragma = apsw.VFSFcntlPragma(pointer)
            if pragma.name.lower() == "journal_mode" and (pragma.value or "").lower() == "wal":
                raise apsw.SQLError("journal_mode=WAL keeps commits in a file of the instance: use a rollback journal")
        return False

    def _atomic(self, operation: int) -> bool:
        """A step of a batch-atomic write. False, as for what is not known, when the settings say so."""
        database = self._database
        if not database.settings.batch_atomic:
            return False
        step, failure = _ATOMIC[operation]
        if operation == apsw.SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
            database.rollback_atomic()  # forgets, and so needs no storage
            return True
        if database.on_io is not None:
            database.on_io(step)
        database.require_alive(failure)
        self._require_writable(step)
        if operation == apsw.SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
            database.begin_atomic()
        else:
            with failing_as(failure):
                database.commit_atomic(self.number)
            if database.on_io is not None:
                database.on_io("synced")
        return True

    def xSectorSize(self) -> int:
        # What SQLite takes to be written as one. Not above a page: it would change whole groups of them.
        return min(_SECTOR_BYTES_MAX, self._database.page_size)

    def xDeviceCharacteristics(self) -> int:
        return self._characteristics

    def xClose(self) -> None:
        self.xUnlock(apsw.SQLITE_LOCK_NONE)
        self._database.handle_closed(self.number)

    def _require_writable(self, verb: str) -> None:
        if not self._writable:
            raise apsw.ReadOnlyError(f"ROLE-1: a read-only handle was asked to {verb}")

    def _read_span(self, amount: int, offset: int) -> bytes:
        """A read across page borders. Shorter than asked where the file ends."""
        database = self._database
        page_size = database.page_size
        end = min(offset + amount, database.page_count * page_size)
        first, last = offset // page_size, (end - 1) // page_size
        content = b"".join(database.read_pages(first + 1, last + 1))
        return content[offset - first * page_size : end - first * page_size]

    def _patch(self, data: bytes, offset: int) -> None:
        """A write of parts of pages: reads what is there, changes it, buffers whole pages."""
        database = self._database
        page_size = database.page_size
        position = 0
        while position < len(data):
            number, within = divmod(offset + position, page_size)
            length = min(page_size - within, len(data) - position)
            page = bytearray(page_size)
            if length < page_size and number < database.page_count:
                (durable,) = database.read_pages(number + 1, number + 1, prefetch=False)
                page[:] = durable
            page[within : within + length] = data[position : position + length]
            database.write_page(number + 1, bytes(page))
            position += length
