"""The bodies of the workloads that only read.

The text of a query decides its plan, and the plan which pages are fetched: a column more would turn a covering index
into a walk through the table. So each query names exactly the columns that the benchmark asks for. Padded columns are
read through `length`, which walks to the row but lets the client have a number.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from simkit.bench.cold.seeds import CHAT_THREAD, EPOCH_MS, scramble
from simkit.bench.cold.session import Answer, Rows, Session, answer

WINDOW_ROWS: Final = 512
LOOKUPS: Final = 1_000
CHAT_ROWS: Final = 100
DAY_MS: Final = 86_400_000

COUNT_ORDERS: Final = "SELECT COUNT(*) FROM rw_orders"
NOTE_LENGTH: Final = "SELECT length(note) FROM rw_orders WHERE id = ?"
NOTES_BETWEEN: Final = "SELECT COUNT(*), COALESCE(SUM(length(note)), 0) FROM rw_orders WHERE id BETWEEN ? AND ?"
NOTES_DESCENDING: Final = "SELECT length(note) FROM rw_orders WHERE id BETWEEN ? AND ? ORDER BY id DESC"
BY_STATUS: Final = "SELECT status, COUNT(*), SUM(total_cents) FROM rw_orders GROUP BY status ORDER BY status"
BY_TIME_BUCKET: Final = (
    "SELECT created_at / 300000 AS bucket, COUNT(*), SUM(total_cents) FROM rw_orders GROUP BY bucket ORDER BY bucket"
)
BY_EVENT_TYPE: Final = (
    "SELECT e.event_type, COUNT(*), SUM(o.total_cents) FROM rw_events e "
    "JOIN rw_orders o ON o.id = CAST(substr(e.entity_key, 7) AS INTEGER) "
    "WHERE e.account_id = 'acct-7' AND e.created_at BETWEEN ? AND ? GROUP BY e.event_type ORDER BY e.event_type"
)
ITEMS_BY_STATUS: Final = (
    "SELECT o.status, COUNT(*), SUM(i.quantity * i.price_cents) FROM rw_orders o "
    "JOIN rw_order_items i ON i.order_id = o.id GROUP BY o.status ORDER BY o.status"
)
DOC_KEYS: Final = (
    "SELECT external_key, row_rank FROM rw_docs "
    "WHERE external_key BETWEEN 'doc-00000000' AND 'doc-ffffffff' ORDER BY external_key"
)
DOC_SIZES: Final = (
    "SELECT body_bytes FROM rw_docs WHERE external_key BETWEEN 'doc-00000000' AND 'doc-ffffffff' ORDER BY external_key"
)
DOC_SIZE: Final = "SELECT body_bytes FROM rw_docs WHERE id = ?"
TENANT_DOCS: Final = "SELECT id FROM rw_docs WHERE tenant_id = 'tenant-7' ORDER BY row_rank LIMIT 1000"
FEED: Final = (
    "SELECT id, customer_id, created_at, status, total_cents FROM rw_orders "
    "WHERE created_at >= ? ORDER BY created_at DESC LIMIT 1000"
)
FEED_FIRST_TIMES: Final = "SELECT created_at FROM rw_orders WHERE created_at >= ? ORDER BY created_at DESC LIMIT 100"
FEED_AFTER: Final = (
    "SELECT id, customer_id, created_at, status, total_cents FROM rw_orders "
    "WHERE created_at < ? ORDER BY created_at DESC LIMIT 100"
)
LEDGER_RANGE: Final = (
    "SELECT account_id, entry_id, amount_cents, length(memo) FROM rw_ledger "
    "WHERE account_id BETWEEN 'acct-0040' AND 'acct-0180' ORDER BY account_id, entry_id"
)
CHAT_NEWEST: Final = "SELECT seq, role, substr(content, 1, 128) FROM rw_chat_log ORDER BY created_at DESC LIMIT 100"
CHAT_INDEXED: Final = (
    "SELECT seq, role, content_bytes FROM rw_chat_log WHERE thread_id = ? AND seq >= ? ORDER BY seq DESC LIMIT 100"
)
CHAT_COUNT: Final = "SELECT COUNT(*) FROM rw_chat_log WHERE thread_id = ?"
CHAT_SUM: Final = "SELECT SUM(content_bytes) FROM rw_chat_log WHERE thread_id = ?"


def count_orders(session: Session) -> int:
    """How many orders there are."""
    [(count,)] = session.execute(COUNT_ORDERS)
    assert isinstance(count, int)
    return count


def aggregated(groups: Rows) -> int:
    """How many rows went into groups whose second column is their count."""
    return sum(group[1] for group in groups)


def rowid_point(session: Session, rows: int) -> Answer:
    """Fifty times one of sixteen rows."""
    lengths = [session.execute(NOTE_LENGTH, (i % 16 + 1,)) for i in range(50)]
    return answer(len(lengths), lengths)


def schema_read(session: Session, rows: int) -> Answer:
    """What a tool asks of a database it does not know."""
    names = session.execute("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'index') ORDER BY name")
    columns = session.execute("PRAGMA table_info(rw_orders)")
    count = count_orders(session)
    return answer(count, names, columns, count)


def range_scan(session: Session, rows: int) -> Answer:
    """As many ids as there are rows, in whole windows of ascending ids."""
    count = count_orders(session)
    sums = [session.execute(NOTES_BETWEEN, (i, i + WINDOW_ROWS - 1)) for i in range(1, count + 1, WINDOW_ROWS)]
    return answer(sum(aggregate[0][0] for aggregate in sums), count, sums)


def range_scan_backward(session: Session, rows: int) -> Answer:
    """The whole table, in windows of descending ids."""
    count = count_orders(session)
    windows = [(max(1, upper - WINDOW_ROWS + 1), upper) for upper in range(count, 0, -WINDOW_ROWS)]
    lengths = [session.execute(NOTES_DESCENDING, window) for window in windows]
    return answer(sum(map(len, lengths)), lengths)


def docs_covering(session: Session, rows: int) -> Answer:
    """All keys, from an index that holds all that is asked for."""
    found = session.execute(DOC_KEYS)
    return answer(len(found), found)


def docs_scattered(session: Session, rows: int) -> Answer:
    """All rows of a table in the order of an index, which jumps to another page for each."""
    found = session.execute(DOC_SIZES)
    return answer(len(found), found)


def _by_status(session: Session) -> Rows:
    return session.execute(BY_STATUS)


def _by_time_bucket(session: Session) -> Rows:
    return session.execute(BY_TIME_BUCKET)


def _by_event_type(session: Session) -> Rows:
    return session.execute(BY_EVENT_TYPE, (EPOCH_MS, EPOCH_MS + DAY_MS))


def _items_by_status(session: Session) -> Rows:
    return session.execute(ITEMS_BY_STATUS)


def aggregate_status(session: Session, rows: int) -> Answer:
    """Every order, in the order of an index, with a column that the index lacks."""
    groups = _by_status(session)
    return answer(aggregated(groups), groups)


def aggregate_time_bucket(session: Session, rows: int) -> Answer:
    """Every order, in the table's own order."""
    groups = _by_time_bucket(session)
    return answer(aggregated(groups), groups)


