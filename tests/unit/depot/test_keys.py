"""The depot's keys: their layout, their order, and the strict inverse."""

from collections.abc import Callable

import pytest

from simkit.depot.keys import (
    BranchKeys,
    KeyMalformed,
    after_prefix,
    branch_record_key,
    branch_record_range,
    database_pointer_key,
    database_pointer_range,
    parse_branch_record_key,
    parse_database_pointer_key,
)

BRANCH = bytes(range(16))
OTHER = bytes(range(1, 17))
KEYS = BranchKeys(BRANCH)
PREFIX = b"\x02\x30" + BRANCH + b"/"
STAMP = b"\x07" * 16


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEYS.head, PREFIX + b"META/head"),
        (KEYS.quota, PREFIX + b"META/quota"),
        (KEYS.generation, PREFIX + b"META/generation"),
        (KEYS.record, b"\x02\x20" + BRANCH + b"/record"),
        (KEYS.pidx(0x01020304), PREFIX + b"PIDX/\x01\x02\x03\x04"),
        (KEYS.commits(5), PREFIX + b"COMMITS/" + bytes(7) + b"\x05"),
        (KEYS.vtx(STAMP), PREFIX + b"VTX/" + STAMP),
        (KEYS.delta(5, 6), PREFIX + b"DELTA/" + bytes(7) + b"\x05/" + bytes(3) + b"\x06"),
        (database_pointer_key("db"), b"\x02\x10" + bytes(16) + b"/db/cur"),
        (database_pointer_key("db", OTHER), b"\x02\x10" + OTHER + b"/db/cur"),
    ],
)
def test_a_key_has_the_documented_layout(key: bytes, expected: bytes) -> None:
    assert key == expected


def test_page_keys_sort_by_number() -> None:
    numbers = [1, 2, 255, 256, 65_535, 65_536, 2**32 - 1]
    assert sorted(map(KEYS.pidx, reversed(numbers))) == [KEYS.pidx(number) for number in numbers]


def test_delta_keys_sort_by_transaction_then_chunk() -> None:
    order = [(1, 0), (1, 1), (1, 256), (2, 0), (256, 0), (2**63, 3)]
    assert sorted(KEYS.delta(*pair) for pair in reversed(order)) == [KEYS.delta(*pair) for pair in order]


def test_a_parsed_page_key_gives_its_number() -> None:
    assert KEYS.parse_pidx(KEYS.pidx(70_000)) == 70_000


def test_a_parsed_commit_key_gives_its_transaction() -> None:
    assert KEYS.parse_commits(KEYS.commits(2**40)) == 2**40


def test_a_parsed_stamp_key_gives_its_stamp() -> None:
    assert KEYS.parse_vtx(KEYS.vtx(STAMP)) == STAMP


def test_a_parsed_delta_key_gives_transaction_and_chunk() -> None:
    assert KEYS.parse_delta(KEYS.delta(2**40, 7)) == (2**40, 7)


@pytest.mark.parametrize("name", ["db", "a/b", "ä"])
def test_a_parsed_pointer_key_gives_its_database(name: str) -> None:
    assert parse_database_pointer_key(database_pointer_key(name, OTHER)) == (name, OTHER)


def test_a_parsed_branch_record_key_gives_its_branch() -> None:
    assert parse_branch_record_key(branch_record_key(BRANCH)) == BRANCH


