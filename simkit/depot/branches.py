"""Control requests: restore points, forks, rollbacks, compaction on demand, and hints.

Upholds DUR-1 and COMP-1 where histories part: each command is one key-value transaction, so a rollback has moved the
pointer, frozen the branch it left, pinned the commit it went back to and fenced every earlier instance, or it has done
none of that. What a target means is read serializably in the same transaction (`targets.py`), which is what makes a
pin safe beside reclaim and install: either sees the other, or runs again.

A rollback does not touch the pages of the branch it leaves; it is only closed for commits, and its pins go on to count.
Compaction leaves frozen branches alone, hence their dirty marker goes with them. Events are recorded at the instant of
the key-value commit, before the reply leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from simkit.depot import restore_points
from simkit.depot.commands import (
    AtRestorePoint,
    AtTime,
    DeleteRestorePoint,
    ForceCompaction,
    Fork,
    Latest,
    MakeRestorePoint,
    Rollback,
    StoreHints,
)
from simkit.depot.core import Core
from simkit.depot.errors import (
    BranchNotReachable,
    BranchNotWritable,
    CompactionDisabled,
    DatabaseExists,
    DatabaseNotFound,
    ForkChainTooDeep,
    HintsInvalid,
)
from simkit.depot.events import (
    ControlReceived,
    DatabaseForked,
    DatabaseRolledBack,
    HintsStored,
    RestorePointDeleted,
    RestorePointMade,
)
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.kv import Transaction
from simkit.depot.records import BranchRecord, Head, RestorePoint, encode_generation, encode_hints, encode_row
from simkit.depot.request import Reply, Request
from simkit.depot.targets import Origin, resolve
from simkit.kernel import Happening

_NAMES = {MakeRestorePoint: "restore point", Fork: "fork", Rollback: "rollback"}

_T = TypeVar("_T")
_Body = Callable[[Transaction, BranchKeys], Generator[Happening, Any, _T]]


class Branches:
    """Answers control requests."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        #: has a branch compacted now; None while compaction is off
        self.force: Callable[[BranchKeys], None] | None = None

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        """Carries out `request.command`. Raises the depot's errors.

        Nearly all of its time passes before its transaction, which depends on the head: beside a writer that commits
        all the time, one that takes longer than a commit would never come to an end.
        """
        command = request.command
        if isinstance(command, MakeRestorePoint | Fork | Rollback):
            self._received(request, command)
        inside_ns = min(service_ns, self._core.settings.operation_ns)
        yield from self._serve(request, service_ns - inside_ns)
        return (yield from self._carry_out(request, command, inside_ns))

    def _carry_out(self, request: Request, command: object, inside_ns: int) -> Generator[Happening, Any, Reply]:
        match command:
            case MakeRestorePoint():
                return (yield from self._make_restore_point(request, command, inside_ns))
            case DeleteRestorePoint():
                return (yield from self._delete_restore_point(request, command, inside_ns))
            case Fork():
                return (yield from self._fork(request, command, inside_ns))
            case Rollback():
                return (yield from self._rollback(request, command, inside_ns))
            case ForceCompaction():
                return (yield from self._force_compaction(request, inside_ns))
            case StoreHints():
                return (yield from self._store_hints(request, command, inside_ns))
            case _:
                raise TypeError(f"a control request carries a command of simkit.depot.commands, not {command!r}")

    def _make_restore_point(
        self, request: Request, command: MakeRestorePoint, service_ns: int
    ) -> Generator[Happening, Any, Reply]:
        core = self._core

        def body(
            transaction: Transaction, keys: BranchKeys
        ) -> Generator[Happening, Any, tuple[Origin, RestorePoint, bool]]:
            origin = resolve(core, transaction, request.database, keys, command.at)
            yield from self._serve(request, service_ns)
            yield from self._between("pin", request)
            return origin, *restore_points.make(core, transaction, request.database, origin)

        origin, point, is_new = yield from self._transact(request, "restore point", body)
        if is_new:
            self._made(request, point)
        return Reply(origin.txid, origin.row.page_count, [], point)

    def _delete_restore_point(
        self, request: Request, command: DeleteRestorePoint, service_ns: int
    ) -> Generator[Happening, Any, Reply]:
        def body(transaction: Transaction, _: BranchKeys) -> Generator[Happening, Any, RestorePoint]:
            point = restore_points.delete(transaction, request.database, command.id)
            yield from self._serve(request, service_ns)
            return point

        point = yield from self._transact(request, "restore point deletion", body)
        keys = BranchKeys(point.branch_id)
        kernel = self._kernel
        kernel.record(RestorePointDeleted(kernel.now, request.task_name, request.database, point.id, keys.number))
        signaler = self._core.signaler
        if signaler is not None:
            # The branch may never see another commit, and what was kept would stay.
            signaler.wake(keys, point.txid, 0)
        return Reply(point.txid, 0, [])

    def _fork(self, request: Request, command: Fork, service_ns: int) -> Generator[Happening, Any, Reply]:
        core = self._core
        pointer_key = database_pointer_key(command.to_database)

        def body(transaction: Transaction, keys: BranchKeys) -> Generator[Happening, Any, tuple[Origin, BranchKeys]]:
            if transaction.get(pointer_key) is not None:
                raise DatabaseExists(f"there is a database {command.to_database} already; fork to another name")
            origin = resolve(core, transaction, request.database, keys, command.at)
            yield from self._serve(request, service_ns)
            yield from self._between("derive", request)
            child = self._derive(transaction, origin, command.to_database)
            yield from self._between("pointer", request)
            transaction.set(pointer_key, child.branch_id)
            return origin, child

        origin, child = yield from self._transact(request, "fork", body)
        kernel = self._kernel
        kernel.record(
            DatabaseForked(
                kernel.now,
                request.task_name,
                command.to_database,
                child.number,
                origin.keys.number,
                origin.txid,
                request.number,
            )
        )
        return Reply(origin.txid, origin.row.page_count, [], child.number)

    def _rollback(self, request: Request, command: Rollback, service_ns: int) -> Generator[Happening, Any, Reply]:
        core = self._core
        database = request.database

        def body(
            transaction: Transaction, left: BranchKeys
        ) -> Generator[Happening, Any, tuple[Origin, BranchKeys, BranchKeys, RestorePoint | None, bool]]:
            record = core.sources.record(transaction, left.branch_id)
            if record is None:
                raise BranchNotReachable(f"branch {left.number} of {database} has no record")
            if record.state != "live":
                raise BranchNotWritable(f"branch {left.number} of {database} is frozen")
            origin = resolve(core, transaction, database, left, command.at)
            undo = resolve(core, transaction, database, left, Latest())
            yield from self._serve(request, service_ns)
            yield from self._between("derive", request)
            child = self._derive(transaction, origin, database)
            yield from self._between("freeze", request)
            self._freeze(transaction, left, record)
            yield from self._between("undo point", request)
            point, is_new = None, False
            if command.keep_undo:
                point, is_new = restore_points.make(core, transaction, database, undo)
            yield from self._between("pointer", request)
            transaction.set(child.generation, encode_generation(core.generation + 1))
            transaction.set(database_pointer_key(database), child.branch_id)
            return origin, child, left, point, is_new

        origin, child, left, point, is_new = yield from self._transact(request, "rollback", body)
        # The instant of the commit: nobody was handed this generation in between.
        core.generation += 1
        if point is not None and is_new:
            self._made(request, point)
        kernel = self._kernel
        kernel.record(
            DatabaseRolledBack(
                kernel.now,
                request.task_name,
                database,
                child.number,
                origin.keys.number,
                origin.txid,
                left.number,
                "" if point is None else point.id,
                request.number,
            )
        )
        return Reply(origin.txid, origin.row.page_count, [], child.number)

    def _force_compaction(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        yield from self._serve(request, service_ns)
        if self.force is None:
            raise CompactionDisabled("this depot does not compact; set depot.compaction.enabled")
        keys = self._core.view(request.database).branch(self._core.store.snapshot())
        if keys is None:
            raise DatabaseNotFound(f"the database {request.database} does not exist")
        self.force(keys)
        return Reply(0, 0, [])

    def _store_hints(self, request: Request, command: StoreHints, service_ns: int) -> Generator[Happening, Any, Reply]:
        """Replaces the hints of the database's branch. Only its owner may, whatever head it believes in."""
        try:
            raw = encode_hints(command.hints)
        except ValueError as error:
            raise HintsInvalid(str(error)) from None
        view = self._core.view(request.database)

        def body(transaction: Transaction, keys: BranchKeys) -> Generator[Happening, Any, None]:
            view.check_generation(transaction, keys, request)
            yield from self._serve(request, service_ns)
            yield from self._between("hints", request)
            transaction.set(keys.hints, raw)

        yield from self._transact(request, "hints", body)
        kernel, hints = self._kernel, command.hints
        kernel.record(
            HintsStored(
                kernel.now,
                request.task_name,
                request.instance,
                request.number,
                hints.hot_pages,
                hints.early_pages,
                hints.scan_ranges,
            )
        )
        return Reply(0, 0, [])

    # Parts

    def _transact(self, request: Request, label: str, body: _Body[_T]) -> Generator[Happening, Any, _T]:
        def attempt(transaction: Transaction) -> Generator[Happening, Any, _T]:
            yield from self._between("resolve", request)
            keys = self._core.view(request.database).branch(transaction)
            if keys is None:
                raise DatabaseNotFound(f"the database {request.database} does not exist")
            return (yield from body(transaction, keys))

        return (yield from self._core.transact(request, label, attempt))

    def _serve(self, request: Request, service_ns: int) -> Generator[Happening, Any, None]:
        if service_ns or self._core.any_order:
            yield self._kernel.stage(service_ns, None, "control", request)

    def _between(self, operation: str, request: Request) -> Generator[Happening, Any, None]:
        if self._core.fine:
            yield from self._core.between(operation, request)

    def _derive(self, transaction: Transaction, origin: Origin, database: str) -> BranchKeys:
        """Begins a branch of `database` at a commit, and pins that commit. It begins with the parent's hints, too."""
        core = self._core
        parent = core.sources.record(transaction, origin.keys.branch_id)
        if parent is None:
            raise BranchNotReachable(f"branch {origin.keys.number} has no record")
        depth, most = parent.fork_depth + 1, core.settings.fork_depth_max
        if depth > most:
            raise ForkChainTooDeep(
                f"a branch derived from branch {origin.keys.number} would have {depth} ancestors, at most {most}"
            )
        child = BranchKeys(core.new_branch_id())
        restore_points.set_pin(core, transaction, origin, restore_points.FORK_PIN, str(child.number))
        record = BranchRecord(
            branch_id=child.branch_id,
            database_id=database,
            parent=origin.keys.branch_id,
            parent_txid=origin.txid,
            parent_versionstamp=origin.row.versionstamp,
            fork_depth=depth,
            created_at_ms=core.now_ms,
        )
        transaction.set(child.record, encode_row(record))
        head = Head(origin.txid, origin.row.page_count, origin.row.checksum, child.branch_id)
        transaction.set(child.head_at_fork, head.encode())
        # Advice only: nobody needs to know whether it changed meanwhile.
        hints = transaction.get(origin.keys.hints, snapshot=True)
        if hints is not None:
            transaction.set(child.hints, hints)
        return child

    def _freeze(self, transaction: Transaction, keys: BranchKeys, record: BranchRecord) -> None:
        """Closes a branch for commits; jobs that began before notice by its lifecycle generation."""
        frozen = msgspec.structs.replace(record, state="frozen", lifecycle_generation=record.lifecycle_generation + 1)
        transaction.set(keys.record, encode_row(frozen))
        transaction.clear(keys.dirty)

    def _made(self, request: Request, point: RestorePoint) -> None:
        kernel = self._kernel
        branch = BranchKeys(point.branch_id).number
        kernel.record(
            RestorePointMade(
                kernel.now, request.task_name, request.database, point.id, branch, point.txid, request.number
            )
        )

    def _received(self, request: Request, command: MakeRestorePoint | Fork | Rollback) -> None:
        """Tells what was asked for, so that it can be compared with what was done."""
        kernel = self._kernel
        match command.at:
            case AtTime(ms):
                target, id, at_ms = "time", "", ms
            case AtRestorePoint(id):
                target, at_ms = "restore_point", -1
            case _:
                target, id, at_ms = "latest", "", -1
        kernel.record(
            ControlReceived(
                kernel.now,
                request.task_name,
                request.instance,
                request.number,
                request.database,
                _NAMES[type(command)],
                target,
                id,
                at_ms,
                isinstance(command, Rollback) and command.keep_undo,
            )
        )
