"""What SQLite and the VFS make of a depot that fails: nothing half done, nothing published that was not committed."""

from collections.abc import Callable
from typing import Any

import apsw
import msgspec
import pytest

from simkit.depot.events import CommitAcknowledged, CommitApplied, CommitRequested
from simkit.depot.fault_points import Boundary, FaultPoint
from simkit.depot.faults import Delay, Fail, FaultRule
from simkit.kernel import Crashed
from simkit.kernel.units import MILLISECOND
from simkit.vfs.errors import InstanceDead, StorageFailed
from simkit.vfs.events import InstanceDied, SyncReturned
from simkit.vfs.main_file import MainFile

Run = Callable[..., Any]
BEFORE = FaultPoint.COMMIT_BEFORE_TX
AFTER = FaultPoint.COMMIT_AFTER_KV_COMMIT


def rule(point: FaultPoint, nth: int) -> FaultRule:
    return FaultRule(point, Fail(), nth=nth)


def rows(connection: apsw.Connection, sql: str) -> list[Any]:
    return connection.execute(sql).fetchall()


def prepared(home: Any, count: int = 40) -> apsw.Connection:
    """A connection with a small cache on a table of `count` rows. Makes one commit."""
    connection: apsw.Connection = home.connect()
    connection.pragma("cache_size", 5)
    connection.pragma("cache_spill", 1)
    with connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        connection.executemany("INSERT INTO t(x) VALUES (?)", [(bytes(1000),)] * count)
    return connection


def check(home: Any, expected: int) -> None:
    home.crash()
    connection = home.connect()
    assert rows(connection, "PRAGMA integrity_check") == [("ok",)]
    assert rows(connection, "SELECT count(*) FROM t WHERE x = zeroblob(1000)") == [(expected,)]


@pytest.mark.parametrize("mode", ["delete", "persist", "memory", "off"])
def test_commit_that_failed_before_it_was_durable_is_rolled_back(in_depot: Run, mode: str) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        with pytest.raises(StorageFailed):
            connection.execute("UPDATE t SET x = 1")
        assert rows(connection, "SELECT count(*) FROM t WHERE x = zeroblob(1000)") == [(40,)]
        connection.execute("DELETE FROM t WHERE id = 1")
        assert home.database.death is None
        check(home, 39)

    in_depot(body, rules=[rule(BEFORE, 2)])


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "off"])
@pytest.mark.parametrize("failures", [1, 2, 3])
def test_rollback_that_fails_too_publishes_nothing(in_depot: Run, mode: str, failures: int) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        with pytest.raises(StorageFailed):
            connection.execute("UPDATE t SET x = 1")
        connection.close(True)
        assert home.database.dirty == {}
        other = home.connect()
        for _ in range(3):
            try:
                other.execute("DELETE FROM t WHERE id = 1")
            except StorageFailed:
                continue
            break
        assert rows(other, "PRAGMA integrity_check") == [("ok",)]
        check(home, 39)

    in_depot(body, rules=[rule(BEFORE, nth) for nth in range(2, 2 + failures)])


