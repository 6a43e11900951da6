"""The LTX blob: the pages of one commit, or of one shard, as bytes; and its division into chunks of a store value.

Layout, big-endian: a header of 100 bytes (magic "LTX1", flags, page size, the database's page count, first and last
transaction, milliseconds; the rest is zero); one frame per page, ascending, of page number, flags (bit 0: a size
follows), size and LZ4 block; six zero bytes; an index of three varints per page (number, offset and size of its frame)
and a zero; the size of the index in eight bytes; a trailer of 16 bytes. This is version 3 of LTX without its database
checksums, which the header's flag says.

The published layout lets that flag stand for a trailer of zeros, and then nothing protects the content: a damaged bit
inside a block that still decompresses to a page goes unseen. Here the last eight bytes of the trailer are the CRC-32
of everything before them, so that a wrong page never comes back without an error.

Decoding is strict, because a page store that guesses returns wrong pages: every rule of the layout is checked,
and BlobCorrupt names the first one broken. Upholds VAL-1 for pages: what is decoded is bit for bit what was encoded.

Not here: which pages a commit holds, whether they lie within the database, and how a missing blob is answered. How
well pages compress is LZ4's matter: another version of the library may need a few bytes more or less.
"""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final
from zlib import crc32

import lz4.block
import msgspec

BLOB_MAGIC: Final = b"LTX1"
NO_DATABASE_CHECKSUM: Final = 2
SIZE_FOLLOWS: Final = 1
HEADER_BYTES: Final = 100
TRAILER_BYTES: Final = 16
CHUNK_BYTES: Final = 10_000
PAGE_SIZE_MIN: Final = 512
PAGE_SIZE_MAX: Final = 65_536

_HEADER = Struct(">4sIIIQQQ")
_HEADER_REST = bytes(HEADER_BYTES - _HEADER.size)
_FRAME = Struct(">IHI")
_FRAME_BYTES = _FRAME.size
_FRAMES_END = bytes(6)
_INDEX_END = b"\x00"
_INDEX_SIZE = Struct(">Q")
_TRAILER = Struct(">QQ")
_CHECKSUM_BYTES = 8
_BLOB_BYTES_MIN = HEADER_BYTES + len(_FRAMES_END) + len(_INDEX_END) + _INDEX_SIZE.size + TRAILER_BYTES
_compress = lz4.block.compress
_decompress = lz4.block.decompress
_pack_frame = _FRAME.pack


