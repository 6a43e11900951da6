"""The errors a depot request can end with, by the names the real system gives them.

`fatal` errors end the instance that asked: it lost its right to the database, and nothing it believes is current. All
others say nothing about the database and may be retried. An error of a commit never says that the commit did not
happen: only the next head read tells (DUR-2).
"""

from __future__ import annotations

from typing import ClassVar


class DepotError(Exception):
    """A request was answered with an error. `code` is its stable name."""

    code: ClassVar[str] = "depot_error"
    fatal: ClassVar[bool] = False


class DatabaseNotFound(DepotError):
    """No pointer to the database exists: nothing was ever committed to it."""

    code = "database_not_found"


class MetaMissing(DepotError):
    """The database exists but its head does not."""

    code = "meta_missing"


class GenerationFenceMismatch(DepotError):
    """A later instance owns the database now."""

    code = "fence_mismatch"
    fatal = True


class HeadFenceMismatch(DepotError):
    """The database has moved on from the head the request was made against."""

    code = "head_fence_mismatch"
    fatal = True


class CommitInvalid(DepotError):
    """The pages of a commit break its contract: numbers, sizes, duplicates, or a gap behind the old end."""

    code = "commit_invalid"


class CommitTooLarge(DepotError):
    """The commit exceeds a limit: pages of one commit, or bytes of one key-value transaction."""

    code = "commit_too_large"


class QuotaExceeded(DepotError):
    """The commit would take the branch beyond its quota. Nothing was written."""

    code = "quota_exceeded"

    def __init__(self, remaining_bytes: int, payload_bytes: int) -> None:
        super().__init__(remaining_bytes, payload_bytes)
        self.remaining_bytes = remaining_bytes
        self.payload_bytes = payload_bytes

    def __str__(self) -> str:
        return f"the commit needs {self.payload_bytes:,} bytes, the quota leaves {max(self.remaining_bytes, 0):,}"


class BranchNotWritable(DepotError):
    """The branch is frozen: a rollback left it behind."""

    code = "branch_not_writable"
    fatal = True


class ShardCoverageMissing(DepotError):
    """A page below the database's size has no source that is proven to be its newest content.

    Answering zeros, or an older shard, would lose data silently.
    """

    code = "shard_coverage_missing"


class ShardVersionCapExhausted(DepotError):
    """Pins would keep more versions of a shard than there may be."""

    code = "shard_version_cap_exhausted"


class ForkChainTooDeep(DepotError):
    """The new branch would have too many ancestors."""

    code = "fork_chain_too_deep"


class ForkOutOfRetention(DepotError):
    """The commit to derive a branch from is not kept readable any more."""

    code = "fork_out_of_retention"


class RestoreTargetExpired(DepotError):
    """No commit is kept for that time, or its versionstamp is gone."""

    code = "restore_point_expired"


class RestorePointNotFound(DepotError):
    """There is no restore point of this name."""

    code = "restore_point_not_found"


class BranchNotReachable(DepotError):
    """The restore point belongs to a branch that is no ancestor of the database's."""

    code = "branch_not_reachable"


class TooManyRestorePoints(DepotError):
    """The database has as many restore points as it may."""

    code = "too_many_restore_points"


class DatabaseExists(DepotError):
    """A fork was to make a database that there is already."""

    code = "database_exists"


class CompactionDisabled(DepotError):
    """Compaction was asked for, and this depot runs none."""

    code = "compaction_disabled"


class TransactionContended(DepotError):
    """The transaction conflicted on every one of its attempts."""

    code = "transaction_contended"


class HintsInvalid(DepotError):
    """Hints that were to be stored name pages that cannot be, or are too many. Nothing was written."""

    code = "hints_invalid"


class InjectedFault(DepotError):
    """A fault rule of the scenario made the request fail."""

    code = "injected_fault"


class TransportFailed(DepotError):
    """No reply came in time. The request may have been carried out or not, or be carried out later."""

    code = "transport_failed"
