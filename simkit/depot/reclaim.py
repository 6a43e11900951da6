"""Reclaim: deletes the rows of a branch that no readable version needs.

Upholds COMP-1. A plan (`reclaim_plan.py`) is made at one instant and carried out in batches, each in a transaction of
its own that compares every row with the plan's before it deletes it, and reads pins and intervals serializably: a
commit that began to be kept meanwhile ends the job. Nothing else can invalidate a plan, because index rows only ever
move to later commits, the watermark only rises, and one job at a time reclaims a branch. The rows of commits go first:
who wants to keep a commit reads its row, and so meets the deletion before any content is gone. The rows of one blob go
together, so that none is ever found in part.

Does not decide when to run; the manager does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from simkit.depot.blobs import Readable
from simkit.depot.core import Core, Passer
from simkit.depot.events import Reclaimed
from simkit.depot.fault_points import FaultPoint
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction
from simkit.depot.reclaim_plan import Doomed, Kind, ReclaimPlan, plan_reclaim
from simkit.depot.retention import readable_versions
from simkit.kernel import Happening

_IN_QUOTA: frozenset[Kind] = frozenset({"commit", "delta", "shard"})


class Reclaimer:
    """Plans and carries out the reclaim of branches, one job of a branch at a time."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        self._faults = core.faults
        #: called right after each key-value commit of a job
        self.on_step: Callable[[str], None] | None = None

    def plan(
        self, readable: Readable, keys: BranchKeys, is_running: Callable[[int], bool] | None = None
    ) -> ReclaimPlan:
        """What of a branch can be deleted as of now. `is_running` tells which jobs still use what they staged."""
        watermark = self._core.sources.watermark(readable, keys)
        return plan_reclaim(self._core, readable, keys, watermark, self.kept(readable, keys, watermark), is_running)

    def kept(self, readable: Readable, keys: BranchKeys, watermark: int) -> frozenset[int]:
        """The commits at or below the watermark that pins and unexpired intervals keep."""
        versions = readable_versions(readable, keys, self._core.now_ms)
        return frozenset(version.txid for version in versions if version.txid <= watermark)

    def run(
        self, job: Passer, keys: BranchKeys, is_running: Callable[[int], bool]
    ) -> Generator[Happening, Any, Reclaimed]:
        """Deletes what can be deleted, and returns how much. Raises InjectedFault, NodeCrashed, TransactionContended.

        A delete that a fault loses is left to a later job.
        """
        faults = self._faults
        if faults is not None:
            yield from faults.at(FaultPoint.RECLAIM_PLAN_BEFORE_SNAPSHOT, job)
        plan = self.plan(self._core.store.snapshot(), keys, is_running)
        if faults is not None:
            yield from faults.at(FaultPoint.RECLAIM_PLAN_AFTER_SNAPSHOT, job)
        done: dict[Kind, int] = {}
        try:
            yield from self._carry_out(job, keys, plan, is_running, done)
        except Exception:
            # What is deleted stays deleted, however the job ends.
            if done:
                self._record(job, keys, done)
            raise
        return self._record(job, keys, done)

    def _carry_out(
        self,
        job: Passer,
        keys: BranchKeys,
        plan: ReclaimPlan,
        is_running: Callable[[int], bool],
        done: dict[Kind, int],
    ) -> Generator[Happening, Any, None]:
        faults = self._faults
        for batch in self._batches(plan.history):
            # Losing one batch and doing the next could take content away before the row of its commit.
            if faults is not None and (yield from faults.at(FaultPoint.RECLAIM_BEFORE_HOT_DELETE, job)):
                break
            if not (yield from self._delete(job, keys, plan, batch, is_running, done)):
                return
            if faults is not None:
                yield from faults.at(FaultPoint.RECLAIM_AFTER_HOT_DELETE, job)
        for batch in self._batches(plan.cleanup):
            if faults is not None and (yield from faults.at(FaultPoint.RECLAIM_BEFORE_CLEANUP_ROWS, job)):
                continue
            if not (yield from self._delete(job, keys, plan, batch, is_running, done)):
                return

    def _batches(self, doomed: tuple[Doomed, ...]) -> Iterable[list[Doomed]]:
        """Groups of at most `batch_keys` rows and `batch_bytes`, except where rows that go together exceed that.

        At least one, if empty: the fault points of a job are passed whatever it finds.
        """
        compaction = self._core.settings.compaction
        batch: list[Doomed] = []
        rows_total = bytes_total = 0
        for item in doomed:
            rows_total += len(item.rows)
            bytes_total += item.bytes_total
            if batch and (rows_total > compaction.batch_keys or bytes_total > compaction.batch_bytes):
                yield batch
                batch, rows_total, bytes_total = [], len(item.rows), item.bytes_total
            batch.append(item)
        yield batch

    def _delete(
        self,
        job: Passer,
        keys: BranchKeys,
        plan: ReclaimPlan,
        batch: list[Doomed],
        is_running: Callable[[int], bool],
        done: dict[Kind, int],
    ) -> Generator[Happening, Any, bool]:
        """Deletes a batch in a transaction; returns whether the plan still holds."""
        if not batch:
            return True
        core = self._core

        def body(transaction: Transaction) -> Generator[Happening, Any, list[Kind] | None]:
            if core.fine:
                yield from core.between("pins", job)
            if not self.kept(transaction, keys, plan.watermark) <= plan.kept | {plan.watermark}:
                return None
            yield self._kernel.stage(core.settings.compaction.job_service_ns, None, "reclaim", job)
            gone: list[Kind] = []
            previous: Kind | None = None
            for item in batch:
                if core.fine and item.kind != previous:
                    yield from core.between(f"clear {item.kind} rows", job)
                previous = item.kind
                if self._clear(transaction, keys, item, is_running):
                    gone.append(item.kind)
            return gone

        gone = yield from core.transact(job, "reclaim", body)
        if gone is None:
            return False
        for kind in gone:
            done[kind] = done.get(kind, 0) + 1
        if self.on_step is not None:
            self.on_step("reclaim")
        return True

    def _clear(
        self, transaction: Transaction, keys: BranchKeys, item: Doomed, is_running: Callable[[int], bool]
    ) -> bool:
        """Clears rows that are what the plan saw; returns whether they were."""
        if item.kind == "stage" and is_running(item.job):
            return False
        if any(transaction.get(key) != raw for key, raw in item.rows):
            return False
        for key, _ in item.rows:
            transaction.clear(key)
        if item.kind in _IN_QUOTA:
            transaction.add(keys.quota, -item.bytes_total)
        return True

    def _record(self, job: Passer, keys: BranchKeys, done: dict[Kind, int]) -> Reclaimed:
        kernel = self._kernel
        event = Reclaimed(
            kernel.now,
            job.task_name,
            keys.number,
            -job.number,
            done.get("delta", 0),
            done.get("commit", 0),
            done.get("shard", 0),
        )
        kernel.record(event)
        return event
