"""The leases and readers of each instance, as two checks need them: LEASE-1 and LEASE-2 build on it.

A lease is known from its request to its end. One that asked before anybody knew its kind counts as one for reading;
found to be for the writer, it has given its reader back and is not granted again yet.

Keeps no judgement of its own, so that both checks see the same leases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simkit.check.events import CloseReturned, InstanceCrashed
from simkit.check.watch import Handler, Watch
from simkit.kernel import Record
from simkit.pool.events import (
    CloseGaveUp,
    LeaseClassified,
    LeaseConnected,
    LeaseEnded,
    LeaseGranted,
    LeaseRequested,
    PoolOpened,
)
from simkit.vfs.events import FileClosed, FileOpened


@dataclass(eq=False, slots=True)
class Lease:
    """A lease that was asked for and has not ended. `reads` until it is known to be for the writer."""

    number: int
    operation: int
    reads: bool
    granted: bool = False
    handle: int = 0
    rolled_back: bool = False


@dataclass(slots=True)
class Holdings:
    """The leases and readers of an instance.

    Attributes:
        reading: leases that run as readers.
        readers: read-only handles that are open, with the time since when nobody uses them, -1 while somebody does.
        opened, closed: how many readers were, so far.
        configured: read-only handles that a lease was given.
        readers_max: how many readers there may be at once, if the system says so.
        tells: the system tells of its leases.
        gave_up: its close cut it off from its storage; what unwinds after that has no order.
        over: a close of it returned.
    """

    leases: dict[int, Lease] = field(default_factory=dict)
    reading: int = 0
    readers: dict[int, int] = field(default_factory=dict)
    opened: int = 0
    closed: int = 0
    configured: set[int] = field(default_factory=set)
    readers_max: int | None = None
    tells: bool = False
    gave_up: bool = False
    over: bool = False


class Leases(Watch):
    """Follows the leases and readers of every instance. A check adds what is wrong with them."""

    def __init__(self) -> None:
        super().__init__()
        self.instances: dict[str, Holdings] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            PoolOpened: self._pool_opened,
            LeaseRequested: self._requested,
            LeaseClassified: self._classified,
            LeaseGranted: self._granted,
            LeaseConnected: self._connected,
            LeaseEnded: self._ended,
            FileOpened: self._file_opened,
            FileClosed: self._file_closed,
            CloseGaveUp: self._gave_up,
            CloseReturned: self._close_returned,
            InstanceCrashed: self._crashed,
        }

    def of(self, name: str) -> Holdings:
        """What an instance has now."""
        instance = self.instances.get(name)
        if instance is None:
            instance = self.instances[name] = Holdings()
        return instance

    def _pool_opened(self, _: int, event: PoolOpened) -> None:
        self.of(event.instance).readers_max = event.readers_max

    def _requested(self, _: int, event: LeaseRequested) -> None:
        instance = self.of(event.instance)
        instance.tells = True
        instance.leases[event.lease] = Lease(event.lease, event.operation, event.kind != "write")

    def _classified(self, _: int, event: LeaseClassified) -> None:
        instance = self.of(event.instance)
        lease = instance.leases.get(event.lease)
        if lease is None or event.kind != "write" or not lease.reads:
            return
        if lease.granted:
            instance.reading -= 1
        self._unuse(instance, lease, event.at)
        lease.reads = lease.granted = False
        lease.handle = 0

    def _granted(self, _: int, event: LeaseGranted) -> None:
        instance = self.of(event.instance)
        lease = instance.leases.get(event.lease)
        if lease is not None and not lease.granted:
            lease.granted = True
            if lease.reads:
                instance.reading += 1

    def _connected(self, _: int, event: LeaseConnected) -> None:
        instance = self.of(event.instance)
        lease = instance.leases.get(event.lease)
        if lease is None:
            return
        lease.handle = event.handle
        if event.handle in instance.readers:
            instance.readers[event.handle] = -1
            instance.configured.add(event.handle)

    def _ended(self, _: int, event: LeaseEnded) -> None:
        instance = self.of(event.instance)
        lease = instance.leases.pop(event.lease, None)
        if lease is None:
            return
        if lease.granted and lease.reads:
            instance.reading -= 1
        self._unuse(instance, lease, event.at)

    def _unuse(self, instance: Holdings, lease: Lease, now_ns: int) -> None:
        if lease.handle in instance.readers:
            instance.readers[lease.handle] = now_ns

    def _file_opened(self, _: int, event: FileOpened) -> None:
        if not event.writable:
            instance = self.of(event.instance)
            instance.readers[event.handle] = -1
            instance.opened += 1

    def _file_closed(self, _: int, event: FileClosed) -> None:
        instance = self.of(event.instance)
        if instance.readers.pop(event.handle, None) is not None:
            instance.closed += 1

    def _gave_up(self, _: int, event: CloseGaveUp) -> None:
        self.of(event.instance).gave_up = True

    def _close_returned(self, _: int, event: CloseReturned) -> None:
        if not event.error:
            self.of(event.instance).over = True

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        self.instances.pop(event.instance, None)
