"""Closing a connection waits for its storage 250 ms and no longer, whoever closes it, and publishes nothing by that."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Delay, Fail, FaultRule
from simkit.vfs.connection import DROP_FLUSH_NS
from simkit.vfs.errors import InstanceDead
from simkit.vfs.events import FileClosed, FlushGivenUp

Run = Callable[..., Any]
HOUR_NS = 3_600_000_000_000
NEVER = FaultRule(FaultPoint.COMMIT_BEFORE_TX, Delay(HOUR_NS), nth=2)


def rows(connection: apsw.Connection, sql: str) -> list[Any]:
    return connection.execute(sql).fetchall()


def filled(home: Any, mode: str = "delete") -> Any:
    """A connection that made one commit, of 40 rows."""
    connection = home.vfs.connect()
    connection.pragma("journal_mode", mode)
    connection.pragma("cache_size", 5)
    with connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        connection.executemany("INSERT INTO t(x) VALUES (?)", [(bytes(1000),)] * 40)
    return connection


def spilled(home: Any, mode: str = "delete") -> Any:
    """The same, in the middle of a transaction that has spilled."""
    connection = filled(home, mode)
    connection.execute("BEGIN")
    connection.execute("UPDATE t SET x = 1")
    assert home.database.dirty, "nothing spilled: the test asks nothing"
    return connection


def expect_the_old_state(home: Any) -> None:
    home.reopen()
    connection = home.connect()
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]
    assert rows(connection, "SELECT count(*) FROM t WHERE x = zeroblob(1000)") == [(40,)]


def given_up(home: Any) -> list[str]:
    return [event.cause for event in home.kernel.history if isinstance(event, FlushGivenUp)]


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory"])
def test_drop_returns_although_the_commit_never_resolves(in_depot: Run, mode: str) -> None:
    def body(home: Any) -> None:
        vfs, connection = home.vfs, spilled(home, mode)
        before_ns = home.kernel.now
        vfs.drop(connection)
        assert home.kernel.now - before_ns == DROP_FLUSH_NS
        assert given_up(home) == ["the flush on closing took longer than 250 ms"]
        assert vfs.database.death == given_up(home)[0]
        assert vfs.database.dirty == {}
        assert not vfs.database.open_handles
        assert isinstance(home.kernel.history[-1], FileClosed)
        expect_the_old_state(home)

    in_depot(body, rules=[NEVER])


def test_close_names_why_it_gave_up_and_has_closed(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = spilled(home)
        with pytest.raises(InstanceDead, match="longer than 250 ms"):
            connection.close(True)
        with pytest.raises(apsw.ConnectionClosedError):
            connection.execute("SELECT 1")
        connection.close()
        expect_the_old_state(home)

    in_depot(body, rules=[NEVER])


# APSW has nobody to tell what the end of such a statement failed with.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_statement_that_was_left_half_done_ends_within_the_bound(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = filled(home)
        cursor = connection.execute("UPDATE t SET x = 1 RETURNING id")
        next(cursor)
        before_ns = home.kernel.now
        home.vfs.drop(connection)
        assert home.kernel.now - before_ns == DROP_FLUSH_NS
        expect_the_old_state(home)

    in_depot(body, rules=[NEVER])


def test_rollback_in_time_is_no_matter(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = spilled(home)
        connection.close()
        assert home.database.death is None
        assert given_up(home) == []
        before_ns = home.kernel.now
        home.kernel.sleep(2 * DROP_FLUSH_NS)
        assert home.kernel.now == before_ns + 2 * DROP_FLUSH_NS
        assert home.database.death is None
        expect_the_old_state(home)

    in_depot(body, latency="network-20ms")


def test_rollback_that_fails_is_no_reason_to_stay_open(in_depot: Run) -> None:
    def body(home: Any) -> None:
        vfs, connection = home.vfs, spilled(home)
        vfs.drop(connection)
        assert not vfs.database.open_handles
        assert vfs.database.dirty == {}
        expect_the_old_state(home)

    in_depot(body, rules=[FaultRule(FaultPoint.COMMIT_BEFORE_TX, Fail(), nth=2)])


def test_reader_that_closes_beside_a_writer_returns_at_once(in_depot: Run) -> None:
    def body(home: Any) -> None:
        writer, reader = filled(home), home.vfs.connect(readonly=True)
        rows(reader, "SELECT count(*) FROM t")
        writer.execute("BEGIN IMMEDIATE")
        before_ns = home.kernel.now
        reader.close()
        assert home.kernel.now == before_ns
        assert home.database.death is None
        home.vfs.drop(writer)

    in_depot(body)
