"""What can be asked of the depot beside pages, as data: the commands of control requests, and the commits they aim at.

All but `StoreHints` come from an operator; that one comes from the instance that owns the database.

Carrying them out is `branches.py`; which commit a target means is decided in `targets.py`, inside the transaction
that acts on it.
"""

from __future__ import annotations

import msgspec

from simkit.depot.records import PreloadHints


class Latest(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The newest commit of the database."""


class AtTime(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The newest commit that still stands for an interval of time and was made at `ms` or before.

    `ms` is a wall clock, in milliseconds since 1970.
    """

    ms: int


class AtRestorePoint(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The commit that a restore point keeps."""

    id: str


Target = Latest | AtTime | AtRestorePoint


class MakeRestorePoint(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Keep a commit readable under a name. Answered with its `RestorePoint`."""

    at: Target = Latest()


class DeleteRestorePoint(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Give a restore point up."""

    id: str


class Fork(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Make a new database that begins with what this one was at a commit. Answered with the number of its branch."""

    to_database: str
    at: Target = Latest()


class Rollback(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Let the database go on from an earlier commit. Answered with the number of its new branch.

    `keep_undo`: a restore point keeps the head that is left.
    """

    at: Target
    keep_undo: bool = True


class ForceCompaction(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Compact and reclaim now, however little there is to do."""


class StoreHints(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Replace what the database's owner advises to load at the next opening. Needs the present generation."""

    hints: PreloadHints


Command = MakeRestorePoint | DeleteRestorePoint | Fork | Rollback | ForceCompaction | StoreHints
