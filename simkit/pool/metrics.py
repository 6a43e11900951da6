"""What a connection manager counts of itself, under the Prometheus names of the systems that it models.

All durations are simulated. Asking for a metric that does not exist raises `UnknownMetric` and never gives 0: a check
or a benchmark that misspells a name would otherwise compare nothing. What exists and was not counted yet is 0; the
transitions between modes that a manager can make exist from the start.

Counting happens for every statement and costs an addition, so this module keeps plain integers, and the library that
writes Prometheus text is loaded by whoever asks for text (`simkit.pool.exposition`). No registry of the process is
touched: each run has metrics of its own. Those of the VFS are not here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from simkit.kernel import Kernel
from simkit.kernel.units import MICROSECOND, MILLISECOND, SECOND
from simkit.pool.events import CLOSED, CLOSING, READ, WRITE

PREFIX = "sqlite_read_pool_"

GAUGES = {
    "active_readers": "Readers that run a statement or are leased.",
    "idle_readers": "Readers that are open and wait for work.",
}
COUNTERS = {
    "routed_read_queries_total": "Statements that a reader ran.",
    "write_fallback_queries_total": "Statements that only read, and that the writer ran.",
    "reader_opens_total": "Readers opened.",
    "reader_closes_total": "Readers closed.",
    "rejected_reader_mutations_total": "Attempts to change something through a reader; each was refused.",
    "leases_dropped_total": "Leases whose holder let go of them without releasing. A name of simkit's own.",
}
HISTOGRAMS = {
    "read_wait_duration_seconds": "How long readers waited for their turn, in simulated time.",
    "write_wait_duration_seconds": "How long writers waited for their turn, in simulated time.",
    "manual_transaction_duration_seconds": "How long transactions of callers were open, in simulated time.",
}
TRANSITIONS = "mode_transitions_total"
TRANSITIONS_HELP = "Changes of mode."

MODE_TRANSITIONS = (
    (CLOSED, READ),
    (CLOSED, WRITE),
    (CLOSED, CLOSING),
    (READ, CLOSED),
    (READ, WRITE),
    (READ, CLOSING),
    (WRITE, CLOSED),
    (WRITE, CLOSING),
    (CLOSING, CLOSED),
)
"""From which mode a manager can go to which."""

_STEPS_NS = (MILLISECOND // 10, MILLISECOND, 10 * MILLISECOND, 100 * MILLISECOND, SECOND)
BOUNDS_NS = (
    *(step * factor // 100 for step in _STEPS_NS for factor in (100, 250, 500)),
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
)
"""Upper ends of the buckets of a histogram: 100 µs to a minute. A last one takes what is longer."""

_BOUNDS_WRITTEN = (*(format(bound_ns / SECOND, "g") for bound_ns in BOUNDS_NS), "+Inf")

assert BOUNDS_NS[0] == 100 * MICROSECOND
assert list(BOUNDS_NS) == sorted(set(BOUNDS_NS))


class UnknownMetric(LookupError):
    """There is no metric of that name, or none with those labels."""


class Sample(NamedTuple):
    """One number under a Prometheus name. `labels` are pairs of name and value, in the order of the name."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def written(self) -> str:
        """Name and labels as Prometheus text has them."""
        if not self.labels:
            return self.name
        return self.name + "{" + ",".join(f'{label}="{value}"' for label, value in self.labels) + "}"


