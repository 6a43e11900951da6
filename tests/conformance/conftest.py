"""Where SQLite's database lives: in a file of the machine, or in a depot behind the VFS inside a kernel.

And the VFSs whose methods are called without SQLite: `SUBJECTS`, the place for one of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.faults import FaultRule, Faults
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.vfs.database import Database
from simkit.vfs.errors import InstanceDead
from simkit.vfs.filesystem import MAIN_FILE_NAME, DepotVfs, RandomBytes, registered
from simkit.vfs.settings import VfsSettings


class Native:
    """The operating system's own VFS."""

    name = "native"

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "main.db")
        self._connections: list[apsw.Connection] = []

    def connect(self, readonly: bool = False) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._connections.append(apsw.Connection(self._path, flags=flags))
        return self._connections[-1]

    def reopen(self) -> None:
        """All connections close; whoever connects next sees what is stored."""
        while self._connections:
            self._connections.pop().close(True)


class Simulated:
    """A depot, and an instance on it. `instance()` hands the database to another one."""

    name = "depot"

    def __init__(
        self, page_size: int = 4096, rules: Sequence[FaultRule] = (), cache: int = 50_000, latency: str = "instant"
    ) -> None:
        self.kernel = Kernel(Decisions(1))
        self.faults = Faults(self.kernel, rules, lambda name: None) if rules else None
        image = DepotImage(None, 0, page_size)
        self.depot = Depot(self.kernel, LATENCY_PROFILES[latency], image, faults=self.faults)
        self.resources = ExitStack()
        self._settings = VfsSettings(cache)
        self._connections: list[apsw.Connection] = []
        self._vfs: DepotVfs | None = None

    @property
    def vfs(self) -> DepotVfs:
        if self._vfs is None:
            self._vfs = self.instance()
        return self._vfs

    @property
    def database(self) -> Database:
        return self.vfs.database

    def instance(self) -> DepotVfs:
        generation = self.depot.allocate()
        database = Database(DirectStorage(self.depot, f"instance-{generation}", generation), self._settings)
        database.open()
        return self.resources.enter_context(registered(database, RandomBytes(1, f"instance-{generation}")))

    def connect(self, readonly: bool = False) -> apsw.Connection:
        self._connections.append(self.vfs.connect(readonly))
        return self._connections[-1]

    def crash(self) -> None:
        """The instance is gone, with all it had not committed; the next use opens another."""
        self.database.die("crashed in a test")
        self._vfs = None
        self.close()

    def reopen(self) -> None:
        self.close()
        self._vfs = None

    def close(self) -> None:
        while self._connections:
            with suppress(InstanceDead):  # SQLite tries to roll back what had spilled
                self._connections.pop().close(True)

    def run(self, body: Callable[[], Any]) -> Any:
        """Runs `body` as a task, to the end of everything."""
        task = self.kernel.spawn(body, name="test", supervised=True)
        try:
            self.kernel.run()
            if task.error is not None:
                raise task.error
            return task.result
        finally:
            self.close()
            self.resources.close()
            self.kernel.close()


Body = Callable[[Any], Any]


@pytest.fixture(params=["native", "depot"])
def at_home(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Runs a body on either home."""

    def run(body: Body, **options: Any) -> Any:
        if request.param == "native":
            home = Native(tmp_path)
            try:
                return body(home)
            finally:
                home.reopen()
        simulated = Simulated(**options)
        return simulated.run(lambda: body(simulated))

    return run


@pytest.fixture
def in_depot() -> Callable[..., Any]:
    """Runs a body on the depot."""

    def run(body: Body, **options: Any) -> Any:
        simulated = Simulated(**options)
        return simulated.run(lambda: body(simulated))

    return run


# VFSs by their methods

SUBJECT_PAGE_BYTES = 1024


class Subject(Protocol):
    """A VFS with one main database, which is empty at first and has pages of 1,024 bytes.

    Attributes:
        vfs: has the x-methods of `apsw.VFS`.
        main: the full name of the main database.
        main_can_be_deleted: whether SQLite may delete it.
    """

    vfs: Any
    main: str
    main_can_be_deleted: bool

    def name(self, short: str) -> str:
        """The full name of another file, which does not exist yet."""

    def connect(self) -> apsw.Connection:
        """SQLite on the main database."""


class Ours:
    """simkit's VFS over an empty depot."""

    main = MAIN_FILE_NAME
    main_can_be_deleted = False

    def __init__(self, vfs: Any) -> None:
        self.vfs = vfs

    def name(self, short: str) -> str:
        return short

    def connect(self) -> apsw.Connection:
        connection: apsw.Connection = self.vfs.connect()
        return connection


class System:
    """The operating system's VFS, inherited from in Python."""

    main_can_be_deleted = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.main = self.name("main.db")
        self.vfs = apsw.VFS("simkit-conformance", "")

    def name(self, short: str) -> str:
        return str(self._folder / short)

    def connect(self) -> apsw.Connection:
        return apsw.Connection(self.main, vfs="simkit-conformance")


def with_ours(_: Path, body: Body) -> None:
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, SUBJECT_PAGE_BYTES))

    def task() -> None:
        database = Database(DirectStorage(depot, "instance-1", depot.allocate()), VfsSettings())
        database.open()
        with registered(database, RandomBytes(1, "conformance")) as vfs:
            body(Ours(vfs))

    with kernel:
        running = kernel.spawn(task, name="test", supervised=True)
        kernel.run()
        if running.error is not None:
            raise running.error


def with_the_systems(folder: Path, body: Body) -> None:
    subject = System(folder)
    try:
        body(subject)
    finally:
        subject.vfs.unregister()


SUBJECTS: dict[str, Callable[[Path, Body], None]] = {"ours": with_ours, "the system's": with_the_systems}
"""What `test_any_vfs.py` tests: one entry for each VFS.

It is called with an empty folder and a body, and calls the body with a `Subject` - wherever such a VFS has to run, ours
in a task of a kernel - and cleans up.
"""


@pytest.fixture(params=list(SUBJECTS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a body on each subject of `test_any_vfs.py`."""
    return lambda body: SUBJECTS[request.param](tmp_path, body)
