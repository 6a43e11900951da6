"""The tables that a workload finds, in four versions.

The benchmark grew: its first published runs (`april`) have neither the chat log nor the tables of the chat tool,
later ones (`chat`) have the log, and the pull request as merged (`merge`) has all. Page numbers depend on what was
created and in which order, so the order of the statements is part of the version. Empty databases of 4 KiB pages have
16, 18 and 30 pages; two of the 30 hold the schema table itself, which no longer fits on page 1.

`released` is `merge` in a database that a released system runs: its own tables come first. Known of those is only
that their roots take pages 2 to 17, so that the first root of a user's table is page 18, and that a wake commits once,
writing 5 pages and growing the file by 2. What they hold is our own invention; the length of their definitions is not.
The measured counts (46 pages when empty; three new indexes of 16 pages end at page 1,090 and not 1,091; a scan of the
table before them fetches one page more than it has) agree with this: the schema fills its two pages so nearly that the
next table splits them, be it the one that a wake makes and drops or the one that a migration works on. The text here is
long enough for that, with some hundred bytes to either side, and tests hold it there.
"""

from __future__ import annotations

from typing import Final

_COMMERCE_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS rw_customers (
  id INTEGER PRIMARY KEY,
  account_id TEXT NOT NULL,
  email TEXT NOT NULL,
  plan TEXT NOT NULL,
  region TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS rw_orders (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  status TEXT NOT NULL,
  total_cents INTEGER NOT NULL,
  shard INTEGER NOT NULL,
  note TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS rw_order_items (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  order_id INTEGER NOT NULL,
  sku TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  price_cents INTEGER NOT NULL,
  line_no INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS rw_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  entity_key TEXT NOT NULL,
  properties TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS rw_docs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  external_key TEXT NOT NULL UNIQUE,
  row_rank INTEGER NOT NULL,
  tenant_id TEXT NOT NULL,
  body TEXT NOT NULL,
  body_bytes INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS rw_ledger (
  account_id TEXT NOT NULL,
  entry_id INTEGER NOT NULL,
  amount_cents INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  memo TEXT NOT NULL,
  PRIMARY KEY (account_id, entry_id)
) WITHOUT ROWID""",
)

_CHAT_LOG_TABLE: Final = (
    """CREATE TABLE IF NOT EXISTS rw_chat_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  thread_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  content_bytes INTEGER NOT NULL,
  token_estimate INTEGER NOT NULL,
  created_at INTEGER NOT NULL DEFAULT 0
)""",
)

_CHAT_TOOL_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS msgs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  parent INTEGER,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  cancelled INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS tool_refs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  msg_id INTEGER NOT NULL,
  tool_name TEXT NOT NULL,
  tool_call_id TEXT NOT NULL,
  status TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY,
  event_type TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_at INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS kv (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_at INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS tools (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  executor_id TEXT NOT NULL,
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  updated_at INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
)""",
)


def _index(name: str, on: str) -> str:
    return f"CREATE INDEX IF NOT EXISTS {name} ON {on}"


_COMMERCE_INDEXES: Final = (
    _index("idx_rw_orders_customer_created", "rw_orders(customer_id, created_at DESC)"),
    _index("idx_rw_orders_status_created", "rw_orders(status, created_at)"),
    _index("idx_rw_orders_created", "rw_orders(created_at DESC)"),
    _index("idx_rw_order_items_order", "rw_order_items(order_id)"),
    _index("idx_rw_events_account_created", "rw_events(account_id, created_at)"),
    _index("idx_rw_docs_external_rank", "rw_docs(external_key, row_rank)"),
    _index("idx_rw_docs_tenant_rank", "rw_docs(tenant_id, row_rank)"),
)

_CHAT_LOG_INDEX: Final = (_index("idx_rw_chat_log_thread_seq", "rw_chat_log(thread_id, seq DESC)"),)

_CHAT_TOOL_INDEXES: Final = (
    _index("idx_msgs_parent_role_cancelled_created_at", "msgs(parent, role, cancelled, created_at)"),
    _index("idx_tool_refs_msg_id", "tool_refs(msg_id)"),
)

_MERGE: Final = (
    *_COMMERCE_TABLES,
    *_CHAT_LOG_TABLE,
    *_CHAT_TOOL_TABLES,
    *_COMMERCE_INDEXES,
    *_CHAT_LOG_INDEX,
    *_CHAT_TOOL_INDEXES,
)

_INTERNAL: Final = (
    """CREATE TABLE IF NOT EXISTS _sys_meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL CHECK (updated_at >= created_at)
)""",
    """CREATE TABLE IF NOT EXISTS _sys_kv (
  key BLOB PRIMARY KEY,
  value BLOB NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL CHECK (updated_at >= created_at),
  expires_at INTEGER CHECK (expires_at > created_at)
)""",
    """CREATE TABLE IF NOT EXISTS _sys_state (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0),
  encoding TEXT NOT NULL CHECK (encoding IN ('json', 'cbor', 'raw')),
  value BLOB NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL CHECK (updated_at >= created_at)
)""",
    """CREATE TABLE IF NOT EXISTS _sys_queue (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  body BLOB NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 9),
  attempts INTEGER NOT NULL DEFAULT 0,
  attempts_max INTEGER NOT NULL DEFAULT 1 CHECK (attempts_max > 0),
  created_at INTEGER NOT NULL,
  available_at INTEGER NOT NULL CHECK (available_at >= created_at),
  claimed_until INTEGER,
  completed_at INTEGER CHECK (completed_at >= created_at),
  last_error TEXT
)""",
    """CREATE TABLE IF NOT EXISTS _sys_schedule (
  id INTEGER PRIMARY KEY,
  action TEXT NOT NULL,
  arguments BLOB NOT NULL,
  due_at INTEGER NOT NULL,
  repeat_every_ms INTEGER CHECK (repeat_every_ms > 0),
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  last_run_at INTEGER,
  last_error TEXT
)""",
    """CREATE TABLE IF NOT EXISTS _sys_step (
  id INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  name TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'done', 'failed')),
  arguments BLOB NOT NULL,
  result BLOB,
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER CHECK (finished_at >= started_at),
  last_error TEXT
)""",
    """CREATE TABLE IF NOT EXISTS _sys_connection (
  id INTEGER PRIMARY KEY,
  token TEXT NOT NULL UNIQUE,
  parameters BLOB NOT NULL,
  state BLOB NOT NULL,
  state_version INTEGER NOT NULL DEFAULT 0,
  subscriptions BLOB NOT NULL DEFAULT x'',
  hibernates INTEGER NOT NULL DEFAULT 0 CHECK (hibernates IN (0, 1)),
  opened_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  closed_at INTEGER CHECK (closed_at >= opened_at)
)""",
    """CREATE TABLE IF NOT EXISTS _sys_wake (
  id INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL CHECK (generation > 0),
  reason TEXT NOT NULL CHECK (reason IN ('request', 'schedule', 'queue', 'restart')),
  requested_at INTEGER NOT NULL,
  woken_at INTEGER NOT NULL,
  slept_at INTEGER CHECK (slept_at >= woken_at)
)""",
    "CREATE INDEX IF NOT EXISTS idx_sys_queue_name ON _sys_queue(name, priority DESC, available_at, id)",
    "CREATE INDEX IF NOT EXISTS idx_sys_queue_completed ON _sys_queue(completed_at)",
    "CREATE INDEX IF NOT EXISTS idx_sys_schedule_due ON _sys_schedule(due_at)",
    "CREATE INDEX IF NOT EXISTS idx_sys_step_run ON _sys_step(run_id, position)",
)

SCHEMAS: Final[dict[str, tuple[str, ...]]] = {
    "april": (*_COMMERCE_TABLES, *_COMMERCE_INDEXES),
    "chat": (*_COMMERCE_TABLES, *_CHAT_LOG_TABLE, *_COMMERCE_INDEXES, *_CHAT_LOG_INDEX),
    "merge": _MERGE,
    "released": (*_INTERNAL, *_MERGE),
}
"""Statements in order by the version's name; each can be run again without effect."""

WAKE: Final = (
    "CREATE TABLE IF NOT EXISTS _sys_batch_probe (x INTEGER)",
    "INSERT INTO _sys_batch_probe VALUES (1)",
    "DELETE FROM _sys_batch_probe",
    "DROP TABLE _sys_batch_probe",
)
"""What a wake of the released system writes, as one transaction: a table that comes and goes.

Its row is one too many for the two pages of the schema, which become three. So dirty are page 1, these three and the
root of the table; the file has grown by 2, of which the root is free. Where the schema has its third page already, the
file grows by the root alone; a later wake uses the free page again.
"""
