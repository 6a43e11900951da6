"""Broken restore points, forks and rollbacks: a row that is forgotten, or written too late, a parent that goes on, or
another commit than the one that was asked for.

They break DUR-1 and DEPOT-1, 2, 13 and 14 on purpose, most by what they let through of the one transaction that a
command is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

import msgspec

from simkit.defects.transactions import HoldingBack, within
from simkit.depot.blobs import Readable
from simkit.depot.branches import Branches
from simkit.depot.commands import AtRestorePoint, Fork, Latest, Rollback
from simkit.depot.content import read_head
from simkit.depot.depot import Depot
from simkit.depot.keys import BranchKeys, all_pins_range, database_pointer_key
from simkit.depot.kv import Transaction
from simkit.depot.records import BranchRecord
from simkit.depot.request import Reply, Request
from simkit.depot.sources import PageSources, Source
from simkit.depot.targets import Origin
from simkit.kernel import Happening
from simkit.kernel.units import MILLISECOND

_POINTER_AFTER_BRANCH_NS = 8 * MILLISECOND
_T = TypeVar("_T")
_Body = Callable[[Transaction, BranchKeys], Generator[Happening, Any, _T]]


class TwoStepBranches(Branches):
    """Rolls back in two transactions: the branches first, the pointer of the database afterwards."""

    def _transact(self, request: Request, label: str, body: _Body[_T]) -> Generator[Happening, Any, _T]:
        pointer_key = database_pointer_key(request.database)
        kept: list[tuple[bytes, bytes]] = []

        def first(transaction: Transaction, keys: BranchKeys) -> Generator[Happening, Any, _T]:
            split = HoldingBack(transaction, lambda key: label == "rollback" and key == pointer_key)
            result = yield from body(cast(Transaction, split), keys)
            kept[:] = split.kept
            return result

        result = yield from super()._transact(request, label, first)
        if kept:
            yield self._kernel.stage(_POINTER_AFTER_BRANCH_NS, None, "write pointer", request)
            with self._core.store.begin() as transaction:
                for key, value in kept:
                    transaction.set(key, value)
                transaction.commit()
        return result


class RollbackInTwoTransactions(Depot):
    """For a while a database that is rolled back points to a branch that is closed already."""

    def make_branches(self) -> Branches:
        return TwoStepBranches(self.core)


class UnfreezingBranches(Branches):
    """Leaves the branch that a rollback leaves open for commits."""

    def _freeze(self, transaction: Transaction, keys: BranchKeys, record: BranchRecord) -> None:
        """Does not."""


class RollbackLeavesBranchLive(Depot):
    """A rollback swaps the pointer and nothing else."""

    def make_branches(self) -> Branches:
        return UnfreezingBranches(self.core)


class UnpinnedBranches(Branches):
    """Derives branches without a pin on the commit they begin at."""

    def _derive(self, transaction: Transaction, origin: Origin, database: str) -> BranchKeys:
        without_pins = HoldingBack(transaction, within(*all_pins_range()))
        return super()._derive(cast(Transaction, without_pins), origin, database)


class ForkForgetsPin(Depot):
    """Nobody tells the parent of a fork what is still needed of it."""

    def make_branches(self) -> Branches:
        return UnpinnedBranches(self.core)


class UncappedSources(PageSources):
    """Reads through the parents of a branch as they are now."""

    def ancestry(self, readable: Readable, keys: BranchKeys) -> tuple[Source, ...]:
        heads = [(source, read_head(readable, source.keys)) for source in super().ancestry(readable, keys)]
        return tuple(Source(source.keys, head.txid if head is not None else source.cap) for source, head in heads)

    def lineage(self, readable: Readable, keys: BranchKeys, cap: int) -> tuple[Source, ...]:
        return (Source(keys, cap), *self.ancestry(readable, keys))


class ForkReadsParentsPresent(Depot):
    """A fork has the pages that its origin has by now."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.core.sources = UncappedSources(self.core)


class NamingBranches(Branches):
    """Writes down a restore point and does not pin its commit."""

    def _transact(self, request: Request, label: str, body: _Body[_T]) -> Generator[Happening, Any, _T]:
        def without_pin(transaction: Transaction, keys: BranchKeys) -> Generator[Happening, Any, _T]:
            split = HoldingBack(transaction, within(*all_pins_range()))
            return (yield from body(cast(Transaction, split), keys))

        return (yield from super()._transact(request, label, without_pin if label == "restore point" else body))


class RestorePointWithoutPin(Depot):
    """A restore point is a name that keeps nothing."""

    def make_branches(self) -> Branches:
        return NamingBranches(self.core)


class HeadNamingBranches(Branches):
    """Takes the head for the commit of whatever restore point is named."""

    def _carry_out(self, request: Request, command: object, inside_ns: int) -> Generator[Happening, Any, Reply]:
        if isinstance(command, Fork | Rollback) and isinstance(command.at, AtRestorePoint):
            command = msgspec.structs.replace(command, at=Latest())
        return super()._carry_out(request, command, inside_ns)


class RestorePointNamesTheHead(Depot):
    """Forks and rollbacks to a restore point begin at the head."""

    def make_branches(self) -> Branches:
        return HeadNamingBranches(self.core)


class UndolessBranches(Branches):
    """Rolls back without a restore point of what is left."""

    def _carry_out(self, request: Request, command: object, inside_ns: int) -> Generator[Happening, Any, Reply]:
        if isinstance(command, Rollback):
            command = msgspec.structs.replace(command, keep_undo=False)
        return super()._carry_out(request, command, inside_ns)


class RollbackForgetsUndo(Depot):
    """A rollback that was to be undone some day cannot be."""

    def make_branches(self) -> Branches:
        return UndolessBranches(self.core)
