"""A transactional, ordered key-value store in memory, modelled on FoundationDB; the depot's only memory.

Upholds ISO-1 towards the depot: committed transactions are serialisable in the order of their versions, and
each reads one version. Upholds DUR-2: a commit is applied whole or not at all.

The rules, in short:

* A transaction reads at the version current when it began, however much commits meanwhile.
* A commit is refused with Conflict when a key or range it read was written by a commit after its read
  version. Reads with ``snapshot=True``, blind writes and blind atomic operations never conflict, nor do
  commits without writes.
* Versions count commits that wrote something. Commit stamps derive from versions alone, never from a clock.
* A store over an image shares the image's rows with every other store above it and starts in constant time.

The store knows no time, no tasks and no I/O: everything here happens at one instant, between two yields. What
a request costs, how often a conflict is retried and what a fault does to a reply belong to the layers above.

Parts: kv_content.py (committed values and versions), kv_transaction.py, kv_mutations.py (atomic operations
and stamps), kv_image.py (images and the merge of range scans), kv_errors.py (errors and limits).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from simkit.depot.kv_content import CommittedContent, Snapshot
from simkit.depot.kv_errors import (
    Conflict,
    KeyTooLarge,
    NotACounter,
    StaleSnapshot,
    StampUnknown,
    StampUnreadable,
    StoreError,
    StoreLimits,
    TransactionEnded,
    TransactionTooLarge,
    ValueTooLarge,
)
from simkit.depot.kv_image import EMPTY_IMAGE, KeyValueImage
from simkit.depot.kv_mutations import STAMP_BYTES, decode_counter, encode_counter, stamp_of
from simkit.depot.kv_transaction import Transaction

__all__ = [
    "STAMP_BYTES",
    "Conflict",
    "KeyTooLarge",
    "KeyValueImage",
    "KeyValueStore",
    "NotACounter",
    "Snapshot",
    "StaleSnapshot",
    "StampUnknown",
    "StampUnreadable",
    "StoreError",
    "StoreLimits",
    "StoreStatistics",
    "Transaction",
    "TransactionEnded",
    "TransactionTooLarge",
    "ValueTooLarge",
    "decode_counter",
    "encode_counter",
    "stamp_of",
]

DEFAULT_LIMITS: Final = StoreLimits()


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds at this instant, in counts."""

    version: int
    image_rows: int
    overlay_rows: int
    active_transactions: int
    read_versions: int
    kept_values: int
    kept_ranges: int


class KeyValueStore:
    """The store. ``base`` is an image to start from, by default an empty one at version 0."""

    __slots__ = ("_content", "_limits")

    def __init__(self, base: KeyValueImage | None = None, *, limits: StoreLimits = DEFAULT_LIMITS) -> None:
        self._content = CommittedContent(EMPTY_IMAGE if base is None else base)
        self._limits = limits

    @property
    def version(self) -> int:
        """The version of the last commit that wrote something."""
        return self._content.version

    def begin(self) -> Transaction:
        """Start a transaction at the present version. Commit or abandon it; ``with`` does the latter."""
        return Transaction(self._content, self._limits)

    def snapshot(self) -> Snapshot:
        """Return a read-only look at this instant, the cheapest way to read; it ends with the next commit."""
        return self._content.snapshot()

    def image(self) -> KeyValueImage:
        """Freeze the committed content, in time proportional to its rows; free if nothing was committed."""
        return self._content.freeze()

    def changes(self) -> tuple[KeyValueImage, Mapping[bytes, bytes | None]]:
        """Return the image the store began with, and the newest value of each key written since; None marks a clear.

        A view for whoever inspects rows between two commits; it goes on changing, and must not be changed.
        """
        return self._content.image, self._content.overlay

    def statistics(self) -> StoreStatistics:
        """Count what is held now. Takes time in proportion to the active read versions."""
        content = self._content
        points = content.read_points()
        return StoreStatistics(
            version=content.version,
            image_rows=len(content.image),
            overlay_rows=len(content.overlay),
            active_transactions=sum(point.holders for point in points),
            read_versions=len(points),
            kept_values=sum(len(point.replaced) for point in points),
            kept_ranges=sum(len(point.cleared) for point in points),
        )
