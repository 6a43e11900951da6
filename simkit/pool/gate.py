"""Who may have a connection next: phases of readers and single writers, in the order of arrival.

Upholds PROG-1 (a waiting reader sees at most one writer pass, between two queued writers at most one phase of readers
runs, writers are served in order) and its share of MODE-1 (no reader beside a writer, never two writers) and PROG-2:
whoever may go on is granted its place in the turn of whoever made room, so there is no wake-up that could be lost.

Phase-fair, after Brandenburg and Anderson, "Spin-based reader-writer synchronization for multiprocessor real-time
systems" (2010), with slots for readers. A waiting writer stops the readers that come later. When a writer has finished,
all readers that waited are one phase: they go before the next writer, as slots become free.

What is new here is the reader that turns out to be a writer. A statement whose text nobody has seen is admitted as a
reader to be looked at; it then gives its slot back and queues as a writer *in the place of its arrival*. Two writes
that were sent in order are therefore served in order whether they had to be looked at or not: a writer is only granted
when no reader runs, and readers that came before it are admitted first, so nothing older is still unknown.

Knows nothing of connections, tasks or time: it calls `grant_reader` and `grant_writer`.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Ticket(Protocol):
    """What stands in line. `number` is the order of arrival, from 1, and unique."""

    @property
    def number(self) -> int: ...


T = TypeVar("T", bound=Ticket)


def _number(ticket: Ticket) -> int:
    return ticket.number


class Gate(Generic[T]):
    """Admission to a pool of `readers_max` reader slots and one writer; with 0 slots everything must be a writer.

    Attributes:
        readers: reader slots that are taken.
        writer: the ticket that has the place of the writer.
    """

    def __init__(self, readers_max: int, grant_reader: Callable[[T], None], grant_writer: Callable[[T], None]) -> None:
        self._readers_max = readers_max
        self._grant_reader = grant_reader
        self._grant_writer = grant_writer
        self.readers = 0
        self.writer: T | None = None
        #: in the order of arrival
        self._waiting_readers: dict[T, None] = {}
        self._waiting_writers: list[T] = []
        self._newest = 0
        #: readers up to this number waited while the last writer ran, and go before the next one
        self._phase_through = 0

    @property
    def waiting_readers(self) -> int:
        return len(self._waiting_readers)

    @property
    def waiting_writers(self) -> int:
        return len(self._waiting_writers)

    @property
    def waiting(self) -> int:
        return len(self._waiting_readers) + len(self._waiting_writers)

    def reader_would_wait(self) -> bool:
        """Whether a reader that arrives now has to wait."""
        return bool(
            self.writer is not None
            or self._waiting_writers
            or self._waiting_readers
            or self.readers >= self._readers_max
        )

    def writer_would_wait(self) -> bool:
        """Whether a writer that arrives now has to wait."""
        return bool(self.writer is not None or self.readers or self._waiting_writers or self._waiting_readers)

    def enter_reader(self, ticket: T) -> None:
        """A reader arrives: granted at once, or in line. Numbers come in ascending order."""
        assert ticket.number > self._newest, "PROG-1: tickets arrive in the order of their numbers"
        self._newest = ticket.number
        if self.reader_would_wait():
            self._waiting_readers[ticket] = None
            return
        self.readers += 1
        self._grant_reader(ticket)

    def enter_writer(self, ticket: T) -> None:
        """A writer arrives: granted at once, or in line."""
        assert ticket.number > self._newest, "PROG-1: tickets arrive in the order of their numbers"
        self._newest = ticket.number
        self._waiting_writers.append(ticket)
        self.dispatch()

    def turn_into_writer(self, ticket: T) -> None:
        """A reader that was granted gives its slot back and stands in line as a writer, in the place of its arrival."""
        assert self.readers > 0, "LEASE-1: a slot is given back that nobody had"
        self.readers -= 1
        insort(self._waiting_writers, ticket, key=_number)
        self.dispatch()

    def forget(self, ticket: T) -> None:
        """A ticket that waits leaves the line. Call `dispatch` when that is on record."""
        if ticket in self._waiting_readers:
            del self._waiting_readers[ticket]
        else:
            self._waiting_writers.remove(ticket)

    def reader_left(self) -> None:
        """A granted reader has gone. Call `dispatch` when that is on record."""
        assert self.readers > 0, "LEASE-1: a slot is given back that nobody had"
        self.readers -= 1

    def writer_left(self, ticket: T) -> None:
        """The writer has gone, and whoever waits to read is the next phase. Call `dispatch` when that is on record."""
        assert self.writer is ticket, "MODE-1: somebody leaves the place of the writer who does not have it"
        self.writer = None
        self._phase_through = self._newest

    def refuse_all(self) -> list[T]:
        """Everybody who waits leaves the line; in the order of arrival."""
        refused = sorted([*self._waiting_readers, *self._waiting_writers], key=_number)
        self._waiting_readers.clear()
        self._waiting_writers.clear()
        return refused

    def dispatch(self) -> None:
        """Grants whatever can be granted."""
        if self.writer is not None:
            return
        readers, writers = self._waiting_readers, self._waiting_writers
        while readers and self.readers < self._readers_max:
            first = next(iter(readers))
            if writers and first.number > writers[0].number and first.number > self._phase_through:
                break
            del readers[first]
            self.readers += 1
            self._grant_reader(first)
        if writers and not self.readers:
            self.writer = writer = writers.pop(0)
            self._grant_writer(writer)
