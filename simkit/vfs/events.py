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
    """SQLite knows the VFS of the instance. `commit_path` is how it commits: "journal" or "batch-atomic"."""

    instance: str
    commit_path: str = "journal"


class VfsUnregistered(Record, frozen=True, gc=False, tag=True):
    """SQLite does not know the VFS of the instance any more."""

    instance: str


class InstanceDied(Record, frozen=True, gc=False, tag=True):
    """The instance lost its right to the database (a fence) and refuses everything from now on."""

    instance: str
    cause: str


class FlushGivenUp(Record, frozen=True, gc=False, tag=True):
    """Closing a connection would have waited for its storage longer than it may: the instance ended instead."""

    instance: str
    cause: str


class PagesSeen(Record, frozen=True, gc=False, tag=True):
    """What SQLite was given of the main file in one of its transactions, up to its commit or its end.

    Recorded with `VfsSettings.observe_pages` only. `simkit.vfs.observed_file` says what counts as seen.

    Attributes:
        operation: the client operation that the task worked for when the transaction began, -1 for none.
        pages: (number, hash of the content) in the order of the first look; number 0 is SQLite's stamp of the version.
        commits: the transaction commits now: the next commit that the task requests is its own.
    """

    instance: str
    handle: int
    operation: int
    pages: tuple[tuple[int, int], ...]
    commits: bool


class PagesCommitted(Record, frozen=True, gc=False, tag=True):
    """The content of the commit that the same task requests next: (number, hash) as in `PagesSeen`."""

    instance: str
    pages: tuple[tuple[int, int], ...]


class HintFlushEnded(Record, frozen=True, gc=False, tag=True):
    """The instance told the depot which pages are worth loading at the next open, or could not.

    Attributes:
        outcome: "stored", "timed out", "cut short" (the instance crashed, died or closed), or the code of an error.
    """

    instance: str
    outcome: str
