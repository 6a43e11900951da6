"""Gives leases out and takes them back: the way of a lease from its request to its end.

Upholds LEASE-1 (counters equal reality), LEASE-2 (a lease that ends in any way gives its slot back, in that instant)
and CLOSE-2 (nothing is admitted after `begin_closing`). What a lease has when it ends depends on what it was doing, and
on nothing else: waiting, it has a place in line; opening, a slot; running, a slot and a connection. So one method,
`end`, serves every way in which a lease can end, and it never waits: it works in a task that crashed, in a timer, and
in the turn of somebody else.

From `request` to the place in line nothing yields: the order of the calls is the order of arrival. What is free is
handed over in the turn of whoever freed it. A waiter that is interrupted after it was granted something finds that out
by its phase, and its `end` passes it on.

Does not run statements (`simkit.pool.manager`), and does not know of transactions (`simkit.pool.holding`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import apsw

from simkit.kernel import Task
from simkit.pool.connections import Connections, Pooled
from simkit.pool.events import (
    CLOSING,
    LeaseClassified,
    LeaseConnected,
    LeaseEnded,
    LeaseGranted,
    LeaseRequested,
)
from simkit.pool.gate import Gate
from simkit.pool.lease import READ_KIND, WRITE_KIND, Lease, Phase
from simkit.pool.metrics import PoolMetrics
from simkit.pool.settings import PoolSettings
from simkit.pool.system import DatabaseClosed, Instance, Overloaded

_WAITING, _OPENING, _RUNNING, _ENDED = Phase.WAITING, Phase.OPENING, Phase.RUNNING, Phase.ENDED


class Leasing:
    """The leases of one pool.

    Attributes:
        out: leases that have a slot, in the order in which they were granted.
        closing: nothing is admitted any more.
        on_drained: called when closing and no lease is out.
    """

    #: the parts it is made of: a subclass may have others
    make_connections: ClassVar[type[Connections]] = Connections
    make_gate: ClassVar[type[Gate[Lease]]] = Gate

    def __init__(self, instance: Instance, settings: PoolSettings, metrics: PoolMetrics) -> None:
        self.name = instance.name
        self.settings = settings
        self.connections = self.make_connections(instance, settings, metrics)
        self.gate: Gate[Lease] = self.make_gate(settings.readers_max, self._grant_reader, self._grant_writer)
        self.out: dict[Lease, None] = {}
        self.closing = False
        self.on_drained: Callable[[], None] | None = None
        self._kernel = instance.kernel
        self._group = instance.group
        self._metrics = metrics
        self._requested = 0

    def __str__(self) -> str:
        return f"a connection of {self.name}"

    @property
    def holders(self) -> tuple[Task, ...]:
        """Whom those in line wait for."""
        return tuple(lease.task for lease in self.out)

    # The way in

    def request(self, task: Task, kind: str) -> Lease:
        """A new lease with its place in line, or granted at once. Raises `DatabaseClosed` and `Overloaded`."""
        kernel, gate = self._kernel, self.gate
        self._requested += 1
        lease = Lease(self._requested, task, kind, kernel.now)
        kernel.record(LeaseRequested(kernel.now, task.name, self.name, lease.number, kind, task.operation_number))
        writer = kind is WRITE_KIND
        if self.closing or self._group.crashed:
            self._refuse(lease)
            raise DatabaseClosed("the database is closed: this came after close()")
        waiting_max = self.settings.waiting_max
        if gate.waiting >= waiting_max and (gate.writer_would_wait() if writer else gate.reader_would_wait()):
            self._refuse(lease)
            raise Overloaded(
                f"{gate.waiting} statements wait for {self} already, and waiting_max is {waiting_max}; nothing of this "
                "one was done: send it again when fewer wait"
            )
        if writer:
            gate.enter_writer(lease)
        else:
            gate.enter_reader(lease)
        return lease

    def wait(self, lease: Lease) -> None:
        """Waits for the turn of the lease. Raises `DatabaseClosed` when the database is closed meanwhile.

        Whoever calls this or `connection` ends the lease when it raises.
        """
        if lease.phase is _WAITING:
            self._kernel.park("get", self)
            if lease.phase is _ENDED:
                raise DatabaseClosed("the database was closed while this statement waited for its turn")
        else:
            self._kernel.yield_point("get", self)

    def connection(self, lease: Lease) -> apsw.Connection:
        """The connection of a lease whose turn it is, configured. Raises what opening it raises."""
        pooled = lease.pooled
        if pooled is None:
            assert lease.phase is _OPENING, f"LEASE-1: {lease} goes on while it is {lease.phase.value}"
            pooled = self._connect(lease)
        return pooled.connection

    def _connect(self, lease: Lease) -> Pooled:
        connections = self.connections
        readonly = self.gate.writer is not lease
        pooled = connections.open(readonly)
        lease.pooled = pooled
        lease.phase = _RUNNING
        if readonly:
            connections.opening -= 1
            connections.active += 1
            connections.settle("a reader was opened")
        self._record_connected(lease, pooled)
        return pooled

    def classified(self, lease: Lease) -> None:
        """A lease of unknown kind stays a reader."""
        lease.kind = READ_KIND
        self._record_classified(lease)

    def turn_into_writer(self, lease: Lease) -> None:
        """A lease that reads gives its reader back and waits for the writer, in the place of its request.

        Raises `DatabaseClosed` when closing began: nothing of it has run. The lease is then as it was.
        """
        lease.kind = WRITE_KIND
        self._record_classified(lease)
        if self.closing:
            raise DatabaseClosed("the database was closed before this statement began to run")
        del self.out[lease]
        self._give_reader_back(lease)
        lease.phase = _WAITING
        lease.since_ns = self._kernel.now
        self.connections.settle("a reader was given back")
        self.gate.turn_into_writer(lease)

    # Granting

    def _grant_reader(self, lease: Lease) -> None:
        connections = self.connections
        self.out[lease] = None
        lease.pooled = pooled = connections.take_idle()
        if pooled is None:
            connections.opening += 1
            lease.phase = _OPENING
        else:
            lease.phase = _RUNNING
        connections.settle("a reader was admitted")
        self._metrics.read_waited(self._kernel.now - lease.since_ns)
        self._granted(lease)

    def _grant_writer(self, lease: Lease) -> None:
        connections = self.connections
        assert not self.gate.readers, "MODE-1: a writer is admitted beside a reader"
        self.out[lease] = None
        connections.close_idle()
        connections.writing = True
        lease.pooled, connections.kept_writer = connections.kept_writer, None
        lease.phase = _OPENING if lease.pooled is None else _RUNNING
        connections.settle("a writer was admitted")
        self._metrics.write_waited(self._kernel.now - lease.since_ns)
        self._granted(lease)

    def _granted(self, lease: Lease) -> None:
        kernel, connections = self._kernel, self.connections
        kernel.record(
            LeaseGranted(
                kernel.now,
                self._task_name(),
                self.name,
                lease.number,
                connections.active,
                len(connections.idle),
                connections.opening,
            )
        )
        if lease.pooled is not None:
            self._record_connected(lease, lease.pooled)
        kernel.wake(lease.task)  # it waits in `admit`, or has not come there yet

    # The way out

    def end(self, lease: Lease, how: str) -> None:
        """The lease is over, whatever it was doing; `how` as in `LeaseEnded`. A second end does nothing.

        No statement of it runs any more, and no transaction is open that must be rolled back by a task.
        """
        phase = lease.phase
        if phase is _ENDED:
            return
        assert lease.running is None, f"LEASE-2: {lease} ends while a statement of it runs"
        lease.phase = _ENDED
        gate = self.gate
        if phase is _WAITING:
            gate.forget(lease)
        else:
            del self.out[lease]
            if gate.writer is lease:
                self._give_writer_back(lease)
                gate.writer_left(lease)
            else:
                self._give_reader_back(lease)
                gate.reader_left()
        self.connections.settle(f"a lease {how}" if how != "released" else "a lease was released")
        self._record_ended(lease, how, phase)
        if self._group.crashed:
            return
        gate.dispatch()
        if self.closing and not self.out and self.on_drained is not None:
            self.on_drained()

    def _give_reader_back(self, lease: Lease) -> None:
        connections = self.connections
        pooled, lease.pooled = lease.pooled, None
        if pooled is None:
            connections.opening -= 1
        elif lease.failed or self.closing or self._group.crashed:
            connections.active -= 1
            connections.close(pooled)
        else:
            connections.put_idle(pooled)

    def _give_writer_back(self, lease: Lease) -> None:
        connections = self.connections
        connections.writing = False
        pooled, lease.pooled = lease.pooled, None
        if pooled is None:
            return
        if self.settings.readers_max or lease.failed or self.closing or self._group.crashed:
            connections.close(pooled)
        else:
            connections.kept_writer = pooled

    # Closing

    def begin_closing(self) -> None:
        """From this instant nothing is admitted. Whoever waits is refused; what is idle is closed."""
        kernel, connections = self._kernel, self.connections
        self.closing = True
        connections.enter(CLOSING, "close")
        connections.stop_pruning()
        connections.close_idle()
        self._close_kept_writer()
        connections.settle("close")
        for lease in self.gate.refuse_all():
            self._refuse(lease)
            kernel.wake(lease.task)

    def _close_kept_writer(self) -> None:
        connections = self.connections
        kept, connections.kept_writer = connections.kept_writer, None
        if kept is not None:
            connections.close(kept)

    def _refuse(self, lease: Lease) -> None:
        lease.phase = _ENDED
        self._record_ended(lease, "refused", _WAITING)

    # Records

    def _task_name(self) -> str:
        task = self._kernel.current
        return task.name if task is not None else ""

    def _record_classified(self, lease: Lease) -> None:
        kernel = self._kernel
        kernel.record(LeaseClassified(kernel.now, self._task_name(), self.name, lease.number, lease.kind))

    def _record_connected(self, lease: Lease, pooled: Pooled) -> None:
        kernel = self._kernel
        kernel.record(LeaseConnected(kernel.now, self._task_name(), self.name, lease.number, pooled.handle))

    def _record_ended(self, lease: Lease, how: str, phase: Phase) -> None:
        kernel, connections = self._kernel, self.connections
        kernel.record(
            LeaseEnded(
                kernel.now,
                self._task_name(),
                self.name,
                lease.number,
                how,
                phase.value,
                connections.active,
                len(connections.idle),
                connections.opening,
            )
        )
