"""LEASE-1 and LEASE-2 on small histories: what a pool counts, and when a lease gives its slot back."""

from collections.abc import Callable

import msgspec
import pytest

from simkit.check.events import (
    OK,
    CloseReturned,
    InstanceCrashed,
    MetricsRead,
    OperationEnded,
    OperationInvoked,
    RunEnded,
)
from simkit.check.lease_counters import check_counters
from simkit.check.lease_ends import check_ends
from simkit.check.verdict import Violation
from simkit.depot.events import FaultFired
from simkit.kernel import Record
from simkit.pool.events import (
    CloseGaveUp,
    LeaseClassified,
    LeaseConnected,
    LeaseDropped,
    LeaseEnded,
    LeaseGranted,
    LeaseRequested,
    ModeChanged,
    PoolOpened,
    TransactionRolledBack,
)
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, TransactionEnded

ONE = "instance-1"
BOUND_NS = 10


def asked(lease: int = 1, kind: str = "read", operation: int = 1) -> Record:
    return LeaseRequested(0, "", ONE, lease, kind, operation)


def granted(active: int, idle: int, opening: int, lease: int = 1) -> Record:
    return LeaseGranted(0, "", ONE, lease, active, idle, opening)


def ended(active: int, idle: int, opening: int, lease: int = 1, how: str = "released") -> Record:
    return LeaseEnded(0, "", ONE, lease, how, "running", active, idle, opening)


def connected(handle: int, lease: int = 1) -> Record:
    return LeaseConnected(0, "", ONE, lease, handle)


def opened(handle: int, writable: bool = False) -> Record:
    return FileOpened(0, "", ONE, handle, writable)


def closed(handle: int) -> Record:
    return FileClosed(0, "", ONE, handle)


def pool(readers_max: int) -> Record:
    return PoolOpened(0, "", ONE, readers_max)


def classified(kind: str, lease: int = 1) -> Record:
    return LeaseClassified(0, "", ONE, lease, kind)


def metrics(**values: float) -> Record:
    return MetricsRead(0, "", ONE, tuple((f"sqlite_read_pool_{name}", value) for name, value in values.items()))


DROPPED = LeaseDropped(0, "ann", ONE, 1, "work")


def transitions(before: str, after: str, times: float) -> Record:
    name = f'sqlite_read_pool_mode_transitions_total{{from="{before}",to="{after}"}}'
    return MetricsRead(0, "", ONE, ((name, times),))


INVOKED = OperationInvoked(0, "ann", 1, "ann", ONE, "op", "statement", (), False)
OVER = OperationEnded(0, "ann", 1, OK, "")
RETURNED = CloseReturned(0, "ann", ONE, "")
CRASH = InstanceCrashed(0, "", ONE, "planned")
GAVE_UP = CloseGaveUp(0, "", ONE, (1,))
DONE = RunEnded(0, "", "done", "")
WRITER_OUT = [asked(kind="write"), granted(0, 0, 0)]
READ_TO_THE_END = [asked(), granted(0, 0, 1), opened(1), connected(1), ended(0, 1, 0), closed(1)]


def timed(events: tuple[Record | int, ...]) -> list[Record]:
    """Numbers are pauses; without one everything happens at once."""
    now, history = 0, []
    for event in events:
        if isinstance(event, int):
            now += event
        else:
            history.append(msgspec.structs.replace(event, at=now))
    return history


def sentences(check: Callable[[list[Record]], list[Violation]], *events: Record | int) -> list[str]:
    return [violation.sentence for violation in check(timed(events))]


