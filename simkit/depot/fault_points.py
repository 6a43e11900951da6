"""The places where the depot can be made to fail, and what a client may find afterwards.

Each point is a name for one line of the commit or the read path, in code order. Its boundary says which states
are right after a failure there, which is what the checks of DUR-1 and DUR-2 go by. This is the closed set that
scenario files are checked against; carrying out a fault is not done here.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Boundary(Enum):
    """What may be true of a commit, or of a read, that failed at a point of this class."""

    PRE_DURABLE = "pre-durable"
    """The old state must be visible after reload."""

    AMBIGUOUS = "ambiguous"
    """The old or the new state, each whole: the store committed and the client did not hear of it."""

    POST_DURABLE = "post-durable"
    """The new state must be visible after reload."""

    READ_ONLY = "read-only"
    """An error or the right bytes, never wrong bytes."""


class FaultPoint(StrEnum):
    """A named place in the depot, in the order in which a request passes them."""

    COMMIT_BEFORE_TX = "commit.before_tx"
    COMMIT_AFTER_BRANCH_RESOLUTION = "commit.after_branch_resolution"
    COMMIT_AFTER_HEAD_READ = "commit.after_head_read"
    COMMIT_AFTER_DELTA_ENCODE = "commit.after_delta_encode"
    COMMIT_BEFORE_DELTA_WRITES = "commit.before_delta_writes"
    COMMIT_BEFORE_PIDX_WRITES = "commit.before_pidx_writes"
    COMMIT_BEFORE_HEAD_WRITE = "commit.before_head_write"
    COMMIT_BEFORE_COMMIT_ROWS = "commit.before_commit_rows"
    COMMIT_AFTER_KV_COMMIT = "commit.after_kv_commit"
    READ_BEFORE_SCOPE_RESOLVE = "read.before_scope_resolve"
    READ_AFTER_SCOPE_RESOLVE = "read.after_scope_resolve"
    READ_AFTER_PIDX_SCAN = "read.after_pidx_scan"
    READ_AFTER_DELTA_BLOB_LOAD = "read.after_delta_blob_load"
    READ_BEFORE_RETURN_PAGES = "read.before_return_pages"

    @property
    def boundary(self) -> Boundary:
        """What a failure at this point may leave behind."""
        if self.value.startswith("read."):
            return Boundary.READ_ONLY
        if self is FaultPoint.COMMIT_AFTER_KV_COMMIT:
            return Boundary.AMBIGUOUS
        return Boundary.PRE_DURABLE


FAULT_POINT_NAMES: tuple[str, ...] = tuple(point.value for point in FaultPoint)
