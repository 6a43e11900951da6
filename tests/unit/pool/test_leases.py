"""Leases in hand: released, dropped, given away, left behind; and the belts of a reader."""

import logging
from typing import Any

import apsw
import pytest

from simkit.kernel import Crashed, MisuseError
from simkit.pool.events import LeaseDropped, TransactionRolledBack
from simkit.pool.reader_authorizer import reader_authorizer
from simkit.vfs.main_file import MainFile

MS = 1_000_000


def test_read_lease_is_one_reader_for_several_statements(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with world.manager.read_lease() as lease:
            world.seen.append(lease.execute("SELECT count(*) FROM t").rows)
            world.seen.append(world.manager.execute("SELECT x FROM t").route)
            assert world.manager.snapshot().active_readers == 1
            with pytest.raises(apsw.AuthError):
                lease.execute("INSERT INTO t VALUES (2, 2)")
            with pytest.raises(apsw.AuthError):
                lease.execute("PRAGMA query_only=OFF")
        assert lease.ended
        lease.release()
        with pytest.raises(MisuseError, match="over"):
            lease.execute("SELECT 1")

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),), "read"]
    assert world.manager.metrics.rejected_reader_mutations_total == 2
    assert world.endings() == [(1, "released", "running")]
    world.check_at_rest()


