"""The delta blob: pages come back bit for bit, and every kind of damage is named."""

from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.depot.ltx import (
    BlobCorrupt,
    decode_ltx,
    encode_ltx,
    is_page_size,
    join_chunks,
    split_chunks,
)

HEADER_BYTES = 26
PAGE_SIZE = 512
PAGES = {1: b"\x01" * PAGE_SIZE, 3: b"\x03" * PAGE_SIZE}
BLOB = encode_ltx(7, 10, PAGE_SIZE, PAGES)


def resealed(blob: bytes) -> bytes:
    """Put a right checksum on damaged content, so that the checks behind it are reached."""
    body = blob[:-4]
    return body + crc32(body).to_bytes(4, "little")


def replaced(at: int, new: bytes) -> bytes:
    return resealed(BLOB[:at] + new + BLOB[at + len(new) :])


def test_the_pages_come_back() -> None:
    assert decode_ltx(BLOB).pages == PAGES


def test_the_header_comes_back() -> None:
    blob = decode_ltx(BLOB)
    assert (blob.txid, blob.page_count, blob.page_size) == (7, 10, PAGE_SIZE)


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


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "fewer than an empty blob"),
        (BLOB[: HEADER_BYTES + 3], "fewer than an empty blob"),
        (replaced(0, b"LTX1"), "its magic is b'LTX1'"),
        (replaced(4, b"\x02\x00"), "its format version is 2"),
        (replaced(6, (1000).to_bytes(4, "little")), "its page size is 1000"),
        (BLOB[:-1], "2 pages of 512 need"),
        (BLOB + b"\x00", "2 pages of 512 need"),
        (replaced(14, b"\x01"), "1 pages of 512 need"),
        (replaced(HEADER_BYTES, b"\x00"), "page 0 follows page 0"),
        (replaced(HEADER_BYTES, b"\x03"), "page 3 follows page 3"),
        (replaced(HEADER_BYTES, b"\x04"), "page 3 follows page 4"),
    ],
    ids=[
        "empty",
        "short",
        "magic",
        "version",
        "page size",
        "cut",
        "trailing",
        "frames",
        "page 0",
        "repeated",
        "descending",
    ],
)
def test_a_damaged_blob_is_refused_with_its_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(BlobCorrupt, match=reason):
        decode_ltx(blob)


@pytest.mark.parametrize("at", [10, 18, HEADER_BYTES, HEADER_BYTES + 4, len(BLOB) - 5, len(BLOB) - 1])
def test_one_flipped_bit_anywhere_breaks_the_checksum(at: int) -> None:
    damaged = bytearray(BLOB)
    damaged[at] ^= 0x10
    with pytest.raises(BlobCorrupt, match="its checksum is"):
        decode_ltx(bytes(damaged))


def test_chunks_are_ten_thousand_bytes() -> None:
    assert [len(chunk) for chunk in split_chunks(bytes(25_000))] == [10_000, 10_000, 5_000]


def test_an_exact_multiple_has_no_empty_chunk() -> None:
    assert [len(chunk) for chunk in split_chunks(bytes(20_000))] == [10_000, 10_000]


def test_joined_chunks_are_the_blob() -> None:
    assert join_chunks(enumerate(split_chunks(BLOB, 100))) == BLOB


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
        join_chunks(damage(list(enumerate(split_chunks(BLOB, 100)))))


def test_a_missing_last_chunk_is_found_when_decoding() -> None:
    with pytest.raises(BlobCorrupt, match="need"):
        decode_ltx(join_chunks(list(enumerate(split_chunks(BLOB, 100)))[:-1]))


def test_a_corrupt_blob_error_rebuilds_from_its_args() -> None:
    error = BlobCorrupt("it has no chunks")
    assert str(type(error)(*error.args)) == str(error)
