"""MODE-1, MODE-2, MODE-3, ROLE-1: which connections are open together, and who does what with them.

Everything is told by SQLite's files and statements, so it holds for any system; where a system tells of its leases,
they are looked at as well. What a caller may do depends on its task: the operations of one task may follow one another
in a transaction, those of two may not. What the system does on its own account (operation -1) is nobody's
statement, and neither is a ROLLBACK, with which a system clears up behind a caller that has gone.

Handles are numbered in the order of their opening. A reader is stale as soon as a writable handle has a higher number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simkit.check.events import InstanceCrashed, StatementStarted
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, Watch, follow
from simkit.kernel import Record
from simkit.pool.events import LeaseClassified, LeaseConnected, LeaseEnded, LeaseRequested
from simkit.vfs.events import FileClosed, FileOpened, SyncStarted, TransactionBegan

CHECK = "connections"


@dataclass(eq=False, slots=True)
class _Lease:
    number: int
    operation: int
    writes: bool
    handle: int = 0


@dataclass(slots=True)
class _Instance:
    """What is open. `handles` has True for writable ones, `owners` the operation that began what a handle is in."""

    handles: dict[int, bool] = field(default_factory=dict)
    newest_writer: int = 0
    owners: dict[int, int] = field(default_factory=dict)
    leases: dict[int, _Lease] = field(default_factory=dict)
    holders: dict[int, _Lease] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)


def check_connections(history: Sequence[Record]) -> list[Violation]:
    """Connections open together, statements in a transaction of somebody else, old readers, writes by readers."""
    return follow(history, Connections())


class Connections(Watch):
    """Follows the handles of each instance, the transactions in them, and who holds them."""

    check = CHECK

    def __init__(self) -> None:
        super().__init__()
        self._instances: dict[str, _Instance] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            FileOpened: self._opened,
            FileClosed: self._closed,
            StatementStarted: self._statement,
            TransactionBegan: self._transaction,
            SyncStarted: self._sync,
            LeaseRequested: self._requested,
            LeaseClassified: self._classified,
            LeaseConnected: self._connected,
            LeaseEnded: self._ended,
            InstanceCrashed: self._crashed,
        }

    def _of(self, name: str) -> _Instance:
        instance = self._instances.get(name)
        if instance is None:
            instance = self._instances[name] = _Instance()
        return instance

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        self._instances.pop(event.instance, None)

    # MODE-1

    def _opened(self, _: int, event: FileOpened) -> None:
        instance = self._of(event.instance)
        rivals = [handle for handle, writable in instance.handles.items() if writable or event.writable]
        if rivals:
            kind = "writable" if event.writable else "read-only"
            open_ones = ", ".join(
                f"handle {handle} ({'writable' if instance.handles[handle] else 'read-only'})" for handle in rivals
            )
            self.report(
                "MODE-1",
                f"{event.instance} opened a {kind} connection (handle {event.handle}) while {open_ones} was open",
                event,
            )
        instance.handles[event.handle] = event.writable
        if event.writable:
            instance.newest_writer = event.handle

    def _closed(self, _: int, event: FileClosed) -> None:
        instance = self._of(event.instance)
        instance.handles.pop(event.handle, None)
        instance.owners.pop(event.handle, None)

    # MODE-2

    def _statement(self, _: int, event: StatementStarted) -> None:
        instance, operation = self._of(event.instance), event.operation
        if instance.newest_writer > event.handle:
            self._look_for_stale(instance, event)
        if not event.in_transaction:
            if operation >= 0:
                instance.owners[event.handle] = operation
            else:
                instance.owners.pop(event.handle, None)
        if operation < 0 or event.rollback:
            return
        owner = instance.owners.get(event.handle, operation)
        holder = instance.holders.get(event.handle)
        if self._strangers(owner, operation):
            self.report(
                "MODE-2",
                f"a statement of {self.cast.title(operation)} ran in the transaction of {self.cast.title(owner)}, "
                f"open on handle {event.handle} of {event.instance}",
                event,
                operation,
                owner,
            )
        elif holder is not None and self._strangers(holder.operation, operation):
            self.report(
                "MODE-2",
                f"a statement of {self.cast.title(operation)} ran on handle {event.handle} of {event.instance}, which "
                f"lease {holder.number} of {self.cast.title(holder.operation)} had",
                event,
                operation,
                holder.operation,
            )

    def _strangers(self, one: int, other: int) -> bool:
        if one == other:
            return False
        callers = self.cast.caller(one), self.cast.caller(other)
        return None not in callers and callers[0] != callers[1]

    # MODE-3

    def _transaction(self, _: int, event: TransactionBegan) -> None:
        instance = self._of(event.instance)
        if instance.newest_writer > event.handle:
            self._look_for_stale(instance, event)

    def _look_for_stale(self, instance: _Instance, event: StatementStarted | TransactionBegan) -> None:
        if instance.handles.get(event.handle, True) or event.handle in instance.stale:
            return
        instance.stale.add(event.handle)
        self.report(
            "MODE-3",
            f"{self.cast.title(event.operation)} used reader handle {event.handle} of {event.instance}, which was "
            f"opened before the writer of handle {instance.newest_writer}",
            event,
            event.operation,
        )

    # ROLE-1

    def _sync(self, _: int, event: SyncStarted) -> None:
        instance = self._of(event.instance)
        holder = instance.holders.get(event.handle)
        if instance.handles.get(event.handle) is False:
            through = f"handle {event.handle}, which is open for reading only"
        elif holder is not None and not holder.writes:
            through = f"handle {event.handle} of lease {holder.number}, which is for reading"
        else:
            return
        self.report(
            "ROLE-1",
            f"{self.cast.title(event.operation)} sent {event.pages} pages of {event.instance} to storage through "
            f"{through}",
            event,
            event.operation,
        )

    # Leases, where a system tells of them

    def _requested(self, _: int, event: LeaseRequested) -> None:
        lease = _Lease(event.lease, event.operation, event.kind == "write")
        self._of(event.instance).leases[event.lease] = lease

    def _classified(self, _: int, event: LeaseClassified) -> None:
        instance = self._of(event.instance)
        lease = instance.leases.get(event.lease)
        if lease is not None and event.kind == "write":
            lease.writes = True
            self._let_go(instance, lease)

    def _connected(self, _: int, event: LeaseConnected) -> None:
        instance = self._of(event.instance)
        lease = instance.leases.get(event.lease)
        if lease is not None:
            lease.handle = event.handle
            instance.holders[event.handle] = lease

    def _ended(self, _: int, event: LeaseEnded) -> None:
        instance = self._of(event.instance)
        lease = instance.leases.pop(event.lease, None)
        if lease is not None:
            self._let_go(instance, lease)

    def _let_go(self, instance: _Instance, lease: _Lease) -> None:
        if instance.holders.get(lease.handle) is lease:
            del instance.holders[lease.handle]
