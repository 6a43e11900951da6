"""Staging: fold the commits of a batch into shards, and keep them aside in the store.

Upholds COMP-1 by touching nothing that anybody reads: staged rows have a key family of their own, under the number of
the job. A job that ends before its shards are installed leaves rows that reclaim removes.

The inputs are read in one transaction, at one version; the output takes as many as the limit of a transaction asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from simkit.depot.core import Core
from simkit.depot.events import HotStaged
from simkit.depot.fault_points import FaultPoint
from simkit.depot.hot_fold import fold_shard
from simkit.depot.hot_plan import HotPlan, VersionReads, plan_hot
from simkit.depot.job import Job, JobRejected
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction
from simkit.depot.ltx import encode_ltx, split_chunks
from simkit.kernel import Happening


class FoldedShard(msgspec.Struct, frozen=True, gc=False):
    """One version of a shard that a job has folded: by its length and digest it is known again."""

    shard: int
    as_of: int
    blob_bytes: int
    digest: bytes


class Staged(msgspec.Struct, frozen=True, gc=False):
    """What a job has staged."""

    plan: HotPlan
    shards: tuple[FoldedShard, ...]


def groups_of(shards: Sequence[FoldedShard], limit_bytes: int) -> list[list[FoldedShard]]:
    """The shards in order, in groups that one transaction each may write; at least one shard in each."""
    groups: list[list[FoldedShard]] = []
    group_bytes = 0
    for folded in shards:
        if not groups or group_bytes + folded.blob_bytes > limit_bytes:
            groups.append([])
            group_bytes = 0
        groups[-1].append(folded)
        group_bytes += folded.blob_bytes
    return groups


class HotStager:
    """Plans, folds and stages. `stepped` is told of each key-value commit."""

    def __init__(self, core: Core, stepped: Callable[[str], None]) -> None:
        self._core = core
        self._faults = core.faults
        self._stepped = stepped

    def stage(self, job: Job, keys: BranchKeys) -> Generator[Happening, Any, Staged | None]:
        """Stages the next batch of a branch; None when there is nothing to fold. Raises the depot's errors."""
        core, faults = self._core, self._faults
        if faults is not None:
            yield from faults.at(FaultPoint.HOT_STAGE_BEFORE_INPUT_READ, job)
        folding = yield from core.transact(job, "hot inputs", lambda transaction: self._fold(transaction, job, keys))
        if folding is None:
            return None
        plan, blobs = folding
        for group in groups_of(list(blobs), core.settings.compaction.staged_bytes):
            yield from self._stage_group(job, keys, blobs, group)
        kernel = core.kernel
        kernel.record(
            HotStaged(kernel.now, job.task_name, keys.number, job.ordinal, plan.base, plan.target, len(blobs))
        )
        if faults is not None and (yield from faults.at(FaultPoint.HOT_AFTER_STAGE_BEFORE_FINISH_SIGNAL, job)):
            # Nobody hears that the job is done. What is not heard of for so long is given up.
            max_silence_ns = core.settings.compaction.max_silence_ns
            yield kernel.timer(max_silence_ns, lambda _: None, f"{job.name} not heard of", patient=True)
            raise JobRejected("the signal that everything is staged was lost")
        return Staged(plan, tuple(blobs))

    def plan(self, transaction: Transaction, keys: BranchKeys) -> HotPlan | None:
        """What to take on."""
        return plan_hot(self._core, VersionReads(transaction), keys)

    def _fold(
        self, transaction: Transaction, job: Job, keys: BranchKeys
    ) -> Generator[Happening, Any, tuple[HotPlan, dict[FoldedShard, bytes]] | None]:
        core = self._core
        plan = self.plan(transaction, keys)
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.HOT_STAGE_AFTER_INPUT_READ, job)
        yield core.kernel.stage(core.settings.compaction.job_service_ns, None, "fold", job)
        if plan is None:
            return None
        reads = VersionReads(transaction)
        blobs: dict[FoldedShard, bytes] = {}
        for as_of, page_count, shards in zip(plan.coverage, plan.page_counts, plan.touched, strict=True):
            for shard in shards:
                if core.fine:
                    yield from core.between("fold shard", job)
                pages = fold_shard(core, reads, keys, shard, as_of, page_count, plan.touched_by[shard])
                if pages:
                    blob = encode_ltx(as_of, page_count, core.page_size, pages, first_txid=1)
                    blobs[FoldedShard(shard, as_of, len(blob), sha256(blob).digest())] = blob
        return plan, blobs

    def _stage_group(
        self, job: Job, keys: BranchKeys, blobs: dict[FoldedShard, bytes], group: Sequence[FoldedShard]
    ) -> Generator[Happening, Any, None]:
        yield from self._core.transact(
            job, "hot stage", lambda transaction: self._write(transaction, job, keys, blobs, group)
        )
        self._stepped(f"hot job {job.ordinal} staged")

    def _write(
        self,
        transaction: Transaction,
        job: Job,
        keys: BranchKeys,
        blobs: dict[FoldedShard, bytes],
        group: Sequence[FoldedShard],
    ) -> Generator[Happening, Any, None]:
        core = self._core
        yield core.kernel.stage(core.settings.compaction.job_service_ns, None, "stage", job)
        for folded in group:
            if core.fine:
                yield from core.between("stage shard", job)
            chunks = split_chunks(blobs[folded], core.settings.chunk_bytes)
            rows = {
                keys.stage(job.ordinal, folded.shard, folded.as_of, chunk): content
                for chunk, content in enumerate(chunks)
            }
            for key, content in rows.items():
                transaction.set(key, content)
            if self._faults is not None and (
                yield from self._faults.at(FaultPoint.HOT_STAGE_AFTER_SHARD_WRITE, job, shard=folded.shard)
            ):
                for key in rows:
                    transaction.clear(key)
