"""Mutations whose result depends on the moment of commit: atomic operations and commit stamps.

A plain set or clear is final when it is issued. An atomic operation is not: it is carried as data until the
commit, which applies it to whatever value the key has by then. That is why a blind atomic add cannot
conflict, and why two adds to one counter may both commit although neither saw the other. The same holds for a
commit stamp, which exists only once the commit has its version.

A stamp is ten bytes, big-endian: eight bytes of commit version and two of position, the latter always zero
because each commit here has a version of its own. Stamps are therefore strictly monotonic by construction and
need no clock.
"""

from struct import Struct
from typing import Final

from simkit.depot.kv_errors import NotACounter

STAMP_BYTES: Final = 10
STAMP_MAX: Final = b"\xff" * STAMP_BYTES
COUNTER_BYTES: Final = 8

_STAMP = Struct(">QH")
_WRAP = 1 << 64
_SIGN = 1 << 63


def stamp_of(version: int) -> bytes:
    """Return the ten-byte commit stamp of a commit version."""
    return _STAMP.pack(version, 0)


def encode_counter(value: int) -> bytes:
    """Return a counter as eight little-endian bytes, wrapped to the signed 64-bit range."""
    return (value % _WRAP).to_bytes(COUNTER_BYTES, "little")


def decode_counter(raw: bytes | None) -> int:
    """Return a counter's signed 64-bit value, 0 when missing. Raises ValueError on another length."""
    if raw is None:
        return 0
    if len(raw) != COUNTER_BYTES:
        raise ValueError(f"a counter has {COUNTER_BYTES} bytes, this value has {len(raw)}; read a counter's key")
    return int.from_bytes(raw, "little", signed=True)


class Add:
    """Add a signed 64-bit number to a counter, wrapping around."""

    __slots__ = ("delta",)

    def __init__(self, delta: int) -> None:
        if not -_SIGN <= delta < _SIGN:
            raise ValueError(f"atomic add of {delta} does not fit a signed 64-bit number; split it into smaller adds")
        self.delta = delta

    def apply(self, key: bytes, value: bytes | None) -> bytes:
        """Return the counter after the add. Raises NotACounter when the value is not eight bytes long."""
        if value is None:
            return encode_counter(self.delta)
        if len(value) != COUNTER_BYTES:
            raise NotACounter(key, len(value))
        return encode_counter(int.from_bytes(value, "little") + self.delta)


class ByteMin:
    """Keep the smaller of two byte strings in lexicographic order; a missing value loses."""

    __slots__ = ("operand",)

    def __init__(self, operand: bytes) -> None:
        self.operand = operand

    def apply(self, key: bytes, value: bytes | None) -> bytes:
        """Return the smaller of the stored value and the operand."""
        if value is None or self.operand < value:
            return self.operand
        return value


class Pending:
    """Atomic operations of one transaction on one key, in the order they were issued."""

    __slots__ = ("operations",)

    def __init__(self, first: Add | ByteMin) -> None:
        self.operations: list[Add | ByteMin] = [first]

    def append(self, operation: Add | ByteMin) -> None:
        """Put one more operation after the others."""
        self.operations.append(operation)

    def apply(self, key: bytes, value: bytes | None) -> bytes | None:
        """Return the value after every operation, in order."""
        for operation in self.operations:
            value = operation.apply(key, value)
        return value


class StampedValue:
    """A value that holds the commit stamp between a prefix and a suffix."""

    __slots__ = ("prefix", "suffix")

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self.prefix = prefix
        self.suffix = suffix

    def complete(self, stamp: bytes) -> bytes:
        """Return the value for a known stamp."""
        return self.prefix + stamp + self.suffix


class StampedKey:
    """A key that holds the commit stamp between a prefix and a suffix, and its value.

    ``clears_before`` counts the range clears issued earlier by the same transaction; only later ones remove
    it.
    """

    __slots__ = ("clears_before", "prefix", "suffix", "value")

    def __init__(self, prefix: bytes, suffix: bytes, value: bytes, clears_before: int) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.value = value
        self.clears_before = clears_before

    def complete(self, stamp: bytes) -> bytes:
        """Return the key for a known stamp."""
        return self.prefix + stamp + self.suffix

    def may_land_in(self, begin: bytes, end: bytes, read_version: int) -> bool:
        """Tell whether some stamp after ``read_version`` would put this key into [begin, end)."""
        lowest = self.complete(stamp_of(read_version + 1))
        return lowest < end and begin <= self.complete(STAMP_MAX)


Write = bytes | Pending | StampedValue | None
"""What a transaction leaves at a key: a value, atomic operations, a stamped value, or None for a clear."""
