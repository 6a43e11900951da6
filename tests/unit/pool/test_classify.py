"""What a statement is and whether a reader may run it: SQLite's answer, for each kind of statement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from simkit.pool.classify import (
    Classification,
    ClassificationCache,
    NulInStatement,
    classify,
    holds_statement,
)
from simkit.pool.reader_authorizer import Kind, denial, reader_authorizer

SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, x);
CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES t);
CREATE INDEX t_x ON t(x);
CREATE VIEW v AS SELECT x FROM t;
INSERT INTO t VALUES (1, 1), (2, 2);
"""

ELIGIBLE = r"""
SELECT 1
SELECT 1;
SELECT 1; \n
SELECT 1; -- c
SELECT 1; /* c */ ; -- d
SELECT 1;;
SELECT ';'
SELECT 1 -- ; DELETE FROM t
-- c\nSELECT 1
; SELECT 1
/* ü */ SELECT 'é;ß' ; -- ü
SELECT x FROM t WHERE id = ? AND x = :x
SELECT * FROM v
SELECT count(*) FROM t
WITH x AS (SELECT 1) SELECT * FROM x
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n
SELECT * FROM sqlite_schema
SELECT * FROM json_each('[1]')
SELECT 1 FROM MAIN.t
VALUES (1), (2)
EXPLAIN SELECT * FROM t
EXPLAIN QUERY PLAN SELECT * FROM t
PRAGMA user_version
PRAGMA main.user_version
PRAGMA schema_version
PRAGMA page_count
PRAGMA encoding
PRAGMA table_info(t)
PRAGMA Table_XInfo('t')
PRAGMA table_list(t)
PRAGMA index_list(t)
PRAGMA index_info(t_x)
PRAGMA foreign_key_list(child)
PRAGMA foreign_key_check(child)
PRAGMA integrity_check
PRAGMA integrity_check(10)
PRAGMA quick_check(t)
SELECT * FROM pragma_table_info('t')
SELECT count(*) FROM pragma_index_list('t')
SELECT * FROM pragma_page_count
""".strip().split("\n")

