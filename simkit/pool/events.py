"""What a connection manager tells of itself. All of it is optional: a system that stays silent is judged by what its
connections and clients show.

A *lease* is the right to use a connection: requested, granted a slot, ended when the slot is free again. Counters in an
event are those after it. `operation` is the client operation that the task works for, -1 for none.
"""

from __future__ import annotations

from simkit.kernel import Record

# Modes of a connection manager.
CLOSED = "closed"
READ = "read"
WRITE = "write"
CLOSING = "closing"


class PoolOpened(Record, frozen=True, gc=False, tag=True):
    """A manager begins. It never has more than `readers_max` read-only connections open."""

    instance: str
    readers_max: int


class LeaseRequested(Record, frozen=True, gc=False, tag=True):
    """A task asks for a connection. `kind` is "read", "write" or "unknown"; `lease` is unique in the instance.

    The order of these events is the order of arrival: nothing else happens between the call and the event.
    """

    instance: str
    lease: int
    kind: str
    operation: int


class LeaseClassified(Record, frozen=True, gc=False, tag=True):
    """What a lease of kind "unknown" is for has become known: `kind` is "read" or "write".

    Until then it was granted as one for reading. Classified as "write" it has given the reader back, waits as a writer
    in the place of its request, and is granted once more; or it is refused, because the manager is closing. A lease of
    kind "read" is classified as "write" in the same way when it turns out that no reader can answer it.
    """

    instance: str
    lease: int
    kind: str


class LeaseGranted(Record, frozen=True, gc=False, tag=True):
    """The lease has its slot; from here on its phase runs. Its connection may still have to be opened."""

    instance: str
    lease: int
    active_readers: int
    idle_readers: int
    opening_readers: int


class LeaseConnected(Record, frozen=True, gc=False, tag=True):
    """The lease has its connection, configured: `handle` is that of its main file."""

    instance: str
    lease: int
    handle: int


class LeaseEnded(Record, frozen=True, gc=False, tag=True):
    """The slot of the lease is free again, or it gave up waiting for one.

    Attributes:
        how: "released", "dropped", "cancelled", "failed" (an exception), "crashed", "expired" (a deadline), "refused"
            (closing, or too many wait).
        while_: what it was doing: "waiting", "opening", "running".
    """

    instance: str
    lease: int
    how: str
    while_: str
    active_readers: int
    idle_readers: int
    opening_readers: int


class LeaseDropped(Record, frozen=True, gc=False, tag=True):
    """Its holder let go of the lease without releasing it. `acquired_by` names the function that acquired it."""

    instance: str
    lease: int
    acquired_by: str


class ModeChanged(Record, frozen=True, gc=False, tag=True):
    """The manager went from one mode to another: closed, read, write, closing."""

    instance: str
    before: str
    after: str
    reason: str


class TransactionRolledBack(Record, frozen=True, gc=False, tag=True):
    """The manager rolled a transaction back for its owner. `cause` is "deadline", "close", "abandoned", "cancelled"."""

    instance: str
    lease: int
    cause: str


class CloseGaveUp(Record, frozen=True, gc=False, tag=True):
    """`close()` waited long enough for work that does not end, and cut the instance off from its storage."""

    instance: str
    leases: tuple[int, ...]
