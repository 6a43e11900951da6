"""The cold-read benchmark over plain SQLite: page counts, page reads and rows against the published tables.

A published row counts each read of a page of the main file, as a hit or a miss. That sum does not depend on the
VFS, only on the schema, the seed, the statements and SQLite's own cache, so all of these are checked here, without one.
The numbers of the released system leave out what the open and the wake read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import apsw
import pytest

from simkit.bench.bare_vfs import PAGE_SIZE, BareFile, BareJournal, BareVfs
from simkit.bench.cold import reads
from simkit.bench.cold.schema import SCHEMAS, WAKE
from simkit.bench.cold.seeds import Seed, seed_rows, seed_statements
from simkit.bench.cold.session import Rows
from simkit.bench.cold.sizes import Profile, SizeClass, target_bytes
from simkit.bench.cold.workloads import WORKLOADS, Answer, UnknownWorkload, Workload, workload_named

T = TypeVar("T")

DEFAULT_CACHE = -2_000
RELEASED_CACHE = -8_192


@dataclass
class CountingVfs(BareVfs):
    """A bare VFS that notes which page each read of the main file asks for, and how many pages each sync has."""

    content: bytes
    numbers: list[int] = field(default_factory=list)
    synced_pages: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        pages = range(len(self.content) // PAGE_SIZE)
        super().__init__({i: self.content[i * PAGE_SIZE :][:PAGE_SIZE] for i in pages}, lambda: None)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> BareFile:  # type: ignore[override]  # APSW takes any object with these methods
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return CountingFile(self)
        assert name is not None
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return BareJournal(self.aux.setdefault(path, bytearray()))


class CountingFile(BareFile):
    """A handle on the main file that tells its VFS."""

    def __init__(self, store: CountingVfs) -> None:
        super().__init__(store)
        self._counts = store

    def xRead(self, amount: int, offset: int) -> bytes:
        self._counts.numbers.append(offset // PAGE_SIZE + 1)
        return super().xRead(amount, offset)

    def xSync(self, flags: int) -> None:
        if self._counts.dirty:
            self._counts.synced_pages.append(len(self._counts.dirty))
        super().xSync(flags)


@dataclass(frozen=True)
class PlainSession:
    """One connection; what should run together runs in turn."""

    connection: apsw.Connection

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        return list(self.connection.execute(sql, tuple(params)))

    def together(self, *parts: Callable[[], T]) -> list[T]:
        return [part() for part in parts]


@dataclass(frozen=True)
class Run:
    """What one workload gave and read."""

    answer: Answer
    setup_pages: int
    pages: int
    numbers: tuple[int, ...]
    body_from: int
    synced_pages: tuple[int, ...]

    @property
    def reads(self) -> int:
        return len(self.numbers)

    @property
    def body(self) -> tuple[int, ...]:
        return self.numbers[self.body_from :]


@cache
def _database(schema: str, seed: Seed | None, size: SizeClass) -> bytes:
    connection = apsw.Connection(":memory:")
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum=NONE")
    for sql in SCHEMAS[schema]:
        connection.execute(sql)
    for sql, parameters in seed_statements(seed, target_bytes(size, Profile.SMOKE)):
        connection.execute(sql, parameters)
    content = connection.serialize("main")
    connection.close()
    return content


def _page_count(connection: apsw.Connection) -> int:
    return int(connection.execute("PRAGMA page_count").get)


@cache
def _run(name: str, schema: str, cache_size: int = DEFAULT_CACHE) -> Run:
    workload = workload_named(name)
    store = CountingVfs(_database(schema, workload.seed, workload.size))
    connection = apsw.Connection("bench", vfs=store.vfs_name)
    pragmas = ("journal_mode=DELETE", "synchronous=NORMAL", "temp_store=MEMORY", "locking_mode=EXCLUSIVE")
    for pragma in (*pragmas, f"cache_size={cache_size}"):
        list(connection.execute(f"PRAGMA {pragma}"))
    setup_pages = _page_count(connection)
    wake = ("BEGIN IMMEDIATE", *WAKE, "COMMIT") if schema == "released" else ()
    for sql in (*wake, *SCHEMAS[schema]):
        connection.execute(sql)
    body_from = len(store.numbers)
    rows = seed_rows(workload.seed, target_bytes(workload.size, Profile.SMOKE))
    answer = workload.body(PlainSession(connection), rows)
    pages = _page_count(connection)
    connection.close()
    return Run(answer, setup_pages, pages, tuple(store.numbers), body_from, tuple(store.synced_pages))


def _released(name: str) -> Run:
    return _run(name, "released", RELEASED_CACHE)


@pytest.mark.parametrize(("schema", "pages"), [("april", 16), ("chat", 18), ("merge", 30), ("released", 46)])
def test_an_empty_database_has_the_published_number_of_pages(schema: str, pages: int) -> None:
    assert len(_database(schema, None, SizeClass.NONE)) == pages * PAGE_SIZE


@pytest.mark.parametrize("schema", list(SCHEMAS))
def test_a_schema_can_be_created_twice(schema: str) -> None:
    connection = apsw.Connection(":memory:")
    for sql in SCHEMAS[schema] * 2:
        connection.execute(sql)
    assert connection.execute("SELECT COUNT(*) > 12 FROM sqlite_schema").get


@pytest.mark.parametrize(
    ("seed", "size", "schema", "pages"),
    [
        (Seed.COMMERCE, SizeClass.LARGE, "april", 1_230),
        (Seed.COMMERCE, SizeClass.MEDIUM, "april", 622),
        (Seed.COMMERCE, SizeClass.SMALL, "april", 165),
        (Seed.DOCS, SizeClass.LARGE, "april", 1_062),
        (Seed.CHAT_LOG, SizeClass.LARGE, "chat", 597),
    ],
)
def test_a_seeded_database_has_the_published_number_of_pages(
    seed: Seed, size: SizeClass, schema: str, pages: int
) -> None:
    assert len(_database(schema, seed, size)) == pages * PAGE_SIZE


# Workload, schema, rows, page reads (hits and misses).
PUBLISHED = [
    ("rowid-range-forward", "april", 1_024, 1_035),
    ("join-order-items", "april", 2_048, 32),
    ("secondary-index-covering-range", "april", 1_024, 11),
    ("aggregate-time-bucket", "april", 1_024, 1_030),
    ("chat-log-count", "chat", 512, 7),
    ("small-schema-read", "april", 128, 4),
    ("aggregate-status", "april", 1_024, 1_037),
    ("parallel-read-aggregates", "april", 4_112, 2_047),
    ("random-point-lookups", "april", 1_000, 1_011),
    ("write-batch-after-wake", "april", 1_000, 15),
]


@pytest.mark.parametrize(("name", "schema", "rows", "page_reads"), PUBLISHED)
def test_rows_and_page_reads_are_the_published_ones(name: str, schema: str, rows: int, page_reads: int) -> None:
    run = _run(name, schema)
    assert (run.answer.rows, run.reads) == (rows, page_reads)


def test_page_one_is_read_three_times_and_not_by_the_workload() -> None:
    run = _run("rowid-range-forward", "april")
    assert run.numbers[:3] == (1, 1, 1)
    assert 1 not in run.body


def test_a_forward_scan_reads_pages_in_the_published_order() -> None:
    assert _run("rowid-range-forward", "april").body[:10] == (12, 367, 368, 717, 1_065, 3, 640, 17, 18, 19)


def test_a_batch_of_inserts_grows_the_file_as_published() -> None:
    run = _run("write-batch-after-wake", "april")
    assert (run.setup_pages, run.pages) == (622, 1_642)


# Workload, page count after the run, hits and misses of the body.
RELEASED = [
    ("aggregate-status", 1_262, 1_034),
    ("chat-log-sum", 627, 581),
    ("hot-index-cold-table", 1_094, 13),
    ("migration-create-indexes-large", 1_090, 1_027),
    ("rowid-range-forward", 1_262, 1_032),
    ("small-range-scan", 197, 130),
]


@pytest.mark.parametrize(("name", "pages", "page_reads"), RELEASED)
def test_pages_and_page_reads_are_those_of_the_released_system(name: str, pages: int, page_reads: int) -> None:
    run = _released(name)
    assert (run.pages, len(run.body)) == (pages, page_reads)


def test_internal_tables_take_pages_2_to_17() -> None:
    connection = apsw.Connection(":memory:")
    for sql in SCHEMAS["released"]:
        connection.execute(sql)
    names = "SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0 ORDER BY rootpage"
    roots: list[tuple[int, str]] = list(connection.execute(names))
    assert [root for root, _ in roots[:17]] == list(range(2, 19))
    assert all("_sys_" in name for _, name in roots[:16])
    assert roots[16] == (18, "rw_customers")


def _wake(seed: Seed | None, size: SizeClass, wakes: int) -> tuple[list[int], int]:
    """The pages that each of some wakes writes, and how many the file has more after all of them."""
    store = CountingVfs(_database("released", seed, size))
    connection = apsw.Connection("bench", vfs=store.vfs_name)
    before = _page_count(connection)
    for sql in ("BEGIN IMMEDIATE", *WAKE, "COMMIT") * wakes:
        connection.execute(sql)
    assert connection.execute("PRAGMA freelist_count").get == 1
    return store.synced_pages, _page_count(connection) - before


@pytest.mark.parametrize("seed", [None, Seed.COMMERCE, Seed.DOCS, Seed.LEDGER, Seed.CHAT_LOG, Seed.SQL_RUSH])
def test_a_first_wake_writes_five_pages_and_adds_two(seed: Seed | None) -> None:
    assert _wake(seed, SizeClass.MEDIUM, 1) == ([5], 2)


@pytest.mark.parametrize("seed", [Seed.MIGRATION, Seed.MIGRATION_SKEWED])
def test_a_wake_adds_one_page_where_a_migration_has_a_table_more(seed: Seed) -> None:
    assert _wake(seed, SizeClass.MEDIUM, 1) == ([3], 1)


def test_a_second_wake_uses_the_free_page() -> None:
    assert _wake(None, SizeClass.NONE, 2) == ([5, 3], 2)


def test_three_indexes_are_three_commits() -> None:
    assert len(_released("migration-create-indexes-large").synced_pages) == 1 + 3


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_gives_the_same_answer_whatever_the_cache_and_schema(workload: Workload) -> None:
    small, large = _run(workload.name, "merge"), _run(workload.name, "merge", RELEASED_CACHE)
    assert small.answer == large.answer
    assert small.answer.rows > 0
    # What the schema is, is the one question with another answer.
    assert workload.name == "small-schema-read" or _released(workload.name).answer == small.answer


def test_a_digest_tells_other_rows_apart() -> None:
    small, large = _run("small-range-scan", "april"), _run("rowid-range-forward", "april")
    assert small.answer.digest != large.answer.digest


# Query, and what its plan has to say.
PLANS = [
    (reads.COUNT_ORDERS, "COVERING INDEX idx_rw_orders_created"),
    (reads.NOTE_LENGTH, "SEARCH rw_orders USING INTEGER PRIMARY KEY (rowid=?)"),
    (reads.NOTES_BETWEEN, "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    (reads.BY_STATUS, "SCAN rw_orders USING INDEX idx_rw_orders_status_created"),
    (reads.BY_TIME_BUCKET, "SCAN rw_orders"),
    (reads.BY_EVENT_TYPE, "SEARCH e USING INDEX idx_rw_events_account_created"),
    (reads.ITEMS_BY_STATUS, "SCAN o USING COVERING INDEX idx_rw_orders_status_created"),
    (reads.DOC_KEYS, "USING COVERING INDEX idx_rw_docs_external_rank"),
    (reads.DOC_SIZES, "SEARCH rw_docs USING INDEX"),
    (reads.TENANT_DOCS, "USING COVERING INDEX idx_rw_docs_tenant_rank"),
    (reads.FEED, "USING INDEX idx_rw_orders_created"),
    (reads.FEED_FIRST_TIMES, "USING COVERING INDEX idx_rw_orders_created"),
    (reads.LEDGER_RANGE, "SEARCH rw_ledger USING PRIMARY KEY"),
    (reads.CHAT_NEWEST, "SCAN rw_chat_log"),
    (reads.CHAT_INDEXED, "USING INDEX idx_rw_chat_log_thread_seq (thread_id=? AND seq>?)"),
    (reads.CHAT_COUNT, "USING COVERING INDEX idx_rw_chat_log_thread_seq"),
    (reads.CHAT_SUM, "USING INDEX idx_rw_chat_log_thread_seq"),
]


@pytest.mark.parametrize(("sql", "step"), PLANS)
def test_a_query_is_planned_as_its_workload_means(sql: str, step: str) -> None:
    connection = apsw.Connection(":memory:")
    for statement in SCHEMAS["merge"]:
        connection.execute(statement)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?"))
    assert any(step in row[3] for row in plan)


def test_there_are_32_workloads_in_order() -> None:
    assert [workload.number for workload in WORKLOADS] == list(range(1, 33))
    assert len({workload.name for workload in WORKLOADS}) == 32


def test_the_matrix_runs_fourteen() -> None:
    assert sum(workload.in_matrix for workload in WORKLOADS) == 14
    assert workload_named("migration-create-indexes-large").in_matrix
    assert not workload_named("small-rowid-point").in_matrix


def test_four_workloads_run_statements_together() -> None:
    names = [workload.name for workload in WORKLOADS if workload.parallel]
    assert names == [
        "parallel-read-aggregates", "parallel-read-write-transition", "chat-tool-read-fanout", "chat-tool-script",
    ]  # fmt: skip


def test_only_parallel_workloads_use_together() -> None:
    class Alone(PlainSession):
        def together(self, *parts: Callable[[], T]) -> list[T]:
            raise AssertionError("together")

    for workload in WORKLOADS:
        connection = apsw.Connection(":memory:")
        connection.deserialize("main", _database("merge", workload.seed, workload.size))
        rows = seed_rows(workload.seed, target_bytes(workload.size, Profile.SMOKE))
        if workload.parallel:
            with pytest.raises(AssertionError, match="together"):
                workload.body(Alone(connection), rows)
        else:
            workload.body(Alone(connection), rows)


def test_an_unknown_name_is_answered_with_those_like_it() -> None:
    with pytest.raises(UnknownWorkload, match=r"did you mean .*rowid-range-forward"):
        workload_named("rowid-range-foward")


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(UnknownWorkload, match=r"the names are small-rowid-point, .*migration-ddl-small"):
        workload_named("zzz")
