"""SQLite does over the depot what it does over a file: the same SQL, the same answers, the same errors."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

Run = Callable[..., Any]


def rows(connection: apsw.Connection, sql: str, *params: Any) -> list[Any]:
    return connection.execute(sql, params or None).fetchall()


def fill(connection: apsw.Connection, count: int = 200, size: int = 500) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)")
    with connection:
        connection.executemany("INSERT INTO t(x) VALUES (zeroblob(?))", [(size,)] * count)


def check(home: Any, expected: list[Any], sql: str = "SELECT count(*) FROM t") -> None:
    home.reopen()
    connection = home.connect()
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]
    assert rows(connection, sql) == expected


@pytest.mark.parametrize("page_size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_every_page_size(at_home: Run, page_size: int) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("page_size", page_size)
        fill(connection)
        assert connection.pragma("page_size") == page_size
        check(home, [(200,)])

    at_home(body, page_size=page_size)


def test_page_size_other_than_the_depots(at_home: Run) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("page_size", 1024)
        fill(connection)
        check(home, [(200,)])
        connection = home.connect()
        connection.pragma("page_size", 16384)
        connection.execute("VACUUM")
        assert connection.pragma("page_size") == 16384
        check(home, [(200,)])

    at_home(body, page_size=4096)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "off"])
def test_journal_modes(at_home: Run, mode: str) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        assert connection.pragma("journal_mode", mode) == mode
        fill(connection, 20)
        if mode != "off":
            connection.execute("BEGIN; DELETE FROM t; ROLLBACK").fetchall()
        connection.execute("DELETE FROM t WHERE id = 1")
        check(home, [(19,)])

    at_home(body)


@pytest.mark.parametrize("auto_vacuum", [0, 1, 2])
def test_vacuum_truncates_and_regrows(at_home: Run, auto_vacuum: int) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("auto_vacuum", auto_vacuum)
        fill(connection)
        large = connection.pragma("page_count")
        connection.execute("DELETE FROM t WHERE id > 3")
        if auto_vacuum == 2:
            connection.execute("PRAGMA incremental_vacuum").fetchall()
        elif auto_vacuum == 0:
            connection.execute("VACUUM")
        assert connection.pragma("page_count") < large / 4
        check(home, [(3,)])
        fill(home.connect(), 100)
        check(home, [(103,)])
        check(home, [(bytes(500),)], "SELECT DISTINCT x FROM t")

    at_home(body)


def test_large_transaction_that_spills(at_home: Run) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("cache_size", 10)
        fill(connection, 500)
        connection.execute("BEGIN")
        connection.execute("UPDATE t SET x = zeroblob(700)")
        connection.execute("ROLLBACK")
        assert rows(connection, "SELECT DISTINCT length(x) FROM t") == [(500,)]
        with connection:
            connection.execute("UPDATE t SET x = zeroblob(701)")
        check(home, [(701,)], "SELECT DISTINCT length(x) FROM t")

    at_home(body)


def test_savepoints(at_home: Run) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("cache_size", 5)
        fill(connection, 100)
        for sql in (
            "BEGIN",
            "UPDATE t SET x = zeroblob(400)",
            "SAVEPOINT a",
            "DELETE FROM t",
            "SAVEPOINT b",
            "INSERT INTO t(x) VALUES (1)",
            "ROLLBACK TO a",
            "DELETE FROM t WHERE id > 50",
            "RELEASE a",
            "COMMIT",
        ):
            connection.execute(sql).fetchall()
        check(home, [(50, 400)], "SELECT count(*), max(length(x)) FROM t")

    at_home(body)


@pytest.mark.parametrize("store", ["memory", "file"])
def test_temporary_and_attached_databases(at_home: Run, store: str) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("temp_store", store)
        connection.pragma("cache_size", 5)
        fill(connection, 100)
        connection.execute("CREATE TEMP TABLE u AS SELECT * FROM t")
        connection.execute("ATTACH ':memory:' AS other")
        connection.execute("CREATE TABLE other.v(x)")
        with connection:
            connection.execute("INSERT INTO other.v SELECT x FROM u")
            connection.execute("DELETE FROM t WHERE id <= 60")
        assert rows(connection, "SELECT count(*) FROM v") == [(100,)]
        assert len(rows(connection, "SELECT * FROM t ORDER BY random()")) == 40
        check(home, [(40,)])

    at_home(body)


def test_write_ahead_log_is_not_entered(in_depot: Run) -> None:
    def body(home: Any) -> None:
        for mode in ("NORMAL", "EXCLUSIVE"):
            connection = home.connect()
            connection.pragma("locking_mode", mode)
            fill(connection, 1)
            with pytest.raises(apsw.Error, match="journal_mode=WAL"):
                connection.execute("PRAGMA main.journal_mode = WAL").fetchall()
            assert connection.pragma("journal_mode") == "delete"
            home.reopen()
        check(home, [(2,)])

    in_depot(body)


def test_readers_and_a_writer_see_real_locks(at_home: Run) -> None:
    def body(home: Any) -> None:
        one, two, three = home.connect(), home.connect(), home.connect()
        fill(one, 3)
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(apsw.BusyError):
            two.execute("BEGIN IMMEDIATE")
        assert rows(two, "SELECT count(*) FROM t") == [(3,)]
        reading = two.execute("SELECT id FROM t")
        next(reading)
        one.execute("DELETE FROM t")
        with pytest.raises(apsw.BusyError):
            one.execute("COMMIT")
        with pytest.raises(apsw.BusyError):  # the writer is pending: no new readers
            rows(three, "SELECT count(*) FROM t")
        reading.close(True)
        one.execute("COMMIT")
        assert rows(three, "SELECT count(*) FROM t") == [(0,)]
        one.execute("BEGIN EXCLUSIVE")
        with pytest.raises(apsw.BusyError):
            rows(two, "SELECT count(*) FROM t")
        one.execute("ROLLBACK")

    at_home(body)


def test_two_writers_that_read_first_do_not_both_get_in(at_home: Run) -> None:
    def body(home: Any) -> None:
        one, two = home.connect(), home.connect()
        fill(one, 3)
        for connection in (one, two):
            connection.execute("BEGIN")
            rows(connection, "SELECT count(*) FROM t")
        one.execute("DELETE FROM t WHERE id = 1")
        with pytest.raises(apsw.BusyError):
            two.execute("DELETE FROM t WHERE id = 2")
        two.execute("ROLLBACK")
        one.execute("COMMIT")
        check(home, [(2,)])

    at_home(body)


def test_connection_sees_what_another_one_committed(at_home: Run) -> None:
    def body(home: Any) -> None:
        one, two = home.connect(), home.connect()
        fill(one, 50)
        assert rows(two, "SELECT count(*) FROM t") == [(50,)]
        one.execute("DELETE FROM t WHERE id > 10")
        one.execute("VACUUM")
        assert rows(two, "SELECT count(*) FROM t") == [(10,)]
        two.execute("CREATE TABLE u(x)")
        assert rows(one, "SELECT count(*) FROM u") == [(0,)]

    at_home(body)


def test_read_only_connection_refuses_to_write(at_home: Run) -> None:
    def body(home: Any) -> None:
        fill(home.connect(), 2)
        reader = home.connect(readonly=True)
        assert rows(reader, "SELECT count(*) FROM t") == [(2,)]
        with pytest.raises(apsw.ReadOnlyError):
            reader.execute("DELETE FROM t")
        check(home, [(2,)])

    at_home(body)


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL", "FULL", "EXTRA"])
@pytest.mark.parametrize("journal_mode", ["DELETE", "MEMORY", "OFF"])
def test_commit_is_durable_whatever_synchronous_says(in_depot: Run, synchronous: str, journal_mode: str) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.execute(f"PRAGMA journal_mode = {journal_mode}").fetchall()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        fill(connection, 30)
        home.crash()
        check(home, [(30,)])

    in_depot(body)


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_locking_modes(at_home: Run, mode: str) -> None:
    def body(home: Any) -> None:
        connection = home.connect()
        connection.pragma("locking_mode", mode)
        for _ in range(3):
            fill(connection, 10)
        with pytest.raises(apsw.ConstraintError):
            connection.execute("INSERT INTO t(id) VALUES (1)")
        check(home, [(30,)])

    at_home(body)


def test_empty_database_is_empty(at_home: Run) -> None:
    def body(home: Any) -> None:
        assert rows(home.connect(), "SELECT * FROM sqlite_schema") == []
        check(home, [], "SELECT * FROM sqlite_schema")

    at_home(body)