NOT_ELIGIBLE = r"""
SELECT 1; SELECT 2 | further statement
SELECT 1; nonsense | further statement
SELECT 1; 'open | further statement
SELECT 1; -- c\nDELETE FROM t | further statement
WITH x AS (SELECT 7) INSERT INTO t(x) SELECT * FROM x | changes data (INSERT t)
INSERT INTO t(x) VALUES (1) RETURNING id | changes data (INSERT t)
UPDATE t SET x = 1 | changes data (UPDATE t)
DELETE FROM t | changes data (DELETE t)
EXPLAIN INSERT INTO t(x) VALUES (1) | changes data
EXPLAIN QUERY PLAN DELETE FROM t | changes data
BEGIN | controls a transaction (TRANSACTION BEGIN)
BEGIN IMMEDIATE | controls a transaction
EXPLAIN BEGIN | controls a transaction
COMMIT | controls a transaction (TRANSACTION COMMIT)
ROLLBACK | controls a transaction
SAVEPOINT s | controls a transaction (SAVEPOINT BEGIN)
RELEASE s | controls a transaction
ROLLBACK TO s | controls a transaction
PRAGMA user_version = 5 | PRAGMA user_version with an argument
PRAGMA temp.table_info(t) | 'temp'
PRAGMA foreign_keys | PRAGMA foreign_keys
PRAGMA synchronous | PRAGMA synchronous
PRAGMA locking_mode | PRAGMA locking_mode
PRAGMA data_version | PRAGMA data_version
PRAGMA auto_vacuum | PRAGMA auto_vacuum
PRAGMA threads | PRAGMA threads
PRAGMA query_only | PRAGMA query_only
PRAGMA busy_timeout | PRAGMA busy_timeout
PRAGMA cache_size | PRAGMA cache_size
PRAGMA database_list | PRAGMA database_list
PRAGMA no_such_pragma | PRAGMA no_such_pragma
PRAGMA foreign_keys=ON | PRAGMA foreign_keys
PRAGMA Foreign_Keys(1) | PRAGMA foreign_keys
EXPLAIN PRAGMA foreign_keys=ON | PRAGMA foreign_keys
PRAGMA busy_timeout=100 | PRAGMA busy_timeout
PRAGMA cache_size=-4000 | PRAGMA cache_size
PRAGMA synchronous=OFF | PRAGMA synchronous
PRAGMA temp_store=MEMORY | PRAGMA temp_store
PRAGMA recursive_triggers=ON | PRAGMA recursive_triggers
PRAGMA defer_foreign_keys=ON | PRAGMA defer_foreign_keys
PRAGMA writable_schema=ON | PRAGMA writable_schema
PRAGMA case_sensitive_like=ON | PRAGMA case_sensitive_like
PRAGMA page_size=8192 | PRAGMA page_size with an argument
PRAGMA locking_mode=NORMAL | PRAGMA locking_mode
PRAGMA query_only=OFF | PRAGMA query_only
PRAGMA optimize | PRAGMA optimize
PRAGMA journal_mode | PRAGMA journal_mode
PRAGMA journal_mode = WAL | PRAGMA journal_mode
PRAGMA wal_checkpoint | PRAGMA wal_checkpoint
PRAGMA incremental_vacuum | PRAGMA incremental_vacuum
SELECT * FROM pragma_data_version | PRAGMA data_version
SELECT 1 FROM pragma_optimize | PRAGMA optimize
VACUUM | SQLite says that it writes
VACUUM INTO 'copy' | SQLite says that it writes
ATTACH ':memory:' AS a | attaches
DETACH a | attaches
CREATE TABLE u(y) | changes the schema
CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; | changes the schema
ALTER TABLE t ADD COLUMN z | changes the schema (ALTER TABLE main)
DROP TABLE child | changes the schema
CREATE VIRTUAL TABLE f USING fts5(y) | changes the schema
CREATE TEMP TABLE u(y) | temporary objects
CREATE TABLE temp.u(y) | temporary objects
CREATE TEMP VIEW u AS SELECT 1 | temporary objects
SELECT * FROM sqlite_temp_schema | 'temp'
SELECT count(*) FROM TEMP.sqlite_master | 'TEMP'
SELECT load_extension('x') | load_extension()
ANALYZE | changes
REINDEX | changes data (REINDEX t_x)
SELECT changes() | changes() answers for the connection
SELECT x FROM t WHERE id = LAST_INSERT_ROWID() | last_insert_rowid() answers for the connection
SELECT total_changes() | total_changes() answers for the connection
""".strip().split("\n")


def unescaped(line: str) -> str:
    return line.replace("\\n", "\n")


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "database")
    connection = apsw.Connection(path)
    connection.execute(SCHEMA).fetchall()
    connection.close()
    return path


