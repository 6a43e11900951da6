"""The ordered binary keys under which the depot keeps one database.

Every key begins with the SQLite subspace byte and a partition byte. Numbers inside keys are big-endian and of
fixed width, so that key order is numeric order and a prefix scan returns pages, commits and chunks ascending.
The branch partition is laid out as ``02 30 {branch id} /FAMILY/{number}``; its prefixes are computed once per
branch, and building the key of a page, done at every simulated page read, is one concatenation.

Parsing is the exact inverse and strict: a key of another family, branch or length is an error, never a wrong
number. SHARD and staged rows are chunked as DELTA rows are, because a full shard may exceed the store's value limit.
This module knows keys only; what stands behind them is in records.py and ltx.py.
"""

from struct import Struct
from typing import Final

SUBSPACE: Final = b"\x02"
DATABASE_POINTER_PARTITION: Final = b"\x10"
BRANCH_RECORD_PARTITION: Final = b"\x20"
BRANCH_PARTITION: Final = b"\x30"
RESTORE_POINT_PARTITION: Final = b"\x50"
PIN_PARTITION: Final = b"\x70"
DIRTY_PARTITION: Final = b"\x75"

BRANCH_ID_BYTES: Final = 16
VERSIONSTAMP_BYTES: Final = 16
ROOT_BUCKET_BRANCH_ID: Final = bytes(BRANCH_ID_BYTES)

_U32 = Struct(">I")
_U64 = Struct(">Q")
_pack_u32 = _U32.pack
_POINTER_END = b"/cur"
#: ends a database id where more follows: no other id begins with an id and this
_DATABASE_END = b"\x00"

KeyRange = tuple[bytes, bytes]


class KeyMalformed(ValueError):
    """A key is not of the family it was parsed as."""

    def __init__(self, family: str, key: bytes) -> None:
        super().__init__(family, key)
        self.family = family
        self.key = key

    def __str__(self) -> str:
        return f"key {self.key!r} is not a {self.family} key here; check which range it was read from"


def after_prefix(prefix: bytes) -> bytes:
    """Return the smallest key above every key that starts with ``prefix``, which must not end in 0xff."""
    assert prefix, "an empty prefix has no key above it"
    assert prefix[-1] != 0xFF, "a prefix ending in 0xff needs a carry"
    return prefix[:-1] + bytes([prefix[-1] + 1])


def database_pointer_key(database_id: str, bucket_branch_id: bytes = ROOT_BUCKET_BRANCH_ID) -> bytes:
    """Return the key of the pointer from a database, named within a bucket branch, to its present branch.

    Raises ValueError when the database id is empty or the bucket branch id is not 16 bytes.
    """
    if not database_id:
        raise ValueError("the database id is empty; name the database")
    _check_id("bucket branch id", bucket_branch_id)
    return SUBSPACE + DATABASE_POINTER_PARTITION + bucket_branch_id + b"/" + database_id.encode() + _POINTER_END


def parse_database_pointer_key(key: bytes) -> tuple[str, bytes]:
    """Return (database id, bucket branch id). Raises KeyMalformed."""
    prefix = SUBSPACE + DATABASE_POINTER_PARTITION
    name_at = len(prefix) + BRANCH_ID_BYTES + 1
    name = key[name_at : -len(_POINTER_END)]
    if not (key.startswith(prefix) and key.endswith(_POINTER_END) and name and key[name_at - 1 : name_at] == b"/"):
        raise KeyMalformed("database pointer", key)
    try:
        return name.decode(), key[len(prefix) : name_at - 1]
    except UnicodeDecodeError:
        raise KeyMalformed("database pointer", key) from None


def database_pointer_range() -> KeyRange:
    """Return the range of all database pointers."""
    prefix = SUBSPACE + DATABASE_POINTER_PARTITION
    return prefix, after_prefix(prefix)


def branch_record_key(branch_id: bytes) -> bytes:
    """Return the key of a branch's own record. Raises ValueError unless the id has 16 bytes."""
    _check_id("branch id", branch_id)
    return SUBSPACE + BRANCH_RECORD_PARTITION + branch_id + b"/record"


