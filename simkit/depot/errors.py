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
    """The commit exceeds a limit of the key-value store."""

    code = "commit_too_large"


class PageSourceMissing(DepotError):
    """A page below the database's size has no readable source. Answering zeros here would lose data silently."""

    code = "page_source_missing"


class TransactionContended(DepotError):
    """The transaction conflicted on every one of its attempts."""

    code = "transaction_contended"


class InjectedFault(DepotError):
    """A fault rule of the scenario made the request fail."""

    code = "injected_fault"
