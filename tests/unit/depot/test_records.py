"""The depot's fixed-layout records: what is decoded is what was encoded, and nothing else is accepted."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from simkit.depot.records import (
    BranchRecord,
    CommitRow,
    CompactionRoot,
    DirtyMarker,
    Head,
    Pin,
    PitrInterval,
    RecordCorrupt,
    RestorePoint,
    Row,
    decode_commit_row,
    decode_generation,
    decode_head,
    decode_row,
    decode_txid,
    encode_commit_row_around_stamp,
    encode_generation,
    encode_row,
    encode_txid,
)

BRANCH = bytes(range(16))
HEAD = Head(txid=2**64 - 1, page_count=2**32 - 1, checksum=2**64 - 1, branch_id=BRANCH)
ROW = CommitRow(wall_clock_ms=1_700_000_000_000, versionstamp=b"\x01" * 16, page_count=7, checksum=9)

STAMP = b"\x02" * 16
ROWS: list[Row] = [
    BranchRecord(branch_id=BRANCH, database_id="main"),
    BranchRecord(
        branch_id=BRANCH,
        database_id="main",
        parent=bytes(16),
        parent_txid=2**64 - 1,
        parent_versionstamp=STAMP,
        fork_depth=3,
        created_at_ms=5,
        state="frozen",
        lifecycle_generation=9,
    ),
    CompactionRoot(manifest_generation=4, hot_watermark_txid=2**40),
    DirtyMarker(observed_head_txid=7, updated_at_ms=8),
    PitrInterval(txid=1, versionstamp=STAMP, wall_clock_ms=2, expires_at_ms=3),
    RestorePoint(id="a-b", branch_id=BRANCH, txid=1, versionstamp=STAMP, wall_clock_ms=2, created_at_ms=3),
    Pin(txid=1, versionstamp=STAMP),
]

#: `decode_row` for kinds that only the run of a test knows.
decode_any_row: Callable[[type[object], bytes], object] = cast("Any", decode_row)


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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_comes_back(row: Row) -> None:
    assert decode_any_row(type(row), encode_row(row)) == row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_starts_with_its_layout_version(row: Row) -> None:
    assert encode_row(row)[:2] == b"\x01\x00"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_of_another_layout_version_is_refused_with_the_record_named(row: Row) -> None:
    with pytest.raises(RecordCorrupt, match=f"{type(row).__name__} record is corrupt: it begins with"):
        decode_any_row(type(row), b"\x02" + encode_row(row)[1:])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda raw: raw[:2]])
def test_a_row_of_another_length_is_refused_with_the_record_named(row: Row, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(RecordCorrupt, match=f"{type(row).__name__} record is corrupt"):
        decode_any_row(type(row), damage(encode_row(row)))


def test_an_empty_row_is_refused() -> None:
    with pytest.raises(RecordCorrupt, match="Pin record is corrupt: it begins with b''"):
        decode_row(Pin, b"")


@pytest.mark.parametrize("kind", [BranchRecord, RestorePoint, PitrInterval])
def test_a_row_of_another_kind_is_refused(kind: type[object]) -> None:
    with pytest.raises(RecordCorrupt, match=f"{kind.__name__} record is corrupt"):
        decode_any_row(kind, encode_row(Pin(txid=1, versionstamp=STAMP)))


def test_a_branch_is_live_or_frozen() -> None:
    frozen = encode_row(BranchRecord(branch_id=BRANCH, database_id="main", state="frozen"))
    with pytest.raises(RecordCorrupt, match="BranchRecord record is corrupt: Invalid enum value 'thawed'"):
        decode_row(BranchRecord, frozen.replace(b"frozen", b"thawed"))


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
