"""The LTX blob: pages come back bit for bit, its layout is the published one, and every kind of damage is named."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from zlib import crc32

import lz4.block
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.depot.ltx import (
    BlobCorrupt,
    LtxBlob,
    decode_ltx,
    encode_ltx,
    is_page_size,
    join_chunks,
    split_chunks,
)

HEADER_BYTES = 100
FRAME_BYTES = 10
TRAILER_BYTES = 16
PAGE_SIZE = 512
PAGES = {1: b"\x01" * PAGE_SIZE, 3: b"\x03" * PAGE_SIZE}
BLOB = encode_ltx(7, 10, PAGE_SIZE, PAGES, timestamp_ms=1_700_000_000_000)
BLOCK = lz4.block.compress(PAGES[1], store_size=False)
SECOND_FRAME_AT = HEADER_BYTES + FRAME_BYTES + len(BLOCK)
FRAMES_END_AT = SECOND_FRAME_AT + FRAME_BYTES + len(BLOCK)
INDEX_AT = FRAMES_END_AT + 6
INDEX_SIZE_AT = len(BLOB) - TRAILER_BYTES - 8


def resealed(blob: bytes) -> bytes:
    """Put a right checksum on damaged content, so that the checks behind it are reached."""
    return blob[:-8] + crc32(blob[:-8]).to_bytes(8, "big")


def replaced(at: int, new: bytes) -> bytes:
    return resealed(BLOB[:at] + new + BLOB[at + len(new) :])


def with_first_block(block: bytes) -> bytes:
    frame = BLOB[HEADER_BYTES : HEADER_BYTES + 6] + len(block).to_bytes(4, "big") + block
    return resealed(BLOB[:HEADER_BYTES] + frame + BLOB[SECOND_FRAME_AT:])


def pages_of_blob_bytes(wanted_bytes: int) -> dict[int, bytes]:
    """Make pages whose blob has exactly this size: the more random bytes in the last page, the larger it is."""
    noise = Random(1).randbytes(wanted_bytes)
    for count in range(1, wanted_bytes // PAGE_SIZE + 1):
        pages = {pgno: noise[(pgno - 1) * PAGE_SIZE : pgno * PAGE_SIZE] for pgno in range(1, count)}
        for random_bytes in range(PAGE_SIZE + 1):
            last = noise[-random_bytes:] if random_bytes else b""
            pages[count] = last + bytes(PAGE_SIZE - random_bytes)
            if len(encode_ltx(1, count, PAGE_SIZE, pages)) == wanted_bytes:
                return pages
    raise AssertionError(f"no pages make a blob of {wanted_bytes} bytes")


def test_a_blob_has_the_documented_layout() -> None:
    frames = b"".join(
        pgno.to_bytes(4, "big") + b"\x00\x01" + len(block).to_bytes(4, "big") + block
        for pgno, block in ((1, BLOCK), (3, lz4.block.compress(PAGES[3], store_size=False)))
    )
    frame_bytes = FRAME_BYTES + len(BLOCK)
    second = HEADER_BYTES + frame_bytes
    index = bytes((1, HEADER_BYTES, frame_bytes, 3, second, frame_bytes, 0))
    body = (
        b"LTX1"
        + b"".join(number.to_bytes(4, "big") for number in (2, PAGE_SIZE, 10))
        + b"".join(number.to_bytes(8, "big") for number in (7, 7, 1_700_000_000_000))
        + bytes(60)
        + frames
        + bytes(6)
        + index
        + len(index).to_bytes(8, "big")
        + bytes(8)
    )
    assert body + crc32(body).to_bytes(8, "big") == BLOB


def test_numbers_above_127_in_the_index_are_varints() -> None:
    blob = encode_ltx(1, 300, PAGE_SIZE, {300: bytes(PAGE_SIZE)})
    index = blob[-TRAILER_BYTES - 8 - 5 : -TRAILER_BYTES - 8]
    assert index[:3] == b"\xac\x02\x64"


def test_the_pages_come_back() -> None:
    assert decode_ltx(BLOB).pages == PAGES


def test_the_header_comes_back() -> None:
    blob = decode_ltx(BLOB)
    assert blob == LtxBlob(first_txid=7, txid=7, page_count=10, page_size=PAGE_SIZE, pages=PAGES)


def test_the_first_transaction_of_a_shard_comes_back() -> None:
    blob = decode_ltx(encode_ltx(7, 10, PAGE_SIZE, PAGES, first_txid=1))
    assert (blob.first_txid, blob.txid) == (1, 7)


def test_decoded_pages_ascend() -> None:
    assert list(decode_ltx(BLOB).pages) == [1, 3]


def test_a_blob_without_pages_comes_back() -> None:
    assert decode_ltx(encode_ltx(1, 0, PAGE_SIZE, {})).pages == {}


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 32_768, 65_536])
def test_every_page_size_of_sqlite_comes_back(page_size: int) -> None:
    pages = {2: bytes(page_size)}
    assert decode_ltx(encode_ltx(1, 2, page_size, pages)).pages == pages


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(1, 2**32 - 1), st.binary(min_size=512, max_size=512), max_size=4))
def test_any_pages_come_back(pages: dict[int, bytes]) -> None:
    ascending = dict(sorted(pages.items()))
    assert decode_ltx(encode_ltx(1, 1, 512, ascending)).pages == ascending


@pytest.mark.parametrize("page_size", [0, 256, 511, 1000, 131_072])
def test_encoding_another_page_size_is_refused(page_size: int) -> None:
    with pytest.raises(ValueError, match=f"page size {page_size}"):
        encode_ltx(1, 1, page_size, {})


@pytest.mark.parametrize("page_size", [512, 65_536])
def test_the_smallest_and_largest_page_sizes_are_known(page_size: int) -> None:
    assert is_page_size(page_size)


def test_encoding_pages_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="page 1 follows page 2"):
        encode_ltx(1, 2, PAGE_SIZE, {2: bytes(PAGE_SIZE), 1: bytes(PAGE_SIZE)})


def test_encoding_page_0_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1"):
        encode_ltx(1, 2, PAGE_SIZE, {0: bytes(PAGE_SIZE)})


def test_encoding_a_page_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="page 1 has 3 bytes instead of 512"):
        encode_ltx(1, 2, PAGE_SIZE, {1: b"abc"})


@pytest.mark.parametrize(("first_txid", "txid"), [(0, 3), (4, 3), (None, 0)])
def test_encoding_transactions_that_are_no_range_is_refused(first_txid: int | None, txid: int) -> None:
    with pytest.raises(ValueError, match="are no range"):
        encode_ltx(txid, 2, PAGE_SIZE, {}, first_txid=first_txid)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        pytest.param(b"", "it has 0 bytes, fewer", id="empty"),
        pytest.param(encode_ltx(1, 0, PAGE_SIZE, {})[:-1], "it has 130 bytes, fewer", id="short"),
        pytest.param(replaced(0, b"LTX2"), "its magic is b'LTX2'", id="magic"),
        pytest.param(BLOB[:-1], "its checksum is", id="cut"),
        pytest.param(BLOB + b"\x00", "its checksum is", id="trailing"),
        pytest.param(replaced(len(BLOB) - TRAILER_BYTES, b"\x01"), "first half of its trailer is 0x1", id="trailer"),
        pytest.param(replaced(7, b"\x00"), "its header has the flags 0x0", id="flags"),
        pytest.param(replaced(8, (1000).to_bytes(4, "big")), "its page size is 1000", id="page size"),
        pytest.param(replaced(16, bytes(8)), "its transactions are 0 to 7", id="first transaction"),
        pytest.param(replaced(24, bytes(8)), "its transactions are 7 to 0", id="transactions"),
        pytest.param(replaced(99, b"\x01"), "the end of its header is not zero", id="header rest"),
        pytest.param(replaced(HEADER_BYTES, bytes(4)), "page 0 follows page 0", id="page 0"),
        pytest.param(replaced(SECOND_FRAME_AT + 3, b"\x01"), "page 1 follows page 1", id="repeated"),
        pytest.param(replaced(HEADER_BYTES + 3, b"\x04"), "page 3 follows page 4", id="descending"),
        pytest.param(replaced(HEADER_BYTES + 5, b"\x00"), "page 1 has the flags 0x0", id="no size"),
        pytest.param(replaced(HEADER_BYTES + 6, b"\x01"), "more than are left", id="block size"),
        pytest.param(replaced(FRAMES_END_AT + 3, b"\x09"), "page 9 has", id="no end of frames"),
        pytest.param(with_first_block(b"\xff"), "page 1 does not decompress", id="block"),
        pytest.param(
            with_first_block(lz4.block.compress(bytes(500), store_size=False)),
            "page 1 decompresses to 500 bytes instead of 512",
            id="short page",
        ),
        pytest.param(
            with_first_block(lz4.block.compress(bytes(513), store_size=False)),
            "page 1 does not decompress to 512 bytes",
            id="long page",
        ),
        pytest.param(replaced(INDEX_AT, b"\x02"), "its page index does not agree", id="index page"),
        pytest.param(replaced(INDEX_AT + 1, b"\x65"), "its page index does not agree", id="index offset"),
        pytest.param(replaced(INDEX_AT + 2, b"\x00"), "its page index does not agree", id="index size"),
        pytest.param(replaced(INDEX_SIZE_AT - 1, b"\x01"), "its page index does not agree", id="index end"),
        pytest.param(replaced(INDEX_SIZE_AT, b"\x01"), "its index has 7 bytes, not the", id="index bytes"),
    ],
)
def test_a_damaged_blob_is_refused_with_its_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(BlobCorrupt, match=reason):
        decode_ltx(blob)


def test_frames_that_reach_the_trailer_are_refused() -> None:
    blob = resealed(BLOB[:FRAMES_END_AT] + b"\xff" * 7 + bytes(TRAILER_BYTES))
    with pytest.raises(BlobCorrupt, match="its frames run into its end after page 3"):
        decode_ltx(blob)


@pytest.mark.parametrize("at", range(4, len(BLOB), 7))
def test_one_flipped_bit_anywhere_breaks_the_checksum(at: int) -> None:
    damaged = bytearray(BLOB)
    damaged[at] ^= 0x10
    with pytest.raises(BlobCorrupt, match="its checksum is"):
        decode_ltx(bytes(damaged))


def test_damage_that_still_decompresses_to_a_page_is_found() -> None:
    damaged = bytearray(BLOB)
    literal_at = HEADER_BYTES + FRAME_BYTES + 1
    damaged[literal_at] ^= 0x02
    block = bytes(damaged[HEADER_BYTES + FRAME_BYTES : SECOND_FRAME_AT])
    assert len(lz4.block.decompress(block, uncompressed_size=PAGE_SIZE)) == PAGE_SIZE
    with pytest.raises(BlobCorrupt, match="its checksum is"):
        decode_ltx(bytes(damaged))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_a_blob_or_a_reason(tail: bytes, sealed: bool) -> None:
    blob = BLOB[:HEADER_BYTES] + tail + bytes(16)
    with suppress(BlobCorrupt):
        assert list(decode_ltx(resealed(blob) if sealed else blob).pages) == []


@pytest.mark.parametrize(("blob_bytes", "chunks_bytes"), [(9_999, [9_999]), (10_000, [10_000]), (10_001, [10_000, 1])])
def test_a_blob_at_the_edge_of_a_chunk_has_as_many_chunks_as_it_needs(blob_bytes: int, chunks_bytes: list[int]) -> None:
    pages = pages_of_blob_bytes(blob_bytes)
    blob = encode_ltx(1, len(pages), PAGE_SIZE, pages)
    assert [len(chunk) for chunk in split_chunks(blob)] == chunks_bytes


@pytest.mark.parametrize("blob_bytes", [9_999, 10_000, 10_001])
def test_a_blob_at_the_edge_of_a_chunk_comes_back_from_its_chunks(blob_bytes: int) -> None:
    pages = pages_of_blob_bytes(blob_bytes)
    chunks = split_chunks(encode_ltx(1, len(pages), PAGE_SIZE, pages))
    assert decode_ltx(join_chunks(enumerate(chunks))).pages == pages


def test_chunks_are_ten_thousand_bytes() -> None:
    assert [len(chunk) for chunk in split_chunks(bytes(25_000))] == [10_000, 10_000, 5_000]


def test_an_exact_multiple_has_no_empty_chunk() -> None:
    assert [len(chunk) for chunk in split_chunks(bytes(20_000))] == [10_000, 10_000]


def test_joined_chunks_are_the_blob() -> None:
    assert join_chunks(enumerate(split_chunks(BLOB, 50))) == BLOB


def test_a_chunk_size_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split_chunks(BLOB, 0)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda rows: rows[1:], "chunk 1 stands where chunk 0 belongs"),
        (lambda rows: rows[:1] + rows[2:], "chunk 2 stands where chunk 1 belongs"),
        (lambda rows: rows[:1] + rows, "chunk 0 stands where chunk 1 belongs"),
        (lambda rows: rows[::-1], "stands where chunk 0 belongs"),
        (lambda rows: [], "no chunks"),
    ],
    ids=["first missing", "gap", "repeated", "reversed", "none"],
)
def test_chunks_that_are_not_all_in_order_are_refused(
    damage: Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]], reason: str
) -> None:
    with pytest.raises(BlobCorrupt, match=reason):
        join_chunks(damage(list(enumerate(split_chunks(BLOB, 50)))))


def test_a_missing_last_chunk_is_found_when_decoding() -> None:
    with pytest.raises(BlobCorrupt, match="its checksum is"):
        decode_ltx(join_chunks(list(enumerate(split_chunks(BLOB, 50)))[:-1]))


def test_a_corrupt_blob_error_rebuilds_from_its_args() -> None:
    error = BlobCorrupt("it has no chunks")
    assert str(type(error)(*error.args)) == str(error)
