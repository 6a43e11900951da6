"""A connection of SQLite whose closing waits for storage no longer than 250 ms.

What SQLite does on closing may need the depot: an open transaction that has spilled is rolled back by a commit of the
old pages, and the end of a statement that was left half done may commit. When that takes too long the instance ends, on
record (`FlushGivenUp`): its storage refuses whatever SQLite still tries, the request under way is left to itself, and
SQLite lets go of everything. Nothing becomes durable by that: what the pages say that were sent, SQLite has asked for.

`close()` is where everybody comes by who closes, a pool, a worker or a user's own system. A connection that nobody
closes is closed by Python without a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw

from simkit.kernel import Task, TaskState
from simkit.kernel.units import MILLISECOND
from simkit.vfs.errors import InstanceDead

if TYPE_CHECKING:
    from simkit.vfs.filesystem import DepotVfs

DROP_FLUSH_NS = 250 * MILLISECOND
"""How long closing a connection waits for storage."""

_CAUSE = "the flush on closing took longer than 250 ms"


class DepotConnection(apsw.Connection):
    """A connection over a `DepotVfs`, which opens it."""

    def __init__(self, name: str, flags: int, vfs_name: str, vfs: DepotVfs) -> None:
        super().__init__(name, flags=flags, vfs=vfs_name)
        self._depot_vfs: DepotVfs | None = vfs

    def close(self, force: bool = False) -> None:
        """Closes it, within 250 ms. Raises what SQLite was told by the storage; it is closed all the same.

        An open transaction is rolled back. Does nothing the second time.
        """
        vfs = self._depot_vfs
        task = vfs.database.kernel.current if vfs is not None else None
        if vfs is None or task is None or not self._writes():
            super().close(force)
            return
        with self._bounded(vfs, task):
            super().close(force)

    @contextmanager
    def _bounded(self, vfs: DepotVfs, task: Task) -> Iterator[None]:
        kernel, databases = vfs.database.kernel, vfs.databases

        def expire(_event: object) -> None:
            for database in databases:
                if database.death is None:
                    database.give_up_flush(_CAUSE)
            if task.state is TaskState.WAITING:
                kernel.throw_now(task, InstanceDead(f"{databases[0].storage.instance} is dead: {_CAUSE}"))

        # Where order is free, whatever can still happen happens first.
        timer = kernel.timer(DROP_FLUSH_NS, expire, f"{databases[0].storage.instance} flush on closing", patient=True)
        try:
            yield
        finally:
            timer.revoke()

    def _writes(self) -> bool:
        """Whether it holds a write transaction, its own or one of a statement."""
        try:
            return self.txn_state() == apsw.SQLITE_TXN_WRITE
        except apsw.Error:
            return False  # closed already
