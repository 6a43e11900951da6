"""Closing: at any moment, by any number, in spite of what does not end."""

from typing import Any

import apsw
import pytest

from simkit.check.events import NativeCloseFinished
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import FaultRule, Pause
from simkit.kernel import Cancelled
from simkit.pool.events import CloseGaveUp, LeaseConnected, LeaseGranted, ModeChanged, TransactionRolledBack
from simkit.pool.system import DatabaseClosed

MS = 1_000_000


def test_all_closes_return_after_the_one_native_close(pool: Any) -> None:
    world = pool()
    for number in range(3):
        world.at(f"close-{number}", number, world.manager.close)
    world.at("late", 100, world.manager.close)
    world.run()
    (native,) = world.events(NativeCloseFinished)
    assert [now for _, _, now in world.seen] == [native.at] * 3 + [world.began_ns + 100 * MS]
    assert world.instance.closed
    assert world.open_handles() == []
    assert [(event.before, event.after) for event in world.events(ModeChanged)][-2:] == [
        ("closed", "closing"),
        ("closing", "closed"),
    ]


def test_what_runs_finishes_what_waits_and_what_comes_later_is_refused(pool: Any) -> None:
    world = pool(max_readers=1)

    def refused(match: str) -> None:
        with pytest.raises(DatabaseClosed, match=match):
            world.manager.execute("SELECT count(*) FROM t")

    world.at("running", 0, lambda: world.manager.execute("SELECT count(*) FROM t").rows)
    world.spawn("waiting", lambda: refused("waited"), 0.5)
    world.spawn("writer", lambda: refused("waited"), 0.6)
    world.at("close", 1, world.manager.close)
    world.spawn("late", lambda: refused("after close"), 1.5)
    world.run()
    assert world.seen[0][:2] == ("running", ((1,),))
    closing = next(
        index
        for index, event in enumerate(world.kernel.history)
        if type(event) is ModeChanged and event.after == "closing"
    )
    assert not any(type(event) is LeaseGranted for event in world.kernel.history[closing:])
    world.check_at_rest()


def test_statement_that_turns_out_to_be_a_write_after_closing_began_is_refused(pool: Any) -> None:
    world = pool()

    def write() -> None:
        with pytest.raises(DatabaseClosed):
            world.manager.execute("INSERT INTO t VALUES (2, 2)")

    world.spawn("writer", write)
    world.at("close", 0.5, world.manager.close)
    world.run()
    world.check_at_rest()


def test_close_while_a_reader_is_being_opened_waits_for_its_statement(pool: Any) -> None:
    world = pool()
    world.at("reader", 0, lambda: world.manager.execute("SELECT count(*) FROM t").rows)
    world.at("close", 0.5, world.manager.close)
    world.run()
    assert [name for name, _, _ in world.seen] == ["reader", "close"]
    assert len(world.events(LeaseConnected)) == 1


def test_open_transaction_is_rolled_back_and_its_owner_is_told(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        world.kernel.sleep(50 * MS)
        for sql in ("INSERT INTO t VALUES (3, 3)", "COMMIT", "ROLLBACK"):
            with pytest.raises(DatabaseClosed):
                world.manager.execute(sql)

    world.spawn("owner", owner)
    world.at("close", 20, world.manager.close)
    world.run()
    assert world.seen[0][2] < world.began_ns + 40 * MS
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["close"]
    world.check_at_rest()


def test_transaction_block_that_is_closed_does_not_commit(pool: Any) -> None:
    world = pool()

    def block() -> None:
        with world.manager.transaction() as manager:
            manager.execute("INSERT INTO t VALUES (2, 2)")
            manager.close()

    def owner() -> None:
        with pytest.raises(DatabaseClosed):
            block()

    world.spawn("owner", owner)
    world.run()
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["close"]
    world.check_at_rest()


@pytest.mark.parametrize("kind", ["read_lease", "write_lease", "write_mode"])
def test_lease_in_hand_is_taken_back(pool: Any, kind: str) -> None:
    world = pool()

    def holder() -> None:
        with getattr(world.manager, kind)() as lease:
            lease.execute("SELECT 1")
            world.kernel.sleep(50 * MS)
            with pytest.raises(DatabaseClosed):
                lease.execute("SELECT 1")

    world.spawn("holder", holder)
    world.at("close", 20, world.manager.close)
    world.run()
    assert world.seen[0][2] < world.began_ns + 40 * MS
    assert world.endings()[0] == (1, "refused", "running")
    world.check_at_rest()


def test_lease_that_was_granted_while_closing_began_is_refused(pool: Any) -> None:
    world = pool()

    def holder(kind: str) -> None:
        with pytest.raises(DatabaseClosed):
            getattr(world.manager, kind)()

    world.spawn("reader", lambda: holder("read_lease"))
    world.at("close", 0.5, world.manager.close)
    world.run()
    world.check_at_rest()
    assert world.endings() == [(1, "refused", "running")]


@pytest.mark.parametrize("cancel_after_ms", [0.5, 2, 4, 7])
def test_cancelled_close_goes_on_and_the_next_one_returns_after_it(pool: Any, cancel_after_ms: float) -> None:
    world = pool()
    world.spawn("running", lambda: world.manager.execute("SELECT count(*) FROM t"))
    closing = world.spawn("closing", world.manager.close, 0.1)
    world.spawn("canceller", closing.cancel, cancel_after_ms)
    world.at("next", 30, world.manager.close)
    world.run()
    assert isinstance(closing.error, Cancelled)
    assert len(world.events(NativeCloseFinished)) == 1
    assert world.instance.closed
    world.check_at_rest()


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (2, 2)", "SELECT count(*) FROM t"])
def test_close_gives_up_what_hangs_in_storage(pool: Any, sql: str) -> None:
    point = FaultPoint.COMMIT_BEFORE_TX if "INSERT" in sql else FaultPoint.READ_BEFORE_SCOPE_RESOLVE
    rule = FaultRule(point, Pause("rest", 10**15), nth=None if "INSERT" in sql else 12)
    world = pool(rules=(rule,), close_timeout_ns=200 * MS)

    def stuck() -> None:
        for _ in range(20):
            world.manager.execute(sql)

    victim = world.spawn("stuck", stuck)
    world.at("close", 50, world.manager.close)
    world.at("close too", 60, world.manager.close)
    world.kernel.run(max_steps=100_000)
    assert isinstance(victim.error, apsw.IOError)
    assert [now for _, _, now in world.seen] == [world.began_ns + 255 * MS] * 2
    (gave_up,) = world.events(CloseGaveUp)
    assert len(gave_up.leases) == 1
    world.check_at_rest()


def test_database_that_lost_its_storage_still_closes(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        world.instance.lose("cut off")
        world.manager.close()

    world.spawn("owner", owner)
    world.run()
    assert world.instance.closed
    world.check_at_rest()


def test_crash_while_closing_ends_every_call(pool: Any) -> None:
    world = pool()
    world.spawn("closing", world.manager.close)

    def outside() -> None:
        with pytest.raises(DatabaseClosed, match="crashed"):
            world.manager.close()

    world.kernel.spawn(outside, name="outside", supervised=True)
    world.kernel.spawn(lambda: (world.kernel.sleep(2 * MS), world.instance.group.crash()), name="crash")
    world.run()
    assert not world.instance.closed
