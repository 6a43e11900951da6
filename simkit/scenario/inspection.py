"""Looking at a database as a fresh instance finds it: by simkit's own VFS, at one instant, as nobody's request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from simkit.depot.depot import Depot
from simkit.depot.request import DATABASE_ID
from simkit.depot.storage import DirectStorage
from simkit.vfs.database import Database
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

_SETTINGS = VfsSettings()


@contextmanager
def inspected(depot: Depot, name: str, generation: int, database: str = DATABASE_ID) -> Iterator[apsw.Connection]:
    """A connection that only reads, of an inspector of this name. Raises apsw.Error for what cannot be read."""
    opened = Database(DirectStorage(depot, name, generation, immediate=True, database=database), _SETTINGS)
    opened.open()
    with registered(opened, RandomBytes(0, name)) as vfs:
        connection = vfs.connect(readonly=True)
        try:
            yield connection
        finally:
            connection.close(True)


def integrity_of(connection: apsw.Connection) -> tuple[str, ...]:
    """The rows of PRAGMA integrity_check."""
    return tuple(str(row[0]) for row in connection.execute("PRAGMA integrity_check").fetchall())
