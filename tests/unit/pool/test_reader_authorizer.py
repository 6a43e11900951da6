"""The reader authorizer on its own, and what it meets only while a statement runs."""

from collections.abc import Iterator

import apsw
import pytest

from simkit.pool.classify import classify
from simkit.pool.reader_authorizer import (
    PRAGMAS,
    PRAGMAS_WITH_ARGUMENT,
    Action,
    Kind,
    denial,
    reader_authorizer,
)


@pytest.fixture
def guarded() -> Iterator[apsw.Connection]:
    """Nothing but the authorizer keeps this connection from writing."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 1)").fetchall()
    connection.authorizer = reader_authorizer
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t(x) VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "CREATE TABLE u(x)",
        "CREATE TEMP TABLE u(x)",
        "DROP TABLE t",
        "BEGIN",
        "SAVEPOINT s",
        "ATTACH ':memory:' AS a",
        "DETACH a",
        "ANALYZE",
        "PRAGMA user_version=5",
        "PRAGMA foreign_keys=ON",
        "PRAGMA query_only=OFF",
        "PRAGMA journal_mode",
    ],
)
def test_denied_with_all_other_belts_removed(guarded: apsw.Connection, sql: str) -> None:
    with pytest.raises(apsw.AuthError):
        guarded.execute(sql).fetchall()
    assert not guarded.in_transaction
    assert guarded.execute("SELECT * FROM t").fetchall() == [(1, 1)]


@pytest.mark.parametrize("function", ["changes", "total_changes", "last_insert_rowid", "LOAD_EXTENSION"])
def test_functions_that_are_denied(guarded: apsw.Connection, function: str) -> None:
    argument = "'x'" if function == "LOAD_EXTENSION" else ""
    with pytest.raises(apsw.SQLError, match="not authorized to use function"):
        guarded.execute(f"SELECT {function}({argument})")


def test_argument_of_a_table_valued_pragma_is_judged_while_it_runs(guarded: apsw.Connection) -> None:
    sql = "SELECT name FROM pragma_table_info('t', 'temp')"
    assert classify(guarded, sql).reader_eligible
    with pytest.raises(apsw.Error, match="not authorized"):
        guarded.execute(sql).fetchall()


def test_table_valued_pragma_with_a_table_name_runs(guarded: apsw.Connection) -> None:
    assert guarded.execute("SELECT name FROM pragma_table_info('t')").fetchall() == [("id",), ("x",)]


def test_pragma_with_argument_is_one_without_too() -> None:
    assert PRAGMAS_WITH_ARGUMENT < PRAGMAS


def test_every_action_of_this_sqlite_has_a_kind() -> None:
    codes = [code for code in apsw.mapping_authorizer_function.values() if isinstance(code, int)]
    unknown = [code for code in codes if Action(code, None, None, None, None).kind is Kind.UNKNOWN]
    assert unknown in ([], [apsw.SQLITE_COPY])


def test_action_of_a_later_sqlite_is_denied() -> None:
    action = Action(9999, "a", "b", "main", None)
    assert action.kind is Kind.UNKNOWN
    assert "9999" in (denial(action) or "")
    assert reader_authorizer(9999, "a", "b", "main", None) == apsw.SQLITE_DENY


def test_alter_of_a_temporary_table_is_a_temp_write() -> None:
    assert Action(apsw.SQLITE_ALTER_TABLE, "temp", "t", None, None).kind is Kind.TEMP_WRITE
    assert Action(apsw.SQLITE_ALTER_TABLE, "main", "t", None, None).kind is Kind.SCHEMA_WRITE
