"""COMP-2: a branch that lags behind is compacted, also when the wake was lost.

From the commit that takes the lag of a branch to the threshold the watermark has to move within a bound of simulated
time, `compaction_bound_ns`. What holds compaction up puts the moment off from which that counts: a fault at a job or at
the wake, a message that the network lost, a restore point or a branch that was made, and a job that failed, though only
some in a row. A job that a fault holds is waited for until it is heard of again. The time counts anew, too, when
a look finds something to fold and when the job that does it has staged its work, each once for a job: slow jobs are no
neglect, looking and staging again and again is. Whatever time allows, a branch does
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
    ManagerLooked,
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
_TRANSACTIONS_MAX = 40
"""How often a transaction of a job passes its service time between two signs of life: some in a row, some again."""
_OPERATIONS_MAX = 1000
"""Operations of those transactions, where each takes time of its own."""
_IDLE, _PLANNED, _STAGED = range(3)


def compaction_bound_ns(settings: CompactionSettings, operation_ns: int = 0) -> int:
    """Within which time an undisturbed compaction moves the watermark of a branch that lags, in nanoseconds.

    Parameters:
        operation_ns: what each operation of a job's transactions takes; 0: only whole transactions take time.
    """
    return (
        _TRANSACTIONS_MAX * settings.job_service_ns
        + _OPERATIONS_MAX * operation_ns
        + settings.max_silence_ns
        + settings.hot_after_ns
        + settings.reclaim_after_ns
        + settings.settle_after_ns
        + settings.restart_after_ns
        + _MARGIN_NS
    )


@dataclass(slots=True)
class _Lagging:
    """One branch.

    Attributes:
        since_ns: None while its lag is below the threshold.
        job: how far its present hot job has come, as far as it was heard of.
        heard_ns: when a job of it gave a sign of life last.
    """

    head: int = 0
    watermark: int = 0
    since_ns: int | None = None
    failures: int = 0
    job: int = _IDLE
    heard_ns: int = -1
    frozen: bool = False


class Lag(Watch):
    """Follows heads and watermarks of all branches."""

    check = "compaction-lag"
    also_of_crashed = frozenset({CommitApplied})

    def __init__(self, settings: CompactionSettings, operation_ns: int = 0) -> None:
        super().__init__()
        self._threshold = settings.lag_threshold
        self._bound_ns = compaction_bound_ns(settings, operation_ns)
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
            ManagerLooked: self._manager_looked,
            HotStaged: self._staged,
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
        heard_ns = max((branch.heard_ns for branch in self._branches.values()), default=-1)
        waited_ns = end.at - max(self._worked_ns, self._disturbed_ns, heard_ns)
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

    def _manager_looked(self, _: int, event: ManagerLooked) -> None:
        if "hot" in event.plan.split():
            self._sign_of_life(event, _PLANNED)

    def _staged(self, index: int, event: HotStaged) -> None:
        self._sign_of_life(event, _STAGED)
        self._job_heard_of(index, event)

    def _sign_of_life(self, event: ManagerLooked | HotStaged, job: int) -> None:
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        if job > branch.job:
            branch.job = job
            if branch.failures <= _FAILURES_MAX:
                branch.heard_ns = event.at

    def _installed(self, index: int, event: HotInstalled) -> None:
        self._worked_ns = event.at
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        branch.job = _IDLE
        if event.watermark > branch.watermark:
            branch.watermark, branch.failures = event.watermark, 0
            branch.since_ns = event.at if branch.head - branch.watermark >= self._threshold else None
        self._job_heard_of(index, event)

    def _failed(self, index: int, event: JobFailed) -> None:
        branch = self._branch(event.branch)
        self._look(event.branch, event)
        branch.failures += 1
        branch.job = _IDLE
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
        waited_ns = event.at - max(branch.since_ns, branch.heard_ns, self._disturbed_ns)
        if waited_ns > self._bound_ns:
            self._told.add(number)
            self.report(
                "COMP-2",
                f"branch {number} has been {branch.head - branch.watermark} commits behind for "
                f"{format_duration(waited_ns)} without being compacted; {self._threshold} are to wake compaction, "
                f"which has {format_duration(self._bound_ns)}",
                event,
            )
