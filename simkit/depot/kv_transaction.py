"""One transaction: reads at a fixed version, writes kept aside, a commit applied whole or refused.

Upholds ISO-1: a commit succeeds only if nothing it read (outside snapshot reads) was written after its read
version.

Own writes are kept as their final effect, not as a log: first the cleared ranges, then one entry per key. A
range clear therefore removes the entries it covers, and an entry made later stands above the clear. Atomic
operations stay pending until the commit unless the transaction itself fixed the value before. A key with a
commit stamp is applied after the plain writes, so it replaces a plain write to the very same key.

What counts as read: every key and range read without ``snapshot=True``, except single keys whose value the
transaction had itself fixed by a set or a clear. A range read counts as far as it looked: up to its last row
when its limit cut it. Range reads count own keys too, which may refuse a commit that could have been allowed,
never the reverse.

A transaction holds its read version, and with it old values, until it commits, fails or is abandoned: use it
as a context manager wherever an exception could pass. Retry is left to the caller, who knows what it costs in
time.
"""

from types import TracebackType
from typing import NoReturn

from simkit.depot.kv_content import CommittedContent, Range, ReadPoint, check_range
from simkit.depot.kv_errors import (
    KeyTooLarge,
    StampUnknown,
    StampUnreadable,
    StoreLimits,
    TransactionEnded,
    TransactionTooLarge,
    ValueTooLarge,
)
from simkit.depot.kv_image import Patch, Row, merge_rows
from simkit.depot.kv_mutations import (
    STAMP_BYTES,
    Add,
    ByteMin,
    Pending,
    StampedKey,
    StampedValue,
    Write,
    stamp_of,
)


