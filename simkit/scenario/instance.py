"""An instance: one process that opened the database, with its generation, its VFS and the system under test.

It lives in a crash group. `crash()` is instantaneous: nothing of it reaches storage afterwards, and whatever
ran in it unwinds before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress

import apsw

from simkit.check.events import InstanceCrashed
from simkit.depot.depot import Depot
from simkit.kernel import Group, Kernel
from simkit.pool.system import System
from simkit.scenario.parts import Parts
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

_SQLITE_CACHE_KIB = next(
    (int(option.partition("=-")[2]) for option in apsw.compile_options if option.startswith("DEFAULT_CACHE_SIZE=-")),
    None,
)
"""What SQLite's page cache holds without being told, in KiB; None when that is not known."""


class InstanceProcess:
    """One process. Implements what `simkit.pool.system.Instance` promises to a system.

    Its VFS stays registered until `dispose()`. `io_seen` counts its storage operations while somebody watches them.
    """

    def __init__(
        self,
        kernel: Kernel,
        depot: Depot,
        generation: int,
        parts: Parts,
        settings: VfsSettings,
        sqlite_cache_kib: int,
    ) -> None:
        self.name = f"instance-{generation}"
        self.generation = generation
        self.kernel: Kernel = kernel
        self.group: Group = kernel.group(self.name)
        self.database = parts.database(parts.storage(depot, self.name, generation), settings)
        self.system: System | None = None
        self.connections: list[apsw.Connection] = []
        self.io_seen = 0
        self._resources = ExitStack()
        self._parts = parts
        self._sqlite_cache_kib = sqlite_cache_kib
        random_bytes = RandomBytes(kernel.decisions.seed, self.name)
        self._vfs = self._resources.enter_context(registered(self.database, random_bytes, parts.vfs))

    @property
    def alive(self) -> bool:
        """Whether it can still serve: it did not crash and did not lose the database."""
        return not self.group.crashed and self.database.death is None

    def open(self) -> None:
        """Opens the database and starts the system under test. Call it in a task; raises what the opening raises."""
        self.database.open()
        self.system = self._parts.system(self)

    def connect(self, readonly: bool = False) -> apsw.Connection:
        """A new SQLite connection over this instance's VFS."""
        connection = self._vfs.connect(readonly)
        self.connections.append(connection)
        if self._sqlite_cache_kib != _SQLITE_CACHE_KIB:
            connection.pragma("cache_size", -self._sqlite_cache_kib)
        return connection

    def watch_io(self, on_io: Callable[[str], None] | None) -> None:
        """Calls `on_io` before each storage operation of this instance."""
        self.database.on_io = on_io

    def crash(self, cause: str) -> None:
        """Stops it at this instant. Raises `Crashed` when the calling task is inside."""
        if self.group.crashed:
            return
        kernel = self.kernel
        task = kernel.current
        kernel.record(InstanceCrashed(kernel.now, task.name if task is not None else "", self.name, cause))
        self.database.die(f"the instance crashed ({cause})")
        self.group.crash()

    def dispose(self) -> None:
        """Frees what SQLite holds for it, once nothing runs in it any more.

        Does no I/O: the database is dead by then and refuses SQLite's rollback.
        """
        for connection in self.connections:
            with suppress(apsw.Error):
                connection.close(True)
        self._resources.close()
