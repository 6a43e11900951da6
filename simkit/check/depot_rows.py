"""The rows of a depot's store, sorted by branch and family: what the scan looks at.

Knows keys and the blob codec, and nothing of how the depot reads or writes; so whatever is wrong there shows here. Rows
of an image are sorted and decoded once for all runs that begin with it; in a run only the keys that changed since the
last look are gone through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from simkit.depot.keys import (
    BRANCH_ID_BYTES,
    BRANCH_PARTITION,
    BRANCH_RECORD_PARTITION,
    DATABASE_POINTER_PARTITION,
    DIRTY_PARTITION,
    PIN_PARTITION,
    RESTORE_POINT_PARTITION,
    SUBSPACE,
    BranchKeys,
    parse_branch_record_key,
    parse_database_pointer_key,
    parse_dirty_key,
    parse_restore_point_key,
)
from simkit.depot.kv import KeyValueImage, KeyValueStore
from simkit.depot.ltx import BlobCorrupt, LtxBlob, decode_ltx, join_chunks
from simkit.depot.records import CompactionRoot, RecordCorrupt, decode_head, decode_row

_IMAGES_MAX = 4
_FAMILY_AT = 2 + BRANCH_ID_BYTES + 1

Value = bytes | None
_Name = TypeVar("_Name", int, "tuple[int, int]", "tuple[int, int, int]")


class Decoded(NamedTuple):
    """What stands in the chunks of one blob: the blob, or why there is none."""

    blob: LtxBlob | None
    problem: str


class ChunkedRows(Generic[_Name]):
    """Blobs in chunks, by name. Decodes each once; a copy shares what it does not change."""

    def __init__(self) -> None:
        self._chunks: dict[_Name, dict[int, bytes]] = {}
        self._decoded: dict[_Name, Decoded] = {}
        self._own: set[_Name] = set()

    def copy(self) -> ChunkedRows[_Name]:
        twin: ChunkedRows[_Name] = ChunkedRows()
        twin._chunks = dict(self._chunks)
        twin._decoded = dict(self._decoded)
        return twin

    def put(self, name: _Name, chunk: int, value: Value) -> None:
        """One row changed."""
        if name not in self._own:
            self._own.add(name)
            self._chunks[name] = dict(self._chunks.get(name, ()))
        self._decoded.pop(name, None)
        chunks = self._chunks.setdefault(name, {})
        if value is not None:
            chunks[chunk] = value
            return
        chunks.pop(chunk, None)
        if not chunks:
            del self._chunks[name]

    def names(self) -> list[_Name]:
        """All of them, ascending."""
        return sorted(self._chunks)

    def __contains__(self, name: object) -> bool:
        return name in self._chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def decoded(self, name: _Name) -> Decoded:
        """The blob of that name, which must be there."""
        found = self._decoded.get(name)
        if found is None:
            found = self._decoded[name] = _decode(self._chunks[name])
        return found

    def pages(self, name: _Name) -> dict[int, bytes]:
        """Its pages; none where there is no such blob, or none that can be decoded."""
        if name not in self._chunks:
            return {}
        blob = self.decoded(name).blob
        return blob.pages if blob is not None else {}


class BranchRows:
    """The rows of one branch.

    Attributes:
        single: rows that there is one of, by name: record, head, head_at_fork, quota, generation, hints, root, dirty.
        commits, pidx, pitr: by transaction, page and start of the interval.
        vtx: by versionstamp.
        deltas, shards, staged: blobs by transaction, by (shard, as of) and by (job, shard, as of).
        pins: by (kind, name).
        counted_bytes: keys and values of the families that the quota counts.
        changed: whether anything changed since somebody set it to False.
        touched: for each change of a row that reading depends on, the lowest commit whose version it concerns.
        new_shards: the versions of shards that changed since somebody emptied it.
        bad_shards: those whose content was found to be wrong, and how.
    """

    def __init__(self, branch_id: bytes) -> None:
        self.keys = BranchKeys(branch_id)
        self.single: dict[str, bytes] = {}
        self.commits: dict[int, bytes] = {}
        self.vtx: dict[bytes, bytes] = {}
        self.pidx: dict[int, bytes] = {}
        self.deltas: ChunkedRows[int] = ChunkedRows()
        self.shards: ChunkedRows[tuple[int, int]] = ChunkedRows()
        self.staged: ChunkedRows[tuple[int, int, int]] = ChunkedRows()
        self.pitr: dict[int, bytes] = {}
        self.pins: dict[tuple[str, str], bytes] = {}
        self.counted_bytes = 0
        self.changed = True
        self.touched: list[int] = []
        self.new_shards: dict[tuple[int, int], None] = {}
        self.bad_shards: dict[tuple[int, int], str] = {}

    @property
    def number(self) -> int:
        return self.keys.number

    def copy(self) -> BranchRows:
        twin = BranchRows.__new__(BranchRows)
        twin.keys, twin.counted_bytes = self.keys, self.counted_bytes
        twin.changed, twin.touched = self.changed, []
        twin.single, twin.commits, twin.vtx = dict(self.single), dict(self.commits), dict(self.vtx)
        twin.pidx, twin.pitr, twin.pins = dict(self.pidx), dict(self.pitr), dict(self.pins)
        twin.deltas, twin.shards, twin.staged = self.deltas.copy(), self.shards.copy(), self.staged.copy()
        twin.new_shards, twin.bad_shards = dict(self.new_shards), dict(self.bad_shards)
        return twin

    def put(self, key: bytes, before: Value, value: Value) -> None:
        """A row below the prefix of the branch changed. Raises ValueError when its family is not known."""
        keys = self.keys
        family = key[_FAMILY_AT : _FAMILY_AT + 3]
        counted = True
        if family == b"PID":
            _put(self.pidx, keys.parse_pidx(key), value)
            owners = [int.from_bytes(owner, "big") for owner in (before, value) if owner is not None]
            self._touch(min(owners, default=0))
            counted = False
        elif family == b"DEL":
            txid, chunk = keys.parse_delta(key)
            self.deltas.put(txid, chunk, value)
            self._touch(txid)
        elif family == b"COM":
            txid = keys.parse_commits(key)
            _put(self.commits, txid, value)
            self._touch(txid)
        elif family == b"VTX":
            _put(self.vtx, keys.parse_vtx(key), value)
        elif family == b"SHA":
            shard, as_of, chunk = keys.parse_shard(key)
            self.shards.put((shard, as_of), chunk, value)
            self._touch(as_of)
            self.new_shards[shard, as_of] = None
            self.bad_shards.pop((shard, as_of), None)
        else:
            counted = False
            self._put_other(key, before, value)
        self.changed = True
        if counted:
            self.counted_bytes += _row_bytes(key, value) - _row_bytes(key, before)

    def put_single(self, name: str, before: Value, value: Value) -> None:
        """A row that there is one of changed."""
        _put(self.single, name, value)
        self.changed = True
        if name not in _APART:
            self._touch(_lowest_concerned(name, before, value))

    def _touch(self, txid: int) -> None:
        if not self.touched or self.touched[-1] != txid:
            self.touched.append(txid)

    def _put_other(self, key: bytes, before: Value, value: Value) -> None:
        keys = self.keys
        name = _SINGLE.get(key[_FAMILY_AT:])
        if name is not None:
            self.put_single(name, before, value)
        elif key.startswith(keys.pitr_range()[0]):
            _put(self.pitr, keys.parse_pitr(key), value)
        else:
            job, shard, as_of, chunk = keys.parse_stage(key)
            self.staged.put((job, shard, as_of), chunk, value)

    @property
    def is_gone(self) -> bool:
        """Whether no row of it is left."""
        return not (self.single or self.commits or self.vtx or self.pidx or self.pitr or self.pins) and not (
            len(self.deltas) or len(self.shards) or len(self.staged)
        )


_SINGLE = {
    b"META/head": "head",
    b"META/head_at_fork": "head_at_fork",
    b"META/quota": "quota",
    b"META/generation": "generation",
    b"META/preload_hints": "hints",
    b"CMP/root": "root",
}
_APART = frozenset({"quota", "generation", "hints", "dirty"})
"""Rows that no reading depends on."""


def _lowest_concerned(name: str, before: Value, value: Value) -> int:
    """The lowest commit whose version a head or the compaction root concerns; of other rows: all.

    Versions up to both watermarks are read from shards before and after the watermark moves.
    """
    try:
        if name == "head" and value is not None:
            return decode_head(value).txid
        if name == "root" and before is not None and value is not None:
            marks = [decode_row(CompactionRoot, root).hot_watermark_txid for root in (before, value)]
            return min(marks) + 1
    except RecordCorrupt:
        pass
    return 0


class DepotRows:
    """All rows of a store.

    Attributes:
        branches: by id.
        pointers: branch ids by (database, bucket branch).
        restore_points: by (database, restore point).
        unknown: keys of no known family.
    """

    def __init__(self) -> None:
        self.branches: dict[bytes, BranchRows] = {}
        self.pointers: dict[tuple[str, bytes], bytes] = {}
        self.restore_points: dict[tuple[str, str], bytes] = {}
        self.unknown: dict[bytes, None] = {}
        self._seen: dict[bytes, Value] = {}

    def copy(self) -> DepotRows:
        twin = DepotRows()
        twin.branches = {branch_id: rows.copy() for branch_id, rows in self.branches.items()}
        twin.pointers, twin.restore_points = dict(self.pointers), dict(self.restore_points)
        twin.unknown = dict(self.unknown)
        return twin

    def follow(self, store: KeyValueStore) -> None:
        """Takes over what changed in the store since the last time. It must be the same store each time."""
        image, changes = store.changes()
        seen, base = self._seen, image.content()
        for key, value in changes.items():
            before = seen[key] if key in seen else base.get(key)
            if before is not value:
                self.put(key, before, value)
                seen[key] = value
        if len(seen) > len(changes):
            for key in [key for key in seen if key not in changes]:
                # A row that the image does not have leaves the changes when it is cleared.
                self.put(key, seen.pop(key), base.get(key))

    def put(self, key: bytes, before: Value, value: Value) -> None:
        """One row changed."""
        try:
            self._put(key, before, value)
        except ValueError:
            if value is not None:
                self.unknown[key] = None
            else:
                self.unknown.pop(key, None)

    def _put(self, key: bytes, before: Value, value: Value) -> None:
        if key[:1] != SUBSPACE:
            raise ValueError("another subspace")
        partition = key[1:2]
        if partition == BRANCH_PARTITION:
            branch_id = key[2 : 2 + BRANCH_ID_BYTES]
            self._branch(branch_id).put(key, before, value)
        elif partition == DATABASE_POINTER_PARTITION:
            _put(self.pointers, parse_database_pointer_key(key), value)
        elif partition == BRANCH_RECORD_PARTITION:
            self._branch(parse_branch_record_key(key)).put_single("record", before, value)
        elif partition == RESTORE_POINT_PARTITION:
            _put(self.restore_points, parse_restore_point_key(key), value)
        elif partition == PIN_PARTITION:
            rows = self._branch(key[2 : 2 + BRANCH_ID_BYTES])
            _put(rows.pins, rows.keys.parse_pin(key), value)
            rows.changed = True
        elif partition == DIRTY_PARTITION:
            self._branch(parse_dirty_key(key)).put_single("dirty", before, value)
        else:
            raise ValueError("another partition")

    def _branch(self, branch_id: bytes) -> BranchRows:
        rows = self.branches.get(branch_id)
        if rows is None:
            rows = self.branches[branch_id] = BranchRows(branch_id)
        return rows


_known_images: list[tuple[KeyValueImage, DepotRows]] = []


def rows_of(store: KeyValueStore, begin: Callable[[DepotRows], None]) -> DepotRows:
    """The rows of a store as of the image that it began with. `begin` is called once with the rows of each image."""
    image, _ = store.changes()
    for known, rows in _known_images:
        if known is image:
            return rows.copy()
    rows = DepotRows()
    for key, value in image.sorted_rows()[1]:
        rows.put(key, None, value)
    begin(rows)
    _known_images.append((image, rows))
    del _known_images[:-_IMAGES_MAX]
    return rows.copy()


_K = TypeVar("_K")


def _put(rows: dict[_K, bytes], name: _K, value: Value) -> None:
    if value is None:
        rows.pop(name, None)
    else:
        rows[name] = value


def _row_bytes(key: bytes, value: Value) -> int:
    return len(key) + len(value) if value is not None else 0


def _decode(chunks: dict[int, bytes]) -> Decoded:
    try:
        return Decoded(decode_ltx(join_chunks(sorted(chunks.items()))), "")
    except BlobCorrupt as error:
        return Decoded(None, error.reason)