def test_holder_of_a_reader_that_asks_for_the_writer_is_told_instead_of_waiting_for_itself(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with world.manager.read_lease():
            for call in (world.manager.write_lease, world.manager.read_lease, world.manager.transaction().__enter__):
                with pytest.raises(MisuseError):
                    call()
            with pytest.raises(MisuseError, match=r"read lease 1 \(acquired at .*test_leases.py"):
                world.manager.execute_write("INSERT INTO t VALUES (2, 2)")

    world.spawn("client", body)
    world.run()
    world.check_at_rest()


def test_write_lease_runs_everything_and_takes_an_open_transaction_along(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with world.manager.write_lease() as lease:
            world.seen.append(lease.execute("INSERT INTO t VALUES (2, 2)").route)
            lease.execute("BEGIN")
            lease.execute("INSERT INTO t VALUES (3, 3)")
        world.seen.append(world.manager.execute("SELECT id FROM t").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == ["write", ((1,), (2,))]
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["abandoned"]
    world.check_at_rest()


@pytest.mark.parametrize("end", ["release", "drop"])
def test_reader_after_a_writer_whose_transaction_is_still_rolled_back(pool: Any, end: str) -> None:
    world = pool()

    def body() -> None:
        lease = world.manager.write_lease()
        lease.execute("BEGIN")
        lease.execute("INSERT INTO t VALUES (2, 2)")
        getattr(lease, end)()
        with world.manager.read_lease() as reader:
            world.seen.append(reader.execute("SELECT id FROM t").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),)]
    world.check_at_rest()


@pytest.mark.parametrize("kind", ["read_lease", "write_lease"])
@pytest.mark.parametrize("by", ["drop", "end of its task", "error of its task"])
def test_dropped_lease_is_reported_and_its_slot_comes_back(
    pool: Any, caplog: pytest.LogCaptureFixture, kind: str, by: str
) -> None:
    world = pool(max_readers=1)

    def holder() -> None:
        lease = getattr(world.manager, kind)()
        lease.execute("SELECT 1")
        if by == "drop":
            lease.drop()
            lease.drop()
            world.kernel.sleep(50 * MS)
        elif by == "error of its task":
            raise Crashed("nobody in particular")

    with caplog.at_level(logging.WARNING, "simkit.pool"):
        world.spawn("holder", holder)
        world.at("other", 10, lambda: world.manager.execute("INSERT INTO t VALUES (2, 2)"))
        world.run()
    assert world.seen[0][2] < 40 * MS
    (dropped,) = world.events(LeaseDropped)
    assert dropped.acquired_by.endswith("holder")
    assert world.manager.metrics.leases_dropped_total == 1
    assert "test_leases.py:" in caplog.text
    assert world.endings()[0][1] == "dropped"
    world.check_at_rest()


@pytest.mark.parametrize("kind", ["read_lease", "write_lease"])
def test_dropped_lease_gives_its_slot_back_only_when_its_statement_has_stopped(pool: Any, kind: str) -> None:
    world = pool()

    def holder() -> None:
        lease = getattr(world.manager, kind)()
        world.spawn(
            "helper", lambda: world.seen.append((lease.execute("SELECT count(*) FROM t").rows, world.kernel.now))
        )
        world.kernel.sleep(MS // 2)
        lease.drop()
        assert not lease.ended
        with pytest.raises(MisuseError):
            lease.execute("SELECT 1")

    world.spawn("holder", holder)
    world.at("other", 4, lambda: world.manager.execute_write("INSERT INTO t VALUES (2, 2)"))
    world.run()
    (rows, stopped_at), (_, _, written_at) = world.seen
    assert rows == ((1,),)
    assert written_at > stopped_at
    assert world.endings()[0][1:] == ("dropped", "running")
    world.check_at_rest()


@pytest.mark.parametrize("kind", ["read_lease", "write_lease"])
def test_lease_whose_holder_ends_while_another_task_runs_on_it_counts_as_dropped(pool: Any, kind: str) -> None:
    world = pool()

    def holder() -> None:
        lease = getattr(world.manager, kind)()
        world.spawn("helper", lambda: lease.execute("SELECT count(*) FROM t"))
        world.kernel.sleep(MS // 2)

    world.spawn("holder", holder)
    world.run()
    assert len(world.events(LeaseDropped)) == 1
    assert world.endings() == [(1, "dropped", "running")]
    world.check_at_rest()


def test_two_statements_at_once_on_one_lease_are_misuse(pool: Any) -> None:
    world = pool()

    def holder() -> None:
        with world.manager.read_lease() as lease:
            helper = world.spawn("helper", lambda: lease.execute("SELECT count(*) FROM t"))
            world.kernel.sleep(MS // 2)
            with pytest.raises(MisuseError, match="helper runs there"):
                lease.execute("SELECT 1")
            helper.join()

    world.spawn("holder", holder)
    world.run()
    world.check_at_rest()


def test_reader_that_cannot_be_configured_is_closed_and_its_slot_comes_back(pool: Any) -> None:
    world = pool(max_readers=1)
    connect = world.instance.connect

    def broken(readonly: bool = False) -> apsw.Connection:
        connection: apsw.Connection = connect(readonly)
        connection.authorizer = lambda *_: apsw.SQLITE_DENY
        return connection

    def body() -> None:
        world.instance.connect = broken
        with pytest.raises(apsw.AuthError):
            world.manager.execute("SELECT 1")
        world.instance.connect = connect
        world.seen.append(world.manager.execute("SELECT 1").route)

    world.spawn("client", body)
    world.run()
    assert world.seen == ["read"]
    assert world.endings()[0][1:] == ("failed", "opening")
    world.check_at_rest()


# Belts


def stripped(world: Any, belt: str, monkeypatch: pytest.MonkeyPatch) -> apsw.Connection:
    """A reader of the pool with one belt only."""
    connections = world.manager._leasing.connections
    if belt == "opened read-only":
        monkeypatch.setattr(MainFile, "_require_writable", lambda *_: None)
    else:
        connect = world.instance.connect
        monkeypatch.setattr(world.instance, "connect", lambda readonly: connect(False))
    if belt == "VFS role":
        opened = MainFile.__init__
        monkeypatch.setattr(MainFile, "__init__", lambda self, database, _: opened(self, database, False))
    connection: apsw.Connection = connections.open(readonly=True).connection
    assert connection.authorizer is reader_authorizer
    if belt != "authorizer":
        connection.authorizer = None
    assert connection.pragma("query_only") == 1 if belt != "authorizer" else True
    if belt != "query_only":
        connection.authorizer, before = None, connection.authorizer
        connection.pragma("query_only", False)
        connection.authorizer = before
    return connection


@pytest.mark.parametrize("belt", ["opened read-only", "query_only", "authorizer", "VFS role"])
def test_each_belt_alone_keeps_a_reader_from_writing(pool: Any, belt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = pool()

    def body() -> None:
        connection = stripped(world, belt, monkeypatch)
        with pytest.raises((apsw.ReadOnlyError, apsw.AuthError)):
            connection.execute("INSERT INTO t VALUES (2, 2)").fetchall()
        connection.close(True)
        monkeypatch.undo()
        world.seen.append(world.manager.execute("SELECT id FROM t").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),)]