class BlobCorrupt(ValueError):
    """Bytes are not an LTX blob, or its chunks are not all there in order."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"LTX blob is corrupt: {self.reason}; scan the branch for what wrote it"


class LtxBlob(msgspec.Struct, frozen=True):
    """A decoded blob: the transactions it stands for, the database's page count after them, its pages ascending.

    A commit has one transaction, a shard those from the first one to the one it is as of.
    """

    first_txid: int
    txid: int
    page_count: int
    page_size: int
    pages: dict[int, bytes]


def is_page_size(page_size: int) -> bool:
    """Tell whether SQLite knows such a page size, in bytes: a power of two from 512 to 65,536."""
    return PAGE_SIZE_MIN <= page_size <= PAGE_SIZE_MAX and page_size & (page_size - 1) == 0


def encode_ltx(
    txid: int,
    page_count: int,
    page_size: int,
    pages: Mapping[int, bytes],
    *,
    first_txid: int | None = None,
    timestamp_ms: int = 0,
) -> bytes:
    """Return the blob of the transactions ``first_txid`` (or ``txid`` alone) to ``txid``.

    ``pages`` maps page numbers, ascending from at least 1, to pages of exactly ``page_size`` bytes; it may be
    empty. Raises ValueError for anything else.
    """
    if not is_page_size(page_size):
        raise ValueError(f"page size {page_size} is not a power of two from {PAGE_SIZE_MIN} to {PAGE_SIZE_MAX}")
    first = txid if first_txid is None else first_txid
    if not 1 <= first <= txid:
        raise ValueError(f"transactions {first} to {txid} are no range; give 1 <= first_txid <= txid")
    parts = [
        _HEADER.pack(BLOB_MAGIC, NO_DATABASE_CHECKSUM, page_size, page_count, first, txid, timestamp_ms),
        _HEADER_REST,
    ]
    frames: list[tuple[int, int]] = []
    previous = 0
    for pgno, page in pages.items():
        if pgno <= previous:
            raise ValueError(f"page {pgno} follows page {previous}; give pages ascending, from 1")
        if len(page) != page_size:
            raise ValueError(f"page {pgno} has {len(page)} bytes instead of {page_size}")
        block = _compress(page, mode="fast", store_size=False)
        block_bytes = len(block)
        parts.append(_pack_frame(pgno, SIZE_FOLLOWS, block_bytes))
        parts.append(block)
        frames.append((pgno, _FRAME_BYTES + block_bytes))
        previous = pgno
    index = _index(frames)
    parts += (_FRAMES_END, index, _INDEX_SIZE.pack(len(index)), bytes(TRAILER_BYTES - _CHECKSUM_BYTES))
    body = b"".join(parts)
    return body + crc32(body).to_bytes(_CHECKSUM_BYTES, "big")


def decode_ltx(blob: bytes) -> LtxBlob:
    """Return the decoded blob. Raises BlobCorrupt."""
    if len(blob) < _BLOB_BYTES_MIN:
        raise BlobCorrupt(f"it has {len(blob)} bytes, fewer than the {_BLOB_BYTES_MIN} of an empty blob")
    if not blob.startswith(BLOB_MAGIC):
        raise BlobCorrupt(f"its magic is {blob[:4]!r} instead of {BLOB_MAGIC!r}")
    trailer_at = len(blob) - TRAILER_BYTES
    reserved, checksum = _TRAILER.unpack_from(blob, trailer_at)
    actual_checksum = crc32(memoryview(blob)[:-_CHECKSUM_BYTES])
    if checksum != actual_checksum:
        raise BlobCorrupt(f"its checksum is {checksum:#010x}, its content gives {actual_checksum:#010x}")
    if reserved:
        raise BlobCorrupt(f"the first half of its trailer is {reserved:#x} instead of zero")
    page_count, page_size, first, txid = _read_header(blob)
    pages, frames, frames_end = _read_frames(blob, page_size, trailer_at)
    index_at = frames_end + len(_FRAMES_END)
    index_end = trailer_at - _INDEX_SIZE.size
    (index_bytes,) = _INDEX_SIZE.unpack_from(blob, index_end)
    if index_at + index_bytes != index_end:
        raise BlobCorrupt(f"its index has {index_end - index_at} bytes, not the {index_bytes} that are noted behind it")
    if blob[index_at:index_end] != _index(frames):
        raise BlobCorrupt("its page index does not agree with its frames")
    return LtxBlob(first, txid, page_count, page_size, pages)


def _read_header(blob: bytes) -> tuple[int, int, int, int]:
    """Return page count, page size, first and last transaction."""
    _, flags, page_size, page_count, first, txid, _ = _HEADER.unpack_from(blob)
    if flags != NO_DATABASE_CHECKSUM:
        raise BlobCorrupt(f"its header has the flags {flags:#x}, this code reads {NO_DATABASE_CHECKSUM:#x}")
    if not is_page_size(page_size):
        raise BlobCorrupt(f"its page size is {page_size}")
    if not 1 <= first <= txid:
        raise BlobCorrupt(f"its transactions are {first} to {txid}, which is no range")
    if blob[_HEADER.size : HEADER_BYTES] != _HEADER_REST:
        raise BlobCorrupt("the end of its header is not zero")
    return page_count, page_size, first, txid


def _read_frames(blob: bytes, page_size: int, end: int) -> tuple[dict[int, bytes], list[tuple[int, int]], int]:
    """Return the pages, the (page number, frame size) pairs and where the frames end; all of it lies before ``end``."""
    pages: dict[int, bytes] = {}
    frames: list[tuple[int, int]] = []
    previous = 0
    at = HEADER_BYTES
    while blob[at : at + len(_FRAMES_END)] != _FRAMES_END:
        if at + _FRAME_BYTES > end:
            raise BlobCorrupt(f"its frames run into its end after page {previous}")
        pgno, flags, block_bytes = _FRAME.unpack_from(blob, at)
        if pgno <= previous:
            raise BlobCorrupt(f"page {pgno} follows page {previous}; pages must ascend from 1")
        if flags != SIZE_FOLLOWS:
            raise BlobCorrupt(f"page {pgno} has the flags {flags:#x} instead of {SIZE_FOLLOWS:#x}")
        next_at = at + _FRAME_BYTES + block_bytes
        if next_at > end:
            raise BlobCorrupt(f"page {pgno} has {block_bytes} bytes, more than are left")
        pages[pgno] = _read_page(blob[at + _FRAME_BYTES : next_at], pgno, page_size)
        frames.append((pgno, next_at - at))
        previous = pgno
        at = next_at
    return pages, frames, at


def _read_page(block: bytes, pgno: int, page_size: int) -> bytes:
    try:
        page: bytes = _decompress(block, uncompressed_size=page_size)
    except lz4.block.LZ4BlockError as error:
        raise BlobCorrupt(f"page {pgno} does not decompress to {page_size} bytes: {error}") from None
    if len(page) != page_size:
        raise BlobCorrupt(f"page {pgno} decompresses to {len(page)} bytes instead of {page_size}")
    return page


def _index(frames: list[tuple[int, int]]) -> bytes:
    """Return the index of frames, given by page number and size, that follow one another behind the header."""
    index = bytearray()
    offset = HEADER_BYTES
    for pgno, frame_bytes in frames:
        for value in (pgno, offset, frame_bytes):
            rest = value
            while rest > 0x7F:
                index.append(rest & 0x7F | 0x80)
                rest >>= 7
            index.append(rest)
        offset += frame_bytes
    return bytes(index) + _INDEX_END


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
