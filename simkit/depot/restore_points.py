"""Restore points and the pins behind them: what keeps a commit readable because somebody asked for it.

Upholds DEPOT-13 and DEPOT-14: the record of a restore point and its pin are written and removed together, in the
caller's transaction, and a pin lies on the branch that owns its commit. The limits are checked against what that
transaction reads, so two that make pins at once cannot both take the last place.

A restore point is named after the millisecond and the commit of its making. Asking twice for the same commit in one
millisecond therefore gives the same restore point, once. Where another commit has taken the name (same number, before a
rollback in between), or another database on the same branch has, the later one takes the next free millisecond.
"""

from __future__ import annotations

from simkit.depot.blobs import Readable
from simkit.depot.core import Core
from simkit.depot.errors import RestorePointNotFound, ShardVersionCapExhausted, TooManyRestorePoints
from simkit.depot.keys import BranchKeys, parse_restore_point_key, restore_point_key, restore_point_range
from simkit.depot.kv import Transaction
from simkit.depot.records import Pin, RestorePoint, decode_row, encode_row
from simkit.depot.targets import Origin

RESTORE_POINT_PIN = "restore_point"
FORK_PIN = "fork"


def restore_point_id(created_at_ms: int, txid: int) -> str:
    """The name of a restore point: both numbers as 16 hex digits, so that names sort by time."""
    return f"{created_at_ms:016x}-{txid:016x}"


def restore_points(readable: Readable, database: str) -> list[RestorePoint]:
    """The restore points of a database, oldest first."""
    # The range of `a` holds the rows of `a/b`, too.
    return [
        decode_row(RestorePoint, raw)
        for key, raw in readable.get_range(*restore_point_range(database))
        if parse_restore_point_key(key)[0] == database
    ]


def make(core: Core, transaction: Transaction, database: str, origin: Origin) -> tuple[RestorePoint, bool]:
    """Keeps a commit readable; returns the restore point, and whether it is new.

    Raises TooManyRestorePoints and ShardVersionCapExhausted.
    """
    points = restore_points(transaction, database)
    by_id = {point.id: point for point in points}
    created_at_ms = core.now_ms
    id = restore_point_id(created_at_ms, origin.txid)
    # The pin of another database may bear the name: a fork and its origin share branches.
    while id in by_id or transaction.get(origin.keys.pin(RESTORE_POINT_PIN, id)) is not None:
        if id in by_id and by_id[id].branch_id == origin.keys.branch_id:
            return by_id[id], False
        created_at_ms += 1
        id = restore_point_id(created_at_ms, origin.txid)
    most = core.settings.restore_points_max
    if len(points) >= most:
        raise TooManyRestorePoints(f"{database} has {len(points)} restore points, at most {most}; delete one first")
    row = origin.row
    point = RestorePoint(
        id=id,
        branch_id=origin.keys.branch_id,
        txid=origin.txid,
        versionstamp=row.versionstamp,
        wall_clock_ms=row.wall_clock_ms,
        created_at_ms=created_at_ms,
    )
    set_pin(core, transaction, origin, RESTORE_POINT_PIN, id)
    transaction.set(restore_point_key(database, id), encode_row(point))
    return point, True


def delete(transaction: Transaction, database: str, id: str) -> RestorePoint:
    """Keeps nothing for a restore point any more; returns what it was. Raises RestorePointNotFound."""
    key = restore_point_key(database, id)
    raw = transaction.get(key)
    if raw is None:
        raise RestorePointNotFound(f"{database} has no restore point {id}")
    point = decode_row(RestorePoint, raw)
    transaction.clear(BranchKeys(point.branch_id).pin(RESTORE_POINT_PIN, id))
    transaction.clear(key)
    return point


def set_pin(core: Core, transaction: Transaction, origin: Origin, kind: str, name: str) -> None:
    """Pins a commit. Raises ShardVersionCapExhausted when its branch would have to keep too many versions of a shard.

    Intervals of time are not counted: they come to an end by themselves.
    """
    keys, txid = origin.keys, origin.txid
    kept = {decode_row(Pin, raw).txid for _, raw in transaction.get_range(*keys.pins_range())}
    most = core.settings.shard_versions_max
    if txid not in kept and len(kept) >= most:
        raise ShardVersionCapExhausted(
            f"branch {keys.number} keeps {len(kept)} commits for restore points and forks, at most {most}; "
            f"delete a restore point first"
        )
    transaction.set(keys.pin(kind, name), encode_row(Pin(txid=txid, versionstamp=origin.row.versionstamp)))
