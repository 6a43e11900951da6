"""A transaction that ended without its owner: the rest of it is refused, so that it does not commit on its own."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apsw
import pytest

from simkit.kernel import Cancelled, TaskEndedEarly, TimedOut
from simkit.pool.events import LeaseDropped, TransactionRolledBack
from simkit.pool.manager import ConnectionManager
from simkit.pool.single import SingleConnection
from simkit.pool.system import DatabaseClosed, TransactionExpired
from simkit.pool.worker import SingleWorker

MS = 1_000_000
SLOW = "SELECT count(*) FROM other"
SYSTEMS = [ConnectionManager, SingleWorker, SingleConnection]


def cut_off(world: Any, call: Callable[[], Any]) -> None:
    with pytest.raises(TimedOut), world.kernel.timeout(MS // 2):
        call()


def rows(world: Any) -> Any:
    return world.run_now(lambda: world.manager.execute("SELECT id FROM t").rows)


def play(world: Any, body: Callable[[], Any]) -> Any:
    """The rows that are there afterwards."""
    world.spawn("client", body)
    world.run()
    return rows(world)


def begin(world: Any) -> None:
    world.manager.execute("BEGIN")
    world.manager.execute("INSERT INTO t VALUES (2, 2)")


def lose_by_timeout(world: Any) -> None:
    cut_off(world, lambda: world.manager.execute(SLOW))


def lose_by_failure(world: Any) -> None:
    with pytest.raises(apsw.ConstraintError):
        world.manager.execute("INSERT OR ROLLBACK INTO t VALUES (1, 1)")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("lose", "why"), [(lose_by_timeout, "cut off"), (lose_by_failure, "failed")])
def test_rest_of_a_transaction_that_is_gone_is_refused(pool: Any, system: Any, lose: Any, why: str) -> None:
    world = pool(system=system)

    def body() -> None:
        begin(world)
        lose(world)
        for sql in ("INSERT INTO t VALUES (3, 3)", "SELECT 1", "BEGIN"):
            with pytest.raises(TransactionExpired, match=f"{why}.* send ROLLBACK"):
                world.manager.execute(sql)
        with pytest.raises(TransactionExpired, match="nothing of it took effect"):
            world.manager.execute("COMMIT")
        world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,), (4,))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("lose", [lose_by_timeout, lose_by_failure])
def test_rollback_of_a_transaction_that_is_gone_is_accepted_once(pool: Any, system: Any, lose: Any) -> None:
    world = pool(system=system)

    def body() -> None:
        begin(world)
        lose(world)
        assert world.manager.execute("ROLLBACK").changes == 0
        with pytest.raises(apsw.SQLError, match="no transaction"):
            world.manager.execute("ROLLBACK")

    assert play(world, body) == ((1,),)


@pytest.mark.parametrize("system", SYSTEMS)
def test_others_are_not_concerned(pool: Any, system: Any) -> None:
    world = pool(system=system)

    def owner() -> None:
        begin(world)
        lose_by_timeout(world)
        world.kernel.sleep(50 * MS)

    world.spawn("owner", owner)
    world.at("other", 20, lambda: world.manager.execute("INSERT INTO t VALUES (5, 5)").changes)
    world.run()
    assert world.seen[0][1] == 1
    assert rows(world) == ((1,), (5,))


@pytest.mark.parametrize("system", SYSTEMS)
def test_transaction_whose_end_was_asked_for_leaves_nothing_to_tell(pool: Any, system: Any) -> None:
    world = pool(system=system)

    def body() -> None:
        for sql in ("COMMIT", "ROLLBACK"):
            begin(world)
            with suppress(TimedOut), world.kernel.timeout(MS // 2):
                world.manager.execute(sql)
            world.manager.execute("DELETE FROM t WHERE id = 2")

    assert play(world, body) == ((1,),)


@pytest.mark.parametrize("system", SYSTEMS)
def test_transaction_that_never_began_leaves_nothing_to_tell(pool: Any, system: Any) -> None:
    world = pool(system=system)

    def body() -> None:
        cut_off(world, lambda: world.manager.execute("BEGIN EXCLUSIVE"))
        with pytest.raises(apsw.SQLError, match="no transaction"):
            world.manager.execute("COMMIT")

    assert play(world, body) == ((1,),)


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
def test_script_that_ends_the_transaction_itself_and_fails_later_is_not_held_against_it(pool: Any, system: Any) -> None:
    world = pool(system=system)

    def body() -> None:
        begin(world)
        with pytest.raises(apsw.SQLError, match="nonsense"):
            world.manager.execute_script("COMMIT; nonsense")
        world.manager.execute("INSERT INTO t VALUES (3, 3)")

    assert play(world, body) == ((1,), (2,), (3,))


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
@pytest.mark.parametrize("rest", ["BEGIN; INSERT OR ROLLBACK INTO t VALUES (1, 1)", f"BEGIN; {SLOW}", SLOW])
def test_script_that_commits_and_is_cut_off_or_fails_later_has_committed(pool: Any, system: Any, rest: str) -> None:
    world = pool(system=system)

    def body() -> None:
        begin(world)
        with suppress(TimedOut, apsw.ConstraintError), world.kernel.timeout(4 * MS):
            world.manager.execute_script(f"COMMIT; {rest}")
        world.manager.execute("SELECT 1")

    assert play(world, body) == ((1,), (2,))


def test_release_within_a_transaction_that_was_cut_off_is_not_its_end(pool: Any) -> None:
    world = pool(system=SingleWorker)

    def body() -> None:
        begin(world)
        world.manager.execute("SAVEPOINT inner")
        world.kernel.require_task("be cancelled").cancel()
        with pytest.raises(Cancelled):
            world.manager.execute("RELEASE inner")
        with pytest.raises(TransactionExpired):
            world.manager.execute("INSERT INTO t VALUES (3, 3)")

    assert play(world, body) == ((1,),)


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
@pytest.mark.parametrize("call", ["execute_script", "migrate"])
def test_statement_among_several_that_takes_the_transaction_along(pool: Any, system: Any, call: str) -> None:
    world = pool(system=system)
    texts = ["INSERT INTO t VALUES (3, 3)", "INSERT OR ROLLBACK INTO t VALUES (1, 1)"]

    def body() -> None:
        begin(world)
        with pytest.raises(apsw.ConstraintError):
            getattr(world.manager, call)("; ".join(texts) if call == "execute_script" else texts)
        with pytest.raises(TransactionExpired, match="failed"):
            world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,),)


def go_on_in_block(world: Any, lose: Callable[[Any], None]) -> None:
    with world.manager.transaction() as manager:
        manager.execute("INSERT INTO t VALUES (2, 2)")
        lose(world)
        with pytest.raises(TransactionExpired):
            manager.execute("INSERT INTO t VALUES (3, 3)")


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
@pytest.mark.parametrize("lose", [lose_by_timeout, lose_by_failure])
def test_block_whose_transaction_is_gone_does_not_commit_the_rest(pool: Any, system: Any, lose: Any) -> None:
    world = pool(system=system)

    def body() -> None:
        with pytest.raises(TransactionExpired, match="nothing of it took effect"):
            go_on_in_block(world, lose)
        world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,), (4,))


def go_on_past_the_deadline(world: Any, block: Callable[[], Any]) -> None:
    with block() as handle:
        handle.execute("BEGIN")
        handle.execute("INSERT INTO t VALUES (2, 2)")
        world.kernel.sleep(100 * MS)
        handle.execute("INSERT INTO t VALUES (3, 3)")


@pytest.mark.parametrize(
    ("system", "block"),
    [(ConnectionManager, "write_mode"), (ConnectionManager, "write_lease"), (SingleWorker, "write_mode")],
)
def test_error_that_leaves_a_block_has_told_enough(pool: Any, system: Any, block: str) -> None:
    world = pool(system=system, transaction_deadline_ns=20 * MS)

    def body() -> None:
        with pytest.raises(TransactionExpired):
            go_on_past_the_deadline(world, getattr(world.manager, block))
        world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,), (4,))


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
def test_transaction_that_outlives_write_mode_is_told_of_afterwards(pool: Any, system: Any) -> None:
    world = pool(system=system, transaction_deadline_ns=20 * MS)

    def body() -> None:
        with world.manager.write_mode():
            begin(world)
            world.kernel.sleep(100 * MS)
        with pytest.raises(TransactionExpired):
            world.manager.execute("INSERT INTO t VALUES (3, 3)")

    assert play(world, body) == ((1,),)


@pytest.mark.parametrize("system", [ConnectionManager, SingleWorker])
def test_block_within_a_transaction_does_not_hide_the_loss_of_that(pool: Any, system: Any) -> None:
    world = pool(system=system)

    def inner() -> None:
        with world.manager.write_mode():
            lose_by_timeout(world)
            world.manager.execute("SELECT 1")

    def body() -> None:
        begin(world)
        for call in (inner, lambda: world.manager.execute("INSERT INTO t VALUES (3, 3)")):
            with pytest.raises(TransactionExpired):
                call()

    assert play(world, body) == ((1,),)


def test_database_that_is_closed_says_so_first(pool: Any) -> None:
    world = pool()

    def body() -> None:
        begin(world)
        lose_by_timeout(world)
        world.manager.close()
        for sql in ("SELECT 1", "ROLLBACK"):
            with pytest.raises(DatabaseClosed):
                world.manager.execute(sql)

    world.spawn("client", body)
    world.run()


# Leases


@pytest.mark.parametrize("end", ["is cancelled", "crashes"])
def test_holder_is_told_when_another_task_took_its_transaction_along(pool: Any, end: str) -> None:
    world = pool()
    group = world.kernel.group("helpers")

    def help_out(lease: Any) -> None:
        with group:
            lease.execute(SLOW)

    def body() -> None:
        with world.manager.write_lease() as lease:
            lease.execute("BEGIN")
            lease.execute("INSERT INTO t VALUES (2, 2)")
            helper = world.kernel.spawn(lambda: help_out(lease), name="helper", supervised=True)
            world.kernel.sleep(MS // 2)
            (group.crash if end == "crashes" else helper.cancel)()
            with pytest.raises(TaskEndedEarly):
                helper.join()
            with pytest.raises(TransactionExpired, match="cut off" if end == "is cancelled" else "crashed"):
                lease.execute("INSERT INTO t VALUES (3, 3)")
        world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,), (4,))
    world.check_at_rest()


@pytest.mark.parametrize("end", ["drop", "release"])
@pytest.mark.parametrize("outer", ["transaction", "write_mode"])
def test_lease_that_ends_within_a_block_leaves_the_block_alone(pool: Any, outer: str, end: str) -> None:
    world = pool()

    def body() -> None:
        with getattr(world.manager, outer)() as manager:
            manager.execute("INSERT INTO t VALUES (2, 2)")
            lease = manager.write_lease()
            lease.execute("INSERT INTO t VALUES (3, 3)")
            getattr(lease, end)()
            assert manager.snapshot().writer == "client"
            assert manager.execute("INSERT INTO t VALUES (4, 4)").changes == 1
        assert world.manager.snapshot().writer is None

    assert play(world, body) == ((1,), (2,), (3,), (4,))
    assert len(world.events(LeaseDropped)) == (end == "drop")
    assert world.endings()[0][1:] == ("released", "running")
    world.check_at_rest()


@pytest.mark.parametrize("end", ["drop", "release"])
def test_lease_that_ends_takes_along_only_the_transaction_that_it_began(pool: Any, end: str) -> None:
    world = pool()

    def body() -> None:
        with world.manager.write_mode() as manager:
            lease = manager.write_lease()
            lease.execute("BEGIN")
            lease.execute("INSERT INTO t VALUES (2, 2)")
            getattr(lease, end)()
            manager.execute("INSERT INTO t VALUES (3, 3)")
            assert manager.snapshot().writer == "client"

    assert play(world, body) == ((1,), (3,))
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["abandoned"]
    world.check_at_rest()


def test_lease_through_which_the_transaction_around_it_was_committed_leaves_the_block_alone(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with world.manager.write_mode() as manager:
            begin(world)
            with manager.write_lease() as lease:
                lease.execute("COMMIT")
            assert manager.snapshot().writer == "client"
            manager.execute("INSERT INTO t VALUES (3, 3)")

    assert play(world, body) == ((1,), (2,), (3,))
    assert world.events(TransactionRolledBack) == []
    world.check_at_rest()


def test_block_that_is_left_while_another_task_runs_in_it_is_forgotten(pool: Any) -> None:
    world = pool()
    helpers: list[Any] = []

    def leave() -> None:
        with world.manager.transaction() as manager:
            lease = manager.write_lease()
            helpers.append(world.kernel.spawn(lambda: lease.execute(SLOW), name="helper", supervised=True))
            world.kernel.sleep(MS // 2)
            raise ZeroDivisionError

    def body() -> None:
        with pytest.raises(ZeroDivisionError):
            leave()
        world.manager.execute("INSERT INTO t VALUES (4, 4)")

    assert play(world, body) == ((1,), (4,))
