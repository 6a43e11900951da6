"""What the VFS puts into the history."""

from __future__ import annotations

from simkit.kernel import Record


class SyncStarted(Record, frozen=True, gc=False, tag=True):
    """SQLite called xSync on the main file and `pages` pages are not durable yet."""

    instance: str
    operation: int
    pages: int


class SyncReturned(Record, frozen=True, gc=False, tag=True):
    """That xSync returned to SQLite without an error: SQLite takes the pages for durable."""

    instance: str
    operation: int


class InstanceDied(Record, frozen=True, gc=False, tag=True):
    """The instance lost its right to the database (a fence) and refuses everything from now on."""

    instance: str
    cause: str
