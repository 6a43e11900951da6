"""The SQLite VFS of one instance: the main file over the depot, everything else in memory.

Its registration is a context manager and ends on every exit. SQLite's own inputs come from the run: time from the
simulated clock, sleep from the kernel, randomness from the seed (DET-1).

Further databases of the depot can be attached where `DepotVfs.attachable` allows it. Each has an instance and locks of
its own, and commits by itself: a transaction over two of them that is cut off between the two commits is whole in each
and may be in one only. A commit that fails is rolled back in both.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import apsw

from simkit.depot.core import EPOCH_MS
from simkit.kernel import Lock
from simkit.kernel.units import MICROSECOND, MILLISECOND
from simkit.vfs.aux_file import AuxFile
from simkit.vfs.batch_atomic import batch_atomic_supported, probe
from simkit.vfs.connection import DepotConnection
from simkit.vfs.database import Database
from simkit.vfs.errors import Refused
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
        #: databases of the depot that ATTACH may name, and what makes them; such a one is opened at its first use
        self.attachable: dict[str, Callable[[], Database]] = {}
        self._attached: dict[str, Database] = {}
        self._attaching = Lock(database.kernel, "attaching a database")
        self._probed = False
        self._random_bytes = random_bytes
        self._main_file: type[MainFile] = MainFile
        if database.settings.observe_pages:
            self._main_file = ObservedFile
            observe_commits(database)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> MainFile | AuxFile:  # type: ignore[override] # APSW takes any object with these methods
        database = self.database
        wanted = flags[1] = flags[0]
        if name is None:
            if not wanted & apsw.SQLITE_OPEN_DELETEONCLOSE:
                raise apsw.CantOpenError("a file without a name is a temporary one, which goes when it is closed")
            return AuxFile(database, bytearray(), None)
        if wanted & apsw.SQLITE_OPEN_WAL:
            raise apsw.CantOpenError("a write-ahead log would live and die with the instance")
        path = self.xFullPathname(name.filename() if isinstance(name, apsw.URIFilename) else name)
        if wanted & apsw.SQLITE_OPEN_MAIN_DB:
            return self._open_main(path, wanted)
        if self._is_database(path):
            raise apsw.CantOpenError(f"{path} is a database of the depot and no other kind of file")
        if path not in database.aux:
            if not wanted & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(f"{path} does not exist")
            if database.on_io is not None:
                database.on_io("journal create")
        elif wanted & apsw.SQLITE_OPEN_EXCLUSIVE:
            raise apsw.CantOpenError(f"{path} exists, and is to be created")
        content = database.aux.setdefault(path, bytearray())
        writable = bool(wanted & _WRITABLE)
        if wanted & apsw.SQLITE_OPEN_DELETEONCLOSE:
            return AuxFile(database, content, lambda: database.forget_aux(path, content), writable)
        return AuxFile(database, content, None, writable)

    def _open_main(self, path: str, wanted: int) -> MainFile:
        if not self._is_database(path):
            raise apsw.CantOpenError(f"this VFS holds {', '.join((MAIN_FILE_NAME, *self.attachable))}, not {path}")
        if wanted & (apsw.SQLITE_OPEN_DELETEONCLOSE | apsw.SQLITE_OPEN_EXCLUSIVE):
            raise apsw.CantOpenError(f"{path} is there, and is not deleted through SQLite")
        database = self.database if path == MAIN_FILE_NAME else self._attach(path)
        database.require_alive()
        return self._main_file(database, bool(wanted & _WRITABLE))

    def _attach(self, path: str) -> Database:
        """A further database, opened at its first use: by one task, since another instance of it would fence it."""
        if path in self._attached:
            return self._attached[path]
        with self._attaching:
            if path not in self._attached:
                database = self.attachable[path]()
                database.open()
                self._attached[path] = database
        return self._attached[path]

    def _is_database(self, path: str) -> bool:
        return path == MAIN_FILE_NAME or path in self.attachable

    @property
    def databases(self) -> tuple[Database, ...]:
        """The main one, and those that were attached."""
        return (self.database, *self._attached.values())

    def xDelete(self, path: str, sync_directory: bool) -> None:
        database = self.database
        if self._is_database(path):
            raise Refused(f"{path} cannot be deleted through SQLite", apsw.SQLITE_IOERR_DELETE)
        if database.on_io is not None:
            database.on_io("journal delete")
        database.forget_aux(path)

    def xAccess(self, path: str, flags: int) -> bool:
        return path == MAIN_FILE_NAME or path in self.database.aux or path in self.attachable

    def xFullPathname(self, path: str) -> str:
        if "\0" in path or len(path.encode()) >= _PATHNAME_MAX:
            raise apsw.CantOpenError(f"a name has up to {_PATHNAME_MAX - 1} bytes, and no NUL: {path[:40]!r}")
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
        """The first failure since the storage last worked: SQLite's extended code, and the cause."""
        failed = [database for database in self.databases if database.death is not None or database.last_failure]
        for database in failed:
            if database.death is not None:
                return apsw.SQLITE_IOERR, database.death
        if failed and (failure := failed[0].last_failure) is not None:
            return failure.extendedresult, str(failure)
        return 0, ""

    def connect(self, readonly: bool = False) -> DepotConnection:
        """Opens a connection of SQLite on the database.

        With `VfsSettings.probe_at_open` the first writable one makes a small commit, in nobody's name. Raises what that
        raises, and `RuntimeError` when batch-atomic writes were expected and did not come.
        """
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = DepotConnection(MAIN_FILE_NAME, flags, self.vfs_name, self)
        database = self.database
        if database.settings.probe_at_open and not readonly and not self._probed:
            self._probed = True
            try:
                self._probe(connection)
            except BaseException:
                self._probed = False
                connection.close(True)
                raise
        return connection

    def _probe(self, connection: apsw.Connection) -> None:
        database = self.database
        before = database.atomic_commits
        with database.kernel.working_for(None):
            probe(connection, database.page_size)
        if database.commit_path == "batch-atomic" and database.atomic_commits == before:
            raise RuntimeError("SQLite was built with batch-atomic writes and did not use them for the probe's commit")

    def drop(self, connection: DepotConnection) -> None:
        """Closes a connection whatever becomes of its storage; waits for that no longer than 250 ms."""
        with suppress(apsw.Error):
            connection.close(True)


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
    batch_atomic_supported()  # draws random numbers the first time
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
