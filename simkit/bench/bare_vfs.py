"""As little Python as a VFS can do with: the yardstick for what simkit adds to SQLite.

A dictionary of pages, writes that wait for their sync, journals in memory, real lock levels. No depot, no
cache, no fences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import apsw

from simkit.vfs.locks import LockTable

PAGE_SIZE = 4096
_registrations = itertools.count(1)


class BareVfs(apsw.VFS):
    """Synced pages by number (from 0), pages that wait for a sync, and journals.

    `wait` is called for each page that is not dirty, and for each sync that has something to do.
    """

    def __init__(self, synced: dict[int, bytes], wait: Callable[[], None]) -> None:
        self.vfs_name = f"simkit-bare-{next(_registrations)}"
        super().__init__(self.vfs_name, "", maxpathname=512)
        self.synced = synced
        self.wait = wait
        self.page_count = max(synced, default=-1) + 1
        self.fetched = 0
        self.dirty: dict[int, bytes] = {}
        self.aux: dict[str, bytearray] = {}
        self.locks = LockTable()

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> BareFile:  # type: ignore[override]  # APSW takes any object with these methods
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return BareFile(self)
        return BareJournal(self.aux.setdefault(path, bytearray()))

    def xDelete(self, path: str, sync: bool) -> None:
        self.aux.pop(path, None)

    def xAccess(self, path: str, flags: int) -> bool:
        return path in self.aux

    def xFullPathname(self, path: str) -> str:
        return path


class BareFile:
    """A handle on the main file."""

    def __init__(self, store: BareVfs) -> None:
        self._store = store

    def xRead(self, amount: int, offset: int) -> bytes:
        store = self._store
        number, within = divmod(offset, PAGE_SIZE)
        page = store.dirty.get(number)
        if page is None:
            store.wait()
            store.fetched += 1
            page = store.synced.get(number, b"")
        return page if amount == len(page) else page[within : within + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        store, number = self._store, offset // PAGE_SIZE
        store.dirty[number] = bytes(data)
        store.page_count = max(store.page_count, number + 1)

    def xSync(self, flags: int) -> None:
        store = self._store
        if store.dirty:
            store.wait()
            store.synced.update(store.dirty)
            store.dirty.clear()

    def xTruncate(self, size: int) -> None:
        """The table never shrinks."""

    def xFileSize(self) -> int:
        return self._store.page_count * PAGE_SIZE

    def xLock(self, level: int) -> None:
        self._store.locks.lock(self, level)

    def xUnlock(self, level: int) -> None:
        self._store.locks.unlock(self, level)

    def xCheckReservedLock(self) -> bool:
        return self._store.locks.reserved()

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return PAGE_SIZE

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xClose(self) -> None:
        self._store.locks.unlock(self, apsw.SQLITE_LOCK_NONE)


class BareJournal(BareFile):
    """A handle on a journal: bytes in memory."""

    def __init__(self, content: bytearray) -> None:
        self._content = content

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        content = self._content
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    def xSync(self, flags: int) -> None:
        """Memory."""

    def xTruncate(self, size: int) -> None:
        del self._content[size:]

    def xFileSize(self) -> int:
        return len(self._content)

    def xLock(self, level: int) -> None:
        """Never contended."""

    def xUnlock(self, level: int) -> None:
        """Never contended."""

    def xClose(self) -> None:
        """Memory."""
