"""What a search has covered: how often the things happened that a scenario is there to provoke.

A verdict is only as good as this: a crash that never hit anything proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simkit.check.events import InstanceCrashed, InstanceOpened, OperationEnded, StateObserved
from simkit.depot.events import CommitApplied, FaultFired, RequestFailed
from simkit.kernel import Record
from simkit.scenario.world import END_OF_RUN

COVERED = (
    "operations acknowledged",
    "operations refused",
    "operations unknown",
    "commits",
    "requests failed",
    "faults fired",
    "crashes",
    "instances opened",
    "states observed",
)
"""What is counted, in the order in which it is shown."""

_OUTCOMES = {"ok": COVERED[0], "failed": COVERED[1], "unknown": COVERED[2]}
_KINDS: dict[type[Record], str] = {
    CommitApplied: "commits",
    RequestFailed: "requests failed",
    FaultFired: "faults fired",
    InstanceOpened: "instances opened",
    StateObserved: "states observed",
}


def count_coverage(history: Sequence[Record], into: Counter[str]) -> None:
    """Adds what one history shows."""
    for event in history:
        kind = type(event)
        label = _KINDS.get(kind)
        if label is not None:
            into[label] += 1
        elif isinstance(event, OperationEnded):
            into[_OUTCOMES[event.outcome]] += 1
        elif isinstance(event, InstanceCrashed) and event.cause != END_OF_RUN:
            into["crashes"] += 1
