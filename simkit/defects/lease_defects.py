"""Broken leases: pools that lose a slot, give one back too early, or grant it to the wrong one.

They break LEASE-1, LEASE-2, MODE-1, PROG-1 and PROG-2 on purpose: each class changes one step of the way of a lease
(`simkit.pool.leasing`) or one rule of admission (`simkit.pool.gate`), and leaves the rest of the pool sound.
"""

from __future__ import annotations

from collections import Counter

from simkit.kernel import Kernel
from simkit.pool.gate import Gate
from simkit.pool.holding import Holding
from simkit.pool.lease import Lease, Phase
from simkit.pool.leasing import Leasing
from simkit.pool.manager import ConnectionManager
from simkit.pool.metrics import PoolMetrics
from simkit.pool.system import DatabaseClosed


class LoggingHolding(Holding):
    """Writes down that a reader was dropped, and leaves it at that."""

    def end_reader(self, lease: Lease, how: str) -> None:
        if how != "dropped":
            super().end_reader(lease, how)
        elif self.readers.get(lease.task) is lease:
            del self.readers[lease.task]


class LeaseDropLeaksCounter(ConnectionManager):
    """The slot of a dropped reader never comes back."""

    make_holding = LoggingHolding


class PendingGate(Gate[Lease]):
    """Readers wait while a writer is pending, and a writer that gives up stays pending."""

    _pending_for_ever = 0

    def forget(self, ticket: Lease) -> None:
        self._pending_for_ever += ticket in self._waiting_writers
        super().forget(ticket)

    def reader_would_wait(self) -> bool:
        return self._pending_for_ever > 0 or super().reader_would_wait()

    def dispatch(self) -> None:
        readers = self._waiting_readers
        if self._pending_for_ever:
            self._waiting_readers = {}
        try:
            super().dispatch()
        finally:
            self._waiting_readers = readers


class PendingLeasing(Leasing):
    """Admits through that gate."""

    make_gate = PendingGate


class CancelledWriterLeaksPending(ConnectionManager):
    """No reader is admitted any more once a waiting writer was cancelled."""

    make_leasing = PendingLeasing


class OpeningLeasing(Leasing):
    """Cleans up after an error while a connection is opened, and does not think of a cancellation there."""

    def end(self, lease: Lease, how: str) -> None:
        if lease.phase is not Phase.OPENING or how != "cancelled":
            super().end(lease, how)


class CancelledOpenLeaksSlot(ConnectionManager):
    """A caller that is cancelled while its connection is opened takes its slot along."""

    make_leasing = OpeningLeasing


class EagerHolding(Holding):
    """Counts a dropped reader as gone at once; its connection is closed when the statement on it has stopped."""

    def end_reader(self, lease: Lease, how: str) -> None:
        orphan, pooled = lease.running, lease.pooled
        if how == "dropped" and orphan is not None and pooled is not None:
            connections = self._leasing.connections
            orphan.at_end(lambda: connections.close(pooled))
            # What is left looks like a lease that never got its connection.
            lease.running = lease.pooled = None
            connections.active -= 1
            connections.opening += 1
        super().end_reader(lease, how)


class EagerDropOverlaps(ConnectionManager):
    """A writer starts beside the statement of a reader that was dropped."""

    make_holding = EagerHolding


class WriterFirstGate(Gate[Lease]):
    """Prefers writers, however long a reader has waited."""

    def dispatch(self) -> None:
        if not self._waiting_writers:
            super().dispatch()
        elif self.writer is None and not self.readers:
            self.writer = writer = self._waiting_writers.pop(0)
            self._grant_writer(writer)


class WriterFirstLeasing(Leasing):
    """Admits through that gate."""

    make_gate = WriterFirstGate


class ReaderStarvation(ConnectionManager):
    """Readers wait as long as there are writers."""

    make_leasing = WriterFirstLeasing


class AppendingGate(Gate[Lease]):
    """A statement that turns out to be a write goes to the end of the line."""

    def turn_into_writer(self, ticket: Lease) -> None:
        self.readers -= 1
        self._waiting_writers.append(ticket)
        self.dispatch()


class AppendingLeasing(Leasing):
    """Admits through that gate."""

    make_gate = AppendingGate


class ProgramOrderInversion(ConnectionManager):
    """A write that has to be looked at first is overtaken by one that was sent later."""

    make_leasing = AppendingLeasing


class ForgetfulLeasing(Leasing):
    """Looks whether it is the turn of a lease, and goes to sleep a moment later: in between nobody can wake it."""

    def wait(self, lease: Lease) -> None:
        if lease.phase is not Phase.WAITING:
            super().wait(lease)
            return
        self._kernel.checkpoint("about to wait")
        self._kernel.park("get", self)
        if lease.ended:
            raise DatabaseClosed("the database was closed while this statement waited")


class LostWakeup(ConnectionManager):
    """A waiter sleeps although it could run."""

    make_leasing = ForgetfulLeasing


class CountingMetrics(PoolMetrics):
    """Keeps counters by name, whatever the name. One of them is spelled in two ways."""

    def __init__(self, kernel: Kernel) -> None:
        self._counted: Counter[str] = Counter()
        super().__init__(kernel)

    def reader_opened(self) -> None:
        self._counted["reader_open_total"] += 1

    @property
    def reader_opens_total(self) -> int:
        return self._counted["reader_opens_total"]

    @reader_opens_total.setter
    def reader_opens_total(self, value: int) -> None:
        self._counted["reader_opens_total"] = value


class MetricSilentlyZero(ConnectionManager):
    """A metric reads 0 because nobody counts under its name, and nobody is told."""

    make_metrics = CountingMetrics
