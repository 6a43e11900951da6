"""Operator: whoever makes restore points, forks and rollbacks, by blocking calls from a task of the kernel.

An operator is no instance: it has no generation and no fence stops it. Its requests cost what an `open` costs and take
a place in the depot's queue like any other. An answer with an error is recorded and raised.
"""

from __future__ import annotations

from simkit.depot.commands import (
    Command,
    DeleteRestorePoint,
    ForceCompaction,
    Fork,
    Latest,
    MakeRestorePoint,
    Rollback,
    Target,
)
from simkit.depot.depot import Depot
from simkit.depot.errors import DepotError
from simkit.depot.events import RequestFailed
from simkit.depot.records import RestorePoint
from simkit.depot.request import DATABASE_ID, Request

_LATEST = Latest()


class Operator:
    """Sends the commands of one operator about one database."""

    def __init__(self, depot: Depot, name: str = "operator", database: str = DATABASE_ID) -> None:
        self.depot = depot
        self.name = name
        self.database = database

    def make_restore_point(self, at: Target = _LATEST) -> RestorePoint:
        """Keeps a commit readable until the restore point is deleted. Raises the depot's errors."""
        point = self._call(MakeRestorePoint(at))
        assert isinstance(point, RestorePoint)
        return point

    def delete_restore_point(self, id: str) -> None:
        """Gives a restore point up. Raises RestorePointNotFound."""
        self._call(DeleteRestorePoint(id))

    def fork(self, to_database: str, at: Target = _LATEST) -> int:
        """Makes a database that begins as this one was; returns the number of its branch. Raises the depot's errors."""
        return self._branch(Fork(to_database, at))

    def rollback(self, at: Target, keep_undo: bool = True) -> int:
        """Lets the database go on from an earlier commit; returns the number of its new branch.

        Every instance that is allocated before is refused from then on. Raises the depot's errors.
        """
        return self._branch(Rollback(at, keep_undo))

    def force_compaction(self) -> None:
        """Asks for compaction now; returns when it was asked for, not when it is done. Raises CompactionDisabled."""
        self._call(ForceCompaction())

    def _branch(self, command: Fork | Rollback) -> int:
        number = self._call(command)
        assert isinstance(number, int)
        return number

    def _call(self, command: Command) -> object:
        depot = self.depot
        kernel = depot.kernel
        task = kernel.require_task("ask the depot for something")
        depot.requests_total += 1
        request = Request(
            "control",
            depot.requests_total,
            task,
            self.name,
            0,
            None,
            (),
            {},
            0,
            database=self.database,
            command=command,
        )
        try:
            return depot.call(request).value
        except DepotError as error:
            kernel.record(
                RequestFailed(
                    kernel.now,
                    task.name,
                    self.name,
                    request.operation,
                    request.number,
                    request.kind,
                    error.code,
                    str(error),
                )
            )
            raise