def aggregate_tenant(session: Session, rows: int) -> Answer:
    """One account's events and the order of each."""
    groups = _by_event_type(session)
    return answer(aggregated(groups), groups)


def join_items(session: Session, rows: int) -> Answer:
    """Every item with its order's status."""
    groups = _items_by_status(session)
    return answer(aggregated(groups), groups)


def parallel_aggregates(session: Session, rows: int) -> Answer:
    """Four aggregates at once."""
    queries = (_by_status, _by_time_bucket, _by_event_type, _items_by_status)
    found = session.together(*(partial(query, session) for query in queries))
    return answer(sum(map(aggregated, found)), found)


def feed(session: Session, rows: int) -> Answer:
    """The newest thousand orders."""
    found = session.execute(FEED, (EPOCH_MS,))
    return answer(len(found), found)


def feed_pages(session: Session, rows: int) -> Answer:
    """Where the first page of a feed ends, then the page after it."""
    first = session.execute(FEED_FIRST_TIMES, (EPOCH_MS,))
    second = session.execute(FEED_AFTER, first[-1])
    return answer(len(first) + len(second), first, second)


def random_points(session: Session, rows: int) -> Answer:
    """A thousand rows, one by one, in no order."""
    count = count_orders(session)
    lengths = [session.execute(NOTE_LENGTH, (scramble(i) % count + 1,)) for i in range(LOOKUPS)]
    return answer(len(lengths), lengths)


