"""The delta blob: the pages of one commit as bytes, and its division into chunks that fit a store value.

Layout, little-endian: a header of magic, format version, page size, page count of the database, number of
frames and transaction id; one frame per page, ascending, of page number and raw page; a CRC-32 over all of
it. Pages are stored as they are, so a frame's place follows from its index and no table is needed.

Decoding is strict, because a page store that guesses returns wrong pages without an error: the length must be
exactly what the header implies, the checksum must hold, pages must be numbered from 1, ascending and unique.
BlobCorrupt names the first rule broken. Upholds VAL-1 for pages: what is decoded is bit for bit what was
encoded.

Not here: which pages a commit holds, whether they lie within the database, and how a missing blob is
answered.
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

BLOB_MAGIC: Final = b"SKDB"
BLOB_VERSION: Final = 1
CHUNK_BYTES: Final = 10_000
PAGE_SIZE_MIN: Final = 512
PAGE_SIZE_MAX: Final = 65_536

_HEADER = Struct("<4sHIIIQ")
_PGNO = Struct("<I")
_CRC = Struct("<I")


class BlobCorrupt(ValueError):
    """Bytes are not a delta blob, or its chunks are not all there in order."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"delta blob is corrupt: {self.reason}; scan the branch for the commit that wrote it"


class LtxBlob(msgspec.Struct, frozen=True):
    """One decoded commit: its id, the database's page count after it, its pages by number, ascending."""

    txid: int
    page_count: int
    page_size: int
    pages: dict[int, bytes]


def is_page_size(page_size: int) -> bool:
    """Tell whether SQLite knows such a page size, in bytes: a power of two from 512 to 65,536."""
    return PAGE_SIZE_MIN <= page_size <= PAGE_SIZE_MAX and page_size & (page_size - 1) == 0


def encode_ltx(txid: int, page_count: int, page_size: int, pages: Mapping[int, bytes]) -> bytes:
    """Return the blob of one commit.

    ``pages`` maps page numbers, ascending from at least 1, to pages of exactly ``page_size`` bytes; it may be
    empty. Raises ValueError for anything else.
    """
    if not is_page_size(page_size):
        raise ValueError(f"page size {page_size} is not a power of two from {PAGE_SIZE_MIN} to {PAGE_SIZE_MAX}")
    parts = [_HEADER.pack(BLOB_MAGIC, BLOB_VERSION, page_size, page_count, len(pages), txid)]
    previous = 0
    for pgno, page in pages.items():
        if pgno <= previous:
            raise ValueError(f"page {pgno} follows page {previous}; give pages ascending, from 1")
        if len(page) != page_size:
            raise ValueError(f"page {pgno} has {len(page)} bytes instead of {page_size}")
        parts.append(_PGNO.pack(pgno))
        parts.append(page)
        previous = pgno
    body = b"".join(parts)
    return body + _CRC.pack(crc32(body))


def decode_ltx(blob: bytes) -> LtxBlob:
    """Return the decoded commit. Raises BlobCorrupt."""
    header_bytes = _HEADER.size
    if len(blob) < header_bytes + _CRC.size:
        raise BlobCorrupt(f"it has {len(blob)} bytes, fewer than an empty blob")
    magic, version, page_size, page_count, frames, txid = _HEADER.unpack_from(blob)
    if magic != BLOB_MAGIC:
        raise BlobCorrupt(f"its magic is {magic!r} instead of {BLOB_MAGIC!r}")
    if version != BLOB_VERSION:
        raise BlobCorrupt(f"its format version is {version}, this code reads {BLOB_VERSION}")
    if not is_page_size(page_size):
        raise BlobCorrupt(f"its page size is {page_size}")
    frame_bytes = _PGNO.size + page_size
    end = header_bytes + frames * frame_bytes
    if len(blob) != end + _CRC.size:
        needed = end + _CRC.size
        raise BlobCorrupt(f"it has {len(blob)} bytes, its {frames} pages of {page_size} need {needed}")
    (stored_crc,) = _CRC.unpack_from(blob, end)
    actual_crc = crc32(memoryview(blob)[:end])
    if stored_crc != actual_crc:
        raise BlobCorrupt(f"its checksum is {stored_crc:#010x}, its content gives {actual_crc:#010x}")
    pages: dict[int, bytes] = {}
    previous = 0
    for at in range(header_bytes, end, frame_bytes):
        (pgno,) = _PGNO.unpack_from(blob, at)
        if pgno <= previous:
            raise BlobCorrupt(f"page {pgno} follows page {previous}; pages must ascend from 1")
        pages[pgno] = blob[at + _PGNO.size : at + frame_bytes]
        previous = pgno
    return LtxBlob(txid, page_count, page_size, pages)


def split_chunks(blob: bytes, chunk_bytes: int = CHUNK_BYTES) -> list[bytes]:
    """Return the blob in order in chunks of ``chunk_bytes``, the last maybe shorter; ValueError below 1."""
    if chunk_bytes < 1:
        raise ValueError(f"chunk size is {chunk_bytes} bytes; give at least 1")
    return [blob[at : at + chunk_bytes] for at in range(0, len(blob), chunk_bytes)]


def join_chunks(rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the blob from (chunk number, chunk) rows, which must be numbered 0, 1, 2... in this order.

    Raises BlobCorrupt for a gap, a repetition, another order, or no chunk at all. A missing last chunk shows
    only when the blob is decoded.
    """
    chunks: list[bytes] = []
    for number, chunk in rows:
        if number != len(chunks):
            raise BlobCorrupt(f"chunk {number} stands where chunk {len(chunks)} belongs")
        chunks.append(chunk)
    if not chunks:
        raise BlobCorrupt("it has no chunks")
    return b"".join(chunks)
