"""Which commit a target means: the branch that owns it, its number and its row.

Upholds the part of COMP-1 that pins need: everything is read in the transaction that pins the commit or derives a
branch from it, so that whoever takes the commit away meanwhile (reclaim, a deleted restore point, an interval that
expires) makes that transaction conflict. Only commits that are kept anyway can be named: the head, what a restore
point keeps, what an interval keeps. Writes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from simkit.depot.blobs import Readable
from simkit.depot.commands import AtRestorePoint, AtTime, Latest, Target
from simkit.depot.content import read_head
from simkit.depot.core import Core
from simkit.depot.errors import (
    BranchNotReachable,
    ForkOutOfRetention,
    MetaMissing,
    RestorePointNotFound,
    RestoreTargetExpired,
)
from simkit.depot.keys import BranchKeys, parse_restore_point_key, restore_point_key, restore_point_range
from simkit.depot.records import (
    CommitRow,
    Head,
    PitrInterval,
    RestorePoint,
    decode_commit_row,
    decode_row,
    decode_txid,
)


class Origin(NamedTuple):
    """A commit that a pin can keep, or that a branch can be derived from: `keys` are those of the branch it is on."""

    keys: BranchKeys
    txid: int
    row: CommitRow


def effective_head(readable: Readable, keys: BranchKeys) -> Head:
    """The newest commit of a branch, or the one it was derived from as long as it has none of its own.

    Raises MetaMissing.
    """
    head = read_head(readable, keys)
    if head is None:
        raise MetaMissing(f"branch {keys.number} has no commit yet; commit something first")
    return head


def resolve(core: Core, readable: Readable, database: str, keys: BranchKeys, target: Target) -> Origin:
    """The commit of a database, now at branch `keys`, that a target means. Raises the depot's errors."""
    match target:
        case Latest():
            txid = effective_head(readable, keys).txid
            return _origin(readable, core.sources.owner_of(readable, keys, txid), txid, None)
        case AtTime(ms):
            return _at_time(core, readable, keys, ms)
        case AtRestorePoint(id):
            point = _restore_point(core, readable, database, keys, id)
            return _origin(readable, BranchKeys(point.branch_id), point.txid, point.versionstamp)


def _at_time(core: Core, readable: Readable, keys: BranchKeys, ms: int) -> Origin:
    now_ms = core.now_ms
    # A child's commits are later than all those of its parent that count for it, so the nearest branch decides.
    for source in core.sources.lineage(readable, keys, effective_head(readable, keys).txid):
        found: PitrInterval | None = None
        for _, raw in readable.get_range(*source.keys.pitr_range()):
            interval = decode_row(PitrInterval, raw)
            fits = interval.expires_at_ms > now_ms and interval.wall_clock_ms <= ms and interval.txid <= source.cap
            if fits and (found is None or interval.txid > found.txid):
                found = interval
        if found is not None:
            return _origin(readable, source.keys, found.txid, found.versionstamp)
    raise RestoreTargetExpired(f"no interval of time up to {ms} ms keeps a commit (now: {now_ms} ms)")


def _restore_point(core: Core, readable: Readable, database: str, keys: BranchKeys, id: str) -> RestorePoint:
    """The restore point of this name.

    One of the database itself can always be reached: it was made along the database's own way, even if a rollback has
    left its branch since. One of another database can be where its commit lies on a branch that this one was derived
    from.
    """
    own = readable.get(restore_point_key(database, id))
    if own is not None:
        return decode_row(RestorePoint, own)
    foreign = None
    head = effective_head(readable, keys).txid
    caps = {source.keys.branch_id: source.cap for source in core.sources.lineage(readable, keys, head)}
    for key, raw in readable.get_range(*restore_point_range()):
        if parse_restore_point_key(key)[1] == id:
            foreign = decode_row(RestorePoint, raw)
            if foreign.txid <= caps.get(foreign.branch_id, -1):
                return foreign
    if foreign is not None:
        raise BranchNotReachable(
            f"restore point {id} is on branch {BranchKeys(foreign.branch_id).number}, which {database} was not "
            f"derived from at or after it"
        )
    raise RestorePointNotFound(f"{database} has no restore point {id}")


def _origin(readable: Readable, keys: BranchKeys, txid: int, versionstamp: bytes | None) -> Origin:
    """Reads the commit's row, which reclaim takes away before anything else of the commit. Raises the depot's errors.

    `versionstamp` is what a restore point or interval believes the commit to be.
    """
    raw = readable.get(keys.commits(txid))
    if raw is None:
        raise ForkOutOfRetention(f"commit {txid} of branch {keys.number} is not kept any more")
    row = decode_commit_row(raw)
    if versionstamp is not None and versionstamp != row.versionstamp:
        raise ForkOutOfRetention(f"commit {txid} of branch {keys.number} is not the one that was kept")
    named = readable.get(keys.vtx(row.versionstamp))
    if named is None or decode_txid(named) != txid:
        raise RestoreTargetExpired(f"the versionstamp of commit {txid} of branch {keys.number} is gone")
    return Origin(keys, txid, row)
