"""What a search has covered: how often the things happened that a scenario is there to provoke.

A verdict is only as good as this: a crash that never hit anything proves nothing. Beside the counts there are *marks*:
names of things that a search should see at least once, taken from what a system tells of itself and from the
`Sometimes` events of anybody. A search remembers in how many runs each was hit, and which of those that somebody
expects were never hit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from simkit.check.events import (
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    InstanceOpened,
    MetricsRead,
    OperationEnded,
    Sometimes,
    StateObserved,
)
from simkit.depot.events import (
    CommitApplied,
    DatabaseForked,
    DatabaseRolledBack,
    FaultFired,
    HotInstalled,
    JobFailed,
    NetworkDisturbed,
    Reclaimed,
    RequestFailed,
    RestorePointMade,
    WakeSent,
)
from simkit.kernel import Record, TimedOut
from simkit.pool.events import CloseGaveUp, LeaseDropped, LeaseEnded, ModeChanged, TransactionRolledBack
from simkit.pool.metrics import PREFIX
from simkit.scenario.model_marks import (
    CLOSE_CANCELLED,
    CLOSE_GAVE_UP,
    CLOSES_RACING,
    FORKED,
    INSTALLED,
    JOB_FAILED,
    LEASE_DROPPED,
    RECLAIMED,
    RESTORE_POINT_MADE,
    ROLLED_BACK,
    ROUTE_READ,
    ROUTE_WRITE_FALLBACK,
    WAKE_LOST,
    fault_mark,
    lease_mark,
    mode_mark,
    network_mark,
    rolled_back_mark,
)
from simkit.scenario.world import END_OF_RUN

COVERED = (
    "operations acknowledged",
    "operations refused",
    "operations unknown",
    "commits",
    "requests failed",
    "faults fired",
    "network disturbances",
    "crashes",
    "instances opened",
    "states observed",
)
"""What is counted, in the order in which it is shown."""

COVERED_IF_ANY = ("network disturbances",)
"""What is shown only where there was some: most scenarios have no way to it."""

MARK_RUNS_MIN = 100
"""Below this many runs, a mark that a scenario expects and that was not hit is no failure yet."""

MODE_RUNS_MIN = 1_000
"""The same for the mode transitions that all scenarios of the pool together are to hit."""

POOL = "pool"
"""The system that a scenario names to be run on the connection manager."""

_OUTCOMES = {"ok": COVERED[0], "failed": COVERED[1], "unknown": COVERED[2]}
_KINDS: dict[type[Record], str] = {
    CommitApplied: "commits",
    RequestFailed: "requests failed",
    FaultFired: "faults fired",
    NetworkDisturbed: "network disturbances",
    InstanceOpened: "instances opened",
    StateObserved: "states observed",
}
_MARKS: dict[type[Record], Callable[[Any], str]] = {
    ModeChanged: lambda event: mode_mark(event.before, event.after),
    LeaseEnded: lambda event: lease_mark(event.how, event.while_),
    LeaseDropped: lambda event: LEASE_DROPPED,
    TransactionRolledBack: lambda event: rolled_back_mark(event.cause),
    CloseGaveUp: lambda event: CLOSE_GAVE_UP,
    Sometimes: lambda event: str(event.mark),
    FaultFired: lambda event: fault_mark(event.point),
    NetworkDisturbed: lambda event: network_mark(event.leg, event.what),
    RestorePointMade: lambda event: RESTORE_POINT_MADE,
    DatabaseForked: lambda event: FORKED,
    DatabaseRolledBack: lambda event: ROLLED_BACK,
    HotInstalled: lambda event: INSTALLED,
    Reclaimed: lambda event: RECLAIMED,
    JobFailed: lambda event: JOB_FAILED,
}
_ROUTES = {
    f"{PREFIX}routed_read_queries_total": ROUTE_READ,
    f"{PREFIX}write_fallback_queries_total": ROUTE_WRITE_FALLBACK,
}

# Most events of a history say nothing here, and are passed over by their type.
_COUNTED = frozenset({*_KINDS, OperationEnded, InstanceCrashed})
_MARKING = frozenset({*_MARKS, CloseInvoked, CloseReturned, MetricsRead, WakeSent})


def count_coverage(history: Sequence[Record], into: Counter[str]) -> None:
    """Adds what one history shows."""
    for event in history:
        kind = type(event)
        if kind not in _COUNTED:
            continue
        label = _KINDS.get(kind)
        if label is not None:
            into[label] += 1
        elif isinstance(event, OperationEnded):
            into[_OUTCOMES[event.outcome]] += 1
        elif isinstance(event, InstanceCrashed) and event.cause != END_OF_RUN:
            into["crashes"] += 1


def marks_of(history: Sequence[Record]) -> list[str]:
    """The marks that one history hits, each once, in the order in which it first does."""
    hit: dict[str, None] = {}
    closes: Counter[str] = Counter()
    for event in history:
        kind = type(event)
        if kind not in _MARKING:
            continue
        mark = _MARKS.get(kind)
        if mark is not None:
            hit[mark(event)] = None
        elif isinstance(event, CloseInvoked):
            closes[event.instance] += 1
            if closes[event.instance] > 1:
                hit[CLOSES_RACING] = None
        elif isinstance(event, CloseReturned):
            closes[event.instance] -= 1
            if event.error.startswith(TimedOut.__name__):
                hit[CLOSE_CANCELLED] = None
        elif isinstance(event, WakeSent):
            if event.lost:
                hit[WAKE_LOST] = None
        elif isinstance(event, MetricsRead):
            hit.update((_ROUTES[name], None) for name, value in event.samples if value and name in _ROUTES)
    return list(hit)
