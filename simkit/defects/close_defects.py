"""Broken closes: managers that return too early, let work in behind a close, or wait for ever; a VFS that stays known.

They break CLOSE-1, CLOSE-2 and PROG-3 on purpose, with subclasses of the keeper, of the leases or of the VFS.
"""

from __future__ import annotations

from typing import Any, ClassVar

from simkit.kernel import Task
from simkit.kernel.units import MILLISECOND
from simkit.pool.keeper import Keeper
from simkit.pool.lease import Lease
from simkit.pool.leasing import Leasing
from simkit.pool.manager import ConnectionManager
from simkit.vfs.filesystem import DepotVfs

_LOOK_AGAIN_NS = MILLISECOND // 10


class HastyKeeper(Keeper):
    """Has nothing to do for who closes what somebody closes already."""

    def close(self, task: Task) -> None:
        if not self._leasing.closing:
            super().close(task)


class SecondCloseReturnsEarly(ConnectionManager):
    """The second of two closes returns at once."""

    make_keeper = HastyKeeper


class ForgetfulKeeper(Keeper):
    """Does not keep the close that is under way, so that the next one does all of it itself."""

    def close(self, task: Task) -> None:
        if not self._leasing.closing:
            super().close(task)
            return
        while self._leasing.out:
            self._kernel.sleep(_LOOK_AGAIN_NS)
        self._instance.close_database()


class ClosePromiseNeverAssigned(ConnectionManager):
    """Nobody can join a close."""

    make_keeper = ForgetfulKeeper


class LazyLeasing(Leasing):
    """Takes a database for open until it is closed: whoever comes while it closes has a connection opened."""

    def request(self, task: Task, kind: str) -> Lease:
        closing, self.closing = self.closing, False
        try:
            return super().request(task, kind)
        finally:
            self.closing = closing


class WorkAdmittedAfterClose(ConnectionManager):
    """Lets work in until the last moment of a close."""

    make_leasing = LazyLeasing


class PatientKeeper(Keeper):
    """Waits for whatever was admitted, however long that takes."""

    def _give_up(self, _event: object) -> None:
        """Does not."""


class DropFlushUnbounded(ConnectionManager):
    """A close waits for a commit that never resolves."""

    make_keeper = PatientKeeper


class LingeringVfs(DepotVfs):
    """Is unregistered by the close of a database that was opened; one that could not be opened forgets it."""

    #: known to SQLite, and of no more use; SQLite's list belongs to the process, which has other runs to do
    _left: ClassVar[list[LingeringVfs]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        for vfs in [vfs for vfs in self._left if vfs.database.kernel.closed]:
            self._left.remove(vfs)
            DepotVfs.unregister(vfs)

    def unregister(self) -> None:
        if self.database.handles:
            super().unregister()
        else:
            self._left.append(self)