class Durations:
    """A histogram of simulated durations. `counts` are those of the single buckets, not accumulated."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS_WRITTEN)
        self.sum_ns = 0

    def observe(self, duration_ns: int) -> None:
        self.counts[bisect_left(BOUNDS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def sum_seconds(self) -> float:
        return self.sum_ns / SECOND

    def buckets(self) -> Iterator[tuple[str, int]]:
        """The upper end of each bucket in seconds, as written, and how many durations lie at or below it."""
        total = 0
        for bound, count in zip(_BOUNDS_WRITTEN, self.counts, strict=True):
            total += count
            yield bound, total


class PoolMetrics:
    """The metrics of one connection manager. Attributes are called as in Prometheus, without `PREFIX`.

    `active_readers` and `idle_readers` are set by the manager, everything else is counted through the methods.
    """

    __slots__ = (*GAUGES, *COUNTERS, *HISTOGRAMS, "kernel", "mode_transitions_total")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.active_readers = 0
        self.idle_readers = 0
        self.routed_read_queries_total = 0
        self.write_fallback_queries_total = 0
        self.reader_opens_total = 0
        self.reader_closes_total = 0
        self.rejected_reader_mutations_total = 0
        self.leases_dropped_total = 0
        self.read_wait_duration_seconds = Durations()
        self.write_wait_duration_seconds = Durations()
        self.manual_transaction_duration_seconds = Durations()
        self.mode_transitions_total: dict[tuple[str, str], int] = dict.fromkeys(MODE_TRANSITIONS, 0)

    # What the manager tells

    def read_waited(self, duration_ns: int) -> None:
        """A reader was admitted after waiting so long; 0 when it did not have to."""
        self.read_wait_duration_seconds.observe(duration_ns)

    def write_waited(self, duration_ns: int) -> None:
        """A writer was admitted after waiting so long; 0 when it did not have to."""
        self.write_wait_duration_seconds.observe(duration_ns)

    def routed_read(self) -> None:
        """A reader ran a statement."""
        self.routed_read_queries_total += 1

    def write_fallback(self) -> None:
        """The writer ran a statement that only reads."""
        self.write_fallback_queries_total += 1

    def transaction_ended(self, duration_ns: int) -> None:
        """A transaction that a caller had begun is over; it was open for so long."""
        self.manual_transaction_duration_seconds.observe(duration_ns)

    def reader_opened(self) -> None:
        self.reader_opens_total += 1

    def reader_closed(self) -> None:
        self.reader_closes_total += 1

    def rejected_reader_mutation(self) -> None:
        """A statement tried to change something through a reader, and was refused."""
        self.rejected_reader_mutations_total += 1

    def mode_changed(self, before: str, after: str) -> None:
        """The manager went from one mode to another. One that it should not make is counted too, under its name."""
        change = (before, after)
        self.mode_transitions_total[change] = self.mode_transitions_total.get(change, 0) + 1

    def lease_dropped(self) -> None:
        """A holder let go of its lease without releasing it."""
        self.leases_dropped_total += 1

    # What others ask

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """The number under a full Prometheus name: `sqlite_read_pool_reader_opens_total`.

        A histogram has `..._count`, `..._sum` (seconds) and `..._bucket` with the label `le`. Raises `UnknownMetric`.
        """
        wanted = {} if labels is None else dict(labels)
        others = []
        for sample in (*self._samples(), *self._buckets()):
            if sample.name == name:
                if dict(sample.labels) == wanted:
                    return sample.value
                others.append(sample.written)
        if others:
            asked = Sample(name, tuple(wanted.items()), 0.0).written
            raise UnknownMetric(f"there is no {asked}; there are: {', '.join(others)}")
        raise _unknown(name, dict.fromkeys(sample.name for sample in (*self._samples(), *self._buckets())))

    def samples(self) -> tuple[tuple[str, float], ...]:
        """Every number with its name and labels as in Prometheus text, sorted; of a histogram its count and sum."""
        return tuple(sorted((sample.written, sample.value) for sample in self._samples()))

    def render(self) -> str:
        """Everything as Prometheus text. The time stamps are simulated: milliseconds since the start of the run."""
        from simkit.pool.exposition import exposition

        return exposition(self)

    def _samples(self) -> Iterator[Sample]:
        for short in (*GAUGES, *COUNTERS):
            yield Sample(PREFIX + short, (), float(getattr(self, short)))
        for short in HISTOGRAMS:
            durations = self.durations(short)
            yield Sample(f"{PREFIX}{short}_count", (), float(durations.count))
            yield Sample(f"{PREFIX}{short}_sum", (), durations.sum_seconds)
        for (before, after), count in self.mode_transitions_total.items():
            yield Sample(PREFIX + TRANSITIONS, (("from", before), ("to", after)), float(count))

    def _buckets(self) -> Iterator[Sample]:
        for short in HISTOGRAMS:
            for bound, count in self.durations(short).buckets():
                yield Sample(f"{PREFIX}{short}_bucket", (("le", bound),), float(count))

    def durations(self, short: str) -> Durations:
        """The histogram of one of `HISTOGRAMS`."""
        durations = getattr(self, short)
        assert isinstance(durations, Durations)
        return durations


def look_up(samples: Iterable[tuple[str, float]], written: str) -> float:
    """One number of what `PoolMetrics.samples` gave, such as those kept in a history. Raises `UnknownMetric`."""
    known = dict(samples)
    if written not in known:
        raise _unknown(written, known)
    return known[written]


def _unknown(name: str, known: Iterable[str]) -> UnknownMetric:
    names = list(known)
    # Without the prefix, which would make every name of simkit's resemble every other.
    shorts = {known_name.removeprefix(PREFIX): known_name for known_name in names}
    close = get_close_matches(name.removeprefix(PREFIX), shorts, n=1)
    hint = f"; did you mean {shorts[close[0]]}?" if close else "."
    return UnknownMetric(f"there is no metric {name}{hint} There are: {', '.join(names)}")
