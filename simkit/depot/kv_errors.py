"""Errors and size limits of the key-value store.

Every error rebuilds from its ``args`` alone, because an event loop may re-raise it as
``type(error)(*error.args)``; the message is therefore composed on demand in ``__str__`` and never stored. A
message says what happened, to which key, and what to do next. This module holds no behaviour: whether a
failed transaction is tried again, and how much simulated time that costs, is decided above the store.
"""

from dataclasses import dataclass

KEY_SHOWN_BYTES_MAX = 48


def show_key(key: bytes) -> str:
    """Render a binary key for a message, cut to a readable length."""
    if len(key) <= KEY_SHOWN_BYTES_MAX:
        return repr(key)
    return f"{key[:KEY_SHOWN_BYTES_MAX]!r}... ({len(key)} bytes)"


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Largest sizes, in bytes, that a transaction, a value and a key may have. All bounds are inclusive."""

    transaction_bytes: int = 10_000_000
    value_bytes: int = 100_000
    key_bytes: int = 10_000

    def __post_init__(self) -> None:
        for name in ("transaction_bytes", "value_bytes", "key_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"store limit {name} is {getattr(self, name)}; give a positive number of bytes")


class StoreError(Exception):
    """Base of everything the key-value store raises about a transaction."""


class Conflict(StoreError):
    """What a transaction read was written by a commit after its read version; nothing of it was applied.

    ``end`` is None for a single key, else the conflict is on the range [begin, end). ``committed_version`` is
    the first commit after ``read_version`` known to have written there.
    """

    def __init__(self, begin: bytes, end: bytes | None, read_version: int, committed_version: int) -> None:
        super().__init__(begin, end, read_version, committed_version)
        self.begin = begin
        self.end = end
        self.read_version = read_version
        self.committed_version = committed_version

    def __str__(self) -> str:
        if self.end is None:
            where = f"key {show_key(self.begin)}"
        else:
            where = f"range [{show_key(self.begin)}, {show_key(self.end)})"
        return (
            f"transaction conflict: {where} was read at version {self.read_version} "
            f"and written at version {self.committed_version}; begin a new transaction and repeat the work"
        )


class KeyTooLarge(StoreError):
    """A key is longer than the store allows."""

    def __init__(self, key: bytes, limit_bytes: int) -> None:
        super().__init__(key, limit_bytes)
        self.key = key
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        size = f"{len(self.key)} bytes, above the limit of {self.limit_bytes}"
        return f"key {show_key(self.key)} has {size}; shorten it"


class ValueTooLarge(StoreError):
    """A value is longer than the store allows."""

    def __init__(self, key: bytes, value_bytes: int, limit_bytes: int) -> None:
        super().__init__(key, value_bytes, limit_bytes)
        self.key = key
        self.value_bytes = value_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"value for key {show_key(self.key)} has {self.value_bytes} bytes, "
            f"above the limit of {self.limit_bytes}; split it over several keys"
        )


class TransactionTooLarge(StoreError):
    """The keys and values of all mutations together exceed the limit; nothing was applied."""

    def __init__(self, transaction_bytes: int, limit_bytes: int) -> None:
        super().__init__(transaction_bytes, limit_bytes)
        self.transaction_bytes = transaction_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"transaction mutates {self.transaction_bytes} bytes, above the limit of {self.limit_bytes}; "
            "split the work over several transactions"
        )


class TransactionEnded(StoreError):
    """A transaction was used after it had committed, failed or been abandoned."""

    def __init__(self, operation: str, ending: str) -> None:
        super().__init__(operation, ending)
        self.operation = operation
        self.ending = ending

    def __str__(self) -> str:
        return f"cannot {self.operation}: this transaction {self.ending}; begin a new one"


class StampUnreadable(StoreError):
    """A read touched what this transaction writes with a commit stamp, unknown before the commit."""

    def __init__(self, begin: bytes, end: bytes | None) -> None:
        super().__init__(begin, end)
        self.begin = begin
        self.end = end

    def __str__(self) -> str:
        if self.end is None:
            where = f"key {show_key(self.begin)}"
        else:
            where = f"range [{show_key(self.begin)}, {show_key(self.end)})"
        return (
            f"cannot read {where}: this transaction wrote there with a commit stamp that does not exist yet; "
            "read before that write, or after the commit"
        )


class StaleSnapshot(StoreError):
    """A snapshot was used after a later commit; it belongs to one instant only."""

    def __init__(self, snapshot_version: int, store_version: int) -> None:
        super().__init__(snapshot_version, store_version)
        self.snapshot_version = snapshot_version
        self.store_version = store_version

    def __str__(self) -> str:
        return (
            f"snapshot of version {self.snapshot_version} was used after commit {self.store_version}; "
            "take a new snapshot, or begin a transaction to read across a yield"
        )


class NotACounter(StoreError):
    """An atomic add met a value that is not eight bytes long."""

    def __init__(self, key: bytes, value_bytes: int) -> None:
        super().__init__(key, value_bytes)
        self.key = key
        self.value_bytes = value_bytes

    def __str__(self) -> str:
        return (
            f"atomic add on key {show_key(self.key)}: its value has {self.value_bytes} bytes, not 8; "
            "only add to keys that hold nothing or a counter"
        )


class StampUnknown(StoreError):
    """The commit stamp was asked of a transaction that has not committed a write."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"no commit stamp: this transaction {self.state}; only a commit that wrote something has a stamp"