@pytest.mark.parametrize(
    "events",
    [
        READ_TO_THE_END,
        # A reader from the idle ones, and one more that is opened beside it.
        [*READ_TO_THE_END[:-1], asked(2), granted(1, 0, 0, 2), connected(1, 2), asked(3), granted(1, 0, 1, 3)],
        [*READ_TO_THE_END[:-1], asked(2), granted(1, 0, 0, 2), connected(1, 2), ended(0, 1, 0, 2)],
        # Given back because it turned out to be for the writer.
        [
            asked(kind="unknown"),
            granted(0, 0, 1),
            opened(1),
            connected(1),
            classified("write"),
            closed(1),
            granted(0, 0, 0),
            ended(0, 0, 0),
        ],
        # As many readers as there may be, one after the other and at once.
        [pool(1), opened(1), closed(1), opened(2), opened(3, writable=True)],
        [pool(2), opened(1), opened(2)],
        [pool(0), opened(1, writable=True)],
        [opened(1), opened(2)],
        # It never came to a grant.
        [asked(), ended(0, 0, 0)],
        [asked(), granted(0, 0, 1), opened(1), closed(1), ended(0, 0, 0)],
        [*WRITER_OUT, opened(1, writable=True), ended(0, 0, 0)],
        [asked(), granted(0, 0, 1), CRASH, asked(2), granted(0, 0, 1, 2)],
        # Leases that nobody asked for are another system's idea of a lease.
        [*READ_TO_THE_END, RETURNED],
        [*WRITER_OUT, GAVE_UP, RETURNED],
        [*READ_TO_THE_END, RETURNED, metrics(reader_opens_total=1, reader_closes_total=1, active_readers=0)],
        [ModeChanged(0, "", ONE, "closed", "read", ""), transitions("closed", "read", 1)],
        [ModeChanged(0, "", ONE, "closed", "read", ""), ModeChanged(0, "", ONE, "read", "closed", "")],
        [asked(), DROPPED, metrics(leases_dropped_total=1)],
        [metrics(reader_opens_total=7), transitions("closed", "read", 7)],
    ],
)
def test_counters_that_equal_reality(events: list[Record]) -> None:
    assert sentences(check_counters, *events) == []


@pytest.mark.parametrize(
    ("events", "part"),
    [
        ([asked(), granted(0, 0, 0)], "1 leases for reading run"),
        ([*READ_TO_THE_END[:-2], ended(1, 0, 0)], "0 leases for reading run"),
        ([*READ_TO_THE_END[:-2], ended(0, 0, 0)], "1 reader connections are open"),
        ([asked(), granted(1, 0, 0)], "0 reader connections are open"),
        ([asked(), ended(-1, 0, 1)], "one is negative"),
        ([pool(1), opened(1), opened(2)], "opened a reader (handle 2), and has 2 open; its pool may have 1 at once"),
        ([pool(0), opened(1)], "has 1 open; its pool may have 0 at once"),
        ([*WRITER_OUT, RETURNED], "close() of instance-1 returned while lease(s) 1 were granted and had not ended"),
        ([*READ_TO_THE_END, metrics(reader_opens_total=2)], "reader_opens_total 2: 1 readers were opened"),
        ([*READ_TO_THE_END, metrics(reader_opens_total=0)], "reader_opens_total 0: 1 readers were opened"),
        (
            [*READ_TO_THE_END, RETURNED, metrics(reader_opens_total=1, reader_closes_total=0)],
            "reader_closes_total 0 and sqlite_read_pool_reader_opens_total 1",
        ),
        ([*READ_TO_THE_END, RETURNED, metrics(idle_readers=1)], "idle_readers 1 after the close"),
        (
            [ModeChanged(0, "", ONE, "closed", "read", ""), transitions("closed", "read", 2)],
            'mode_transitions_total{from="closed",to="read"} 2, and the mode changed so 1 time(s)',
        ),
        (
            [ModeChanged(0, "", ONE, "closed", "write", ""), transitions("closed", "read", 0)],
            'mode_transitions_total{from="closed",to="write"} 0, and the mode changed so 1 time(s)',
        ),
        (
            [ModeChanged(0, "", ONE, "closed", "read", ""), ModeChanged(0, "", ONE, "closed", "write", "")],
            "went from mode closed to write, and the last one that it told of was read",
        ),
        ([asked(), DROPPED, metrics(leases_dropped_total=0)], "leases_dropped_total 0: 1 were told"),
        ([asked(), metrics(leases_dropped_total=1)], "leases_dropped_total 1: 0 were told"),
    ],
)
def test_counters_that_differ_from_reality(events: list[Record], part: str) -> None:
    (sentence,) = sentences(check_counters, *events)
    assert part in sentence


def began(handle: int = 1, operation: int = 1) -> Record:
    return TransactionBegan(0, "ann", ONE, handle, operation, 0)


STOPPED = TransactionEnded(0, "ann", ONE, 1)
RUNNING = [INVOKED, asked(), granted(0, 0, 1), opened(1), connected(1)]


def ends(*events: Record | int) -> list[str]:
    return sentences(lambda history: check_ends(history, BOUND_NS), *events)


