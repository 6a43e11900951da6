"""The rows of a run's picture that show the depot: compaction of each branch, and what the operator did.

A job is a bar from its staged output to its end; what takes no time (wakes, reclaim, restore points, forks) is a thin
line. Rows appear only when there is something in them.
"""

from __future__ import annotations

from simkit.depot.events import (
    DatabaseForked,
    DatabaseRolledBack,
    HotInstalled,
    HotStaged,
    JobFailed,
    Reclaimed,
    RestorePointDeleted,
    RestorePointMade,
    WakeSent,
)
from simkit.kernel import Record
from simkit.report.timeline_rows import Bar, Row
from simkit.scenario.events import OperatorFailed

_OPERATOR = "operator"


class DepotRows:
    """What the history has shown of the depot so far.

    Attributes:
        rollbacks: the time and text of each rollback: from there on the clients see another past.
    """

    def __init__(self) -> None:
        self._branches: dict[int, Row] = {}
        self._operator: Row | None = None
        self._staged: dict[tuple[int, int], Bar] = {}
        self.rollbacks: list[tuple[int, str]] = []

    @property
    def rows(self) -> list[Row]:
        """The operator's row, then those of the branches in order."""
        operator = [] if self._operator is None else [self._operator]
        return [*operator, *(self._branches[branch] for branch in sorted(self._branches))]

    def add(self, event: Record) -> None:
        """Takes one event; ignores those that are not about the depot's own work."""
        match event:
            case WakeSent(branch=branch):
                colour = "wake lost" if event.lost else "wake"
                self._mark(event, branch, colour, f"{colour}: commit {event.txid}, {event.lag} above the watermark")
            case HotStaged(branch=branch, job=job):
                text = f"job {job} staged {event.shards} shards of commits {event.base + 1} to {event.watermark}"
                self._staged[branch, job] = self._compaction(branch).begin(event.at, "staged", text)
            case HotInstalled(branch=branch, job=job):
                text = f"job {job} installed {event.shards} shards up to commit {event.watermark}"
                self._end(event, branch, job, "installed", text)
            case Reclaimed(branch=branch):
                text = f"job {event.job} deleted {event.deltas} deltas, {event.commits} commits, {event.shards} shards"
                self._mark(event, branch, "reclaimed", text)
            case JobFailed(branch=branch, job=job):
                text = f"{event.kind} job {job} failed: {event.error} {event.message}".strip()
                self._end(event, branch, job, "job failed", text)
            case _:
                self._add_operator(event)

    def _add_operator(self, event: Record) -> None:
        match event:
            case RestorePointMade():
                text = f"restore point {event.restore_point} at commit {event.txid} of branch {event.branch}"
                self._operated(event.at, "restore point", text)
            case RestorePointDeleted():
                self._operated(event.at, "restore point", f"restore point {event.restore_point} deleted")
            case DatabaseForked():
                text = f"{event.database} forked from commit {event.txid} of branch {event.parent}"
                self._operated(event.at, "forked", text)
            case DatabaseRolledBack():
                text = f"{event.database} rolled back to commit {event.txid} of branch {event.parent}"
                self._operated(event.at, "rolled back", text)
                self.rollbacks.append((event.at, text))
            case OperatorFailed():
                text = f"{event.action} {event.name}".strip() + f" failed: {event.error} {event.message}".rstrip()
                self._operated(event.at, "job failed", text)

    def _compaction(self, branch: int) -> Row:
        return self._branches.setdefault(branch, Row(f"compaction, branch {branch}"))

    def _mark(self, event: Record, branch: int, colour: str, title: str) -> None:
        self._compaction(branch).begin(event.at, colour, title).until = event.at

    def _end(self, event: Record, branch: int, job: int, colour: str, title: str) -> None:
        bar = self._staged.pop((branch, job), None)
        if bar is not None:
            bar.until = event.at
        self._mark(event, branch, colour, title)

    def _operated(self, at: int, colour: str, title: str) -> None:
        if self._operator is None:
            self._operator = Row(_OPERATOR)
        self._operator.begin(at, colour, title).until = at