def parse_branch_record_key(key: bytes) -> bytes:
    """Return the branch id. Raises KeyMalformed."""
    branch_id = key[2 : 2 + BRANCH_ID_BYTES]
    if len(branch_id) != BRANCH_ID_BYTES or key != branch_record_key(branch_id):
        raise KeyMalformed("branch record", key)
    return branch_id


def branch_record_range() -> KeyRange:
    """Return the range of all branch records."""
    prefix = SUBSPACE + BRANCH_RECORD_PARTITION
    return prefix, after_prefix(prefix)


def restore_point_key(database_id: str, restore_point_id: str) -> bytes:
    """Return the key of a restore point of a database."""
    return _restore_points_of(database_id) + restore_point_id.encode()


def parse_restore_point_key(key: bytes) -> tuple[str, str]:
    """Return (database id, restore point id). Raises KeyMalformed."""
    prefix = SUBSPACE + RESTORE_POINT_PARTITION
    database_id, separator, restore_point_id = key[len(prefix) :].partition(_DATABASE_END)
    if not key.startswith(prefix) or not separator or not database_id or not restore_point_id:
        raise KeyMalformed("restore point", key)
    try:
        return database_id.decode(), restore_point_id.decode()
    except UnicodeDecodeError:
        raise KeyMalformed("restore point", key) from None


def restore_point_range(database_id: str | None = None) -> KeyRange:
    """Return the range of the restore points of a database, or of all."""
    prefix = SUBSPACE + RESTORE_POINT_PARTITION if database_id is None else _restore_points_of(database_id)
    return prefix, after_prefix(prefix)


def dirty_range() -> KeyRange:
    """Return the range of the dirty markers of all branches."""
    prefix = SUBSPACE + DIRTY_PARTITION
    return prefix, after_prefix(prefix)


def parse_dirty_key(key: bytes) -> bytes:
    """Return the branch id. Raises KeyMalformed."""
    if len(key) != 2 + BRANCH_ID_BYTES or not key.startswith(SUBSPACE + DIRTY_PARTITION):
        raise KeyMalformed("dirty marker", key)
    return key[2:]


def all_pins_range() -> KeyRange:
    """Return the range of the pins of all branches."""
    prefix = SUBSPACE + PIN_PARTITION
    return prefix, after_prefix(prefix)


def _restore_points_of(database_id: str) -> bytes:
    if not database_id:
        raise ValueError("the database id is empty; name the database")
    name = database_id.encode()
    if _DATABASE_END in name:
        raise ValueError(f"the database id {database_id!r} holds a zero character; name it without")
    return SUBSPACE + RESTORE_POINT_PARTITION + name + _DATABASE_END


