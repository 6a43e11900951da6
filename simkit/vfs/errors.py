"""How storage failures look to SQLite and to whoever runs the statement.

They are `apsw.IOError`s, so that SQLite's pager treats them as I/O errors, and they carry the cause. The extended code
says which callback failed, and so what SQLite may do about it.
"""

from __future__ import annotations

import apsw


class StorageFailed(apsw.IOError):
    """A request to the depot failed; a later one may succeed."""

    def __init__(self, message: str, extended_result: int = apsw.SQLITE_IOERR) -> None:
        super().__init__(message)
        self.result = apsw.SQLITE_IOERR
        self.extendedresult = extended_result


class InstanceDead(StorageFailed):
    """This instance lost the database for good; only a new instance can open it."""


class Refused(apsw.IOError):
    """A call that this file or this VFS does not do."""

    def __init__(self, message: str, extended_result: int) -> None:
        super().__init__(message)
        self.result = apsw.SQLITE_IOERR
        self.extendedresult = extended_result


def missing_page(number: int, page_count: int) -> StorageFailed:
    """The depot answered without a page that the database has: never zeros, always an error."""
    return StorageFailed(f"the depot has no page {number} of {page_count}", apsw.SQLITE_IOERR_READ)


class failing_as:  # noqa: N801 - a context manager, which costs less as a class
    """Storage that fails within the block fails this callback, whatever it was asked for."""

    __slots__ = ("_extended_result",)

    def __init__(self, extended_result: int) -> None:
        self._extended_result = extended_result

    def __enter__(self) -> None:
        """Nothing has failed yet."""

    def __exit__(self, kind: object, failure: object, traceback: object) -> None:
        if isinstance(failure, StorageFailed) and failure.result == apsw.SQLITE_IOERR:
            failure.extendedresult = self._extended_result
