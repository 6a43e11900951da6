"""The places where the depot can be made to fail, and what may be found afterwards.

Each point is a name for one line of the commit path, the read path, the hot compaction or the reclaim, in code order.
Its boundary says which states are right after a failure there, which is what the checks of DUR-1 and DUR-2 go by. This
is the closed set that scenario files are checked against; carrying out a fault is not done here.

Of the published points, those of the cold tier are left out: this depot has no object store behind it.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Boundary(Enum):
    """What may be true of a commit, a read or a job that failed at a point of this class."""

    PRE_DURABLE = "pre-durable"
    """The old state must be visible after reload."""

    AMBIGUOUS = "ambiguous"
    """The old or the new state, each whole: the store committed and the client did not hear of it."""

    POST_DURABLE = "post-durable"
    """The new state must be visible after reload."""

    READ_ONLY = "read-only"
    """An error or the right bytes, never wrong bytes."""

    WORKFLOW_ONLY = "workflow-only"
    """No page changes at any readable version."""


class FaultPoint(StrEnum):
    """A named place in the depot, in the order in which it is passed."""

    COMMIT_BEFORE_TX = "commit.before_tx"
    COMMIT_AFTER_BRANCH_RESOLUTION = "commit.after_branch_resolution"
    COMMIT_AFTER_HEAD_READ = "commit.after_head_read"
    COMMIT_AFTER_TRUNCATE_CLEANUP = "commit.after_truncate_cleanup"
    COMMIT_AFTER_LTX_ENCODE = "commit.after_ltx_encode"
    COMMIT_BEFORE_DELTA_WRITES = "commit.before_delta_writes"
    COMMIT_BEFORE_PIDX_WRITES = "commit.before_pidx_writes"
    COMMIT_BEFORE_HEAD_WRITE = "commit.before_head_write"
    COMMIT_BEFORE_COMMIT_ROWS = "commit.before_commit_rows"
    COMMIT_BEFORE_QUOTA_MUTATION = "commit.before_quota_mutation"
    COMMIT_AFTER_KV_COMMIT = "commit.after_kv_commit"
    COMMIT_BEFORE_COMPACTION_SIGNAL = "commit.before_compaction_signal"
    COMMIT_AFTER_COMPACTION_SIGNAL = "commit.after_compaction_signal"
    READ_BEFORE_SCOPE_RESOLVE = "read.before_scope_resolve"
    READ_AFTER_SCOPE_RESOLVE = "read.after_scope_resolve"
    READ_AFTER_PIDX_SCAN = "read.after_pidx_scan"
    READ_DELTA_BLOB_MISSING = "read.delta_blob_missing"
    READ_AFTER_DELTA_BLOB_LOAD = "read.after_delta_blob_load"
    READ_AFTER_SHARD_BLOB_LOAD = "read.after_shard_blob_load"
    READ_BEFORE_RETURN_PAGES = "read.before_return_pages"
    HOT_STAGE_BEFORE_INPUT_READ = "hot.stage_before_input_read"
    HOT_STAGE_AFTER_INPUT_READ = "hot.stage_after_input_read"
    HOT_STAGE_AFTER_SHARD_WRITE = "hot.stage_after_shard_write"
    HOT_AFTER_STAGE_BEFORE_FINISH_SIGNAL = "hot.after_stage_before_finish_signal"
    HOT_INSTALL_BEFORE_STAGED_READ = "hot.install_before_staged_read"
    HOT_INSTALL_AFTER_STAGED_READ = "hot.install_after_staged_read"
    HOT_INSTALL_BEFORE_SHARD_PUBLISH = "hot.install_before_shard_publish"
    HOT_INSTALL_AFTER_SHARD_PUBLISH_BEFORE_PIDX_CLEAR = "hot.install_after_shard_publish_before_pidx_clear"
    HOT_INSTALL_BEFORE_ROOT_UPDATE = "hot.install_before_root_update"
    HOT_INSTALL_AFTER_ROOT_UPDATE = "hot.install_after_root_update"
    RECLAIM_PLAN_BEFORE_SNAPSHOT = "reclaim.plan_before_snapshot"
    RECLAIM_PLAN_AFTER_SNAPSHOT = "reclaim.plan_after_snapshot"
    RECLAIM_BEFORE_HOT_DELETE = "reclaim.before_hot_delete"
    RECLAIM_AFTER_HOT_DELETE = "reclaim.after_hot_delete"
    RECLAIM_BEFORE_CLEANUP_ROWS = "reclaim.before_cleanup_rows"

    @property
    def boundary(self) -> Boundary:
        """What a failure at this point may leave behind."""
        return _AT_COMMIT.get(self, Boundary.PRE_DURABLE) if self.group == "commit" else _OF_GROUP[self.group]

    @property
    def group(self) -> str:
        """Which path it lies on: commit, read, hot or reclaim."""
        return self.value.partition(".")[0]

    @property
    def needs_compaction(self) -> bool:
        """Whether it is passed only where compaction runs."""
        return self.group in ("hot", "reclaim") or self in _WITH_COMPACTION

    @property
    def needs_lost_delta(self) -> bool:
        """Whether it is passed only when a delta is lost, such as by a drop at `read.after_delta_blob_load`."""
        return self is FaultPoint.READ_DELTA_BLOB_MISSING

    @property
    def knows_pages(self) -> bool:
        """Whether whoever passes it has certain pages in hand."""
        return self.group in ("commit", "read")

    @property
    def knows_shard(self) -> bool:
        """Whether whoever passes it has a certain shard in hand, or pages of it."""
        return self.knows_pages or self is FaultPoint.HOT_STAGE_AFTER_SHARD_WRITE

    @property
    def can_drop(self) -> bool:
        """Whether something is loaded or about to be written there that can get lost by itself.

        The rows of a commit cannot: they are one transaction of the store.
        """
        return self in _DROPPABLE


_AT_COMMIT = {
    FaultPoint.COMMIT_AFTER_KV_COMMIT: Boundary.AMBIGUOUS,
    FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL: Boundary.POST_DURABLE,
    FaultPoint.COMMIT_AFTER_COMPACTION_SIGNAL: Boundary.POST_DURABLE,
}
_OF_GROUP = {
    "read": Boundary.READ_ONLY,
    "hot": Boundary.WORKFLOW_ONLY,
    "reclaim": Boundary.WORKFLOW_ONLY,
}
_WITH_COMPACTION = frozenset(
    {
        FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL,
        FaultPoint.COMMIT_AFTER_COMPACTION_SIGNAL,
        FaultPoint.READ_AFTER_SHARD_BLOB_LOAD,
    }
)
_DROPPABLE = frozenset(
    {
        FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL,
        FaultPoint.READ_AFTER_DELTA_BLOB_LOAD,
        FaultPoint.READ_AFTER_SHARD_BLOB_LOAD,
        FaultPoint.HOT_STAGE_AFTER_SHARD_WRITE,
        FaultPoint.HOT_AFTER_STAGE_BEFORE_FINISH_SIGNAL,
        FaultPoint.HOT_INSTALL_AFTER_STAGED_READ,
        FaultPoint.RECLAIM_BEFORE_HOT_DELETE,
        FaultPoint.RECLAIM_BEFORE_CLEANUP_ROWS,
    }
)

FAULT_GROUPS: tuple[str, ...] = tuple(dict.fromkeys(point.group for point in FaultPoint))
FAULT_POINT_NAMES: tuple[str, ...] = tuple(point.value for point in FaultPoint)
