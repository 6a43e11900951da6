"""The fixed-layout records the depot stores behind its keys: head, commit row, generation, transaction id.

Every record but the bare transaction id starts with a little-endian u16 layout version, and all its fields
have fixed width, so that a decoder checks version and length and then trusts nothing else. Transaction ids
alone are big-endian without a version, because they are compared as bytes. Decoding never guesses:
RecordCorrupt names record and reason.

The commit row carries its own versionstamp, which exists only once the store commits. It is therefore encoded
as the bytes before and after the ten-byte commit stamp, ready for a stamped value write; six user bytes
complete the stamp.

Records that no request decodes on its way (branch, compaction root, markers, pins) are MessagePack behind the same
version prefix.

Why struct and msgspec: the head is decoded by every simulated request, and a struct with known offsets is
several times cheaper than a self-describing format.
"""

from struct import Struct
from typing import Final, Literal, TypeVar

import msgspec

LAYOUT_VERSION: Final = 1
STAMP_USER_BYTES: Final = bytes(6)
"""The user part that completes a ten-byte commit stamp to a 16-byte versionstamp."""
HINTS_BYTES_MAX: Final = 4_096
"""The bytes of the largest row of hints."""

_HEAD = Struct("<HQIQ16s")
_HEAD_BYTES = _HEAD.size
_unpack_head = _HEAD.unpack
_COMMIT_BEFORE_STAMP = Struct("<HQ")
_COMMIT_AFTER_STAMP = Struct("<6sIQ")
_COMMIT = Struct("<HQ16sIQ")
_GENERATION = Struct("<HQ")
_TXID = Struct(">Q")
_PAGE_MAX = (1 << 32) - 1
_ROW_VERSION = LAYOUT_VERSION.to_bytes(2, "little")
_pack_row = msgspec.msgpack.Encoder().encode


class RecordCorrupt(ValueError):
    """Stored bytes are not the record they should be."""

    def __init__(self, record: str, reason: str) -> None:
        super().__init__(record, reason)
        self.record = record
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.record} record is corrupt: {self.reason}; what wrote this key, and with which version?"


class Head(msgspec.Struct, frozen=True, gc=False):
    """The newest commit of a branch. ``checksum`` is carried, not computed; ``branch_id`` has 16 bytes."""

    txid: int
    page_count: int
    checksum: int
    branch_id: bytes

    def encode(self) -> bytes:
        """Return the stored bytes. Raises ValueError unless the branch id has 16 bytes."""
        if len(self.branch_id) != 16:
            raise ValueError(f"a head's branch id has 16 bytes, this one {len(self.branch_id)}")
        return _HEAD.pack(LAYOUT_VERSION, self.txid, self.page_count, self.checksum, self.branch_id)


class CommitRow(msgspec.Struct, frozen=True, gc=False):
    """One commit of a branch as stored, with its 16-byte versionstamp."""

    wall_clock_ms: int
    versionstamp: bytes
    page_count: int
    checksum: int

    def encode(self) -> bytes:
        """Return the stored bytes. Raises ValueError unless the versionstamp has 16 bytes."""
        if len(self.versionstamp) != 16:
            raise ValueError(f"a commit row's versionstamp has 16 bytes, this one {len(self.versionstamp)}")
        return _COMMIT.pack(LAYOUT_VERSION, self.wall_clock_ms, self.versionstamp, self.page_count, self.checksum)


class BranchRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """One linear history of commits.

    Attributes:
        parent: id of the branch it was derived from, b"" for the first one of a database.
        parent_txid: the parent's commit that it starts from; its own first commit is the next number.
        parent_versionstamp: that commit's 16-byte stamp, b"" without a parent.
        fork_depth: number of ancestors.
        state: commits go to live branches only; a rollback freezes the branch it leaves.
        lifecycle_generation: goes up with every change of this record, so that jobs notice.
    """

    branch_id: bytes
    database_id: str
    parent: bytes = b""
    parent_txid: int = 0
    parent_versionstamp: bytes = b""
    fork_depth: int = 0
    created_at_ms: int = 0
    state: Literal["live", "frozen"] = "live"
    lifecycle_generation: int = 1


