"""LEASE-2: a lease gives its slot back, in time and not before its statement stopped.

Not before: a lease ends when the last transaction of SQLite that its operation began on its connection has ended. In
time: once its operation is over it ends within a bound, if nothing disturbs it (`simkit.check.disturbances`), and at
the latest when nothing else can happen. A transaction that its owner leaves open may keep its lease until the
system rolls it back. A reader that nobody uses is closed within the time that the settings allow for it.

Does not judge systems that tell of no leases, nor what a close that gave up left behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simkit.check.disturbances import Disturbances
from simkit.check.events import OperationEnded, RunEnded
from simkit.check.leases import Holdings, Lease, Leases
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, follow
from simkit.kernel import Record
from simkit.kernel.units import format_duration
from simkit.pool.events import CloseGaveUp, LeaseConnected, LeaseEnded, TransactionRolledBack
from simkit.vfs.events import FileClosed, TransactionBegan, TransactionEnded

CHECK = "lease-ends"
_AT_REST = ("done", "deadlock")
"""How a run ends when nothing can happen any more."""


def check_ends(
    history: Sequence[Record], bound_ns: int | None = None, idle_ttl_ns: int | None = None
) -> list[Violation]:
    """Leases that ended too early, too late or never, and readers that were kept too long.

    `bound_ns` is the time for a lease to end after its operation, `idle_ttl_ns` that for an unused reader to be closed;
    None: no such bound is judged.
    """
    disturbances = Disturbances()
    return follow(history, disturbances, LeaseEnds(disturbances, bound_ns, idle_ttl_ns))


class LeaseEnds(Leases):
    """Watches how leases and unused readers end. `disturbances` goes through the history before it."""

    check = CHECK

    def __init__(self, disturbances: Disturbances, bound_ns: int | None, idle_ttl_ns: int | None) -> None:
        super().__init__()
        self._disturbances = disturbances
        self._bound_ns = bound_ns
        self._idle_ttl_ns = idle_ttl_ns
        #: the operation that began the transaction of SQLite that a handle is in, by (instance, handle)
        self._transactions: dict[tuple[str, int], int] = {}
        #: simulated time at which an operation ended
        self._over: dict[int, int] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            **super().handlers(),
            OperationEnded: self._operation_ended,
            TransactionBegan: self._began,
            TransactionEnded: self._transaction_ended,
            TransactionRolledBack: self._rolled_back,
        }

    def finish(self, end: RunEnded | None) -> None:
        if end is None or end.reason not in _AT_REST:
            return
        for name, instance in self.instances.items():
            for lease in instance.leases.values():
                if lease.granted and lease.operation in self._over:
                    self._report_leak(name, lease, "when nothing could happen any more", end)
            for handle in [handle for handle, since in instance.readers.items() if since >= 0]:
                self._look_at_idle(name, instance, handle, end)

    def _operation_ended(self, _: int, event: OperationEnded) -> None:
        self._over[event.operation] = event.at

    def _began(self, _: int, event: TransactionBegan) -> None:
        self._transactions[event.instance, event.handle] = event.operation

    def _transaction_ended(self, _: int, event: TransactionEnded) -> None:
        self._transactions.pop((event.instance, event.handle), None)

    def _rolled_back(self, _: int, event: TransactionRolledBack) -> None:
        lease = self.of(event.instance).leases.get(event.lease)
        if lease is not None:
            lease.rolled_back = True

    def _ended(self, index: int, event: LeaseEnded) -> None:
        instance = self.of(event.instance)
        lease = instance.leases.get(event.lease)
        super()._ended(index, event)
        if lease is None or not lease.granted:
            return
        if instance.gave_up:
            return
        if lease.operation >= 0 and self._transactions.get((event.instance, lease.handle)) == lease.operation:
            self.report(
                "LEASE-2",
                f"lease {lease.number} of {event.instance} gave its slot back ({event.how}) before the statement of "
                f"{self.cast.title(lease.operation)} on handle {lease.handle} had stopped",
                event,
                lease.operation,
            )
        over_ns = self._over.get(lease.operation)
        if over_ns is None or self._bound_ns is None or lease.rolled_back:
            return
        late_ns = event.at - self._disturbances.since_ns(over_ns, event.at)
        if late_ns > self._bound_ns:
            self._report_leak(event.instance, lease, f"{format_duration(late_ns)} after it", event)

    def _gave_up(self, index: int, event: CloseGaveUp) -> None:
        super()._gave_up(index, event)
        instance = self.of(event.instance)
        for number in event.leases:
            lease = instance.leases.get(number)
            # One in a transaction may be on its way: it rolls back, and its storage does not answer.
            at_work = lease is not None and (event.instance, lease.handle) in self._transactions
            if lease is not None and lease.operation in self._over and not at_work:
                self._report_leak(event.instance, lease, "when close() gave it up", event)
                del instance.leases[number]

    def _report_leak(self, instance: str, lease: Lease, when: str, event: Record) -> None:
        self.report(
            "LEASE-2",
            f"lease {lease.number} of {instance} still had its slot {when}; {self.cast.title(lease.operation)}, which "
            "it served, was over",
            event,
            lease.operation,
        )

    # Readers that nobody uses

    def _connected(self, index: int, event: LeaseConnected) -> None:
        self._look_at_idle(event.instance, self.of(event.instance), event.handle, event)
        super()._connected(index, event)

    def _file_closed(self, index: int, event: FileClosed) -> None:
        self._look_at_idle(event.instance, self.of(event.instance), event.handle, event)
        self._transactions.pop((event.instance, event.handle), None)
        super()._file_closed(index, event)

    def _look_at_idle(self, name: str, instance: Holdings, handle: int, event: Record) -> None:
        since_ns = instance.readers.get(handle, -1)
        if self._idle_ttl_ns is None or since_ns < 0 or event.at - since_ns <= self._idle_ttl_ns:
            return
        self.report(
            "LEASE-2",
            f"reader handle {handle} of {name} stayed open for {format_duration(event.at - since_ns)} without use; "
            f"it was to be closed after {format_duration(self._idle_ttl_ns)}",
            event,
        )
