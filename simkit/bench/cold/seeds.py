"""What is in the database before it goes to sleep: seven seeds, each a fixed stream of statements.

A page's number depends on when it was allocated, so the order of the rows, the number of rows in one INSERT and the
table it goes to are part of the benchmark: 50 orders, then their 100 items, then their 50 events share the file in
another way than one order with its items and event at a time. Nothing is drawn: what looks random comes from
`scramble`, a multiplication that maps the 32-bit integers one to one, so keys made of it never collide.

It does not create the tables (`schema` does), except the one that the migrations work on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, assert_never

from simkit.bench.cold.sizes import ROW_BYTES

Statement = tuple[str, tuple[Any, ...]]
Row = tuple[Any, ...]

EPOCH_MS: Final = 1_700_000_000_000
"""The moment, in Unix milliseconds, that every seed counts its times from."""

CHAT_THREAD: Final = "rw-chat-main"
CHAT_CHUNK_BYTES: Final = 4_096
CHAT_CHUNK_TOKENS: Final = 1_024
RUSH_MESSAGES: Final = 2_500
RUSH_TOOL_REFERENCES: Final = 240
RUSH_EVENTS: Final = 700
RUSH_VALUES: Final = 40
RUSH_TOOLS: Final = 41
RUSH_META: Final = 12
RUSH_ROWS: Final = RUSH_MESSAGES + RUSH_TOOL_REFERENCES + RUSH_EVENTS + RUSH_VALUES + RUSH_TOOLS + RUSH_META

_TRANSACTION_ROWS: Final = 128
_PAYLOAD_BYTES_MAX: Final = 512
_UINT32: Final = 0xFFFF_FFFF

_PLANS: Final = ("free", "pro", "team", "enterprise")
_REGIONS: Final = ("iad", "sfo", "fra", "sin")
_ORDER_STATES: Final = ("pending", "paid", "shipped", "refunded")
_EVENT_TYPES: Final = ("click", "purchase", "refund", "shipment")
_SOURCE_STATES: Final = ("open", "closed", "failed", "pending")


class Seed(StrEnum):
    """Which data a workload finds."""

    COMMERCE = "commerce"
    DOCS = "docs"
    LEDGER = "ledger"
    CHAT_LOG = "chat-log"
    SQL_RUSH = "sql-rush"
    MIGRATION = "migration"
    MIGRATION_SKEWED = "migration-skewed"


def scramble(value: int) -> int:
    """A fixed one-to-one map of the unsigned 32-bit integers that looks random."""
    return ((value ^ 0x9E37_79B9) * 0x85EB_CA6B) & _UINT32


def scrambled_hex(value: int) -> str:
    """`scramble(value)` as eight lower-case hexadecimal digits."""
    return f"{scramble(value):08x}"


def padded(prefix: str, size_bytes: int) -> str:
    """`prefix`, filled up with `x` to `size_bytes`; a longer prefix stays whole. ASCII only."""
    return prefix.ljust(size_bytes, "x")


def rows_for(target_bytes: int, row_bytes: int = ROW_BYTES) -> int:
    """How many rows of `row_bytes` make at least `target_bytes`: one or more."""
    return max(1, -(-target_bytes // row_bytes))


def seed_rows(seed: Seed | None, target_bytes: int, row_bytes: int = ROW_BYTES) -> int:
    """How many rows of its main table the seed writes; 0 without a seed."""
    match seed:
        case None:
            return 0
        case Seed.CHAT_LOG:
            return rows_for(target_bytes, CHAT_CHUNK_BYTES)
        case Seed.SQL_RUSH:
            return RUSH_ROWS
        case Seed.COMMERCE | Seed.DOCS | Seed.LEDGER | Seed.MIGRATION | Seed.MIGRATION_SKEWED:
            return rows_for(target_bytes, row_bytes)
        case _:
            assert_never(seed)


def seed_statements(seed: Seed | None, target_bytes: int, row_bytes: int = ROW_BYTES) -> Iterator[Statement]:
    """Every statement that sets the database up, with its parameters, in order, BEGIN and COMMIT among them.

    Without a seed only what an earlier run left behind is removed.
    """
    rows = seed_rows(seed, target_bytes, row_bytes)
    match seed:
        case None:
            return _drop_leftovers()
        case Seed.COMMERCE:
            return _commerce(rows, row_bytes)
        case Seed.DOCS:
            return _docs(rows, row_bytes)
        case Seed.LEDGER:
            return _ledger(rows, row_bytes)
        case Seed.CHAT_LOG:
            return _chat_log(rows)
        case Seed.SQL_RUSH:
            return _sql_rush()
        case Seed.MIGRATION:
            return _migration(rows, row_bytes, skewed=False)
        case Seed.MIGRATION_SKEWED:
            return _migration(rows, row_bytes, skewed=True)
        case _:
            assert_never(seed)


def insert(table: str, columns: Sequence[str], rows: Sequence[Row]) -> Statement:
    """One INSERT of all of `rows`, each as long as `columns`, every value a parameter."""
    assert rows, f"nothing to insert into {table}"
    one = f"({', '.join('?' * len(columns))})"
    text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))}"  # noqa: S608 - every value is a parameter
    return text, tuple(value for row in rows for value in row)


def batches(start: int, stop: int, size: int) -> Iterator[range]:
    """`range(start, stop)` in pieces of `size`, the last one with what is left."""
    return (range(first, min(stop, first + size)) for first in range(start, stop, size))


def _inserts(
    table: str, columns: Sequence[str], row: Callable[[int], Row], indices: range, batch_rows: int
) -> Iterator[Statement]:
    for batch in batches(indices.start, indices.stop, batch_rows):
        yield insert(table, columns, [row(index) for index in batch])


def _in_transactions(
    table: str, columns: Sequence[str], row: Callable[[int], Row], rows: int, batch_rows: int
) -> Iterator[Statement]:
    for transaction in batches(0, rows, _TRANSACTION_ROWS):
        yield "BEGIN", ()
        yield from _inserts(table, columns, row, transaction, batch_rows)
        yield "COMMIT", ()


_ORDER_COLUMNS: Final = ("id", "customer_id", "created_at", "status", "total_cents", "shard", "note")
_ITEM_COLUMNS: Final = ("order_id", "sku", "quantity", "price_cents", "line_no")
_EVENT_COLUMNS: Final = ("account_id", "event_type", "created_at", "entity_key", "properties")
_ITEMS_PER_ORDER: Final = 2
_ACCOUNTS: Final = 64


def insert_orders(rows: Sequence[Row]) -> Statement:
    """One INSERT into rw_orders; a row is id, customer, created_at, status, total_cents, shard, note."""
    return insert("rw_orders", _ORDER_COLUMNS, rows)


def _commerce(rows: int, row_bytes: int) -> Iterator[Statement]:
    customers = max(32, -(-rows // 16))
    for table in ("rw_order_items", "rw_orders", "rw_customers", "rw_events"):
        yield f"DELETE FROM {table}", ()  # noqa: S608 - one of four names
    yield "BEGIN", ()
    yield from _inserts(
        "rw_customers", ("id", "account_id", "email", "plan", "region"), _customer, range(customers), 50
    )
    yield "COMMIT", ()
    for transaction in batches(0, rows, _TRANSACTION_ROWS):
        yield "BEGIN", ()
        for batch in batches(transaction.start, transaction.stop, 50):
            yield insert_orders([_order(i, customers, row_bytes) for i in batch])
            items = [_item(i, line) for i in batch for line in range(_ITEMS_PER_ORDER)]
            yield insert("rw_order_items", _ITEM_COLUMNS, items)
            yield insert("rw_events", _EVENT_COLUMNS, [_event(i, customers, row_bytes) for i in batch])
        yield "COMMIT", ()


def _customer(i: int) -> Row:
    return i + 1, f"acct-{i % _ACCOUNTS}", f"user-{scrambled_hex(i)}@example.test", _PLANS[i % 4], _REGIONS[i % 4]


def _customer_of(i: int, customers: int) -> int:
    return scramble(i) % customers + 1


def _order(i: int, customers: int, row_bytes: int) -> Row:
    status = _ORDER_STATES[i % 4]
    cents = 500 + scramble(i + 17) % 25_000
    note = padded(f"order-{i + 1}-{status}:", row_bytes)
    return i + 1, _customer_of(i, customers), EPOCH_MS + 1_000 * i, status, cents, i % 128, note


def _item(i: int, line: int) -> Row:
    sku = f"sku-{scrambled_hex(i + line)[:6]}"
    return i + 1, sku, 1 + (i + line) % 5, 100 + scramble(i + line + 31) % 5_000, line


def _event(i: int, customers: int, row_bytes: int) -> Row:
    account = f"acct-{_customer_of(i, customers) % _ACCOUNTS}"
    properties = padded(f"event-{i + 1}:", min(row_bytes, _PAYLOAD_BYTES_MAX))
    return account, _EVENT_TYPES[i % 4], EPOCH_MS + 1_000 * i, f"order:{i + 1}", properties


def _docs(rows: int, row_bytes: int) -> Iterator[Statement]:
    def row(i: int) -> Row:
        rank = scramble(i)
        return f"doc-{scrambled_hex(i)}", rank, f"tenant-{rank % 128}", padded(f"doc-{i}-{rank}:", row_bytes), row_bytes

    return _in_transactions(
        "rw_docs", ("external_key", "row_rank", "tenant_id", "body", "body_bytes"), row, rows, batch_rows=75
    )


def _ledger(rows: int, row_bytes: int) -> Iterator[Statement]:
    def row(i: int) -> Row:
        account, entry = f"acct-{i % 256:04d}", i // 256 + 1
        cents = (100 + i % 10_000) * (1 if i % 2 == 0 else -1)
        memo = padded(f"ledger-{account}-{entry}:", min(row_bytes, _PAYLOAD_BYTES_MAX))
        return account, entry, cents, EPOCH_MS + 1_000 * i, memo

    return _in_transactions(
        "rw_ledger", ("account_id", "entry_id", "amount_cents", "created_at", "memo"), row, rows, batch_rows=100
    )


_CHAT_COLUMNS: Final = ("thread_id", "seq", "role", "content", "content_bytes", "token_estimate", "created_at")


def _chat_log(rows: int) -> Iterator[Statement]:
    def row(i: int) -> Row:
        role = "user" if i % 2 == 0 else "assistant"
        content = padded(f"message-{i}: ", CHAT_CHUNK_BYTES)
        return CHAT_THREAD, i, role, content, CHAT_CHUNK_BYTES, CHAT_CHUNK_TOKENS, EPOCH_MS + i

    yield "BEGIN", ()
    yield from _inserts("rw_chat_log", _CHAT_COLUMNS, row, range(rows), batch_rows=50)
    yield "COMMIT", ()


def _sql_rush() -> Iterator[Statement]:
    def message(i: int) -> Row:
        role = "user" if i % 3 == 0 else "assistant"
        return i or None, role, padded("msg:", 512), 0, EPOCH_MS - (RUSH_MESSAGES - i) * 1_000

    def tool_reference(i: int) -> Row:
        return i + 1, f"tool_{i % 20}", f"call_{i}", "pending" if i % 5 == 0 else "done"

    def event(i: int) -> Row:
        return i + 1, f"event_{i % 8}", padded("event:", 256), EPOCH_MS - (RUSH_EVENTS - i) * 100

    def value(i: int) -> Row:
        return f"kv_{i}", padded("kv:", 128), EPOCH_MS

    def tool(i: int) -> Row:
        return "exec-1", f"tool_{i}", padded("tool:", 1_024), EPOCH_MS

    def meta(i: int) -> Row:
        return f"key_{i}", padded("meta:", 64)

    yield "BEGIN", ()
    messages, references = range(RUSH_MESSAGES), range(RUSH_TOOL_REFERENCES)
    yield from _inserts("msgs", ("parent", "role", "content", "cancelled", "created_at"), message, messages, 50)
    yield from _inserts("tool_refs", ("msg_id", "tool_name", "tool_call_id", "status"), tool_reference, references, 100)
    yield from _inserts("events", ("seq", "event_type", "payload", "created_at"), event, range(RUSH_EVENTS), 100)
    yield from _inserts("kv", ("key", "value", "updated_at"), value, range(RUSH_VALUES), RUSH_VALUES)
    yield from _inserts("tools", ("executor_id", "name", "spec", "updated_at"), tool, range(RUSH_TOOLS), RUSH_TOOLS)
    yield from _inserts("meta", ("key", "value"), meta, range(RUSH_META), RUSH_META)
    yield "COMMIT", ()


_SOURCE_COLUMNS: Final = ("id", "account_id", "status", "created_at", "total_cents", "body")
_CREATE_SOURCE: Final = (
    "CREATE TABLE rw_migration_source (id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, status TEXT NOT NULL, "
    "created_at INTEGER NOT NULL, total_cents INTEGER NOT NULL, body TEXT NOT NULL)"
)


def _drop_leftovers() -> Iterator[Statement]:
    for table in ("rw_migration_source", "rw_migration_copy", "rw_migration_empty", "rw_migration_audit"):
        yield f"DROP TABLE IF EXISTS {table}", ()


def _migration(rows: int, row_bytes: int, *, skewed: bool) -> Iterator[Statement]:
    def row(i: int) -> Row:
        if skewed:
            account = f"acct-{i % 512 if i % 10 == 0 else i % 8}"
            status = "failed" if i % 20 == 0 else "open"
        else:
            account, status = f"acct-{scramble(i) % 512}", _SOURCE_STATES[i % 4]
        cents = 100 + scramble(i + 41) % 50_000
        return i + 1, account, status, EPOCH_MS + 1_000 * i, cents, padded(f"migration-{i}:", row_bytes)

    yield from _drop_leftovers()
    yield _CREATE_SOURCE, ()
    yield from _in_transactions("rw_migration_source", _SOURCE_COLUMNS, row, rows, batch_rows=50)
