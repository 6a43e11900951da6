"""COMP-2: a branch that lags behind is compacted, also when the wake was lost.

From the commit that takes the lag of a branch to the threshold the watermark has to move within a bound of simulated
time, `compaction_bound_ns`. What holds compaction up puts the moment off from which that counts: a fault at a job or at
the wake, a message that the network lost, a restore point or a branch that was made, and a job that failed, though only
some in a row. A job that a fault holds is waited for until it is heard of again. Whatever time allows, a branch does
not come to rest while its lag is at the threshold. And once nobody commits any more, compaction comes to rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simkit.check.events import DepotSwept, RunEnded
from simkit.check.watch import Handler, Watch
from simkit.depot.events import (
    CommitApplied,
    CompactionRested,
    DatabaseForked,
    DatabaseRolledBack,
    FaultFired,
    HotInstalled,
    HotStaged,
    JobFailed,
    NetworkDisturbed,
    Reclaimed,
    RestorePointDeleted,
    RestorePointMade,
)
from simkit.depot.settings import CompactionSettings
from simkit.kernel import Record
from simkit.kernel.units import SECOND, format_duration

_MARGIN_NS = 5 * SECOND
_FAILURES_MAX = 20
"""Failed jobs in a row that are an excuse."""
_HOLDING = frozenset({"delay", "pause"})


def compaction_bound_ns(settings: CompactionSettings) -> int:
    """Within which time an undisturbed compaction moves the watermark of a branch that lags, in nanoseconds."""
    return (
        settings.max_silence_ns
        + settings.hot_after_ns
        + settings.reclaim_after_ns
        + settings.settle_after_ns
        + settings.restart_after_ns
        + _MARGIN_NS
    )


@dataclass(slots=True)
class _Lagging:
    """One branch. `since_ns` is None while its lag is below the threshold."""

    head: int = 0
    watermark: int = 0
    since_ns: int | None = None
    failures: int = 0
    frozen: bool = False


class Lag(Watch):
    """Follows heads and watermarks of all branches."""

    check = "compaction-lag"

    def __init__(self, settings: CompactionSettings) -> None:
        super().__init__()
        self._threshold = settings.lag_threshold
        self._bound_ns = compaction_bound_ns(settings)
        self._branches: dict[int, _Lagging] = {}
        self._disturbed_ns = -1
        #: numbers of the jobs that a fault holds up
        self._held: dict[int, None] = {}
        self._told: set[int] = set()
        #: when something was committed, folded or deleted last
        self._worked_ns = -1
        self._restless = False

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            CommitApplied: self._applied,
            HotStaged: self._job_heard_of,
            HotInstalled: self._installed,
            Reclaimed: self._job_heard_of,
            JobFailed: self._failed,
            CompactionRested: self._rested,
            FaultFired: self._fault,
            NetworkDisturbed: self._disturbed,
            RestorePointMade: self._disturbed,
            RestorePointDeleted: self._disturbed,
            DatabaseForked: self._derived,
            DatabaseRolledBack: self._derived,
            DepotSwept: self._swept,
        }

    def finish(self, end: RunEnded | None) -> None:
        if end is not None:
            for number in self._branches:
                self._look(number, end)
            if self._restless and end.reason == "done" and not self._held and not self._told:
                self._look_for_rest(end)

    def _branch(self, number: int) -> _Lagging:
        return self._branches.setdefault(number, _Lagging())

    def _swept(self, _: int, event: DepotSwept) -> None:
        self._restless = not event.at_rest

    def _look_for_rest(self, end: RunEnded) -> None:
        waited_ns = end.at - max(self._worked_ns, self._disturbed_ns)
        if waited_ns > self._bound_ns:
            self.report(
                "COMP-2",
                f"compaction has not come to rest for {format_duration(waited_ns)}, in which nothing was committed, "
                "folded or deleted",
                end,
            )

    def _applied(self, _: int, event: CommitApplied) -> None:
        self._worked_ns = event.at
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        branch.head = event.txid
        if branch.since_ns is None and branch.head - branch.watermark >= self._threshold:
            branch.since_ns = event.at

    def _installed(self, index: int, event: HotInstalled) -> None:
        self._worked_ns = event.at
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        if event.watermark > branch.watermark:
            branch.watermark, branch.failures = event.watermark, 0
            branch.since_ns = event.at if branch.head - branch.watermark >= self._threshold else None
        self._job_heard_of(index, event)

    def _failed(self, index: int, event: JobFailed) -> None:
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        branch.failures += 1
        if branch.failures <= _FAILURES_MAX:
            self._disturbed_ns = event.at
        self._job_heard_of(index, event)

    def _job_heard_of(self, _: int, event: HotStaged | HotInstalled | Reclaimed | JobFailed) -> None:
        if isinstance(event, Reclaimed) and (event.deltas or event.commits or event.shards):
            self._worked_ns = event.at
        if self._held.pop(-event.job, 0) is None:
            self._disturbed_ns = event.at

    def _rested(self, _: int, event: CompactionRested) -> None:
        branch = self._branch(event.branch)
        branch.watermark = max(branch.watermark, event.watermark)
        lag = max(branch.head, event.head) - branch.watermark
        if lag >= self._threshold and not branch.frozen and event.branch not in self._told:
            self._told.add(event.branch)
            self.report(
                "COMP-2",
                f"compaction of branch {event.branch} came to rest {lag} commits behind, "
                f"and {self._threshold} are to wake it",
                event,
            )

    def _fault(self, _: int, event: FaultFired) -> None:
        self._disturbed_ns = event.at
        if event.request < 0 and event.action in _HOLDING:
            self._held[event.request] = None

    def _disturbed(self, _: int, event: Record) -> None:
        self._disturbed_ns = event.at

    def _derived(self, _: int, event: DatabaseForked | DatabaseRolledBack) -> None:
        self._disturbed_ns = event.at
        branch = self._branch(event.branch)
        branch.head = branch.watermark = event.txid
        if isinstance(event, DatabaseRolledBack):
            left = self._branch(event.left)
            left.frozen, left.since_ns = True, None

    def _look(self, number: int, event: Record) -> None:
        """Whether the watermark of a branch should have moved by now."""
        branch = self._branches[number]
        if branch.since_ns is None or branch.frozen or self._held or number in self._told:
            return
        waited_ns = event.at - max(branch.since_ns, self._disturbed_ns)
        if waited_ns > self._bound_ns:
            self._told.add(number)
            self.report(
                "COMP-2",
                f"branch {number} has been {branch.head - branch.watermark} commits behind for "
                f"{format_duration(waited_ns)} without being compacted; {self._threshold} are to wake compaction, "
                f"which has {format_duration(self._bound_ns)}",
                event,
            )
