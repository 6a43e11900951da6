"""What test files run on: a database in the depot, through simkit's VFS, or a file of SQLite's own VFS to compare with.

Over the VFS a file runs in one task of a kernel, so that each request to the depot is made as in a scenario: with
latency, queue and history. A run ends with a crash: the instance dies with all its memory, whatever SQLite still wants
to write when the connection is closed is refused, and a new instance finds what was committed (DUR-1).
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import apsw

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.events import CommitAcknowledged
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel, Record
from simkit.vfs.database import Database
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

VfsKind = Literal["depot", "sqlite"]

STEPS_MAX = sys.maxsize
PAGE_SIZE = 4096
LATENCY = "instant"


@dataclass(frozen=True)
class Closing:
    """What a new instance found: the rows of PRAGMA integrity_check, and a digest of all tables."""

    integrity: tuple[str, ...]
    digest: str


class Subject(Protocol):
    """A database to run statements on."""

    connection: apsw.Connection

    def reopen(self) -> Closing:
        """Ends the instance without warning and looks at what it leaves. The connection is closed by it."""
        ...


def digest_of(connection: apsw.Connection) -> str:
    """A digest of the schema and of the rows of all tables, whatever their order."""
    digest = hashlib.sha256()
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").fetchall()
    for kind, name, _, sql in schema:
        digest.update(f"{kind}\0{name}\0{sql}\n".encode())
        if kind == "table" and not str(sql).upper().startswith("CREATE VIRTUAL"):
            quoted = '"' + str(name).replace('"', '""') + '"'
            rows = sorted(repr(row) for row in connection.execute(f"SELECT * FROM {quoted}"))  # noqa: S608 - quoted above
            digest.update("\n".join(rows).encode())
    return digest.hexdigest()


def closing_of(connection: apsw.Connection) -> Closing:
    """Looks at a database that was just opened."""
    rows = connection.execute("PRAGMA integrity_check").fetchall()
    return Closing(tuple(str(row[0]) for row in rows), digest_of(connection))


class DepotSubject:
    """A database in a depot of its own. Use it in a task."""

    def __init__(self, depot: Depot, settings: VfsSettings) -> None:
        self._depot = depot
        self._settings = settings
        self._registrations = ExitStack()
        self._database, self.connection = self._open("logic")

    def _open(self, name: str) -> tuple[Database, apsw.Connection]:
        database = Database(DirectStorage(self._depot, name, self._depot.allocate()), self._settings)
        database.open()
        return database, self._registrations.enter_context(registered(database, RandomBytes(0, name))).connect()

    def reopen(self) -> Closing:
        self._database.die("crashed at the end of the file")
        self.connection.close(True)
        with self._registrations:
            _, connection = self._open("logic-reopened")
            try:
                return closing_of(connection)
            finally:
                connection.close(True)


class FileSubject:
    """A file of SQLite's own VFS in a directory."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "logic.db")
        self.connection = apsw.Connection(self._path)

    def reopen(self) -> Closing:
        self.connection.close(True)
        connection = apsw.Connection(self._path)
        try:
            return closing_of(connection)
        finally:
            connection.close(True)


def run_on(kind: VfsKind, body: Callable[[Subject], None], settings: VfsSettings | None = None) -> int:
    """Runs `body` on a new, empty database; the number of commits that the depot acknowledged."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="simkit-") as directory:
            body(FileSubject(Path(directory)))
        return 0
    with depot_kernel(PAGE_SIZE) as (kernel, depot, tally):
        kernel.spawn(lambda: body(DepotSubject(depot, settings or VfsSettings())), name="logic")
        kernel.run(max_steps=STEPS_MAX)
        return tally.commits


class Tally:
    """Counts what the depot did. The history is not kept: no checker reads it, and files can be long."""

    def __init__(self) -> None:
        self.commits = 0

    def record(self, event: Record) -> None:
        if isinstance(event, CommitAcknowledged):
            self.commits += 1


@contextmanager
def depot_kernel(page_size: int) -> Iterator[tuple[Kernel, Depot, Tally]]:
    """A kernel and an empty depot for pages of `page_size` bytes. What a run leaves behind is ended."""
    kernel, tally = Kernel(Decisions(0)), Tally()
    kernel.record = tally.record
    try:
        yield kernel, Depot(kernel, LATENCY_PROFILES[LATENCY], DepotImage(None, 0, page_size)), tally
    finally:
        kernel.close()
