"""What a depot is set to: limits, retention, grain of concurrency, compaction. Defaults are those of the real system.

Times that concern stored rows (retention, intervals) are milliseconds, because rows carry wall clocks in milliseconds;
times that the simulation waits are nanoseconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from simkit.kernel.units import MICROSECOND, MILLISECOND, SECOND

Grain = Literal["transaction", "operation"]


class CompactionSettings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """When compaction runs, and how much it takes on at once.

    Attributes:
        lag_threshold: commits above the hot watermark from which on a commit marks its branch dirty and wakes the
            manager.
        throttle_ns: a branch that is dirty already is not signalled again before this time has passed.
        max_silence_ns: a manager that hears nothing looks at its branch after this time all the same, as long as the
            branch is marked dirty: a lost wake delays compaction by at most this.
        hot_after_ns, reclaim_after_ns: from the look that finds work to the job.
        settle_after_ns: after the last job, when the manager looks once more before it takes the branch for clean.
        batch_keys, batch_bytes: the input of one hot job: rows, and bytes of their values. The watermark never passes
            what was folded.
        staged_bytes: what one key-value transaction of a job writes at most; larger output takes several.
        job_service_ns: simulated work of each key-value transaction of a job.
        restart_after_ns: a compaction process that crashed starts again after this time.
    """

    enabled: bool = False
    lag_threshold: int = 32
    throttle_ns: int = 500 * MILLISECOND
    max_silence_ns: int = 30 * SECOND
    hot_after_ns: int = 500 * MILLISECOND
    reclaim_after_ns: int = 10 * SECOND
    settle_after_ns: int = 30 * SECOND
    batch_keys: int = 500
    batch_bytes: int = 2 * 1024 * 1024
    staged_bytes: int = 4 * 1024 * 1024
    job_service_ns: int = 5 * MILLISECOND
    restart_after_ns: int = 1 * SECOND


class DepotSettings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The settings of one depot.

    Attributes:
        concurrency: requests served at once, at least 1; the others wait in the order of their arrival.
        grain: where other transactions may come in between. "transaction": once, between the reads of a transaction
            and its commit. "operation": before each operation of it.
        operation_ns: what one operation of a key-value transaction takes at the grain "operation".
        attempts_max: how often a conflicting transaction is tried.
        chunk_bytes: blobs are stored in chunks of this size.
        shard_pages: consecutive pages of one shard; shard = page number // shard_pages.
        shard_versions_max: versions of one shard that pins may keep.
        commit_pages_max: pages of one commit, None: as many as the transaction limits allow.
        quota_bytes: what the rows of one branch may add up to (`META/quota`).
        fork_depth_max: ancestors of a branch.
        restore_points_max: restore points of one database.
        pitr_interval_ms, pitr_retention_ms: one commit of each interval stays readable for the retention.
    """

    concurrency: int = 8
    grain: Grain = "transaction"
    operation_ns: int = 50 * MICROSECOND
    attempts_max: int = 20
    chunk_bytes: int = 10_000
    shard_pages: int = 64
    shard_versions_max: int = 32
    commit_pages_max: int | None = None
    quota_bytes: int = 10 * 1024**3
    fork_depth_max: int = 16
    restore_points_max: int = 1024
    pitr_interval_ms: int = 5 * 60 * 1000
    pitr_retention_ms: int = 7 * 24 * 60 * 60 * 1000
    compaction: CompactionSettings = CompactionSettings()


DEFAULT_SETTINGS = DepotSettings()