class BranchKeys:
    """The keys of one branch. ``head``, ``head_at_fork``, ``quota``, ``generation``, ``hints``, ``root``, ``dirty``
    and ``record`` are whole keys, ready to use.

    Page, chunk, shard and job numbers are unsigned 32-bit, transaction ids and times unsigned 64-bit; struct.error
    tells of others. ``vtx_prefix`` with an empty suffix of six user bytes is what a stamped key write needs.
    """

    __slots__ = (
        "_commits",
        "_delta",
        "_pidx",
        "_pins",
        "_pitr",
        "_prefix",
        "_shard",
        "_stage",
        "branch_id",
        "dirty",
        "generation",
        "head",
        "head_at_fork",
        "hints",
        "number",
        "quota",
        "record",
        "root",
        "vtx_prefix",
    )

    def __init__(self, branch_id: bytes) -> None:
        _check_id("branch id", branch_id)
        prefix = SUBSPACE + BRANCH_PARTITION + branch_id + b"/"
        self.branch_id = branch_id
        #: the branch as a number, for events and messages
        self.number = int.from_bytes(branch_id, "big")
        self.record = branch_record_key(branch_id)
        self._prefix = prefix
        self.head = prefix + b"META/head"
        self.head_at_fork = prefix + b"META/head_at_fork"
        self.quota = prefix + b"META/quota"
        self.generation = prefix + b"META/generation"
        self.hints = prefix + b"META/preload_hints"
        self.vtx_prefix = prefix + b"VTX/"
        self._commits = prefix + b"COMMITS/"
        self._pidx = prefix + b"PIDX/"
        self._delta = prefix + b"DELTA/"
        self._shard = prefix + b"SHARD/"
        self._pitr = prefix + b"PITR_INTERVAL/"
        self._stage = prefix + b"CMP/stage/"
        self.root = prefix + b"CMP/root"
        self.dirty = SUBSPACE + DIRTY_PARTITION + branch_id
        self._pins = SUBSPACE + PIN_PARTITION + branch_id + b"/"

    def all_range(self) -> KeyRange:
        """Return the range of everything stored under this branch, its record excepted."""
        return self._prefix, after_prefix(self._prefix)

    def pidx(self, pgno: int) -> bytes:
        """Return the page index key of a page."""
        return self._pidx + _pack_u32(pgno)

    def pidx_range(self, first_pgno: int = 0) -> KeyRange:
        """Return the range of the page index from ``first_pgno`` on."""
        return self._pidx + _pack_u32(first_pgno), after_prefix(self._pidx)

    def parse_pidx(self, key: bytes) -> int:
        """Return the page number. Raises KeyMalformed."""
        if len(key) != len(self._pidx) + 4 or not key.startswith(self._pidx):
            raise KeyMalformed("PIDX", key)
        return int.from_bytes(key[-4:], "big")

    def commits(self, txid: int) -> bytes:
        """Return the key of a commit's row."""
        return self._commits + _U64.pack(txid)

    def commits_range(self, first_txid: int = 0) -> KeyRange:
        """Return the range of the commit rows from ``first_txid`` on."""
        return self._commits + _U64.pack(first_txid), after_prefix(self._commits)

    def parse_commits(self, key: bytes) -> int:
        """Return the transaction id. Raises KeyMalformed."""
        if len(key) != len(self._commits) + 8 or not key.startswith(self._commits):
            raise KeyMalformed("COMMITS", key)
        return int.from_bytes(key[-8:], "big")

    def vtx(self, versionstamp: bytes) -> bytes:
        """Return the key from a 16-byte versionstamp to its transaction id; ValueError on another length."""
        if len(versionstamp) != VERSIONSTAMP_BYTES:
            raise ValueError(f"a versionstamp has {VERSIONSTAMP_BYTES} bytes, this one {len(versionstamp)}")
        return self.vtx_prefix + versionstamp

    def vtx_range(self) -> KeyRange:
        """Return the range of all versionstamps."""
        return self.vtx_prefix, after_prefix(self.vtx_prefix)

    def parse_vtx(self, key: bytes) -> bytes:
        """Return the 16-byte versionstamp. Raises KeyMalformed."""
        if len(key) != len(self.vtx_prefix) + VERSIONSTAMP_BYTES or not key.startswith(self.vtx_prefix):
            raise KeyMalformed("VTX", key)
        return key[-VERSIONSTAMP_BYTES:]

    def delta(self, txid: int, chunk: int) -> bytes:
        """Return the key of one chunk of a commit's blob."""
        return self._delta + _U64.pack(txid) + b"/" + _pack_u32(chunk)

    def delta_range(self, txid: int) -> KeyRange:
        """Return the range of the chunks of one commit's blob."""
        prefix = self._delta + _U64.pack(txid) + b"/"
        return prefix, after_prefix(prefix)

    def all_deltas_range(self, first_txid: int = 0) -> KeyRange:
        """Return the range of the chunks of every blob from ``first_txid`` on."""
        return self._delta + _U64.pack(first_txid), after_prefix(self._delta)

    def parse_delta(self, key: bytes) -> tuple[int, int]:
        """Return (transaction id, chunk number). Raises KeyMalformed."""
        prefix_bytes = len(self._delta)
        if (
            len(key) != prefix_bytes + 8 + 1 + 4
            or not key.startswith(self._delta)
            or key[prefix_bytes + 8 : prefix_bytes + 9] != b"/"
        ):
            raise KeyMalformed("DELTA", key)
        return int.from_bytes(key[prefix_bytes : prefix_bytes + 8], "big"), int.from_bytes(key[-4:], "big")

    def shard(self, shard: int, as_of: int, chunk: int) -> bytes:
        """Return the key of one chunk of a shard as of a transaction."""
        return self._shard + _pack_u32(shard) + b"/" + _U64.pack(as_of) + b"/" + _pack_u32(chunk)

    def shard_range(self, shard: int, as_of: int) -> KeyRange:
        """Return the range of the chunks of one version of a shard."""
        prefix = self._shard + _pack_u32(shard) + b"/" + _U64.pack(as_of) + b"/"
        return prefix, after_prefix(prefix)

    def shard_versions_range(self, shard: int, last_as_of: int | None = None) -> KeyRange:
        """Return the range of the versions of a shard, up to and with ``last_as_of`` where it is given."""
        prefix = self._shard + _pack_u32(shard) + b"/"
        end = after_prefix(prefix) if last_as_of is None else self.shard_range(shard, last_as_of)[1]
        return prefix, end

    def all_shards_range(self) -> KeyRange:
        """Return the range of all versions of all shards."""
        return self._shard, after_prefix(self._shard)

    def parse_shard(self, key: bytes) -> tuple[int, int, int]:
        """Return (shard, as of which transaction, chunk number). Raises KeyMalformed."""
        return self._parse_shard_at(len(self._shard), self._shard, "SHARD", key)

    def stage(self, job: int, shard: int, as_of: int, chunk: int) -> bytes:
        """Return the key of one chunk of a shard that a job has staged."""
        prefix = self._stage + _pack_u32(job) + b"/hot_shard/"
        return prefix + _pack_u32(shard) + b"/" + _U64.pack(as_of) + b"/" + _pack_u32(chunk)

    def stage_range(self, job: int | None = None) -> KeyRange:
        """Return the range of what one job has staged, or all jobs."""
        prefix = self._stage if job is None else self._stage + _pack_u32(job) + b"/"
        return prefix, after_prefix(prefix)

    def parse_stage(self, key: bytes) -> tuple[int, int, int, int]:
        """Return (job, shard, as of which transaction, chunk number). Raises KeyMalformed."""
        at = len(self._stage)
        middle = b"/hot_shard/"
        if not key.startswith(self._stage) or key[at + 4 : at + 4 + len(middle)] != middle:
            raise KeyMalformed("staged shard", key)
        prefix = key[: at + 4 + len(middle)]
        job = int.from_bytes(key[at : at + 4], "big")
        return job, *self._parse_shard_at(len(prefix), prefix, "staged shard", key)

    def _parse_shard_at(self, at: int, prefix: bytes, family: str, key: bytes) -> tuple[int, int, int]:
        if len(key) != at + 18 or not key.startswith(prefix) or key[at + 4] != 0x2F or key[at + 13] != 0x2F:
            raise KeyMalformed(family, key)
        shard, as_of, chunk = key[at : at + 4], key[at + 5 : at + 13], key[at + 14 :]
        return int.from_bytes(shard, "big"), int.from_bytes(as_of, "big"), int.from_bytes(chunk, "big")

    def pitr(self, bucket_start_ms: int) -> bytes:
        """Return the key of the commit that stands for an interval of time."""
        return self._pitr + _U64.pack(bucket_start_ms)

    def pitr_range(self) -> KeyRange:
        """Return the range of the intervals of time."""
        return self._pitr, after_prefix(self._pitr)

    def parse_pitr(self, key: bytes) -> int:
        """Return the start of the interval in milliseconds. Raises KeyMalformed."""
        if len(key) != len(self._pitr) + 8 or not key.startswith(self._pitr):
            raise KeyMalformed("PITR_INTERVAL", key)
        return int.from_bytes(key[-8:], "big")

    def pin(self, kind: str, name: str) -> bytes:
        """Return the key of a pin that keeps history of this branch readable; ``kind`` has no slash."""
        return self._pins + kind.encode() + b"/" + name.encode()

    def pins_range(self) -> KeyRange:
        """Return the range of the pins of this branch."""
        return self._pins, after_prefix(self._pins)

    def parse_pin(self, key: bytes) -> tuple[str, str]:
        """Return (kind, name). Raises KeyMalformed."""
        kind, separator, name = key[len(self._pins) :].partition(b"/")
        if not key.startswith(self._pins) or not separator or not kind or not name:
            raise KeyMalformed("pin", key)
        try:
            return kind.decode(), name.decode()
        except UnicodeDecodeError:
            raise KeyMalformed("pin", key) from None


def _check_id(name: str, value: bytes) -> None:
    if len(value) != BRANCH_ID_BYTES:
        raise ValueError(f"a {name} has {BRANCH_ID_BYTES} bytes, this one {len(value)}")
