"""CLOSE-2, the part of SQLite's list of VFSs: each is registered as long as its instance needs it, and no longer.

An instance that is closed loses its VFS within the native close. One that could not open the database loses it before
the next one registers its own: what an error leaves behind, the next opening of that name would find.

An instance that crashed after it had opened keeps its VFS as long as something of it unwinds, and is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simkit.check.events import InstanceCrashed, InstanceOpened, NativeCloseFinished, NativeCloseStarted
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, Watch, follow
from simkit.kernel import Record
from simkit.vfs.events import VfsRegistered, VfsUnregistered

CHECK = "registration"


def check_registration(history: Sequence[Record]) -> list[Violation]:
    """VFSs that were registered for too long or not long enough."""
    return follow(history, Registration())


class Registration(Watch):
    """Follows the VFS of each instance."""

    check = CHECK

    def __init__(self) -> None:
        super().__init__()
        self._registered: set[str] = set()
        self._opened: set[str] = set()
        #: instances that may lose their VFS now: they crashed, or their native close has begun
        self._ending: set[str] = set()
        #: instances that crashed before they had opened, and that SQLite still knows
        self._left_behind: dict[str, None] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            VfsRegistered: self._register,
            VfsUnregistered: self._unregister,
            InstanceOpened: self._open,
            InstanceCrashed: self._crash,
            NativeCloseStarted: self._close_started,
            NativeCloseFinished: self._close_finished,
        }

    def _register(self, _: int, event: VfsRegistered) -> None:
        for name in self._left_behind:
            self.report(
                "CLOSE-2",
                f"the VFS of {name}, which could not open the database, was still registered when {event.instance} "
                "registered its own",
                event,
            )
        self._left_behind.clear()
        self._registered.add(event.instance)

    def _unregister(self, _: int, event: VfsUnregistered) -> None:
        if event.instance in self._registered and event.instance not in self._ending:
            self.report("CLOSE-2", f"the VFS of {event.instance} was unregistered before its native close began", event)
        self._registered.discard(event.instance)
        self._left_behind.pop(event.instance, None)

    def _open(self, _: int, event: InstanceOpened) -> None:
        self._opened.add(event.instance)

    def _crash(self, _: int, event: InstanceCrashed) -> None:
        self._ending.add(event.instance)
        if event.instance in self._registered and event.instance not in self._opened:
            self._left_behind[event.instance] = None

    def _close_started(self, _: int, event: NativeCloseStarted) -> None:
        self._ending.add(event.instance)

    def _close_finished(self, _: int, event: NativeCloseFinished) -> None:
        if event.instance in self._registered:
            self.report("CLOSE-2", f"the native close of {event.instance} finished and left its VFS registered", event)