def test_lost_reply_ends_at_the_head_fence(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        with pytest.raises(StorageFailed):
            connection.execute("DELETE FROM t WHERE id = 1")
        assert "head_fence_mismatch" in str(home.database.death)
        assert [event.cause for event in home.kernel.history if isinstance(event, InstanceDied)] == [
            "head_fence_mismatch"
        ]
        with pytest.raises(InstanceDead):
            connection.execute("SELECT * FROM t").fetchall()
        check(home, 39)

    in_depot(body, rules=[rule(AFTER, 2)])


def test_cancellation_waits_for_the_outcome_of_a_commit(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        task = home.kernel.spawn(lambda: connection.execute("DELETE FROM t WHERE id = 1"), name="client")
        home.kernel.sleep(1 * MILLISECOND)
        task.cancel()
        home.kernel.wait_for_end(task)
        assert home.database.dirty == {}
        connection.execute("DELETE FROM t WHERE id = 2")
        assert home.database.death is None
        check(home, 38)

    in_depot(body, rules=[FaultRule(AFTER, Delay(50 * MILLISECOND), nth=2)])


@pytest.mark.parametrize("late_reply", [False, True])
def test_commit_that_overtakes_a_read_of_the_same_instance_does_not_end_it(in_depot: Run, late_reply: bool) -> None:
    rules = [FaultRule(FaultPoint.READ_BEFORE_SCOPE_RESOLVE, Delay(5 * MILLISECOND))]
    if late_reply:
        rules.append(FaultRule(AFTER, Delay(50 * MILLISECOND), nth=2))

    def body(home: Any) -> None:
        connection, seen = prepared(home), []
        connection.execute("BEGIN IMMEDIATE; DELETE FROM t WHERE id = 1")
        file = MainFile(home.database, writable=False)
        # As SQLite reads the header when it opens a file: without a lock.
        task = home.kernel.spawn(lambda: seen.append(file.xRead(100, 0)), name="opening", supervised=True)
        home.kernel.sleep(1)
        connection.execute("COMMIT")
        home.kernel.wait_for_end(task)
        assert task.error is None
        assert seen == [file.xRead(100, 0)]
        assert home.database.death is None
        check(home, 39)

    in_depot(body, rules=rules, cache=0)


def test_failed_read_fails_one_statement(in_depot: Run) -> None:
    def body(home: Any) -> None:
        prepared(home)
        home.reopen()
        connection = home.connect()
        with pytest.raises(StorageFailed):
            rows(connection, "SELECT * FROM t")
        assert len(rows(connection, "SELECT * FROM t")) == 40

    in_depot(body, rules=[rule(FaultPoint.READ_BEFORE_RETURN_PAGES, 9)], cache=0)


def test_sync_returns_after_the_reply(in_depot: Run) -> None:
    def body(home: Any) -> None:
        prepared(home)
        kinds = [type(event) for event in home.kernel.history]
        assert kinds.index(CommitApplied) < kinds.index(CommitAcknowledged) < kinds.index(SyncReturned)
        started = next(event.at for event in home.kernel.history if isinstance(event, CommitRequested))
        returned = next(event.at for event in home.kernel.history if isinstance(event, SyncReturned))
        assert returned > started

    in_depot(body, latency="network-20ms")


def test_spilled_pages_stay_in_the_instance(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home, 200)
        commits = home.database.storage.commits
        connection.execute("BEGIN")
        connection.execute("UPDATE t SET x = zeroblob(999)")
        assert home.database.dirty, "nothing spilled: the test asks nothing"
        assert home.database.storage.commits == commits
        check(home, 200)

    in_depot(body)


@pytest.mark.parametrize("mode", ["delete", "memory", "off"])
def test_closing_within_a_transaction_publishes_nothing(in_depot: Run, mode: str) -> None:
    def body(home: Any) -> None:
        connection = prepared(home, 200)
        connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        connection.execute("BEGIN")
        connection.execute("UPDATE t SET x = zeroblob(999)")
        assert home.database.dirty
        connection.close(True)
        assert home.database.dirty == {}
        other = home.connect()
        other.execute("DELETE FROM t WHERE id = 1")
        check(home, 199)

    in_depot(body)


def test_dead_database_does_no_more(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        requests = home.depot.requests_total
        home.database.die("a test")
        for sql in ("SELECT * FROM t", "DELETE FROM t", "CREATE TABLE u(x)", "VACUUM"):
            with pytest.raises(InstanceDead):
                connection.execute(sql).fetchall()
        with pytest.raises(InstanceDead):
            home.connect()
        assert home.depot.requests_total == requests

    in_depot(body)


def test_superseded_instance_is_fenced(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        later = home.instance()
        with pytest.raises(InstanceDead, match="fence_mismatch"):
            connection.execute("DELETE FROM t WHERE id = 1")
        other = later.connect()
        assert rows(other, "SELECT count(*) FROM t") == [(40,)]
        other.close(True)

    in_depot(body)


def test_crash_unwinds_through_sqlite(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        group = home.kernel.group("victim")

        def victim() -> None:
            with pytest.raises(Crashed), group:
                connection.execute("UPDATE t SET x = 1")

        home.kernel.spawn(victim, name="victim", supervised=True)
        home.kernel.sleep(1_000_000)
        assert group.members
        home.database.die("crashed")
        group.crash()
        home.kernel.sleep(1)
        assert not group.members
        check(home, 40)

    in_depot(body, latency="network-20ms")


def full(home: Any, **limits: int) -> None:
    """From here on the depot has these limits."""
    core = home.depot.core
    core.settings = msgspec.structs.replace(core.settings, **limits)


def test_quota_that_is_used_up_is_a_full_disk(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        unlimited = home.depot.core.settings.quota_bytes
        full(home, quota_bytes=1_000)
        with pytest.raises(StorageFailed, match="quota_exceeded") as caught:
            connection.execute("UPDATE t SET x = randomblob(1000)")
        assert caught.value.result == caught.value.extendedresult == apsw.SQLITE_FULL
        assert home.database.death is None
        # SQLite rolls back by writing the old pages, which the depot has already: that needs no commit.
        commits = home.database.storage.commits
        assert rows(connection, "SELECT count(*) FROM t WHERE x = zeroblob(1000)") == [(40,)]
        with pytest.raises(StorageFailed, match="quota_exceeded"):
            connection.execute("UPDATE t SET x = randomblob(1000)")
        assert rows(connection, "SELECT count(*) FROM t") == [(40,)]
        assert home.database.storage.commits == commits
        full(home, quota_bytes=unlimited)
        connection.execute("DELETE FROM t WHERE id = 1")
        check(home, 39)

    in_depot(body)


def test_commit_that_is_too_large_is_too_big(in_depot: Run) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        full(home, commit_pages_max=4)
        with pytest.raises(StorageFailed, match="commit_too_large") as caught:
            connection.execute("UPDATE t SET x = randomblob(1000)")
        assert caught.value.result == caught.value.extendedresult == apsw.SQLITE_TOOBIG
        assert home.database.death is None
        connection.execute("DELETE FROM t WHERE id = 2")
        connection.execute("INSERT INTO t VALUES(2, zeroblob(1000))")
        check(home, 40)

    in_depot(body)


@pytest.mark.parametrize("point", [point for point in FaultPoint if point.group == "commit"])
def test_after_a_failure_at_any_point_of_a_commit_it_is_there_or_not(in_depot: Run, point: FaultPoint) -> None:
    def body(home: Any) -> None:
        connection = prepared(home)
        with pytest.raises(StorageFailed):
            connection.execute("DELETE FROM t WHERE id = 1")
        home.crash()
        # The rollback of a commit that failed late meets the fence, and so cannot undo it.
        expected = 40 if point.boundary is Boundary.PRE_DURABLE else 39
        assert rows(home.connect(), "SELECT count(*) FROM t") == [(expected,)]
        check(home, expected)

    in_depot(body, rules=[rule(point, 2)])
