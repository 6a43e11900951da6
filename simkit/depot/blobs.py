"""Loading deltas and shards: from the chunks in the store to pages by number, each blob decoded once.

A decoding is known again by the key and the very object of its first chunk, and shared by all runs over one image. The
other chunks are not looked at again: whoever writes a blob writes all of its chunks, each as a new object, in one
transaction. A later chunk that goes missing or changes by itself is therefore seen where a blob is loaded for the first
time, and by the checks, which read the rows. Nothing here decides which blob is the right one to look into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simkit.depot.keys import BranchKeys, KeyRange
from simkit.depot.ltx import decode_ltx, join_chunks

_DECODED_BYTES_MAX = 512 * 1024 * 1024

Pages = dict[int, bytes]


class Readable(Protocol):
    """A snapshot or a transaction."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_range(
        self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]: ...


class Blobs:
    """Decoded blobs by the key of their first chunk, as long as that is the same object.

    Forgets the oldest beyond a number of bytes.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[bytes, Pages]] = {}
        self._decoded_bytes = 0

    def delta(self, readable: Readable, keys: BranchKeys, txid: int) -> Pages | None:
        """The pages of a commit, None when the store has no such delta. Raises BlobCorrupt."""
        first = keys.delta(txid, 0)
        chunk = readable.get(first)
        if chunk is None:
            return None
        entry = self._entries.get(first)
        if entry is not None and entry[0] is chunk:
            return entry[1]
        return self._load(readable, first, chunk, keys.delta_range(txid), lambda key: keys.parse_delta(key)[1])

    def shard(self, readable: Readable, keys: BranchKeys, shard: int, as_of: int) -> Pages | None:
        """The pages of one version of a shard, None when the store has no such version. Raises BlobCorrupt."""
        first = keys.shard(shard, as_of, 0)
        chunk = readable.get(first)
        if chunk is None:
            return None
        entry = self._entries.get(first)
        if entry is not None and entry[0] is chunk:
            return entry[1]
        return self._load(readable, first, chunk, keys.shard_range(shard, as_of), lambda key: keys.parse_shard(key)[2])

    def newest_shard(self, readable: Readable, keys: BranchKeys, shard: int, last_as_of: int) -> int | None:
        """The newest version of a shard that is not above `last_as_of`, None when there is none."""
        rows = readable.get_range(*keys.shard_versions_range(shard, last_as_of), limit=1, reverse=True)
        return keys.parse_shard(rows[0][0])[1] if rows else None

    def _load(
        self, readable: Readable, first: bytes, chunk: bytes, whole: KeyRange, number_of: Callable[[bytes], int]
    ) -> Pages:
        rows = readable.get_range(*whole)
        pages = decode_ltx(join_chunks((number_of(key), content) for key, content in rows)).pages
        replaced = self._entries.pop(first, None)
        if replaced is not None:
            self._decoded_bytes -= _size_of(replaced[1])
        self._entries[first] = (chunk, pages)
        self._decoded_bytes += _size_of(pages)
        while self._decoded_bytes > _DECODED_BYTES_MAX and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            self._decoded_bytes -= _size_of(self._entries.pop(oldest)[1])
        return pages


def _size_of(pages: Pages) -> int:
    return len(pages) * len(next(iter(pages.values()), b""))