class CompactionRoot(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """How far a branch is folded into shards. A branch without one has watermark 0 (or that of its fork point)."""

    manifest_generation: int = 0
    hot_watermark_txid: int = 0


class DirtyMarker(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A branch lags behind; the newest head that was seen to."""

    observed_head_txid: int
    updated_at_ms: int


class PitrInterval(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The commit that stands for an interval of time, and until when it stays readable."""

    txid: int
    versionstamp: bytes
    wall_clock_ms: int
    expires_at_ms: int


class RestorePoint(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A named pin on one commit of a database. `id` is ``{milliseconds, 16 hex digits}-{txid, 16 hex digits}``."""

    id: str
    branch_id: bytes
    txid: int
    versionstamp: bytes
    wall_clock_ms: int
    created_at_ms: int


class Pin(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Something that keeps one commit of a branch readable: a restore point, or a branch that was derived there."""

    txid: int
    versionstamp: bytes


class PreloadHints(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """The pages that an instance found worth loading when the database is opened. Advice: nothing depends on it.

    Attributes:
        hot_pages: numbers of the pages that were asked for most, ascending.
        early_pages: numbers of the first pages that were asked for after opening, in that order.
        scan_ranges: first and last page of runs that were read in order, the newest run last.
    """

    hot_pages: tuple[int, ...] = ()
    early_pages: tuple[int, ...] = ()
    scan_ranges: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.hot_pages or self.early_pages or self.scan_ranges)

    def problem(self) -> str:
        """Why these cannot be hints; "" when they can."""
        for number in (*self.hot_pages, *self.early_pages):
            if not 1 <= number <= _PAGE_MAX:
                return f"page {number} is not among 1 to {_PAGE_MAX}"
        for first, last in self.scan_ranges:
            if not 1 <= first <= last <= _PAGE_MAX:
                return f"pages {first} to {last} are no range within 1 to {_PAGE_MAX}"
        return ""


Row = BranchRecord | CompactionRoot | DirtyMarker | PitrInterval | RestorePoint | Pin | PreloadHints
_R = TypeVar("_R", BranchRecord, CompactionRoot, DirtyMarker, PitrInterval, RestorePoint, Pin, PreloadHints)


def encode_row(row: Row) -> bytes:
    """Return the stored bytes of a record that is not among the hot ones."""
    return _ROW_VERSION + _pack_row(row)


def decode_row(kind: type[_R], raw: bytes) -> _R:
    """Return the record. Raises RecordCorrupt."""
    if raw[:2] != _ROW_VERSION:
        raise RecordCorrupt(kind.__name__, f"it begins with {raw[:2]!r} instead of {_ROW_VERSION!r}")
    try:
        return msgspec.msgpack.decode(raw[2:], type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordCorrupt(kind.__name__, str(error)) from None


def encode_hints(hints: PreloadHints) -> bytes:
    """Return the stored bytes. Raises ValueError for hints that cannot be, or that are too many."""
    problem = hints.problem()
    if problem:
        raise ValueError(f"these are no hints: {problem}")
    raw = encode_row(hints)
    if len(raw) > HINTS_BYTES_MAX:
        raise ValueError(f"the hints take {len(raw):,} bytes, at most {HINTS_BYTES_MAX:,}; give fewer pages and ranges")
    return raw


def decode_hints(raw: bytes) -> PreloadHints:
    """Return the hints. Raises RecordCorrupt, for hints that name pages that cannot be as well."""
    if len(raw) > HINTS_BYTES_MAX:
        raise RecordCorrupt("PreloadHints", f"it has {len(raw):,} bytes, at most {HINTS_BYTES_MAX:,}")
    hints = decode_row(PreloadHints, raw)
    problem = hints.problem()
    if problem:
        raise RecordCorrupt("PreloadHints", problem)
    return hints


def decode_head(raw: bytes) -> Head:
    """Return the head. Raises RecordCorrupt."""
    if len(raw) != _HEAD_BYTES:
        raise RecordCorrupt("head", _length_reason(raw, _HEAD_BYTES))
    version, txid, page_count, checksum, branch_id = _unpack_head(raw)
    if version != LAYOUT_VERSION:
        raise RecordCorrupt("head", _version_reason(version))
    return Head(txid, page_count, checksum, branch_id)


def encode_commit_row_around_stamp(wall_clock_ms: int, page_count: int, checksum: int) -> tuple[bytes, bytes]:
    """Return the bytes before and after the commit stamp of a commit row that is about to be written."""
    return (
        _COMMIT_BEFORE_STAMP.pack(LAYOUT_VERSION, wall_clock_ms),
        _COMMIT_AFTER_STAMP.pack(STAMP_USER_BYTES, page_count, checksum),
    )


def decode_commit_row(raw: bytes) -> CommitRow:
    """Return the commit row. Raises RecordCorrupt."""
    if len(raw) != _COMMIT.size:
        raise RecordCorrupt("commit row", _length_reason(raw, _COMMIT.size))
    version, wall_clock_ms, versionstamp, page_count, checksum = _COMMIT.unpack(raw)
    if version != LAYOUT_VERSION:
        raise RecordCorrupt("commit row", _version_reason(version))
    return CommitRow(wall_clock_ms, versionstamp, page_count, checksum)


def encode_generation(generation: int) -> bytes:
    """Return the stored bytes of the generation that may write to a branch."""
    return _GENERATION.pack(LAYOUT_VERSION, generation)


def decode_generation(raw: bytes) -> int:
    """Return the generation. Raises RecordCorrupt."""
    if len(raw) != _GENERATION.size:
        raise RecordCorrupt("generation", _length_reason(raw, _GENERATION.size))
    version, generation = _GENERATION.unpack(raw)
    if version != LAYOUT_VERSION:
        raise RecordCorrupt("generation", _version_reason(version))
    return int(generation)


def encode_txid(txid: int) -> bytes:
    """Return a transaction id as eight big-endian bytes."""
    return _TXID.pack(txid)


def decode_txid(raw: bytes) -> int:
    """Return the transaction id. Raises RecordCorrupt."""
    if len(raw) != 8:
        raise RecordCorrupt("txid", _length_reason(raw, 8))
    return int.from_bytes(raw, "big")


def _length_reason(raw: bytes, expected_bytes: int) -> str:
    return f"it has {len(raw)} bytes instead of {expected_bytes}"


def _version_reason(version: int) -> str:
    return f"its layout version is {version}, this code reads {LAYOUT_VERSION}"
