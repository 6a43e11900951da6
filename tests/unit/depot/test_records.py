"""The depot's fixed-layout records: what is decoded is what was encoded, and nothing else is accepted."""

from collections.abc import Callable

import pytest

from simkit.depot.records import (
    CommitRow,
    Head,
    RecordCorrupt,
    decode_commit_row,
    decode_generation,
    decode_head,
    decode_txid,
    encode_commit_row_around_stamp,
    encode_generation,
    encode_txid,
)

BRANCH = bytes(range(16))
HEAD = Head(txid=2**64 - 1, page_count=2**32 - 1, checksum=2**64 - 1, branch_id=BRANCH)
ROW = CommitRow(wall_clock_ms=1_700_000_000_000, versionstamp=b"\x01" * 16, page_count=7, checksum=9)


def test_a_head_comes_back() -> None:
    assert decode_head(HEAD.encode()) == HEAD


def test_a_head_starts_with_its_layout_version() -> None:
    assert HEAD.encode()[:2] == b"\x01\x00"


def test_a_head_with_a_short_branch_id_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, this one 3"):
        Head(1, 1, 0, b"abc").encode()


def test_a_commit_row_comes_back() -> None:
    assert decode_commit_row(ROW.encode()) == ROW


def test_a_commit_row_encoded_around_its_stamp_decodes_with_that_stamp() -> None:
    before, after = encode_commit_row_around_stamp(ROW.wall_clock_ms, ROW.page_count, ROW.checksum)
    stamp = b"\x05" * 10
    assert decode_commit_row(before + stamp + after).versionstamp == stamp + bytes(6)


def test_a_commit_row_encoded_around_its_stamp_keeps_the_other_fields() -> None:
    before, after = encode_commit_row_around_stamp(ROW.wall_clock_ms, ROW.page_count, ROW.checksum)
    row = decode_commit_row(before + bytes(10) + after)
    assert (row.wall_clock_ms, row.page_count, row.checksum) == (ROW.wall_clock_ms, 7, 9)


def test_a_commit_row_with_a_short_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, this one 10"):
        CommitRow(1, bytes(10), 1, 0).encode()


def test_a_generation_comes_back() -> None:
    assert decode_generation(encode_generation(2**64 - 1)) == 2**64 - 1


def test_a_transaction_id_comes_back() -> None:
    assert decode_txid(encode_txid(2**40)) == 2**40


def test_a_transaction_id_is_big_endian() -> None:
    assert encode_txid(1) == bytes(7) + b"\x01"


@pytest.mark.parametrize(
    ("decode", "raw", "record"),
    [
        (decode_head, HEAD.encode(), "head"),
        (decode_commit_row, ROW.encode(), "commit row"),
        (decode_generation, encode_generation(1), "generation"),
        (decode_txid, encode_txid(1), "txid"),
    ],
)
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda raw: b""])
def test_another_length_is_refused_with_the_record_named(
    decode: Callable[[bytes], object], raw: bytes, record: str, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(RecordCorrupt, match=f"{record} record is corrupt: it has .* bytes instead of {len(raw)}"):
        decode(damage(raw))


@pytest.mark.parametrize(
    ("decode", "raw", "record"),
    [
        (decode_head, HEAD.encode(), "head"),
        (decode_commit_row, ROW.encode(), "commit row"),
        (decode_generation, encode_generation(1), "generation"),
    ],
)
def test_another_layout_version_is_refused_with_the_record_named(
    decode: Callable[[bytes], object], raw: bytes, record: str
) -> None:
    with pytest.raises(RecordCorrupt, match=f"{record} record is corrupt: its layout version is 2"):
        decode(b"\x02\x00" + raw[2:])


def test_a_corrupt_record_error_rebuilds_from_its_args() -> None:
    error = RecordCorrupt("head", "it is short")
    assert str(type(error)(*error.args)) == str(error)
