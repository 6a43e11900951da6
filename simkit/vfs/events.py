"""What the VFS puts into the history."""

from __future__ import annotations

from simkit.kernel import Record


class FileOpened(Record, frozen=True, gc=False, tag=True):
    """SQLite opened the main file for a connection. `handle` counts the instance's from 1."""

    instance: str
    handle: int
    writable: bool


class FileClosed(Record, frozen=True, gc=False, tag=True):
    """SQLite closed that handle: its connection is gone."""

    instance: str
    handle: int


class TransactionBegan(Record, frozen=True, gc=False, tag=True):
    """A connection took its first lock: a transaction of SQLite begins, be it that of one reading statement.

    `head` is the txid that the instance takes for the newest.
    """

    instance: str
    handle: int
    operation: int
    head: int


class TransactionEnded(Record, frozen=True, gc=False, tag=True):
    """A connection gave up its last lock: no statement of it runs on the database any more."""

    instance: str
    handle: int


class SyncStarted(Record, frozen=True, gc=False, tag=True):
    """SQLite called xSync on the main file and `pages` pages are not durable yet."""

    instance: str
    operation: int
    pages: int
    handle: int = 0


class SyncReturned(Record, frozen=True, gc=False, tag=True):
    """That xSync returned to SQLite without an error: SQLite takes the pages for durable."""

    instance: str
    operation: int


class VfsRegistered(Record, frozen=True, gc=False, tag=True):
    """SQLite knows the VFS of the instance."""

    instance: str


class VfsUnregistered(Record, frozen=True, gc=False, tag=True):
    """SQLite does not know the VFS of the instance any more."""

    instance: str


class InstanceDied(Record, frozen=True, gc=False, tag=True):
    """The instance lost its right to the database (a fence) and refuses everything from now on."""

    instance: str
    cause: str
