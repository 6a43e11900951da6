"""The connections of a pool: opened, configured, kept warm, closed. And the mode, which follows from what is open.

Upholds ROLE-1 (a reader has four belts: it is opened read-only, `query_only` is on, the reader authorizer judges each
statement, and the VFS refuses its handle), MODE-3 (idle readers are closed before a writer opens) and the half of
LEASE-1 that is about connections: open = active + idle + opening.

A connection that could not be fully configured is closed and never handed out. Idle readers are a stack, so that a pool
with little to do lets the others expire; one timer, set for the reader that has been idle the longest, closes them also
when nobody reads. Closing a connection without a transaction asks nothing of storage: it may happen in a timer, in the
turn of another task, and in one that crashed.

Does not decide who may have a connection: that is `simkit.pool.gate`.
"""

from __future__ import annotations

from contextlib import suppress

import apsw

from simkit.kernel import Happening
from simkit.pool.events import CLOSED, CLOSING, READ, WRITE, ModeChanged
from simkit.pool.metrics import PoolMetrics
from simkit.pool.reader_authorizer import reader_authorizer
from simkit.pool.settings import PoolSettings
from simkit.pool.single import CONFIGURATION
from simkit.pool.system import Instance

_QUERY_ONLY = "PRAGMA query_only=ON"


class Pooled:
    """A configured connection. `handle` is the number of its main file in the history, `idle_since_ns` while idle."""

    __slots__ = ("connection", "handle", "idle_since_ns", "readonly")

    def __init__(self, connection: apsw.Connection, handle: int, readonly: bool) -> None:
        self.connection = connection
        self.handle = handle
        self.readonly = readonly
        self.idle_since_ns = 0


class Connections:
    """What a pool has open.

    Attributes:
        active, opening: readers that are leased, and that are being opened for a lease.
        idle: readers that wait for work, the newest last.
        kept_writer: a writer that stays open between statements, in a pool without readers.
        writing: a writer is leased.
        mode: closed, read, write or closing.
    """

    def __init__(self, instance: Instance, settings: PoolSettings, metrics: PoolMetrics) -> None:
        self._instance = instance
        self._kernel = instance.kernel
        self._metrics = metrics
        self._idle_ttl_ns = settings.idle_ttl_ns
        self._prune_timer: Happening | None = None
        self.active = 0
        self.opening = 0
        self.idle: list[Pooled] = []
        self.kept_writer: Pooled | None = None
        self.writing = False
        self.mode = CLOSED

    @property
    def open_readers(self) -> int:
        return self.active + len(self.idle) + self.opening

    def open(self, readonly: bool) -> Pooled:
        """A new connection, configured; waits for storage. Raises whatever opening or configuring it raises."""
        connection = self._instance.connect(readonly)
        handle = self._instance.handle_of(connection)
        try:
            connection.execute(CONFIGURATION).fetchall()
            if readonly:
                connection.execute(_QUERY_ONLY).fetchall()
                connection.authorizer = reader_authorizer
        except BaseException:
            _close(connection)
            raise
        if readonly:
            self._metrics.reader_opened()
        return Pooled(connection, handle, readonly)

    def close(self, pooled: Pooled) -> None:
        """Closes it. A transaction that it has open ends with it, which may ask storage to roll back."""
        if pooled.readonly:
            self._metrics.reader_closed()
        _close(pooled.connection)

    # Idle readers

    def take_idle(self) -> Pooled | None:
        """The reader that became idle last, now active; None when none is idle."""
        if not self.idle:
            return None
        self.active += 1
        return self.idle.pop()

    def put_idle(self, pooled: Pooled) -> None:
        """A reader that was active is idle."""
        self.active -= 1
        pooled.idle_since_ns = self._kernel.now
        self.idle.append(pooled)
        if self._prune_timer is None:
            self._set_prune_timer(self._idle_ttl_ns)

    def close_idle(self) -> None:
        """Closes all idle readers."""
        while self.idle:
            self.close(self.idle.pop())

    def stop_pruning(self) -> None:
        """No timer is left behind."""
        if self._prune_timer is not None:
            self._prune_timer.revoke()
            self._prune_timer = None

    def _set_prune_timer(self, delay_ns: int) -> None:
        self._prune_timer = self._kernel.timer(delay_ns, self._prune, f"{self._instance.name} idle readers", True)

    def _prune(self, _event: object) -> None:
        self._prune_timer = None
        if self._instance.group.crashed:
            return
        expired_ns = self._kernel.now - self._idle_ttl_ns
        count = 0
        while count < len(self.idle) and self.idle[count].idle_since_ns <= expired_ns:
            self.close(self.idle[count])
            count += 1
        del self.idle[:count]
        if self.idle:
            self._set_prune_timer(self.idle[0].idle_since_ns - expired_ns)
        self.settle("idle readers expired")

    # Mode

    def settle(self, reason: str) -> None:
        """The mode follows from what is open; gauges too."""
        metrics = self._metrics
        metrics.active_readers = self.active
        metrics.idle_readers = len(self.idle)
        if self.mode is CLOSING:
            return
        if self.writing or self.kept_writer is not None:
            mode = WRITE
        elif self.active or self.opening or self.idle:
            mode = READ
        else:
            mode = CLOSED
        if mode is not self.mode:
            self.enter(mode, reason)

    def enter(self, mode: str, reason: str) -> None:
        """Changes the mode, on record."""
        before, self.mode = self.mode, mode
        kernel = self._kernel
        task = kernel.current
        self._metrics.mode_changed(before, mode)
        kernel.record(
            ModeChanged(kernel.now, task.name if task is not None else "", self._instance.name, before, mode, reason)
        )


def _close(connection: apsw.Connection) -> None:
    # What SQLite cannot do on closing it does when the database is opened again; the handle is gone either way.
    with suppress(apsw.Error):
        connection.close(True)
