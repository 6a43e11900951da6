"""The bodies of the workloads that write: rows, or the schema.

Outside of `insert_batch` each statement is its own transaction, as the benchmark leaves it: three indexes are three
commits.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from simkit.bench.cold.reads import BY_STATUS, ITEMS_BY_STATUS, aggregated, count_orders, range_scan
from simkit.bench.cold.seeds import batches, insert_orders, padded
from simkit.bench.cold.session import Answer, Rows, Session, answer
from simkit.bench.cold.sizes import ROW_BYTES

BATCH_ROWS: Final = 1_000
BATCH_STATEMENT_ROWS: Final = 50
BATCH_EPOCH_MS: Final = 1_800_000_000_000

_RAISE_SHARDS: Final = "UPDATE rw_orders SET total_cents = total_cents + 1 WHERE shard BETWEEN ? AND ?"
_COUNT_SHARDS: Final = "SELECT COUNT(*) FROM rw_orders WHERE shard BETWEEN ? AND ?"
_HOT_SHARDS: Final = (0, 15)
_TRANSITION_SHARDS: Final = (0, 7)


def read_write_transition(session: Session, rows: int) -> Answer:
    """Three reads and a write at once.

    Whether the reads see the write is open, so the digest leaves out the one column that tells.
    """
    parts = (
        partial(session.execute, BY_STATUS),
        partial(session.execute, ITEMS_BY_STATUS),
        partial(session.execute, _RAISE_SHARDS, _TRANSITION_SHARDS),
        partial(session.execute, _COUNT_SHARDS, _TRANSITION_SHARDS),
    )
    statuses, items, _, shards = session.together(*parts)
    count: int = shards[0][0]
    return answer(aggregated(statuses) + aggregated(items) + count, [group[:2] for group in statuses], items, count)


def insert_batch(session: Session, rows: int) -> Answer:
    """A thousand new orders in one transaction."""
    count = count_orders(session)
    session.execute("BEGIN")
    for batch in batches(0, BATCH_ROWS, BATCH_STATEMENT_ROWS):
        session.execute(*insert_orders([_new_order(count + 1 + i, i) for i in batch]))
    session.execute("COMMIT")
    return answer(BATCH_ROWS, count)


def _new_order(order: int, i: int) -> tuple[int | str, ...]:
    note = padded(f"wake-insert-{order}:", ROW_BYTES)
    return order, i % 128 + 1, BATCH_EPOCH_MS + i, "pending", 1_000 + i, i % 128, note


def update_hot(session: Session, rows: int) -> Answer:
    """An eighth of the orders get one cent more."""
    session.execute(_RAISE_SHARDS, _HOT_SHARDS)
    count = count_orders(session)
    return answer(count, count)


def delete_churn(session: Session, rows: int) -> Answer:
    """An eighth of the orders go, the rest is read in ranges of ids that now have gaps."""
    session.execute("DELETE FROM rw_orders WHERE shard BETWEEN ? AND ?", _HOT_SHARDS)
    return range_scan(session, rows)


def _all(session: Session, *statements: str) -> Answer:
    found: list[Rows] = [session.execute(sql) for sql in statements]
    return answer(len(statements), found)


def create_indexes(session: Session, rows: int) -> Answer:
    """Three indexes on a table that has rows."""
    return _all(
        session,
        "CREATE INDEX idx_rw_migration_account ON rw_migration_source(account_id)",
        "CREATE INDEX idx_rw_migration_created ON rw_migration_source(created_at)",
        "CREATE INDEX idx_rw_migration_status_total ON rw_migration_source(status, total_cents)",
    )


def create_indexes_skewed(session: Session, rows: int) -> Answer:
    """Two indexes on columns with few values."""
    return _all(
        session,
        "CREATE INDEX idx_rw_migration_account_created ON rw_migration_source(account_id, created_at)",
        "CREATE INDEX idx_rw_migration_status_total ON rw_migration_source(status, total_cents)",
    )


def rebuild_table(session: Session, rows: int) -> Answer:
    """A table is copied to one with a column more, which takes its name."""
    return _all(
        session,
        "CREATE TABLE rw_migration_copy (id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, status TEXT NOT NULL, "
        "created_at INTEGER NOT NULL, total_cents INTEGER NOT NULL, body TEXT NOT NULL, archived_at INTEGER)",
        "INSERT INTO rw_migration_copy (id, account_id, status, created_at, total_cents, body, archived_at) "
        "SELECT id, account_id, status, created_at, total_cents, body, NULL FROM rw_migration_source",
        "DROP TABLE rw_migration_source",
        "ALTER TABLE rw_migration_copy RENAME TO rw_migration_source",
    )


def add_column(session: Session, rows: int) -> Answer:
    """A column more, without touching the rows."""
    return _all(session, "ALTER TABLE rw_migration_source ADD COLUMN archived_at INTEGER")


def small_definitions(session: Session, rows: int) -> Answer:
    """Definitions on empty tables."""
    return _all(
        session,
        "CREATE TABLE rw_migration_empty "
        "(id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, created_at INTEGER NOT NULL)",
        "ALTER TABLE rw_migration_empty ADD COLUMN status TEXT NOT NULL DEFAULT 'new'",
        "CREATE INDEX idx_rw_migration_empty ON rw_migration_empty(tenant_id, created_at)",
        "CREATE TABLE rw_migration_audit (id INTEGER PRIMARY KEY, migration_name TEXT NOT NULL, "
        "applied_at INTEGER NOT NULL)",
    )