@pytest.mark.parametrize(
    "events",
    [
        [*RUNNING, began(), STOPPED, ended(0, 1, 0)],
        [*RUNNING, began(), closed(1), ended(0, 0, 0)],
        # Somebody else's transaction, on a connection that a system shares.
        [*RUNNING, began(operation=2), ended(0, 1, 0)],
        [*RUNNING, began(handle=2), ended(0, 1, 0)],
        [*RUNNING, began(), CRASH, ended(0, 0, 0, how="crashed")],
        [*RUNNING, began(), GAVE_UP, ended(0, 0, 0)],
    ],
)
def test_lease_that_ended_when_its_statement_had_stopped(events: list[Record]) -> None:
    assert ends(*events) == []


def test_lease_that_ended_while_its_statement_ran() -> None:
    (sentence,) = ends(*RUNNING, began(), ended(0, 1, 0, how="dropped"), STOPPED)
    assert sentence == (
        "lease 1 of instance-1 gave its slot back (dropped) before the statement of operation 1 (op of ann) "
        "on handle 1 had stopped"
    )


DELAYED = FaultFired(0, "bob", ONE, 9, 0, "read.after_resolve", "delay")
BY_DEADLINE = TransactionRolledBack(0, "", ONE, 1, "deadline")


@pytest.mark.parametrize(
    "events",
    [
        [*RUNNING, OVER, BOUND_NS, ended(0, 1, 0), DONE],
        [*RUNNING, 5 * BOUND_NS, ended(0, 1, 0), OVER, DONE],
        [*RUNNING, OVER, BOUND_NS, DELAYED, BOUND_NS, ended(0, 1, 0), DONE],
        # A transaction left open has until its deadline.
        [*RUNNING, OVER, 5 * BOUND_NS, BY_DEADLINE, ended(0, 1, 0), DONE],
        [*RUNNING, DONE],
        [*RUNNING, OVER, CRASH, DONE],
        [INVOKED, asked(), OVER, DONE],
        [*RUNNING, OVER, began(), GAVE_UP, ended(0, 0, 0), DONE],
        [*RUNNING, OVER, RunEnded(0, "", "bound", "")],
    ],
)
def test_lease_that_ended_in_time(events: list[Record | int]) -> None:
    assert ends(*events) == []


@pytest.mark.parametrize(
    ("events", "when"),
    [
        ([*RUNNING, OVER, BOUND_NS + 1, ended(0, 1, 0), DONE], "still had its slot 11ns after it"),
        ([*RUNNING, OVER, DONE], "still had its slot when nothing could happen any more"),
        ([*RUNNING, OVER, RunEnded(0, "", "deadlock", "")], "still had its slot when nothing could happen any more"),
        ([*RUNNING, OVER, GAVE_UP, DONE], "still had its slot when close() gave it up"),
    ],
)
def test_lease_that_leaks(events: list[Record | int], when: str) -> None:
    (sentence,) = ends(*events)
    assert sentence == f"lease 1 of instance-1 {when}; operation 1 (op of ann), which it served, was over"


def idle(*events: Record | int) -> list[str]:
    return sentences(lambda history: check_ends(history, None, BOUND_NS), *events)


READ = [*RUNNING, ended(0, 1, 0), OVER]


@pytest.mark.parametrize(
    "events",
    [
        [*READ, BOUND_NS, closed(1), DONE],
        [*READ, BOUND_NS, asked(2, operation=2), granted(1, 0, 0, 2), connected(1, 2), BOUND_NS, closed(1), DONE],
        [*RUNNING, 5 * BOUND_NS, ended(0, 1, 0), OVER, DONE],
        [*READ, CRASH, 5 * BOUND_NS, DONE],
    ],
)
def test_unused_reader_that_is_closed_in_time(events: list[Record | int]) -> None:
    assert idle(*events) == []


@pytest.mark.parametrize(
    "after", [[closed(1), DONE], [DONE], [asked(2, operation=2), granted(1, 0, 0, 2), connected(1, 2), closed(1), DONE]]
)
def test_unused_reader_that_is_kept_too_long(after: list[Record]) -> None:
    (sentence,) = idle(*READ, BOUND_NS + 1, *after)
    assert sentence == (
        "reader handle 1 of instance-1 stayed open for 11ns without use; it was to be closed after 10ns"
    )
    assert sentences(check_ends, *READ, BOUND_NS + 1, *after) == []
