"""An instance: one process that opened the database, with its generation, its VFS and the system under test.

It lives in a crash group. `crash()` is instantaneous: nothing of it reaches storage afterwards, and whatever
ran in it unwinds before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from typing import Any

import apsw

from simkit.check.events import (
    CloseInvoked,
    CloseReturned,
    InstanceClosed,
    InstanceCrashed,
    MetricsRead,
    NativeCloseFinished,
    NativeCloseStarted,
    StatementStarted,
)
from simkit.depot.depot import Depot
from simkit.depot.request import Request
from simkit.kernel import Crashed, Event, Group, Kernel, TaskState, TimedOut
from simkit.pool.settings import PoolSettings
from simkit.pool.system import DatabaseClosed, System
from simkit.scenario.outcomes import error_text
from simkit.scenario.parts import Parts
from simkit.vfs.errors import InstanceDead
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

_SQLITE_CACHE_KIB = next(
    (int(option.partition("=-")[2]) for option in apsw.compile_options if option.startswith("DEFAULT_CACHE_SIZE=-")),
    None,
)
"""What SQLite's page cache holds without being told, in KiB; None when that is not known."""


_CLOSED_KEPT_MAX = 32
"""Connections that were closed and are still held on to, before they are looked for."""


class InstanceProcess:
    """One process. Implements what `simkit.pool.system.Instance` promises to a system.

    Its VFS stays registered until the native close, or until `dispose()`.

    Attributes:
        closed: the native close has finished.
        closes: calls of `close()` that are under way.
        io_seen: storage operations, counted while somebody watches them.
        left_open: scopes of transactions whose holders walked off; kept, since their end is no matter of garbage
            collection.
    """

    def __init__(
        self,
        kernel: Kernel,
        depot: Depot,
        generation: int,
        parts: Parts,
        settings: VfsSettings,
        sqlite_cache_kib: int,
        pool: PoolSettings | None = None,
        close_takes_ns: int = 0,
    ) -> None:
        self.name = f"instance-{generation}"
        self.generation = generation
        self.kernel: Kernel = kernel
        self.group: Group = kernel.group(self.name)
        self.settings: PoolSettings = pool if pool is not None else PoolSettings()
        self.database = parts.database(parts.storage(depot, self.name, generation), settings)
        self.database.flush_hints_in(self.group)
        self.system: System | None = None
        self.connections: dict[int, apsw.Connection] = {}
        self.io_seen = 0
        self.closed = False
        self.closes = 0
        self.left_open: list[AbstractContextManager[Any]] = []
        self._closing = False
        self._finished_by_the_world: Event | None = None
        self._told_closed = False
        self._close_takes_ns = close_takes_ns
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
        """A new SQLite connection over this instance's VFS. Raises `DatabaseClosed` after the native close began."""
        if self._closing:
            raise DatabaseClosed(f"{self.name} cannot connect: the database is closed")
        # SQLite opens the main file before it reads of it, so before anybody else can open another.
        handle = self.database.handles + 1
        connection = self._vfs.connect(readonly)
        self._keep(handle, connection)
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, partial(self._statement_started, handle), id="simkit")
        if self._sqlite_cache_kib != _SQLITE_CACHE_KIB:
            try:
                connection.pragma("cache_size", -self._sqlite_cache_kib)
            except BaseException:
                connection.close(True)  # nobody else has it
                raise
        return connection

    def _keep(self, handle: int, connection: apsw.Connection) -> None:
        """Holds on to a connection, for the end of the instance; now and then lets go of those that were closed."""
        connections, open_handles = self.connections, self.database.open_handles
        if len(connections) > _CLOSED_KEPT_MAX + 2 * len(open_handles):
            for closed in [number for number in connections if number not in open_handles]:
                del connections[closed]
        connections[handle] = connection

    def handle_of(self, connection: apsw.Connection) -> int:
        """The number under which the history knows an open connection; 0 for one that is not of this instance."""
        for handle in reversed(self.connections):
            if self.connections[handle] is connection:
                return handle
        return 0

    def _statement_started(self, handle: int, event: dict[str, Any]) -> None:
        if event["trigger"]:
            return
        kernel = self.kernel
        task = kernel.current
        name, operation = ("", -1) if task is None else (task.name, task.operation_number)
        kernel.record(
            StatementStarted(
                kernel.now,
                name,
                self.name,
                handle,
                operation,
                event["connection"].in_transaction,
                event["sql"].lstrip()[:8].upper() == "ROLLBACK",
            )
        )

    def close(self, timeout_ns: int = 0) -> BaseException | None:
        """Asks the system under test to close, as often as anybody likes; None when it did.

        Gives back what it failed with: `TimedOut` when `timeout_ns` is above 0 and was not enough, `Crashed`, or an
        error of SQLite. Raises any other error: that is no answer.
        """
        kernel = self.kernel
        task = kernel.require_task("close the database")
        assert self.system is not None, "only what was opened can be closed"
        failure: BaseException | None = None
        self.closes += 1
        kernel.record(CloseInvoked(kernel.now, task.name, self.name))
        try:
            with self.group, kernel.timeout(timeout_ns) if timeout_ns else nullcontext():
                self.system.close()
                self._finish_close()
        except Crashed as crash:
            if not self.group.crashed:
                raise  # the run itself is over
            failure = crash
        except (apsw.Error, TimedOut) as error:
            failure = error
        finally:
            self.closes -= 1
        kernel.record(CloseReturned(kernel.now, task.name, self.name, "" if failure is None else error_text(failure)))
        if failure is None and not self._told_closed:
            self._told_closed = True
            self._tell_closed(task.name)
        return failure

    def _finish_close(self) -> None:
        """Does the native close for a system that leaves it to its caller; whoever closes beside waits for it."""
        if self._finished_by_the_world is not None:
            self._finished_by_the_world.wait()
        elif not self._closing:
            finished = self._finished_by_the_world = Event(self.kernel, f"the native close of {self.name}")
            self.close_database()
            finished.set()

    def _tell_closed(self, task_name: str) -> None:
        kernel = self.kernel
        kernel.record(InstanceClosed(kernel.now, task_name, self.name))
        samples = getattr(getattr(self.system, "metrics", None), "samples", None)
        if callable(samples):
            kernel.record(MetricsRead(kernel.now, task_name, self.name, tuple(samples())))

    def close_database(self) -> None:
        """The native close: takes its time, then SQLite does not know the VFS any more. A second call only shows."""
        kernel = self.kernel
        task = kernel.require_task("close the database")
        kernel.record(NativeCloseStarted(kernel.now, task.name, self.name))
        if self._closing:
            return
        self._closing = True
        with kernel.shield():
            kernel.sleep(self._close_takes_ns)
        self.database.close()
        self._free()
        self.closed = True
        kernel.record(NativeCloseFinished(kernel.now, task.name, self.name))

    def lose(self, cause: str) -> None:
        """Cuts it off from its storage, from this instant; whoever waits for the storage gets `InstanceDead`."""
        self.database.die(cause)
        for task in self.group.members:
            if task.state is TaskState.WAITING and isinstance(task.resource, Request):
                self.kernel.throw_now(task, InstanceDead(f"{self.name} is cut off from its storage: {cause}"))

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
        self._free()

    def _free(self) -> None:
        for connection in self.connections.values():
            with suppress(apsw.Error):
                connection.close(True)
        self._resources.close()
