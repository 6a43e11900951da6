"""Installing: publish what was staged, then let the page index point away from the deltas, and move the watermark.

Upholds COMP-1 by its order. A version of a shard is published whole, in one transaction, and is right for its commit
whether anybody looks for it yet or not; nothing is looked for in shards before the last transaction, which checks
once more that everything the job began from still holds, and that the published versions are the ones it folded.
That transaction clears only rows of the page index that are still as they were seen: a commit that came in between has
put its own there, and either conflicts with it or is left alone.

A job that fails anywhere changes no page at any readable version.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from hashlib import sha256
from typing import Any

from simkit.depot.core import Core
from simkit.depot.events import HotInstalled
from simkit.depot.fault_points import FaultPoint
from simkit.depot.hot_plan import HotPlan
from simkit.depot.hot_stage import FoldedShard, Staged, groups_of
from simkit.depot.job import Job, JobRejected
from simkit.depot.keys import BranchKeys, KeyRange, after_prefix
from simkit.depot.kv import Transaction
from simkit.depot.records import CompactionRoot, encode_row
from simkit.depot.retention import readable_versions
from simkit.kernel import Happening

Rows = list[tuple[bytes, bytes]]


class HotInstaller:
    """Publishes and installs. `stepped` is told of each key-value commit."""

    def __init__(self, core: Core, stepped: Callable[[str], None]) -> None:
        self._core = core
        self._faults = core.faults
        self._stepped = stepped

    def install(self, job: Job, keys: BranchKeys, staged: Staged) -> Generator[Happening, Any, None]:
        """Makes what was staged the base of all reads up to its target. Raises JobRejected and the depot's errors."""
        core, faults, plan = self._core, self._faults, staged.plan
        if faults is not None:
            yield from faults.at(FaultPoint.HOT_INSTALL_BEFORE_STAGED_READ, job)
        for group in groups_of(staged.shards, core.settings.compaction.staged_bytes):
            yield from self._publish_group(job, keys, plan, group)
        if faults is not None:
            yield from faults.at(FaultPoint.HOT_INSTALL_AFTER_SHARD_PUBLISH_BEFORE_PIDX_CLEAR, job)
        cleared = yield from core.transact(
            job, "hot install", lambda transaction: self._finish(transaction, job, keys, staged)
        )
        kernel = core.kernel
        kernel.record(
            HotInstalled(
                kernel.now,
                job.task_name,
                keys.number,
                job.ordinal,
                plan.target,
                plan.manifest_generation + 1,
                len(staged.shards),
                cleared,
            )
        )
        self._stepped(f"hot job {job.ordinal} installed")
        if faults is not None:
            yield from faults.at(FaultPoint.HOT_INSTALL_AFTER_ROOT_UPDATE, job)

    # Publishing

    def _publish_group(
        self, job: Job, keys: BranchKeys, plan: HotPlan, group: Sequence[FoldedShard]
    ) -> Generator[Happening, Any, None]:
        yield from self._core.transact(
            job, "hot publish", lambda transaction: self._publish(transaction, job, keys, plan, group)
        )
        self._stepped(f"hot job {job.ordinal} published")

    def _publish(
        self, transaction: Transaction, job: Job, keys: BranchKeys, plan: HotPlan, group: Sequence[FoldedShard]
    ) -> Generator[Happening, Any, None]:
        core, faults = self._core, self._faults
        self._require_same_base(transaction, keys, plan)
        staged_rows: list[Rows] = []
        for folded in group:
            if core.fine:
                yield from core.between("read staged shard", job)
            rows = transaction.get_range(*_staged_range(job, keys, folded))
            _require_same(folded, rows, "staged")
            staged_rows.append(rows)
        if faults is not None and (yield from faults.at(FaultPoint.HOT_INSTALL_AFTER_STAGED_READ, job)):
            raise JobRejected("the staged shards were lost")
        yield core.kernel.stage(core.settings.compaction.job_service_ns, None, "publish", job)
        if faults is not None:
            yield from faults.at(FaultPoint.HOT_INSTALL_BEFORE_SHARD_PUBLISH, job)
        added_bytes = 0
        for folded, rows in zip(group, staged_rows, strict=True):
            if core.fine:
                yield from core.between("publish shard", job)
            added_bytes += self._publish_shard(transaction, keys, folded, rows)
        if added_bytes:
            transaction.add(keys.quota, added_bytes)

    def _publish_shard(self, transaction: Transaction, keys: BranchKeys, folded: FoldedShard, rows: Rows) -> int:
        """Moves one version to where reads find it. Returns the bytes that the branch has grown by."""
        present = transaction.get_range(*keys.shard_range(folded.shard, folded.as_of))
        if present:
            # A job that failed later has published it before.
            _require_same(folded, present, "published")
        added_bytes = 0
        for chunk, (staged_key, content) in enumerate(rows):
            if not present:
                key = keys.shard(folded.shard, folded.as_of, chunk)
                transaction.set(key, content)
                added_bytes += len(key) + len(content)
            transaction.clear(staged_key)
        return added_bytes

    # The transaction that counts

    def _finish(
        self, transaction: Transaction, job: Job, keys: BranchKeys, staged: Staged
    ) -> Generator[Happening, Any, int]:
        core, plan = self._core, staged.plan
        if core.fine:
            yield from core.between("validate", job)
        self._validate(transaction, keys, staged)
        yield core.kernel.stage(core.settings.compaction.job_service_ns, None, "install", job)
        cleared = yield from self._clear_index(transaction, job, keys, plan)
        for start_ms, interval in plan.intervals:
            transaction.set(keys.pitr(start_ms), encode_row(interval))
        if self._faults is not None:
            yield from self._faults.at(FaultPoint.HOT_INSTALL_BEFORE_ROOT_UPDATE, job)
        if core.fine:
            yield from core.between("move the watermark", job)
        root = CompactionRoot(manifest_generation=plan.manifest_generation + 1, hot_watermark_txid=plan.target)
        transaction.set(keys.root, encode_row(root))
        return cleared

    def _validate(self, transaction: Transaction, keys: BranchKeys, staged: Staged) -> None:
        """Everything that the plan took for granted, read so that whoever changes it conflicts with this."""
        plan = staged.plan
        self._require_same_base(transaction, keys, plan)
        for kept in readable_versions(transaction, keys, self._core.now_ms):
            if plan.base < kept.txid <= plan.target and kept.txid not in plan.coverage:
                raise JobRejected(f"commit {kept.txid} is kept by {kept.why} now, and was not folded")
        for folded in staged.shards:
            _require_same(folded, transaction.get_range(*keys.shard_range(folded.shard, folded.as_of)), "published")

    def _clear_index(
        self, transaction: Transaction, job: Job, keys: BranchKeys, plan: HotPlan
    ) -> Generator[Happening, Any, int]:
        """Clears the rows that are as they were seen, and depends on these only.

        A row that has moved on never comes back. Were it read like the others, commits to a few busy pages would make
        this conflict for as long as they go on.
        """
        core = self._core
        if core.fine:
            yield from core.between("clear index rows", job)
        cleared = 0
        for number, owner in plan.owners:
            key = keys.pidx(number)
            if transaction.get(key, snapshot=True) == owner and transaction.get(key) == owner:
                transaction.clear(key)
                cleared += 1
        return cleared

    def _require_same_base(self, transaction: Transaction, keys: BranchKeys, plan: HotPlan) -> None:
        # Read one by one: the head, which every commit writes, must not be among what this transaction depends on.
        record = self._core.sources.record(transaction, keys.branch_id)
        if record is None or record.state != "live" or record.lifecycle_generation != plan.lifecycle_generation:
            raise JobRejected(f"branch {keys.number} is not the one that was folded any more")
        root = self._core.sources.root(transaction, keys)
        if (root.manifest_generation, root.hot_watermark_txid) != (plan.manifest_generation, plan.base):
            raise JobRejected(
                f"branch {keys.number} has been compacted up to {root.hot_watermark_txid} since {plan.base} was read"
            )


def _staged_range(job: Job, keys: BranchKeys, folded: FoldedShard) -> KeyRange:
    prefix = keys.stage(job.ordinal, folded.shard, folded.as_of, 0)[:-4]
    return prefix, after_prefix(prefix)


def _require_same(folded: FoldedShard, rows: Iterable[tuple[bytes, bytes]], where: str) -> None:
    digest = sha256()
    blob_bytes = 0
    for _, content in rows:
        digest.update(content)
        blob_bytes += len(content)
    if blob_bytes != folded.blob_bytes or digest.digest() != folded.digest:
        what = "is not what was folded" if blob_bytes else "is gone"
        raise JobRejected(f"version {folded.as_of} of shard {folded.shard}, {where}, {what}")