def hot_index(session: Session, rows: int) -> Answer:
    """A few neighbours in an index whose rows lie far apart."""
    found = session.execute(TENANT_DOCS)
    sizes = [session.execute(DOC_SIZE, row) for row in found]
    return answer(len(sizes), found, sizes)


def ledger_range(session: Session, rows: int) -> Answer:
    """A range of a table that is its own index."""
    found = session.execute(LEDGER_RANGE)
    return answer(len(found), found)


def _chat_newest(session: Session) -> Rows:
    return session.execute(CHAT_NEWEST)


def _chat_indexed(session: Session, rows: int) -> Rows:
    return session.execute(CHAT_INDEXED, (CHAT_THREAD, max(0, rows - CHAT_ROWS)))


def _chat_count(session: Session) -> Rows:
    return session.execute(CHAT_COUNT, (CHAT_THREAD,))


def _chat_sum(session: Session) -> Rows:
    return session.execute(CHAT_SUM, (CHAT_THREAD,))


def chat_select_limit(session: Session, rows: int) -> Answer:
    """The newest messages, by a column without an index."""
    found = _chat_newest(session)
    return answer(len(found), found)


def chat_select_indexed(session: Session, rows: int) -> Answer:
    """The newest messages of a thread, through the index made for that."""
    found = _chat_indexed(session, rows)
    return answer(len(found), found)


def chat_count(session: Session, rows: int) -> Answer:
    """How many messages a thread has."""
    found = _chat_count(session)
    return answer(found[0][0], found)


def chat_sum(session: Session, rows: int) -> Answer:
    """A sum over a column that lies behind the long one."""
    found = _chat_sum(session)
    return answer(rows, found)


def chat_fanout(session: Session, rows: int) -> Answer:
    """The four questions about the chat log at once."""
    newest, indexed, count, total = session.together(
        partial(_chat_newest, session),
        partial(_chat_indexed, session, rows),
        partial(_chat_count, session),
        partial(_chat_sum, session),
    )
    return answer(len(newest) + len(indexed) + count[0][0] + rows, newest, indexed, count, total)


TOOL_MESSAGES: Final = (
    "SELECT id, parent, role, length(content), created_at FROM msgs "
    "WHERE role = 'assistant' AND parent IS NOT NULL AND cancelled = 0 ORDER BY created_at DESC LIMIT 50"
)
TOOL_PENDING: Final = (
    "SELECT id, msg_id, tool_name, tool_call_id, status FROM tool_refs "
    "WHERE status = 'pending' ORDER BY id DESC LIMIT 50"
)
TOOL_EVENTS: Final = (
    "SELECT seq, event_type, length(payload), created_at FROM events WHERE seq > 600 ORDER BY seq ASC LIMIT 100"
)
TOOL_VALUES: Final = "SELECT key, length(value), updated_at FROM kv ORDER BY updated_at DESC LIMIT 20"
TOOL_SPECS: Final = (
    "SELECT id, name, length(spec), updated_at FROM tools WHERE executor_id = 'exec-1' ORDER BY updated_at DESC"
)
TOOL_META: Final = "SELECT key, length(value) FROM meta"
TOOL_THREAD: Final = (
    "SELECT m.id, m.role, length(m.content), m.created_at, COUNT(t.id) FROM msgs m "
    "LEFT JOIN tool_refs t ON t.msg_id = m.id AND t.status = 'pending' "
    "GROUP BY m.id ORDER BY m.created_at DESC LIMIT 100"
)
TOOL_SCRIPT: Final = (TOOL_MESSAGES, TOOL_PENDING, TOOL_EVENTS, TOOL_VALUES, TOOL_SPECS, TOOL_META, TOOL_THREAD)
"""What a chat with tools asks for when it is opened."""


def tool_script(session: Session, rows: int) -> Answer:
    """Everything a chat with tools asks for when it is opened, at once."""
    found = session.together(*(partial(session.execute, sql) for sql in TOOL_SCRIPT))
    return answer(sum(map(len, found)), found)