class Transaction:
    """A view of the store at ``read_version`` plus its own writes. Made by ``KeyValueStore.begin()``."""

    __slots__ = (
        "_cleared",
        "_content",
        "_ending",
        "_limits",
        "_mutated_bytes",
        "_point",
        "_read_keys",
        "_read_ranges",
        "_stamp",
        "_stamped_keys",
        "_writes",
        "read_version",
    )

    def __init__(self, content: CommittedContent, limits: StoreLimits) -> None:
        point = content.enter()
        self._content = content
        self._limits = limits
        self._point: ReadPoint | None = point
        self.read_version = point.version
        self._writes: dict[bytes, Write] = {}
        self._cleared: list[Range] = []
        self._stamped_keys: list[StampedKey] = []
        # A dict, not a set: the first conflict found must not depend on the order of hashes (DET-1).
        self._read_keys: dict[bytes, None] = {}
        self._read_ranges: list[Range] = []
        self._mutated_bytes = 0
        self._stamp: bytes | None = None
        self._ending = "is still open"

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def versionstamp(self) -> bytes:
        """The ten-byte stamp of the commit. Raises StampUnknown unless this transaction committed a write."""
        if self._stamp is None:
            raise StampUnknown(self._ending)
        return self._stamp

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        """Return the value at ``key`` as of the read version and own writes, or None.

        Unless ``snapshot``, the commit conflicts when another one writes the key meanwhile. Raises
        StampUnreadable when this transaction put a commit stamp there, NotACounter when its own add met
        another kind of value.
        """
        point = self._point
        if point is None:
            self._refuse("get")
        if self._writes or self._cleared or self._stamped_keys:
            known, value = self._own(key)
            if known:
                return value
        if not snapshot:
            self._read_keys[key] = None
        value = self._content.value_at(point, key)
        own = self._writes.get(key)
        return own.apply(key, value) if isinstance(own, Pending) else value

    def get_range(
        self,
        begin: bytes,
        end: bytes,
        *,
        snapshot: bool = False,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Row]:
        """Return up to ``limit`` rows of [begin, end) in key order, or from the end when ``reverse``.

        Unless ``snapshot``, the commit conflicts when another one writes into the part looked at. Raises
        ValueError for an inverted range or a negative limit, StampUnreadable when an own commit stamp may
        fall into the range.
        """
        point = self._point
        if point is None:
            self._refuse("get_range")
        check_range(begin, end, limit)
        if begin == end or limit == 0:
            return []
        patch: Patch
        if self._writes or self._cleared or self._stamped_keys:
            patch = self._own_patch(point, begin, end, reverse)
        else:
            patch = self._content.patch_at(point, begin, end, reverse)
        rows = merge_rows(self._content.image, begin, end, patch, limit, reverse)
        if not snapshot:
            if limit is None or len(rows) < limit:
                self._read_ranges.append((begin, end))
            elif reverse:
                self._read_ranges.append((rows[-1][0], end))
            else:
                self._read_ranges.append((begin, rows[-1][0] + b"\x00"))
        return rows

    def set(self, key: bytes, value: bytes) -> None:
        """Write a value. Raises KeyTooLarge, ValueTooLarge, or TypeError when either is not bytes."""
        self._admit("set", key, value)
        self._writes[key] = value

    def clear(self, key: bytes) -> None:
        """Remove a key, existing or not. Raises KeyTooLarge."""
        self._admit("clear", key, b"")
        self._writes[key] = None

    def clear_range(self, begin: bytes, end: bytes) -> None:
        """Remove every key of [begin, end) that exists when this transaction commits.

        Raises KeyTooLarge, or ValueError for an inverted range.
        """
        self._admit("clear_range", begin, b"")
        self._admit("clear_range", end, b"")
        check_range(begin, end, None)
        if begin == end:
            return
        for key in [key for key in self._writes if begin <= key < end]:
            del self._writes[key]
        self._cleared.append((begin, end))

    def add(self, key: bytes, delta: int) -> None:
        """Add to the signed 64-bit little-endian counter at ``key``; missing counts as 0, overflow wraps.

        A blind add never conflicts. Raises KeyTooLarge, ValueError when ``delta`` does not fit 64 bits;
        NotACounter when an own earlier value is no counter (here) or the stored one is not (at commit).
        """
        self._atomic("add", key, Add(delta), 8)

    def byte_min(self, key: bytes, value: bytes) -> None:
        """Keep the lexicographically smaller of the stored value and ``value``; missing loses.

        Never conflicts when blind. Raises KeyTooLarge, ValueTooLarge.
        """
        _check_bytes("byte_min", key, value)
        self._atomic("byte_min", key, ByteMin(value), len(value))

    def set_versionstamped_key(self, prefix: bytes, suffix: bytes, value: bytes) -> None:
        """Write ``value`` at prefix + commit stamp + suffix. Raises KeyTooLarge, ValueTooLarge."""
        _check_bytes("set_versionstamped_key", prefix, suffix)
        self._admit("set_versionstamped_key", prefix + bytes(STAMP_BYTES) + suffix, value)
        self._stamped_keys.append(StampedKey(prefix, suffix, value, len(self._cleared)))

    def set_versionstamped_value(self, key: bytes, prefix: bytes, suffix: bytes) -> None:
        """Write prefix + commit stamp + suffix at ``key``. Raises KeyTooLarge, ValueTooLarge."""
        _check_bytes("set_versionstamped_value", prefix, suffix)
        self._admit("set_versionstamped_value", key, prefix + bytes(STAMP_BYTES) + suffix)
        self._writes[key] = StampedValue(prefix, suffix)

    def commit(self) -> int:
        """Apply all writes as one commit and return its version; without writes return the read version.

        The transaction has ended afterwards, also when this raises: Conflict, TransactionTooLarge or
        NotACounter, after which nothing was applied.
        """
        point = self._point
        if point is None:
            self._refuse("commit")
        content = self._content
        if not (self._writes or self._cleared or self._stamped_keys):
            self._end(point, "has already committed, without writes")
            return self.read_version
        conflict = content.find_conflict(point, self._read_keys, self._read_ranges)
        self._end(point, "has failed to commit")
        if conflict is not None:
            raise conflict
        if self._mutated_bytes > self._limits.transaction_bytes:
            raise TransactionTooLarge(self._mutated_bytes, self._limits.transaction_bytes)
        stamp = stamp_of(content.version + 1)
        version = content.apply(self._changes(stamp), self._cleared)
        self._stamp = stamp
        self._ending = "has already committed"
        return version

    def abandon(self) -> None:
        """End the transaction without effect and release its read version; harmless once it has ended."""
        if self._point is not None:
            self._end(self._point, "was abandoned")

    def _end(self, point: ReadPoint, ending: str) -> None:
        self._content.leave(point)
        self._point = None
        self._ending = ending

    def _refuse(self, operation: str) -> NoReturn:
        raise TransactionEnded(operation, self._ending)

    def _admit(self, operation: str, key: bytes, value: bytes) -> None:
        """Check that a mutation is allowed and count its bytes."""
        if self._point is None:
            self._refuse(operation)
        if key.__class__ is not bytes or value.__class__ is not bytes:
            _check_bytes(operation, key, value)
        limits = self._limits
        if len(key) > limits.key_bytes:
            raise KeyTooLarge(key, limits.key_bytes)
        if len(value) > limits.value_bytes:
            raise ValueTooLarge(key, len(value), limits.value_bytes)
        self._mutated_bytes += len(key) + len(value)

    def _atomic(self, operation: str, key: bytes, atomic: Add | ByteMin, operand_bytes: int) -> None:
        if self._point is None:
            self._refuse(operation)
        write = self._writes.get(key)
        if isinstance(write, StampedValue):
            raise StampUnreadable(key, None)
        fixed = key in self._writes or self._is_cleared(key)
        result: Write = Pending(atomic) if isinstance(write, Pending) or not fixed else atomic.apply(key, write)
        if operand_bytes > self._limits.value_bytes:
            raise ValueTooLarge(key, operand_bytes, self._limits.value_bytes)
        self._admit(operation, key, b"")
        self._mutated_bytes += operand_bytes
        if isinstance(write, Pending):
            write.append(atomic)
        else:
            self._writes[key] = result

    def _is_cleared(self, key: bytes) -> bool:
        return any(begin <= key < end for begin, end in self._cleared)

    def _own(self, key: bytes) -> tuple[bool, bytes | None]:
        """Return whether own writes alone fix the value at ``key``, and that value."""
        for stamped in self._stamped_keys:
            if stamped.may_land_in(key, key + b"\x00", self.read_version):
                raise StampUnreadable(key, None)
        if key in self._writes:
            write = self._writes[key]
            if isinstance(write, StampedValue):
                raise StampUnreadable(key, None)
            if isinstance(write, Pending):
                return False, None
            return True, write
        return self._is_cleared(key), None

    def _own_patch(self, point: ReadPoint, begin: bytes, end: bytes, reverse: bool) -> Patch:
        """Return the changed keys of [begin, end) as of the read version and own writes, in scan order."""
        content = self._content
        for stamped in self._stamped_keys:
            if stamped.may_land_in(begin, end, self.read_version):
                raise StampUnreadable(begin, end)
        patch = dict(content.patch_at(point, begin, end, False))
        for cleared_begin, cleared_end in self._cleared:
            low, high = max(begin, cleared_begin), min(end, cleared_end)
            if low < high:
                existing = content.patch_at(point, low, high, False)
                patch.update((row[0], None) for row in merge_rows(content.image, low, high, existing, None, False))
        for key, write in self._writes.items():
            if begin <= key < end:
                if isinstance(write, StampedValue):
                    raise StampUnreadable(begin, end)
                patch[key] = write.apply(key, content.value_at(point, key)) if isinstance(write, Pending) else write
        return sorted(patch.items(), key=lambda row: row[0], reverse=reverse)

    def _changes(self, stamp: bytes) -> dict[bytes, bytes | None]:
        """Return what each touched key becomes, from the values of this very moment."""
        content = self._content
        changes: dict[bytes, bytes | None] = {}
        for begin, end in self._cleared:
            for row in content.current_rows(begin, end, None, False):
                changes[row[0]] = None
        for key, write in self._writes.items():
            if write is None or write.__class__ is bytes:
                changes[key] = write
            elif isinstance(write, Pending):
                changes[key] = write.apply(key, content.current(key))
            elif isinstance(write, StampedValue):
                changes[key] = write.complete(stamp)
        for stamped in self._stamped_keys:
            key = stamped.complete(stamp)
            if not any(begin <= key < end for begin, end in self._cleared[stamped.clears_before :]):
                changes[key] = stamped.value
        return changes


def _check_bytes(operation: str, *arguments: bytes) -> None:
    """Raise TypeError for anything but bytes: a mutable buffer could change under the store."""
    for argument in arguments:
        if argument.__class__ is not bytes:
            raise TypeError(f"{operation} takes bytes, not {type(argument).__name__}; convert with bytes(...)")
