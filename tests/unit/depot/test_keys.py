"""The depot's keys: their layout, their order, and the strict inverse."""

from collections.abc import Callable

import pytest

from simkit.depot.keys import (
    BranchKeys,
    KeyMalformed,
    after_prefix,
    all_pins_range,
    branch_record_key,
    branch_record_range,
    database_pointer_key,
    database_pointer_range,
    dirty_range,
    parse_branch_record_key,
    parse_database_pointer_key,
    parse_dirty_key,
    parse_restore_point_key,
    restore_point_key,
    restore_point_range,
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
        (KEYS.head_at_fork, PREFIX + b"META/head_at_fork"),
        (KEYS.root, PREFIX + b"CMP/root"),
        (KEYS.shard(2, 5, 1), PREFIX + b"SHARD/\0\0\0\x02/" + bytes(7) + b"\x05/\0\0\0\x01"),
        (
            KEYS.stage(9, 2, 5, 1),
            PREFIX + b"CMP/stage/\0\0\0\x09/hot_shard/\0\0\0\x02/" + bytes(7) + b"\x05/\0\0\0\x01",
        ),
        (KEYS.pitr(1_000), PREFIX + b"PITR_INTERVAL/" + bytes(6) + b"\x03\xe8"),
        (KEYS.dirty, b"\x02\x75" + BRANCH),
        (KEYS.pin("fork", "7"), b"\x02\x70" + BRANCH + b"/fork/7"),
        (restore_point_key("db", "a-b"), b"\x02\x50db\x00a-b"),
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


def test_shard_keys_sort_by_shard_then_version_then_chunk() -> None:
    order = [(0, 1, 0), (0, 1, 1), (0, 256, 0), (1, 1, 0), (256, 2**63, 2)]
    assert sorted(KEYS.shard(*parts) for parts in reversed(order)) == [KEYS.shard(*parts) for parts in order]


def test_keys_of_times_sort_by_time() -> None:
    times = [0, 255, 256, 1_700_000_000_000]
    assert sorted(map(KEYS.pitr, reversed(times))) == [KEYS.pitr(time) for time in times]


@pytest.mark.parametrize("parts", [(0, 0, 0), (0x2F2F2F2F, 0x2F2F2F2F2F2F2F2F, 0x2F2F2F2F), (2**32 - 1, 2**64 - 1, 5)])
def test_a_parsed_shard_key_gives_shard_version_and_chunk(parts: tuple[int, int, int]) -> None:
    assert KEYS.parse_shard(KEYS.shard(*parts)) == parts


@pytest.mark.parametrize("job", [0, 0x2F2F2F2F, 2**32 - 1])
def test_a_parsed_stage_key_gives_job_shard_version_and_chunk(job: int) -> None:
    assert KEYS.parse_stage(KEYS.stage(job, 3, 2**40, 7)) == (job, 3, 2**40, 7)


def test_a_parsed_interval_key_gives_its_start() -> None:
    assert KEYS.parse_pitr(KEYS.pitr(1_700_000_000_000)) == 1_700_000_000_000


def test_a_parsed_dirty_key_gives_its_branch() -> None:
    assert parse_dirty_key(KEYS.dirty) == BRANCH


@pytest.mark.parametrize("name", ["7", "0000000000000001-0000000000000002", "a/b"])
def test_a_parsed_pin_key_gives_kind_and_name(name: str) -> None:
    assert KEYS.parse_pin(KEYS.pin("restore_point", name)) == ("restore_point", name)


@pytest.mark.parametrize("database", ["db", "a/b", "ä"])
def test_a_parsed_restore_point_key_gives_database_and_id(database: str) -> None:
    assert parse_restore_point_key(restore_point_key(database, "1-2")) == (database, "1-2")


def test_a_branch_has_a_number() -> None:
    assert BranchKeys((7).to_bytes(16, "big")).number == 7


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
        (KEYS.parse_shard, KEYS.delta(1, 1)),
        (KEYS.parse_shard, KEYS.shard(1, 1, 1)[:-1]),
        (KEYS.parse_shard, KEYS.shard(1, 1, 1) + b"\x00"),
        (KEYS.parse_shard, BranchKeys(OTHER).shard(1, 1, 1)),
        (KEYS.parse_shard, KEYS.shard(1, 1, 1)[:-5] + b"-" + bytes(4)),
        (KEYS.parse_shard, KEYS.shard(1, 1, 1).replace(b"\x01/" + bytes(7), b"\x01-" + bytes(7), 1)),
        (KEYS.parse_stage, KEYS.shard(1, 1, 1)),
        (KEYS.parse_stage, KEYS.root),
        (KEYS.parse_stage, KEYS.stage(1, 1, 1, 1)[:-1]),
        (KEYS.parse_stage, KEYS.stage(1, 1, 1, 1).replace(b"hot", b"hit")),
        (KEYS.parse_stage, BranchKeys(OTHER).stage(1, 1, 1, 1)),
        (KEYS.parse_pitr, KEYS.commits(1)),
        (KEYS.parse_pitr, KEYS.pitr(1)[:-1]),
        (KEYS.parse_pitr, BranchKeys(OTHER).pitr(1)),
        (KEYS.parse_pin, BranchKeys(OTHER).pin("fork", "7")),
        (KEYS.parse_pin, KEYS.pin("fork", "")),
        (KEYS.parse_pin, KEYS.pin("", "7")),
        (KEYS.parse_pin, KEYS.pins_range()[0] + b"fork"),
        (KEYS.parse_pin, KEYS.pins_range()[0] + b"fork/\xff"),
        (parse_dirty_key, KEYS.record),
        (parse_dirty_key, KEYS.dirty[:-1]),
        (parse_restore_point_key, KEYS.dirty),
        (parse_restore_point_key, restore_point_key("db", "")),
        (parse_restore_point_key, b"\x02\x50db"),
        (parse_restore_point_key, b"\x02\x50/id"),
        (parse_restore_point_key, b"\x02\x50\xff/id"),
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
        (
            KEYS.shard_range(2, 5),
            [KEYS.shard(2, 5, 0), KEYS.shard(2, 5, 2**32 - 1)],
            [KEYS.shard(2, 4, 9), KEYS.shard(2, 6, 0), KEYS.shard(3, 5, 0)],
        ),
        (
            KEYS.shard_versions_range(2),
            [KEYS.shard(2, 0, 0), KEYS.shard(2, 2**64 - 1, 2**32 - 1)],
            [KEYS.shard(1, 5, 0), KEYS.shard(3, 0, 0)],
        ),
        (KEYS.shard_versions_range(2, 5), [KEYS.shard(2, 0, 0), KEYS.shard(2, 5, 9)], [KEYS.shard(2, 6, 0)]),
        (KEYS.all_shards_range(), [KEYS.shard(0, 0, 0), KEYS.shard(2**32 - 1, 0, 0)], [KEYS.head, KEYS.vtx(STAMP)]),
        (KEYS.stage_range(), [KEYS.stage(0, 1, 1, 0), KEYS.stage(2**32 - 1, 1, 1, 0)], [KEYS.root]),
        (KEYS.stage_range(4), [KEYS.stage(4, 1, 1, 0)], [KEYS.stage(3, 9, 9, 9), KEYS.stage(5, 0, 0, 0), KEYS.root]),
        (KEYS.pitr_range(), [KEYS.pitr(0), KEYS.pitr(2**64 - 1)], [KEYS.pidx(1), KEYS.shard(0, 0, 0)]),
        (KEYS.pins_range(), [KEYS.pin("fork", "7")], [BranchKeys(OTHER).pin("fork", "7"), KEYS.dirty]),
        (all_pins_range(), [KEYS.pin("fork", "7"), BranchKeys(OTHER).pin("fork", "7")], [KEYS.dirty]),
        (dirty_range(), [KEYS.dirty, BranchKeys(OTHER).dirty], [KEYS.pin("fork", "7"), KEYS.record]),
        (restore_point_range("a"), [restore_point_key("a", "1-2")], [restore_point_key("ab", "1-2")]),
        (restore_point_range(), [restore_point_key("a", "1"), restore_point_key("b", "1")], [KEYS.pin("fork", "7")]),
        (
            KEYS.all_range(),
            [KEYS.head, KEYS.vtx(STAMP), KEYS.root, KEYS.stage(1, 1, 1, 1), KEYS.pitr(1)],
            [KEYS.record, BranchKeys(OTHER).head, KEYS.dirty, KEYS.pin("fork", "7")],
        ),
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


def test_an_empty_database_id_has_no_restore_points() -> None:
    with pytest.raises(ValueError, match="name the database"):
        restore_point_key("", "1-2")


def test_a_malformed_key_error_rebuilds_from_its_args() -> None:
    error = KeyMalformed("PIDX", b"a")
    assert str(type(error)(*error.args)) == str(error)


def test_a_range_of_restore_points_holds_those_of_one_database_only() -> None:
    begin, end = restore_point_range("a")
    assert begin <= restore_point_key("a", "1-2") < end
    assert not begin <= restore_point_key("a/b", "1-2") < end
    with pytest.raises(ValueError, match="zero character"):
        restore_point_key("a\0b", "1-2")
