"""Whether SQLite makes batch-atomic writes here: asked of SQLite itself.

SQLite has to be built for them. Then it commits without a journal wherever a file says it can write many pages at
once: it announces the batch, writes, and has the file commit it. The stock wheels of APSW are built without. Two
questions, two answers: `batch_atomic_supported` asks what this build does, on a file in memory; `probe` commits a small
transaction to the database itself, as the real system does whenever it opens one.
"""

from __future__ import annotations

from functools import cache

import apsw

_PROBE = (
    "BEGIN IMMEDIATE",
    "CREATE TABLE IF NOT EXISTS __simkit_batch_probe(x INTEGER)",
    "INSERT INTO __simkit_batch_probe VALUES (1)",
    "DELETE FROM __simkit_batch_probe",
    "DROP TABLE __simkit_batch_probe",
    "COMMIT",
)
_SCRATCH_VFS = "simkit-batch-probe"


class _ScratchFile(apsw.VFSFile):
    """A file in memory that claims batch-atomic writes and notes whether one is asked for."""

    asked = False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_BATCH_ATOMIC

    def xFileControl(self, operation: int, pointer: int) -> bool:
        if operation == apsw.SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
            type(self).asked = True
        elif operation not in (apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, apsw.SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE):
            return super().xFileControl(operation, pointer)
        return True


class _ScratchVfs(apsw.VFS):
    def __init__(self) -> None:
        super().__init__(_SCRATCH_VFS, "memdb")

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> _ScratchFile:
        assert name is not None
        return _ScratchFile("memdb", name, flags)


@cache
def batch_atomic_supported() -> bool:
    """Whether this build of SQLite makes batch-atomic writes. Asked once in a process.

    Draws from SQLite's random generator when it asks: before that is seeded for a run (`seed_sqlite` sees to it).
    """
    _ScratchFile.asked = False
    vfs = _ScratchVfs()
    try:
        connection = apsw.Connection("scratch", vfs=_SCRATCH_VFS)
        connection.execute("PRAGMA journal_mode = MEMORY").fetchall()
        connection.execute("CREATE TABLE t(x)").fetchall()
        connection.close(True)
    finally:
        vfs.unregister()
    return _ScratchFile.asked


def probe(connection: apsw.Connection, page_size: int) -> None:
    """Makes one commit through a writable connection that nobody has used yet, and leaves no table behind.

    A database without pages gets pages of this size. The first probe of a database makes it one page longer, which
    later ones use again. Raises what the commit raises.
    """
    connection.execute(f"PRAGMA page_size = {page_size}").fetchall()
    for statement in _PROBE:
        connection.execute(statement).fetchall()