@pytest.fixture
def connection(path: str) -> Iterator[apsw.Connection]:
    """As a reader has it, but for the authorizer."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("PRAGMA query_only=ON").fetchall()
    yield connection
    connection.close()


@pytest.mark.parametrize("line", ELIGIBLE)
def test_reader_gets_what_only_reads(connection: apsw.Connection, line: str) -> None:
    classification = classify(connection, unescaped(line))
    assert classification.reader_eligible, classification.reasons
    assert classification.reasons == ("it only reads, and nothing that is of one connection",)
    assert classification.readonly
    assert classification.tail is None


@pytest.mark.parametrize("line", ELIGIBLE)
def test_reader_runs_what_it_gets(connection: apsw.Connection, line: str) -> None:
    connection.authorizer = reader_authorizer
    bindings = {"x": 1} if ":x" in line else None
    sql = unescaped(line).replace("?", ":x")
    assert connection.execute(sql, bindings).fetchall() is not None


@pytest.mark.parametrize("line", NOT_ELIGIBLE)
def test_writer_gets_the_rest_for_a_reason(connection: apsw.Connection, line: str) -> None:
    sql, reason = unescaped(line).rsplit(" | ", 1)
    classification = classify(connection, sql)
    assert not classification.reader_eligible
    assert any(reason in given for given in classification.reasons), classification.reasons


@pytest.mark.parametrize("line", NOT_ELIGIBLE)
def test_recorded_actions_foretell_the_reader_authorizer(connection: apsw.Connection, line: str) -> None:
    sql = unescaped(line).rsplit(" | ", 1)[0]
    classification = classify(connection, sql)
    connection.authorizer = reader_authorizer
    denied = False
    try:
        connection.execute(sql.removesuffix(classification.tail or "")).fetchall()
    except apsw.Error as error:
        denied = "not authorized" in str(error) or "prohibited" in str(error)
    assert denied is any(denial(action) is not None for action in classification.actions)


@pytest.mark.parametrize("sql", ["", " ", ";;", "-- c", "/* c", "/* c */ ; -- d\n"])
def test_text_without_a_statement(connection: apsw.Connection, sql: str) -> None:
    classification = classify(connection, sql)
    assert classification == Classification(False, True, 0, None, (), False, ("there is no statement to run",))


@pytest.mark.parametrize(
    ("sql", "tail"),
    [
        ("SELECT 1; SELECT 2; SELECT 3", "SELECT 2; SELECT 3"),
        ("SELECT 'ä;'; -- ö\nSELECT 2", "-- ö\nSELECT 2"),
        ("SELECT 1; PRAGMA foreign_keys=ON", "PRAGMA foreign_keys=ON"),
        ("SELECT 1; x", "x"),
        ("SELECT 1; ; ; /* c */ ;", None),
    ],
)
def test_tail_is_what_stands_after_the_first_statement(connection: apsw.Connection, sql: str, tail: str | None) -> None:
    assert classify(connection, sql).tail == tail


@pytest.mark.parametrize(
    ("sql", "explain"), [("SELECT 1", 0), ("EXPLAIN SELECT 1", 1), ("EXPLAIN QUERY PLAN SELECT 1", 2)]
)
def test_explain_is_told_apart(connection: apsw.Connection, sql: str, explain: int) -> None:
    assert classify(connection, sql).explain == explain


@pytest.mark.parametrize("sql", ["SELECT * FROM missing", "SELEC", "SELECT ("])
def test_text_that_does_not_compile_raises_what_sqlite_says(connection: apsw.Connection, sql: str) -> None:
    with pytest.raises(apsw.SQLError):
        classify(connection, sql)


@pytest.mark.parametrize("sql", ["SELECT 1\0", "SELECT '\0'", "\0"])
def test_nul_is_refused(connection: apsw.Connection, sql: str) -> None:
    with pytest.raises(NulInStatement, match=f"position {sql.index(chr(0))}"):
        classify(connection, sql)


@pytest.mark.parametrize("prefix", ["", "EXPLAIN "])
@pytest.mark.parametrize("name", ["query_only", "foreign_keys", "recursive_triggers"])
def test_classifying_a_pragma_does_not_carry_it_out(connection: apsw.Connection, prefix: str, name: str) -> None:
    before = connection.pragma(name)
    for value in ("ON", "OFF"):
        classify(connection, f"{prefix}PRAGMA {name}={value}")
        classify(connection, f"SELECT 1; {prefix}PRAGMA {name}={value}")
    assert connection.pragma(name) == before


def test_nothing_is_run(path: str) -> None:
    connection = apsw.Connection(path)
    for sql in ("INSERT INTO t(x) VALUES (1)", "DROP TABLE child", "BEGIN", "ATTACH ':memory:' AS a", "VACUUM"):
        classify(connection, sql)
    assert connection.total_changes() == 0
    assert not connection.in_transaction
    assert connection.db_names() == ["main", "temp"]
    connection.close()


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT * FROM missing", "SELECT 1\0"])
@pytest.mark.parametrize("authorizer", [None, reader_authorizer])
def test_authorizer_is_the_one_from_before(connection: apsw.Connection, sql: str, authorizer: apsw.Authorizer) -> None:
    connection.authorizer = authorizer
    try:
        classify(connection, sql)
    except apsw.SQLError:
        assert sql != "SELECT 1"
    assert connection.authorizer is authorizer


def test_installed_authorizer_does_not_judge_meanwhile(connection: apsw.Connection) -> None:
    connection.authorizer = reader_authorizer
    assert classify(connection, "DELETE FROM t").of_kind(Kind.DATA_WRITE)


@pytest.mark.parametrize(
    ("sql", "kind", "seen"),
    [
        ("SAVEPOINT s", Kind.TRANSACTION, ("BEGIN", "s")),
        ("ATTACH ':memory:' AS a", Kind.ATTACHMENT, (":memory:", None)),
        ("CREATE TABLE u(y)", Kind.SCHEMA_WRITE, ("u", None)),
        ("CREATE TEMP TABLE u(y)", Kind.TEMP_WRITE, ("u", None)),
        ("UPDATE t SET x = 1", Kind.DATA_WRITE, ("t", "x")),
        ("PRAGMA cache_size=-4", Kind.PRAGMA, ("cache_size", "-4")),
        ("SELECT * FROM pragma_table_info('t')", Kind.PRAGMA, ("pragma_table_info", "cid")),
        ("SELECT abs(x) FROM t", Kind.FUNCTION, (None, "abs")),
    ],
)
def test_actions_are_recorded_by_kind(
    connection: apsw.Connection, sql: str, kind: Kind, seen: tuple[str | None, str | None]
) -> None:
    assert seen in [(action.first, action.second) for action in classify(connection, sql).of_kind(kind)]


def test_action_is_recorded_once(connection: apsw.Connection) -> None:
    actions = classify(connection, "SELECT x, x, abs(x), abs(x) FROM t").actions
    assert len(set(actions)) == len(actions)


def test_view_is_what_it_is_made_of(path: str) -> None:
    connection = apsw.Connection(path)
    connection.execute("CREATE VIEW counted AS SELECT changes() AS n").fetchall()
    reasons = classify(connection, "SELECT * FROM counted").reasons
    assert reasons == ("changes() answers for the connection that it runs on",)
    connection.close()


def test_action_names_the_view_it_comes_from(connection: apsw.Connection) -> None:
    assert "v" in [action.source for action in classify(connection, "SELECT * FROM v").actions]


@pytest.mark.parametrize("sql", ["REINDEX", "BEGIN", "EXPLAIN BEGIN", "x", "'", "VACUUM", "PRAGMA p", "; SELECT 1"])
def test_there_is_a_statement(sql: str) -> None:
    assert holds_statement(sql)


def test_cache_asks_sqlite_once(connection: apsw.Connection) -> None:
    cache = ClassificationCache()
    assert cache.classify(connection, "SELECT x FROM t") is cache.classify(connection, "SELECT x FROM t")


def test_cache_keeps_what_was_asked_for_last(connection: apsw.Connection) -> None:
    cache = ClassificationCache(entries_max=2)
    one = cache.classify(connection, "SELECT 1")
    two = cache.classify(connection, "SELECT 2")
    assert cache.classify(connection, "SELECT 1") is one
    cache.classify(connection, "SELECT 3")
    assert len(cache) == 2
    assert cache.classify(connection, "SELECT 1") is one
    assert cache.classify(connection, "SELECT 2") is not two


def test_cache_forgets_the_schema(path: str) -> None:
    connection, cache = apsw.Connection(path), ClassificationCache()
    assert cache.classify(connection, "SELECT * FROM v").reader_eligible
    connection.execute("DROP VIEW v; CREATE VIEW v AS SELECT total_changes()").fetchall()
    cache.forget()
    assert not cache.classify(connection, "SELECT * FROM v").reader_eligible
    connection.close()


def test_cache_does_not_remember_errors(path: str) -> None:
    connection, cache = apsw.Connection(path), ClassificationCache()
    with pytest.raises(apsw.SQLError):
        cache.classify(connection, "SELECT * FROM later")
    connection.execute("CREATE TABLE later(x)").fetchall()
    assert cache.classify(connection, "SELECT * FROM later").reader_eligible
    connection.close()


def test_cache_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ClassificationCache(entries_max=0)
