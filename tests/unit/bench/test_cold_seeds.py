"""What the seeds of the cold-read benchmark write, statement by statement."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.bench.cold.seeds import (
    EPOCH_MS,
    Seed,
    Statement,
    batches,
    insert,
    padded,
    rows_for,
    scramble,
    scrambled_hex,
    seed_rows,
    seed_statements,
)
from simkit.bench.cold.sizes import ROW_BYTES, Profile, SizeClass, target_bytes

_MIB = 1 << 20
UINT32 = st.integers(0, 2**32 - 1)


def _multiplied_in_halves(left: int, right: int) -> int:
    low, high = left & 0xFFFF, left >> 16
    return (low * (right & 0xFFFF) + (((high * (right & 0xFFFF) + low * (right >> 16)) & 0xFFFF) << 16)) % 2**32


def _inserts(statements: Iterable[Statement], table: str) -> list[list[tuple[Any, ...]]]:
    """The rows of each INSERT into a table."""
    found = []
    for sql, parameters in statements:
        if sql.startswith(f"INSERT INTO {table} "):
            width = sql.split(" VALUES ")[0].count(",") + 1
            found.append([parameters[at : at + width] for at in range(0, len(parameters), width)])
    return found


def _sizes(statements: Iterable[Statement], table: str) -> list[int]:
    return [len(rows) for rows in _inserts(statements, table)]


def _rows(statements: Iterable[Statement], table: str) -> list[tuple[Any, ...]]:
    return [row for rows in _inserts(statements, table) for row in rows]


@given(UINT32)
def test_scrambling_is_a_multiplication_of_32_bits(value: int) -> None:
    assert scramble(value) == _multiplied_in_halves(value ^ 0x9E3779B9, 0x85EBCA6B)


@given(UINT32, UINT32)
def test_no_two_values_scramble_to_the_same(one: int, other: int) -> None:
    assert (scramble(one) == scramble(other)) == (one == other)


def test_scrambled_digits_are_eight_and_lower_case() -> None:
    assert all(len(scrambled_hex(i)) == 8 and int(scrambled_hex(i), 16) == scramble(i) for i in range(300))
    assert scrambled_hex(0) == scrambled_hex(0).lower()


def test_padding_fills_up_and_never_cuts() -> None:
    assert padded("ab:", 6) == "ab:xxx"
    assert padded("abcdef", 3) == "abcdef"


@pytest.mark.parametrize(("target", "rows"), [(0, 1), (1, 1), (2_048, 1), (2_049, 2), (2 * _MIB, 1_024)])
def test_rows_cover_the_target_and_are_at_least_one(target: int, rows: int) -> None:
    assert rows_for(target) == rows


def test_batches_end_with_what_is_left() -> None:
    assert list(batches(128, 256, 50)) == [range(128, 178), range(178, 228), range(228, 256)]


def test_an_insert_has_one_parameter_for_each_value() -> None:
    assert insert("t", ("a", "b"), [(1, 2), (3, 4)]) == ("INSERT INTO t (a, b) VALUES (?, ?), (?, ?)", (1, 2, 3, 4))


@pytest.mark.parametrize("seed", [None, *Seed])
def test_transactions_open_and_close_in_turn(seed: Seed | None) -> None:
    marks = [sql for sql, _ in seed_statements(seed, _MIB) if sql in {"BEGIN", "COMMIT"}]
    assert all(one != other for one, other in pairwise(marks))
    assert marks[:1] in ([], ["BEGIN"])
    assert marks[-1:] in ([], ["COMMIT"])


@pytest.mark.parametrize("seed", list(Seed))
def test_a_seed_is_the_same_each_time(seed: Seed) -> None:
    assert list(seed_statements(seed, _MIB)) == list(seed_statements(seed, _MIB))


@pytest.mark.parametrize(
    ("seed", "table"),
    [
        (Seed.COMMERCE, "rw_orders"),
        (Seed.DOCS, "rw_docs"),
        (Seed.LEDGER, "rw_ledger"),
        (Seed.CHAT_LOG, "rw_chat_log"),
        (Seed.MIGRATION, "rw_migration_source"),
        (Seed.MIGRATION_SKEWED, "rw_migration_source"),
    ],
)
def test_a_seed_writes_as_many_rows_as_it_says(seed: Seed, table: str) -> None:
    assert sum(_sizes(seed_statements(seed, _MIB), table)) == seed_rows(seed, _MIB)


def test_commerce_deletes_what_was_there_first() -> None:
    first = [sql for sql, _ in seed_statements(Seed.COMMERCE, _MIB)][:5]
    tables = ["rw_order_items", "rw_orders", "rw_customers", "rw_events"]
    assert first == [*(f"DELETE FROM {table}" for table in tables), "BEGIN"]


def test_a_commerce_transaction_has_three_batches_of_orders_items_and_events() -> None:
    statements = list(seed_statements(Seed.COMMERCE, 256 << 10))
    ends = [i for i, (sql, _) in enumerate(statements) if sql == "COMMIT"]
    tables = [sql.split()[2] for sql, _ in statements[ends[0] + 2 : ends[1]]]
    assert tables == ["rw_orders", "rw_order_items", "rw_events"] * 3
    assert _sizes(statements, "rw_orders") == _sizes(statements, "rw_events") == [50, 50, 28]
    assert _sizes(statements, "rw_order_items") == [100, 100, 56]


def test_customers_are_a_sixteenth_of_the_orders_but_at_least_32() -> None:
    assert _sizes(seed_statements(Seed.COMMERCE, 2 * _MIB), "rw_customers") == [50, 14]
    assert _sizes(seed_statements(Seed.COMMERCE, 256 << 10), "rw_customers") == [32]


def test_an_order_with_its_items_and_its_event() -> None:
    statements = list(seed_statements(Seed.COMMERCE, 2 * _MIB))
    customer = scramble(5) % 64 + 1
    at = EPOCH_MS + 5_000
    assert _rows(statements, "rw_orders")[5] == (
        6, customer, at, "paid", 500 + scramble(22) % 25_000, 5, "order-6-paid:".ljust(ROW_BYTES, "x"),
    )  # fmt: skip
    assert _rows(statements, "rw_order_items")[10:12] == [
        (6, f"sku-{scrambled_hex(5)[:6]}", 1, 100 + scramble(36) % 5_000, 0),
        (6, f"sku-{scrambled_hex(6)[:6]}", 2, 100 + scramble(37) % 5_000, 1),
    ]
    properties = "event-6:".ljust(512, "x")
    assert _rows(statements, "rw_events")[5] == (f"acct-{customer % 64}", "purchase", at, "order:6", properties)


def test_a_document() -> None:
    rank = scramble(3)
    body = f"doc-3-{rank}:".ljust(ROW_BYTES, "x")
    expected = (f"doc-{scrambled_hex(3)}", rank, f"tenant-{rank % 128}", body, ROW_BYTES)
    assert _rows(seed_statements(Seed.DOCS, _MIB), "rw_docs")[3] == expected


def test_documents_come_75_at_a_time_within_128() -> None:
    assert _sizes(seed_statements(Seed.DOCS, 512 << 10), "rw_docs") == [75, 53, 75, 53]


def test_ledger_entries_alternate_in_sign_over_256_accounts() -> None:
    statements = list(seed_statements(Seed.LEDGER, _MIB))
    rows = _rows(statements, "rw_ledger")
    assert _sizes(statements, "rw_ledger")[:2] == [100, 28]
    assert rows[0] == ("acct-0000", 1, 100, EPOCH_MS, "ledger-acct-0000-1:".ljust(512, "x"))
    assert rows[257][:4] == ("acct-0001", 2, -357, EPOCH_MS + 257_000)


def test_the_chat_log_is_one_transaction_of_chunks() -> None:
    statements = list(seed_statements(Seed.CHAT_LOG, 2 * _MIB))
    assert [sql for sql, _ in statements].count("COMMIT") == 1
    assert _sizes(statements, "rw_chat_log") == [50] * 10 + [12]
    content = "message-1: ".ljust(4_096, "x")
    expected = ("rw-chat-main", 1, "assistant", content, 4_096, 1_024, EPOCH_MS + 1)
    assert _rows(statements, "rw_chat_log")[1] == expected


def test_the_rush_has_its_own_size() -> None:
    statements = list(seed_statements(Seed.SQL_RUSH, 1))
    tables = ("msgs", "tool_refs", "events", "kv", "tools", "meta")
    assert [sum(_sizes(statements, table)) for table in tables] == [2_500, 240, 700, 40, 41, 12]
    assert seed_rows(Seed.SQL_RUSH, 1) == 3_533
    assert _rows(statements, "msgs")[:2] == [
        (None, "user", "msg:".ljust(512, "x"), 0, EPOCH_MS - 2_500_000),
        (1, "assistant", "msg:".ljust(512, "x"), 0, EPOCH_MS - 2_499_000),
    ]


def test_migrations_find_even_or_skewed_rows() -> None:
    even = _rows(seed_statements(Seed.MIGRATION, _MIB), "rw_migration_source")
    skewed = _rows(seed_statements(Seed.MIGRATION_SKEWED, _MIB), "rw_migration_source")
    body = "migration-9:".ljust(ROW_BYTES, "x")
    cents = 100 + scramble(50) % 50_000
    assert even[9] == (10, f"acct-{scramble(9) % 512}", "closed", EPOCH_MS + 9_000, cents, body)
    assert [(row[1], row[2]) for row in skewed[8:11]] == [("acct-0", "open"), ("acct-1", "open"), ("acct-10", "open")]
    assert [row[2] for row in skewed].count("failed") == len(skewed[::20])


def test_without_a_seed_only_leftovers_go() -> None:
    assert all(sql.startswith("DROP TABLE IF EXISTS rw_migration_") for sql, _ in seed_statements(None, 0))
    assert seed_rows(None, 0) == 0


def test_the_overflow_class_lies_just_above_the_page_cache() -> None:
    spare = target_bytes(SizeClass.CACHE_OVERFLOW, Profile.STANDARD) - 50_000 * 4_096
    assert spare == 5_963_776


@pytest.mark.parametrize(
    ("profile", "bytes_by_class"),
    [
        (Profile.SMOKE, [0, 262_144, 1_048_576, 1_048_576, 2_097_152, 2_097_152]),
        (Profile.STANDARD, [0, 4_194_304, 67_108_864, 134_217_728, 210_763_776, 268_435_456]),
    ],
)
def test_sizes(profile: Profile, bytes_by_class: list[int]) -> None:
    assert [target_bytes(size, profile) for size in SizeClass] == bytes_by_class
