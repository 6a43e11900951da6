"""An immutable image of a store's content, and the merge of an image with later changes in key order.

An image is what many runs share: a store laid over one starts in constant time however many rows the image
has, and never writes to it. Because it cannot change, its sorted rows are computed once, at the first range
scan of any store above it, and kept; a scan of an untouched range is then one slice of that list, without a
step per row.

``merge_rows`` joins such rows with a *patch*: the changed keys of the range in scan order, None marking a
clear. It copies the rows between two changed keys as slices and searches only for changed keys, so a scan
costs what the changes cost plus the copying. It is lazy in the patch, so a limited scan reads no more of it
than it returns.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import islice
from typing import Final

Row = tuple[bytes, bytes]
Patch = Iterable[tuple[bytes, bytes | None]]

UNLIMITED: Final = 1 << 62


class KeyValueImage:
    """The frozen content of a store at one version. Made by ``KeyValueStore.image()``, freely shared."""

    __slots__ = ("_content", "_keys", "_rows", "version")

    def __init__(self, content: dict[bytes, bytes], version: int) -> None:
        """Take ownership of ``content``; the caller keeps no reference to it."""
        self.version = version
        self._content = content
        self._keys: list[bytes] | None = None
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._content)

    def get(self, key: bytes) -> bytes | None:
        """Return the value at ``key``, or None."""
        return self._content.get(key)

    def content(self) -> dict[bytes, bytes]:
        """Return the rows as the shared mapping itself. For the store above it, which must not change it."""
        return self._content

    def sorted_rows(self) -> tuple[list[bytes], list[Row]]:
        """Return keys and rows in key order, as parallel shared lists that must not be changed."""
        if self._keys is None:
            self._rows = sorted(self._content.items())
            self._keys = [row[0] for row in self._rows]
        return self._keys, self._rows


EMPTY_IMAGE: Final = KeyValueImage({}, 0)


def merge_rows(
    image: KeyValueImage, begin: bytes, end: bytes, patch: Patch, limit: int | None, reverse: bool
) -> list[Row]:
    """Return the rows of [begin, end) in key order, or against it, after applying ``patch``.

    ``patch`` holds keys of the range only, unique and in scan order (descending when ``reverse``).
    """
    remaining = UNLIMITED if limit is None else limit
    if len(image) == 0:
        return list(islice(((key, value) for key, value in patch if value is not None), remaining))
    keys, rows = image.sorted_rows()
    low = bisect_left(keys, begin)
    high = bisect_left(keys, end, low)
    if reverse:
        return _merge_descending(keys, rows, low, high, patch, remaining)
    return _merge_ascending(keys, rows, low, high, patch, remaining)


def _merge_ascending(
    keys: list[bytes], rows: list[Row], low: int, high: int, patch: Patch, remaining: int
) -> list[Row]:
    merged: list[Row] = []
    if remaining <= 0:
        return merged
    for key, value in patch:
        # The search is skipped where the change hits the very next row, the common case in a dense patch.
        if low < high and keys[low] < key:
            at = bisect_left(keys, key, low + 1, high)
            merged += rows[low : min(at, low + remaining - len(merged))]
            if len(merged) == remaining:
                return merged
            low = at
        if low < high and keys[low] == key:
            low += 1
        if value is not None:
            merged.append((key, value))
            if len(merged) == remaining:
                return merged
    merged += rows[low : min(high, low + remaining - len(merged))]
    return merged


def _merge_descending(
    keys: list[bytes], rows: list[Row], low: int, high: int, patch: Patch, remaining: int
) -> list[Row]:
    merged: list[Row] = []
    if remaining <= 0:
        return merged
    for key, value in patch:
        if low < high and keys[high - 1] > key:
            above = bisect_right(keys, key, low, high - 1)
            merged += reversed(rows[max(above, high - (remaining - len(merged))) : high])
            if len(merged) == remaining:
                return merged
            high = above
        if low < high and keys[high - 1] == key:
            high -= 1
        if value is not None:
            merged.append((key, value))
            if len(merged) == remaining:
                return merged
    merged += reversed(rows[max(low, high - (remaining - len(merged))) : high])
    return merged
