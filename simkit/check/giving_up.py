"""PROG-3, the part of instances: one gives its database up only when a fence told it that it is no longer its own.

A request that failed for any other reason may succeed the next time. An instance that takes it for the end serves
nobody any more, and all of its clients wait for a restart that nothing called for. Instances that crash, that are
closed or that gave a close up end for reasons of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from simkit.check.events import CloseInvoked, InstanceCrashed, InstanceOpened
from simkit.check.watch import Handler, Watch
from simkit.depot.errors import BranchNotWritable, GenerationFenceMismatch, HeadFenceMismatch
from simkit.depot.events import RequestFailed
from simkit.kernel import Record
from simkit.pool.events import CloseGaveUp
from simkit.vfs.events import FlushGivenUp, InstanceDied

CHECK = "giving-up"
_FENCES = frozenset(fence.code for fence in (GenerationFenceMismatch, HeadFenceMismatch, BranchNotWritable))
LOST = "it lost the database"
"""What the world says of an instance that it found dead and replaced."""


class GivingUp(Watch):
    """Follows each instance up to its end."""

    check = CHECK

    def __init__(self) -> None:
        super().__init__()
        self._opened: set[str] = set()
        #: instances that had a fence, or something else to end for
        self._excused: set[str] = set()

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            InstanceOpened: self._open,
            RequestFailed: self._failed,
            CloseInvoked: self._excuse,
            CloseGaveUp: self._excuse,
            FlushGivenUp: self._excuse,
            InstanceDied: self._died,
            InstanceCrashed: self._crashed,
        }

    def _open(self, _: int, event: InstanceOpened) -> None:
        self._opened.add(event.instance)

    def _failed(self, _: int, event: RequestFailed) -> None:
        if event.error in _FENCES:
            self._excused.add(event.instance)

    def _excuse(self, _: int, event: CloseInvoked | CloseGaveUp | FlushGivenUp) -> None:
        self._excused.add(event.instance)

    def _died(self, _: int, event: InstanceDied) -> None:
        if event.instance not in self._excused:
            self._excused.add(event.instance)
            self._report(event.instance, event)

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        if event.cause == LOST and event.instance in self._opened - self._excused:
            self._report(event.instance, event)

    def _report(self, instance: str, event: Record) -> None:
        self.report("PROG-3", f"{instance} gave the database up, and no fence had told it to", event)
