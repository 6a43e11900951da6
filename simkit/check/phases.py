"""PROG-1: readers and writers take turns, and what one client asks for in order is done in order.

From what a system tells of its leases: *phases*. A writer phase is a write lease from grant to end; a reader phase is
whatever is granted to readers in between. While a reader waits, one writer may be granted its turn, and none if a
writer had it already when the reader came. A reader that comes while a writer waits may not go before it, unless it
waited already while the last writer had its turn. Writers have their turns in the order in which they asked.

A lease that asks before anybody knows what its statement does waits as a reader. Found to be for the writer, it waits
as a writer from then on, in the place of its request; a later writer that had its turn in the meantime was too early.
A lease for reading that ends up at the writer (no reader may run it after all) keeps no place that could be told
from here, and its order is not judged.

From operations and commits, for any system: *program order*. Of two operations of one client that are under way
together, the one that was asked for first commits first. Both must be acknowledged, have one commit each that is known
to be theirs, and claim the right to write when they begin.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simkit.check.events import OK, InstanceCrashed, OperationEnded, OperationInvoked, RunEnded
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, Watch, follow
from simkit.depot.events import CommitApplied
from simkit.kernel import Record
from simkit.pool.events import LeaseClassified, LeaseEnded, LeaseGranted, LeaseRequested

PHASES = "phases"
PROGRAM_ORDER = "program-order"


@dataclass(eq=False, slots=True)
class _Ticket:
    """A lease that was asked for. All `..._at` are indices into the history.

    Attributes:
        since: from when on it waits as what it waits for now.
        passes_left: writer phases that may still begin while it waits as a reader.
        overtaken_by: a writer that asked later and had its turn while this one waited unclassified.
        ordered: it asked as a writer, or as one that nobody knew yet.
        running: "" before its grant, then what it was granted as.
    """

    lease: int
    operation: int
    kind: str
    requested_at: int
    since: int
    passes_left: int
    ordered: bool
    overtaken_by: _Ticket | None = None
    running: str = ""
    gone: bool = False


@dataclass(slots=True)
class _Gate:
    """The gate of one instance. `queue` has its waiting writers by their request, those that are gone among them."""

    tickets: dict[int, _Ticket] = field(default_factory=dict)
    readers: dict[int, _Ticket] = field(default_factory=dict)
    writers: dict[int, _Ticket] = field(default_factory=dict)
    queue: list[tuple[int, int]] = field(default_factory=list)
    writing: int = 0
    last_phase_ended_at: int = -1


def check_phases(history: Sequence[Record]) -> list[Violation]:
    """Readers and writers that were passed by more often than they may, and commits out of program order."""
    return follow(history, Phases(), ProgramOrder())


class Phases(Watch):
    """Follows the queue of each instance through its phases."""

    check = PHASES

    def __init__(self) -> None:
        super().__init__()
        self._gates: dict[str, _Gate] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            LeaseRequested: self._requested,
            LeaseClassified: self._classified,
            LeaseGranted: self._granted,
            LeaseEnded: self._ended,
            InstanceCrashed: self._crashed,
        }

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        self._gates.pop(event.instance, None)

    def _requested(self, index: int, event: LeaseRequested) -> None:
        gate = self._gates.setdefault(event.instance, _Gate())
        passes = 0 if gate.writing else 1
        ticket = _Ticket(event.lease, event.operation, event.kind, index, index, passes, event.kind != "read")
        gate.tickets[event.lease] = ticket
        if event.kind == "write":
            self._wait_to_write(gate, ticket)
        else:
            gate.readers[event.lease] = ticket

    def _wait_to_write(self, gate: _Gate, ticket: _Ticket) -> None:
        gate.writers[ticket.lease] = ticket
        if ticket.ordered:
            heapq.heappush(gate.queue, (ticket.requested_at, ticket.lease))

    def _classified(self, index: int, event: LeaseClassified) -> None:
        gate, ticket = self._find(event.instance, event.lease)
        if gate is None or ticket is None:
            return
        if event.kind != "write" or ticket.running == "write" or ticket.lease in gate.writers:
            ticket.kind = event.kind
            return
        gate.readers.pop(ticket.lease, None)
        ticket.kind, ticket.since, ticket.running = "write", index, ""
        self._wait_to_write(gate, ticket)
        if ticket.overtaken_by is not None:
            self._report_order(event.instance, ticket.overtaken_by, ticket, event)

    def _granted(self, index: int, event: LeaseGranted) -> None:
        gate, ticket = self._find(event.instance, event.lease)
        if gate is None or ticket is None:
            return
        if ticket.lease in gate.writers:
            self._grant_writer(gate, ticket, event)
        elif gate.readers.pop(ticket.lease, None) is not None:
            ticket.running = "read"
            self._grant_reader(gate, ticket, event)

    def _grant_writer(self, gate: _Gate, ticket: _Ticket, event: LeaseGranted) -> None:
        del gate.writers[ticket.lease]
        ticket.running = "write"
        gate.writing += 1
        if ticket.ordered:
            first = self._first_writer(gate)
            if first is not None and first.requested_at < ticket.requested_at:
                self._report_order(event.instance, ticket, first, event)
        for reader in list(gate.readers.values()):
            reader.passes_left -= 1
            if reader.passes_left == -1:
                self._report_passed(event, ticket, reader)
            if reader.kind == "unknown" and ticket.ordered and reader.requested_at < ticket.requested_at:
                reader.overtaken_by = reader.overtaken_by or ticket

    def _report_passed(self, event: LeaseGranted, writer: _Ticket, reader: _Ticket) -> None:
        self.report(
            "PROG-1",
            f"{self.cast.title(writer.operation)} got the writer of {event.instance} while "
            f"{self.cast.title(reader.operation)}, a reader, waited for a second writer phase to pass",
            event,
            reader.operation,
            writer.operation,
        )

    def _report_order(
        self, instance: str, early: _Ticket, late: _Ticket, event: LeaseGranted | LeaseClassified
    ) -> None:
        self.report(
            "PROG-1",
            f"{self.cast.title(early.operation)} got the writer of {instance} before "
            f"{self.cast.title(late.operation)}, which had asked for it first",
            event,
            early.operation,
            late.operation,
        )

    def _grant_reader(self, gate: _Gate, ticket: _Ticket, event: LeaseGranted) -> None:
        first = next(iter(gate.writers.values()), None)
        if first is None or ticket.requested_at < first.since or ticket.requested_at < gate.last_phase_ended_at:
            return
        self.report(
            "PROG-1",
            f"{self.cast.title(ticket.operation)}, a reader, was let into {event.instance} although "
            f"{self.cast.title(first.operation)} waited for the writer when it came",
            event,
            ticket.operation,
            first.operation,
        )

    def _first_writer(self, gate: _Gate) -> _Ticket | None:
        """The waiting writer that asked first."""
        queue = gate.queue
        while queue:
            ticket = gate.writers.get(queue[0][1])
            if ticket is not None:
                return ticket
            heapq.heappop(queue)
        return None

    def _ended(self, index: int, event: LeaseEnded) -> None:
        gate, ticket = self._find(event.instance, event.lease)
        if gate is None or ticket is None:
            return
        del gate.tickets[ticket.lease]
        gate.readers.pop(ticket.lease, None)
        gate.writers.pop(ticket.lease, None)
        if ticket.running == "write":
            gate.writing -= 1
            gate.last_phase_ended_at = index

    def _find(self, instance: str, lease: int) -> tuple[_Gate | None, _Ticket | None]:
        gate = self._gates.get(instance)
        return gate, gate.tickets.get(lease) if gate is not None else None


@dataclass(eq=False, slots=True)
class _Write:
    invoked_at: int
    event: OperationInvoked
    ended: OperationEnded | None = None
    ended_at: int = 0
    commits: list[int] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """It was acknowledged, and its place among the commits is known."""
        return self.ended is not None and self.ended.outcome == OK and len(self.commits) == 1


class ProgramOrder(Watch):
    """Compares the order of a client's operations with that of their commits."""

    check = PROGRAM_ORDER

    def __init__(self) -> None:
        super().__init__()
        self._writes: dict[int, _Write] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {OperationInvoked: self._invoked, CommitApplied: self._applied, OperationEnded: self._ended}

    def _invoked(self, index: int, event: OperationInvoked) -> None:
        if event.begins_writing and not event.rollback:
            self._writes[event.operation] = _Write(index, event)

    def _applied(self, index: int, event: CommitApplied) -> None:
        write = self._writes.get(event.operation)
        if write is not None:
            write.commits.append(index)

    def _ended(self, index: int, event: OperationEnded) -> None:
        write = self._writes.get(event.operation)
        if write is not None:
            write.ended, write.ended_at = event, index

    def finish(self, end: RunEnded | None) -> None:
        latest: dict[tuple[str, str], _Write] = {}
        for write in self._writes.values():
            if not write.counts:
                continue
            key = write.event.client, write.event.instance
            earlier = latest.get(key)
            if earlier is None or earlier.commits[0] < write.commits[0]:
                latest[key] = write
            elif earlier.ended_at > write.invoked_at:
                assert write.ended is not None
                self.report(
                    "PROG-1",
                    f"{self.cast.title(write.event.operation)} was committed before "
                    f"{self.cast.title(earlier.event.operation)}, which its client had asked for first",
                    write.ended,
                    earlier.event.operation,
                    write.event.operation,
                )
