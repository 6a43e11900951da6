"""A VFS that serves many main files at once, each from a database of its own in one depot.

SQLite's test scripts open, copy and delete files as they please. Each main file name becomes a database of the depot,
and everything that SQLite does with the file and its journal is handed to a `DepotVfs` of its own, which believes that
its one database is called `main.db`. Only names are translated here, so what is tested is the VFS as it is. Super-
journals and temporary files belong to no database and live in the memory of this one.

A file of the operating system that SQLite is to open is taken into the depot first. A main file that nobody has open
and that has no journal is opened by a new instance, which knows only what the depot holds: closing is a crash that
nobody notices, unless something was not committed.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import apsw

from simkit.depot.depot import Depot
from simkit.depot.storage import DirectStorage
from simkit.vfs.aux_file import AuxFile
from simkit.vfs.database import Database
from simkit.vfs.errors import StorageFailed
from simkit.vfs.filesystem import MAIN_FILE_NAME, DepotVfs, RandomBytes
from simkit.vfs.main_file import MainFile
from simkit.vfs.settings import VfsSettings

_NAME = "simkit-routing"
_SUFFIXES = ("-journal", "-wal")
_TAKEN_BYTES_MAX = 1024**3


class ScriptFile(MainFile):
    """A main file that answers `PRAGMA lock_status` too, which builds for tests have, and notes what scripts do."""

    __slots__ = ()
    #: batch-atomic writes that were committed, of all files of the process
    atomic_commits: ClassVar[int] = 0
    #: what scripts asked for and no such VFS can give, until somebody takes it
    needs: ClassVar[list[str]] = []

    def xSync(self, flags: int) -> None:
        with _limits_noted():
            super().xSync(flags)

    def xFileControl(self, operation: int, pointer: int) -> bool:
        if operation == apsw.SQLITE_FCNTL_LOCKSTATE:
            ctypes.c_int.from_address(pointer).value = self._database.locks.level(self)
            return True
        with _limits_noted():
            handled = super().xFileControl(operation, pointer)
        if handled and operation == apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
            ScriptFile.atomic_commits += 1
        return handled


@contextmanager
def _limits_noted() -> Iterator[None]:
    """Notes what the VFS or the depot refuses on principle."""
    try:
        yield
    except apsw.SQLError:
        # The VFS refuses no other pragma.
        ScriptFile.needs.append("a write-ahead log")
        raise
    except StorageFailed as failure:
        if failure.extendedresult == apsw.SQLITE_TOOBIG:
            ScriptFile.needs.append("a commit larger than the depot takes")
        raise


class ScriptVfs(DepotVfs):
    """The VFS of one main file."""

    def __init__(self, name: str, database: Database, random_bytes: RandomBytes) -> None:
        super().__init__(name, database, random_bytes)
        self._main_file = ScriptFile


class Held:
    """One main file: the name of its database in the depot, and the instance that serves it at present."""

    __slots__ = ("database", "name", "vfs")

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.database = database
        self.vfs = ScriptVfs(f"{_NAME}/{name}", database, RandomBytes(0, name))
        # Only Python asks it. SQLite would take it for the default when a script removes a VFS of its own.
        self.vfs.unregister()


class RoutingVfs(DepotVfs):
    """The VFS of a process that runs test scripts. Use it in a task; `unregister` ends it.

    Attributes:
        opened: main files opened so far.
    """

    def __init__(self, depot: Depot, settings: VfsSettings) -> None:
        scratch = Database(DirectStorage(depot, "scratch", 0, immediate=True), settings)
        super().__init__(_NAME, scratch, RandomBytes(0, _NAME))
        self._depot = depot
        self._settings = settings
        self._held: dict[str, Held] = {}
        self._made = 0
        self._errno = 0
        self.opened = 0

    # What SQLite calls

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> MainFile | AuxFile:  # type: ignore[override] # APSW takes any object with these methods
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return super().xOpen(None, flags)
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            self.opened += 1
            return self._for_opening(path, flags[0]).vfs.xOpen(MAIN_FILE_NAME, flags)
        owner, inner = self._owner(path)
        if owner is None:
            self._take_aux(self.database, path, path)
            return super().xOpen(path, flags)
        self._take_aux(owner.database, path, inner)
        return owner.vfs.xOpen(inner, flags)

    def xDelete(self, path: str, sync_directory: bool) -> None:
        if path in self._held:
            self.delete(path)
            return
        owner, inner = self._owner(path)
        if owner is None:
            super().xDelete(path, sync_directory)
        else:
            owner.vfs.xDelete(inner, sync_directory)
        outside = Path(path)
        if outside.is_file():
            outside.unlink()

    def xAccess(self, path: str, flags: int) -> bool:
        return self.holds(path) or Path(path).exists()

    def xFullPathname(self, path: str) -> str:
        # Links stay as they are, and the file need not exist.
        return super().xFullPathname(os.path.abspath(path) if path else path)  # noqa: PTH100

    def xSleep(self, microseconds: int) -> int:
        ScriptFile.needs.append("SQLite to wait in real time")
        return super().xSleep(microseconds)

    def xGetLastError(self) -> tuple[int, str]:
        number, self._errno = self._errno, 0
        return (number, os.strerror(number)) if number else super().xGetLastError()

    def unregister(self) -> None:
        self._held.clear()
        super().unregister()

    # What scripts do with files beside SQLite

    def holds(self, path: str) -> bool:
        """Whether there is such a main file or journal here."""
        if path in self._held:
            return True
        owner, inner = self._owner(path)
        return inner in (self.database if owner is None else owner.database).aux

    def names(self) -> Iterator[str]:
        """The paths of all main files and of their journals."""
        for path, held in self._held.items():
            yield path
            for inner in held.database.aux:
                yield path + inner.removeprefix(MAIN_FILE_NAME)

    def content(self, path: str) -> bytes:
        """The bytes of a main file or journal, as another process would read them."""
        held = self._held.get(path)
        if held is None:
            owner, inner = self._owner(path)
            return bytes((self.database if owner is None else owner.database).aux[inner])
        database = held.database
        return b"".join(database.read_pages(1, database.page_count)) if database.page_count else b""

    def size(self, path: str) -> int:
        """The length of a main file or journal in bytes."""
        held = self._held.get(path)
        return len(self.content(path)) if held is None else held.database.page_count * held.database.page_size

    def delete(self, path: str) -> None:
        """Deletes a main file or journal. Handles that are open keep it, as on Unix."""
        held = self._held.pop(path, None)
        if held is not None:
            if held.database.open_handles:
                ScriptFile.needs.append("SQLite to notice that a file it has open is gone")
            return
        owner, inner = self._owner(path)
        (self.database if owner is None else owner.database).forget_aux(inner)

    def release(self, path: str) -> bool:
        """Turns a main file that nobody has open, or a journal, into a file of the operating system.

        Whoever has SQLite open it again brings it back.
        """
        held = self._held.get(path)
        if held is not None and held.database.open_handles:
            return False
        content = self.content(path)
        self.delete(path)
        Path(path).write_bytes(content)
        return True

    def write(self, path: str, content: bytes) -> None:
        """Makes a file of this content, in place of what was there: a journal of a main file, or a main file."""
        owner, inner = self._owner(path)
        if owner is not None:
            owner.database.aux[inner] = bytearray(content)
            return
        if path in self._held:
            self.delete(path)
        if path.endswith(_SUFFIXES):
            # A journal that comes before its main file waits outside.
            Path(path).write_bytes(content)
            return
        self._fill(self._make(path).database, content)

    def patch(self, path: str, offset: int, content: bytes) -> bool:
        """Writes into a main file or journal behind SQLite's back. False when a transaction is being written there."""
        held = self._held.get(path)
        if held is None:
            owner, inner = self._owner(path)
            aux = (self.database if owner is None else owner.database).aux[inner]
            aux[offset : offset + len(content)] = content
            return True
        database = held.database
        if database.dirty:
            return False
        changed = bytearray(self.content(path))
        changed[offset : offset + len(content)] = content
        self._fill(database, bytes(changed))
        return True

    def _fill(self, database: Database, content: bytes) -> None:
        """Writes and commits the content. The depot has whole pages: an odd rest is filled up with zeros."""
        page_size = database.page_size
        if len(content) % page_size:
            ScriptFile.needs.append("a file of an odd size")
        for number in range(-(-len(content) // page_size)):
            page = content[number * page_size : (number + 1) * page_size]
            database.write_page(number + 1, page.ljust(page_size, b"\0"))
        database.sync()

    def _for_opening(self, path: str, flags: int) -> Held:
        held = self._held.get(path)
        if held is None:
            source = Path(path)
            if source.is_file():
                if source.stat().st_size > _TAKEN_BYTES_MAX:
                    ScriptFile.needs.append("a sparse file of many gigabytes")
                    raise apsw.CantOpenError(f"{path} is too large to be taken into a depot in memory")
                held = self._make(path)
                self._fill(held.database, source.read_bytes())
                source.unlink()
                return held
            if source.is_dir() and not flags & apsw.SQLITE_OPEN_READWRITE:
                raise apsw.IOError(f"{path} is a directory, opened and not readable")
            if not flags & apsw.SQLITE_OPEN_CREATE or source.is_dir() or not source.parent.is_dir():
                self._errno = errno.ENOENT
                raise apsw.CantOpenError(f"{path} does not exist")
            return self._make(path)
        if held.database.open_handles or held.database.aux:
            return held
        fresh = self._held[path] = Held(held.name, self._instance(held.name))
        return fresh

    def _make(self, path: str) -> Held:
        self._made += 1
        name = f"file-{self._made}"
        held = self._held[path] = Held(name, self._instance(name))
        return held

    def _instance(self, name: str) -> Database:
        generation = self._depot.allocate(name)
        database = Database(
            DirectStorage(self._depot, f"{name}.{generation}", generation, database=name), self._settings
        )
        database.open()
        return database

    def _owner(self, path: str) -> tuple[Held | None, str]:
        """The main file that a journal belongs to, and the name that its own VFS knows the journal by."""
        for suffix in _SUFFIXES:
            if path.endswith(suffix):
                owner = self._held.get(path.removesuffix(suffix))
                if owner is not None:
                    return owner, MAIN_FILE_NAME + suffix
        return None, path

    def _take_aux(self, database: Database, path: str, inner: str) -> None:
        source = Path(path)
        if inner not in database.aux and source.is_file():
            database.aux[inner] = bytearray(source.read_bytes())
            source.unlink()