@pytest.mark.parametrize(
    ("parse", "key"),
    [
        (KEYS.parse_pidx, KEYS.commits(1)),
        (KEYS.parse_pidx, KEYS.pidx(1) + b"\x00"),
        (KEYS.parse_pidx, KEYS.pidx(1)[:-1]),
        (KEYS.parse_pidx, BranchKeys(OTHER).pidx(1)),
        (KEYS.parse_commits, KEYS.pidx(1)),
        (KEYS.parse_commits, BranchKeys(OTHER).commits(1)),
        (KEYS.parse_commits, KEYS.commits(1)[:-1]),
        (KEYS.parse_vtx, KEYS.head),
        (KEYS.parse_vtx, BranchKeys(OTHER).vtx(STAMP)),
        (KEYS.parse_delta, KEYS.pidx(1)),
        (KEYS.parse_delta, BranchKeys(OTHER).delta(1, 1)),
        (KEYS.parse_delta, KEYS.delta(1, 1).replace(b"\x01/", b"\x01-")),
        (KEYS.parse_delta, KEYS.delta(1, 1) + b"\x00"),
        (parse_branch_record_key, KEYS.head),
        (parse_branch_record_key, KEYS.record[:-1]),
        (parse_branch_record_key, b"\x02\x20"),
        (parse_database_pointer_key, KEYS.record),
        (parse_database_pointer_key, b"\x02\x10" + bytes(16) + b"//cur"),
        (parse_database_pointer_key, b"\x02\x10" + bytes(16) + b"-db/cur"),
        (parse_database_pointer_key, b"\x02\x10" + bytes(16) + b"/\xff/cur"),
        (parse_database_pointer_key, database_pointer_key("db")[:-1]),
    ],
)
def test_a_key_of_another_shape_is_refused(parse: Callable[[bytes], object], key: bytes) -> None:
    with pytest.raises(KeyMalformed, match="check which range"):
        parse(key)


@pytest.mark.parametrize(
    ("key_range", "inside", "outside"),
    [
        (KEYS.pidx_range(), [KEYS.pidx(0), KEYS.pidx(2**32 - 1)], [KEYS.head, KEYS.commits(1), KEYS.delta(1, 0)]),
        (KEYS.pidx_range(5), [KEYS.pidx(5), KEYS.pidx(6)], [KEYS.pidx(4)]),
        (KEYS.commits_range(), [KEYS.commits(0), KEYS.commits(2**64 - 1)], [KEYS.head, KEYS.pidx(1)]),
        (KEYS.commits_range(3), [KEYS.commits(3)], [KEYS.commits(2)]),
        (KEYS.vtx_range(), [KEYS.vtx(bytes(16)), KEYS.vtx(b"\xff" * 16)], [KEYS.pidx(1)]),
        (KEYS.delta_range(2), [KEYS.delta(2, 0), KEYS.delta(2, 2**32 - 1)], [KEYS.delta(1, 9), KEYS.delta(3, 0)]),
        (KEYS.all_deltas_range(), [KEYS.delta(0, 0), KEYS.delta(2**64 - 1, 2**32 - 1)], [KEYS.head]),
        (KEYS.all_deltas_range(2), [KEYS.delta(2, 0)], [KEYS.delta(1, 2**32 - 1)]),
        (KEYS.all_range(), [KEYS.head, KEYS.vtx(STAMP)], [KEYS.record, BranchKeys(OTHER).head]),
        (branch_record_range(), [KEYS.record], [KEYS.head, database_pointer_key("db")]),
        (database_pointer_range(), [database_pointer_key("db")], [KEYS.record]),
    ],
)
def test_a_range_holds_its_family_and_nothing_else(
    key_range: tuple[bytes, bytes], inside: list[bytes], outside: list[bytes]
) -> None:
    begin, end = key_range
    assert [key for key in inside + outside if begin <= key < end] == inside


def test_the_key_after_a_prefix_is_above_all_its_keys() -> None:
    assert after_prefix(b"a/") > b"a/" + b"\xff" * 20


def test_a_branch_id_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="branch id has 16 bytes, this one 3"):
        BranchKeys(b"abc")


def test_a_stamp_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="versionstamp has 16 bytes"):
        KEYS.vtx(b"abc")


def test_an_empty_database_id_is_refused() -> None:
    with pytest.raises(ValueError, match="name the database"):
        database_pointer_key("")


def test_a_malformed_key_error_rebuilds_from_its_args() -> None:
    error = KeyMalformed("PIDX", b"a")
    assert str(type(error)(*error.args)) == str(error)
