"""Where the large rows of a b-tree page go on: the overflow chains that begin in its cells.

A row that does not fit on its page leaves a part there and the number of an overflow page, which names the next one.
Whoever reads the row needs the whole chain, one page after the other. The depot has all of them at hand, so it can send
them along (see `PageReader`).

Knows SQLite's file format and nothing else (https://www.sqlite.org/fileformat2.html). Takes any bytes: what is no
b-tree page, or a damaged one, has no chains. Reserved bytes at the end of pages are not looked for; nobody here has
any.
"""

from __future__ import annotations

import itertools
import operator
import struct
from functools import lru_cache
from typing import Final

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_FILE_HEADER_BYTES = 100
_ANALYSED_MAX = 16_384

OVERFLOW_PAGES_MAX: Final = 2_048
"""Pages that are sent along with one request."""


@lru_cache(maxsize=_ANALYSED_MAX)
def chains_from(page: bytes, first: bool = False) -> tuple[int, ...]:
    """The first page of each overflow chain that begins on a page, in the order of its cells.

    `first` says that it is page 1, which begins with the header of the file.
    """
    header = _FILE_HEADER_BYTES if first else 0
    kind = page[header]
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
        return ()
    usable = len(page)
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    array = header + (12 if kind == _INDEX_INTERIOR else 8)
    if array + 2 * cells > usable:
        return ()
    offsets = struct.unpack_from(f">{cells}H", page, array)
    local_min = (usable - 12) * 32 // 255 - 23
    found = []
    ends = sorted(offsets)
    ends.append(usable)
    # Only a cell that keeps at least the minimum can overflow, and no cell is longer than to the next one.
    if max(map(operator.sub, ends[1:], ends), default=0) < local_min:
        return ()
    large = {begin for begin, end in itertools.pairwise(ends) if end - begin >= local_min}
    for offset in offsets:
        if offset in large:
            number = _chain_of(page, offset, kind, usable, local_min)
            if number:
                found.append(number)
    return tuple(found)


def next_in_chain(page: bytes) -> int:
    """The overflow page after this one; 0 after the last."""
    return int.from_bytes(page[:4], "big")


def _chain_of(page: bytes, offset: int, kind: int, usable: int, local_min: int) -> int:
    """Where the payload of a cell goes on; 0 when it does not."""
    if kind == _INDEX_INTERIOR:
        offset += 4
    payload, offset = _varint(page, offset)
    if kind == _TABLE_LEAF:
        _, offset = _varint(page, offset)
        local_max = usable - 35
    else:
        local_max = (usable - 12) * 64 // 255 - 23
    if payload <= local_max:
        return 0
    local = local_min + (payload - local_min) % (usable - 4)
    at = offset + (local if local <= local_max else local_min)
    return int.from_bytes(page[at : at + 4], "big") if at + 4 <= usable else 0


def _varint(page: bytes, offset: int) -> tuple[int, int]:
    """SQLite's variable-length integer, and where it ends."""
    value = 0
    for position, byte in enumerate(page[offset : offset + 9]):
        if position == 8:
            return value << 8 | byte, offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + position + 1
    return value, len(page)
