"""The SQLite VFS of one instance: the main file over the depot, everything else in memory.

Its registration is a context manager and ends on every exit. SQLite's own inputs come from the run: time from the
simulated clock, sleep from the kernel, randomness from the seed (DET-1).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from simkit.depot.core import EPOCH_MS
from simkit.kernel.units import MICROSECOND, MILLISECOND
from simkit.vfs.aux_file import AuxFile
from simkit.vfs.database import Database
from simkit.vfs.main_file import MainFile
from simkit.vfs.observed_file import ObservedFile, observe_commits

MAIN_FILE_NAME = "main.db"

_JULIAN_EPOCH_MS = 210_866_760_000_000
_PATHNAME_MAX = 512
_UNUSED = {"xDlOpen", "xDlSym", "xDlClose", "xDlError", "xSetSystemCall", "xGetSystemCall", "xNextSystemCall"}
_WRITABLE = apsw.SQLITE_OPEN_READWRITE
_registrations = itertools.count(1)


class RandomBytes:
    """An endless, seeded stream of bytes that no Python version can change."""

    __slots__ = ("_block", "_key")

    def __init__(self, seed: int, name: str) -> None:
        self._key = f"{seed}/{name}/".encode()
        self._block = 0

    def take(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            self._block += 1
            content += hashlib.blake2b(self._key + str(self._block).encode()).digest()
        return content[:count]


class DepotVfs(apsw.VFS):
    """A VFS that knows one database, `MAIN_FILE_NAME`. Use `registered()` to create one."""

    def __init__(self, name: str, database: Database, random_bytes: RandomBytes) -> None:
        super().__init__(name, "", maxpathname=_PATHNAME_MAX, exclude=_UNUSED)
        self.vfs_name = name
        self.database = database
        self._random_bytes = random_bytes
        self._main_file: type[MainFile] = MainFile
        if database.settings.observe_pages:
            self._main_file = ObservedFile
            observe_commits(database)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> MainFile | AuxFile:  # type: ignore[override] # APSW takes any object with these methods
        database = self.database
        flags[1] = flags[0]
        if name is None:
            return AuxFile(database, bytearray(), None)
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            raise apsw.CantOpenError("a write-ahead log would live and die with the instance")
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            if path != MAIN_FILE_NAME:
                raise apsw.CantOpenError(f"this VFS holds {MAIN_FILE_NAME}, not {path}")
            database.require_alive()
            return self._main_file(database, bool(flags[0] & _WRITABLE))
        if path not in database.aux:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(f"{path} does not exist")
            if database.on_io is not None:
                database.on_io("journal create")
        content = database.aux.setdefault(path, bytearray())
        if flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE:
            return AuxFile(database, content, lambda: database.forget_aux(path))
        return AuxFile(database, content, None)

    def xDelete(self, path: str, sync_directory: bool) -> None:
        database = self.database
        if path == MAIN_FILE_NAME:
            raise apsw.IOError("the main database cannot be deleted through SQLite")
        if database.on_io is not None:
            database.on_io("journal delete")
        database.forget_aux(path)

    def xAccess(self, path: str, flags: int) -> bool:
        return path == MAIN_FILE_NAME or path in self.database.aux

    def xFullPathname(self, path: str) -> str:
        return path

    def xRandomness(self, count: int) -> bytes:
        return self._random_bytes.take(count)

    def xSleep(self, microseconds: int) -> int:
        kernel = self.database.kernel
        if kernel.current is not None:
            kernel.sleep(microseconds * MICROSECOND)
        return microseconds

    def xCurrentTimeInt64(self) -> int:
        return _JULIAN_EPOCH_MS + EPOCH_MS + self.database.kernel.now // MILLISECOND

    def xCurrentTime(self) -> float:
        return self.xCurrentTimeInt64() / 86_400_000.0

    def xGetLastError(self) -> tuple[int, str]:
        return 0, self.database.death or ""

    def connect(self, readonly: bool = False) -> apsw.Connection:
        """Opens a connection of SQLite on the database."""
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        return apsw.Connection(MAIN_FILE_NAME, flags=flags, vfs=self.vfs_name)


@contextmanager
def registered(
    database: Database, random_bytes: RandomBytes, vfs_type: type[DepotVfs] = DepotVfs
) -> Iterator[DepotVfs]:
    """A VFS over `database`, known to SQLite for the length of the block under a name of its own."""
    vfs = vfs_type(f"simkit-{next(_registrations)}", database, random_bytes)
    database.registered(True)
    try:
        yield vfs
    finally:
        vfs.unregister()
        database.registered(vfs.vfs_name in apsw.vfs_names())


class _Seed(apsw.VFS):
    """Lends SQLite the seed for its own random generator; SQLite asks the default VFS for it."""

    def __init__(self) -> None:
        super().__init__("simkit-seed", None)
        self.source = RandomBytes(0, "sqlite")

    def xRandomness(self, count: int) -> bytes:
        return self.source.take(count)


_seed: _Seed | None = None


def seed_sqlite(seed: int) -> None:
    """Makes SQLite's process-wide random generator (`random()`, journal nonces) start from `seed`.

    The default VFS is exchanged for the moment that SQLite takes its seed, and put back.
    """
    global _seed  # noqa: PLW0603 - SQLite's generator and its list of VFSs are process-wide too
    if _seed is None:
        _seed = _Seed()
    _seed.source = RandomBytes(seed, "sqlite")
    default = apsw.vfs_names()[0]
    apsw.set_default_vfs("simkit-seed")
    try:
        apsw.randomness(0)
        apsw.randomness(1)
    finally:
        apsw.set_default_vfs(default)
