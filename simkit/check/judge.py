"""The judge: runs the chosen checks over one history."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from simkit.check.acknowledgement import check_acknowledgement
from simkit.check.closing import Closing
from simkit.check.connections import Connections
from simkit.check.disturbances import Disturbances
from simkit.check.durability import Holds, check_durability, check_holds, explain
from simkit.check.epochs import epochs_of
from simkit.check.giving_up import GivingUp
from simkit.check.isolation import check_answers
from simkit.check.lag import Lag
from simkit.check.lease_counters import LeaseCounters
from simkit.check.lease_ends import LeaseEnds
from simkit.check.operations import timeline_of
from simkit.check.oracle import Oracle
from simkit.check.pages import check_pages
from simkit.check.phases import Phases, ProgramOrder
from simkit.check.progress import Bounds, check_progress
from simkit.check.promises import Promises
from simkit.check.registration import Registration
from simkit.check.swept import check_sweeps
from simkit.check.values import check_values
from simkit.check.verdict import Violation
from simkit.check.watch import Watch, follow
from simkit.depot.events import ControlReceived
from simkit.depot.settings import CompactionSettings
from simkit.kernel import Record

_BY_FOLLOWING = (
    "MODE-1",
    "MODE-2",
    "MODE-3",
    "ROLE-1",
    "PROG-1",
    "PROG-3",
    "LEASE-1",
    "LEASE-2",
    "CLOSE-1",
    "CLOSE-2",
    "COMP-2",
)
_BY_PROMISES = ("DUR-1", "DEPOT-13")
_BY_WALKING = ("DUR-1", "DUR-2", "ISO-1", "ISO-2", "VAL-1")


def judge(
    history: Sequence[Record],
    invariants: Collection[str],
    oracle: Oracle,
    holds: Holds = (),
    operation_bound_ns: int | None = None,
    idle_ttl_ns: int | None = None,
    compaction: CompactionSettings | None = None,
    operation_ns: int = 0,
) -> list[Violation]:
    """Every violation of the chosen invariants, in the order of simulated time. Empty: none was found.

    Bounds of simulated time are judged where they are given: `operation_bound_ns` for operations, closes and leases,
    `idle_ttl_ns` for readers that nobody uses, `compaction` for lag, with `operation_ns` for what an operation of a
    transaction takes. They need a run in which time passes as in the world (timed order).
    """
    found = [*check_acknowledgement(history), *check_progress(history), *check_sweeps(history)]
    if any(invariant in invariants for invariant in _BY_FOLLOWING):
        watches = _watches(operation_bound_ns, idle_ttl_ns)
        if compaction is not None and compaction.enabled:
            watches.append(Lag(compaction, operation_ns))
        found += follow(history, *watches)
    promised = any(event.__class__ is ControlReceived for event in history)
    if promised and any(invariant in invariants for invariant in _BY_PROMISES):
        found += follow(history, Promises())
    found += _by_epochs(history, invariants, oracle, holds)
    chosen = [violation for violation in found if violation.invariant in invariants]
    return sorted(chosen, key=lambda violation: violation.at)


def judge_connections(
    history: Sequence[Record], invariants: Collection[str], operation_bound_ns: int | None, idle_ttl_ns: int | None
) -> list[Violation]:
    """The violations that the conduct of connections, leases and closes shows, also in a history that breaks off."""
    found = follow(history, *_watches(operation_bound_ns, idle_ttl_ns))
    return [violation for violation in found if violation.invariant in invariants]


def _watches(operation_bound_ns: int | None, idle_ttl_ns: int | None) -> list[Watch]:
    """The checks that follow instances, in the order in which they see each event."""
    disturbances = Disturbances()
    watches: list[Watch] = [
        disturbances,
        Connections(),
        Phases(),
        ProgramOrder(),
        LeaseCounters(),
        LeaseEnds(disturbances, operation_bound_ns, idle_ttl_ns),
        Closing(),
        Registration(),
        GivingUp(),
    ]
    if operation_bound_ns is not None:
        watches.append(Bounds(disturbances, operation_bound_ns))
    return watches


def _by_epochs(history: Sequence[Record], invariants: Collection[str], oracle: Oracle, holds: Holds) -> list[Violation]:
    """What the operations on the database show, in each of the pasts that it had."""
    walking = any(invariant in invariants for invariant in _BY_WALKING)
    found: list[Violation] = []
    for epoch in epochs_of(history):
        if walking:
            found += _by_walking(epoch, oracle, holds)
        if "ISO-1" in invariants:
            found += [*check_values(epoch), *check_pages(epoch)]
    return list(dict.fromkeys(found))


def _by_walking(history: Sequence[Record], oracle: Oracle, holds: Holds) -> list[Violation]:
    """What the serial order of the operations shows."""
    timeline = timeline_of(history)
    explained = explain(timeline, oracle)
    return [
        *check_durability(timeline, explained, oracle),
        *check_holds(timeline, holds),
        *check_answers(timeline, explained, oracle),
    ]
