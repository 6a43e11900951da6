"""The connection manager: routes, modes, order of service, transactions, and what its calls give back."""

from collections.abc import Callable
from functools import partial
from typing import Any

import apsw
import pytest

from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Fail, FaultRule
from simkit.kernel import MisuseError, TimedOut, digest
from simkit.pool.classify import NulInStatement
from simkit.pool.events import (
    LeaseClassified,
    LeaseGranted,
    LeaseRequested,
    ModeChanged,
    PoolOpened,
    TransactionRolledBack,
)
from simkit.pool.single import TrailingStatement
from simkit.pool.system import Overloaded, TransactionExpired
from simkit.vfs.events import FileOpened

MS = 1_000_000

ROUTES = """\
SELECT 1 | read
SELECT 1; | read
SELECT 1; -- c | read
SELECT 1;; | read
-- nothing | read
; SELECT 1 | read
;; /* c */ ; SELECT 1; -- c | read
; INSERT INTO t(x) VALUES (3) | write
WITH x AS (SELECT 1) SELECT * FROM x | read
WITH x AS (SELECT 9) INSERT INTO t(x) SELECT * FROM x | write
INSERT INTO t(x) VALUES (3) RETURNING id | write
EXPLAIN INSERT INTO t(x) VALUES (3) | write
EXPLAIN QUERY PLAN SELECT * FROM t | read
PRAGMA user_version | read
PRAGMA user_version = 5 | write
PRAGMA table_info(t) | read
PRAGMA integrity_check | read
PRAGMA integrity_check(10) | read
PRAGMA foreign_keys | write
PRAGMA foreign_keys=ON | write
PRAGMA cache_size=-4000 | write
PRAGMA journal_mode | write
SELECT * FROM pragma_table_info('t') | read
SELECT * FROM pragma_page_count | read
SELECT changes() | write_fallback
SELECT last_insert_rowid(), total_changes() | write_fallback
CREATE TEMP TABLE own(x) | write
ATTACH ':memory:' AS a | write
ANALYZE | write
BEGIN | write
SAVEPOINT s | write
"""


@pytest.mark.parametrize("line", ROUTES.splitlines())
def test_route_is_what_sqlite_says_of_the_statement(pool: Any, line: str) -> None:
    sql, route = line.rsplit(" | ", 1)
    world = pool()
    for _ in range(2):  # looked at, and remembered
        world.spawn("client", lambda: world.seen.append(world.manager.execute(sql).route))
        world.run()
    assert world.seen == [route] * 2
    world.spawn("other", lambda: world.manager.execute("SELECT 1"))
    world.run()
    world.check_at_rest()


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "INSERT INTO t(x) VALUES (1); DELETE FROM t", "; SELECT 1; SELECT 2"]
)
def test_second_statement_is_refused_and_nothing_runs(pool: Any, sql: str) -> None:
    world = pool()

    def body() -> None:
        with pytest.raises(TrailingStatement, match="after it stands"):
            world.manager.execute(sql)
        assert world.manager.execute("SELECT count(*) FROM t").rows == ((1,),)

    world.spawn("client", body)
    world.run()
    world.check_at_rest()


def test_errors_of_the_text_are_those_of_sqlite(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with pytest.raises(apsw.SQLError, match="no such table"):
            world.manager.execute("SELECT * FROM missing")
        with pytest.raises(apsw.SQLError, match="syntax"):
            world.manager.execute("SELEC 1")
        with pytest.raises(NulInStatement):
            world.manager.execute("SELECT '\0'")
        with pytest.raises(apsw.BindingsError):
            world.manager.execute("SELECT ?", (1, 2))
        with pytest.raises(apsw.BindingsError, match="parameter x for which no value"):
            world.manager.execute("INSERT INTO t VALUES (:id, :x)", {"id": 5})

    world.spawn("client", body)
    world.run()
    world.check_at_rest()


def test_values_are_bound_and_come_back_as_they_are(pool: Any) -> None:
    world = pool()
    values = [2**63 - 1, -(2**63), 2**53 + 1, "a\0b", b"\0\1", 1.5, None, "it's; :x @y $z"]

    def body() -> None:
        for number, value in enumerate(values, 10):
            world.manager.execute("INSERT INTO t VALUES (:id, :x)", {"id": number, "x": value})
        world.seen.extend(row[0] for row in world.manager.execute("SELECT x FROM t WHERE id >= ?", (10,)).rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == values


def test_query_and_run_give_their_halves(pool: Any) -> None:
    world = pool()

    def body() -> None:
        ran = world.manager.run("INSERT INTO t VALUES (5, 5) RETURNING id")
        assert (ran.columns, ran.rows, ran.changes, ran.last_insert_rowid) == ((), (), 1, 5)
        asked = world.manager.query("INSERT INTO t VALUES (6, 6) RETURNING id")
        assert (asked.columns, asked.rows, asked.changes, asked.last_insert_rowid) == (("id",), ((6,),), 0, None)

    world.spawn("client", body)
    world.run()


# Modes


def test_pool_tells_first_how_many_readers_it_may_have(pool: Any) -> None:
    for settings, readers_max in (({"max_readers": 3}, 3), ({"read_pool_enabled": False}, 0)):
        world = pool(**settings)
        kinds = [type(event) for event in world.kernel.history]
        (opened,) = world.events(PoolOpened)
        assert (opened.instance, opened.readers_max) == (world.instance.name, readers_max)
        assert kinds.index(PoolOpened) < kinds.index(FileOpened)


def test_first_statement_of_each_kind_makes_the_transitions_of_the_table(pool: Any) -> None:
    world = pool()

    def body() -> None:
        for sql in ("SELECT 1", "INSERT INTO t VALUES (2, 2)", "SELECT * FROM t"):
            world.seen.append(world.manager.execute(sql).rows)

    world.spawn("client", body)
    world.run()
    changes = [(event.before, event.after) for event in world.events(ModeChanged)]
    opening = [("closed", "write"), ("write", "closed")]
    assert changes == [*opening, ("closed", "read"), ("read", "write"), ("write", "closed"), ("closed", "read")]
    assert world.seen[-1] == ((1, 1), (2, 2))
    metrics = world.manager.metrics
    assert metrics.value("sqlite_read_pool_mode_transitions_total", {"from": "closed", "to": "read"}) == 2
    assert (metrics.routed_read_queries_total, metrics.reader_opens_total, metrics.reader_closes_total) == (2, 2, 1)


def test_idle_readers_are_closed_by_time_alone(pool: Any) -> None:
    world = pool(idle_ttl_ns=50 * MS)
    world.spawn("client", lambda: world.manager.execute("SELECT * FROM t"))
    world.run()
    assert world.manager.snapshot().idle_readers == 1
    world.spawn("time", lambda: world.kernel.sleep(60 * MS))
    world.run()
    assert world.manager.snapshot().mode == "closed"
    assert world.open_handles() == []


@pytest.mark.parametrize("settings", [{"max_readers": 0}, {"read_pool_enabled": False}])
def test_without_readers_everything_runs_on_one_writer_that_stays_open(pool: Any, settings: Any) -> None:
    world = pool(**settings)

    def body() -> None:
        world.manager.execute("CREATE TEMP TABLE own AS SELECT 1 AS x")
        world.seen.append(world.manager.execute("SELECT x FROM own").rows)
        world.seen.append(world.manager.execute("SELECT count(*) FROM t").route)
        with world.manager.read_lease() as lease:
            world.seen.append(lease.execute("SELECT x FROM own").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),), "write_fallback", ((1,),)]
    assert world.manager.snapshot().mode == "write"
    world.check_at_rest()


def test_readers_overlap(pool: Any) -> None:
    world = pool()
    sql = "SELECT count(*), sum(x) FROM t"
    world.at("one", 0, lambda: world.manager.execute(sql))
    world.run()
    alone = world.seen[0][2]
    start = world.kernel.now
    for number in range(4):
        world.at(f"client-{number}", 0, lambda: world.manager.execute(sql))
    world.run()
    assert world.kernel.now - start < 1.5 * alone


# Order


@pytest.mark.parametrize("order", ["timed", "any"])
def test_writes_are_served_in_the_order_of_arrival_whether_known_or_not(pool: Any, order: str) -> None:
    for seed in range(20):
        world = pool(order=order, seed=seed, max_readers=2)
        world.spawn("known", partial(world.manager.execute, "UPDATE t SET x = x * 10"))
        world.run()
        for number in range(6):
            sql = "UPDATE t SET x = x * 10" if number % 2 else f"UPDATE t SET x = x + {number}"
            world.spawn("writer", partial(world.manager.execute, sql), number / 10)
            world.spawn("reader", partial(world.manager.execute, "SELECT x FROM t"), number / 10)
        world.run()
        writes = [event.lease for event in world.events(LeaseRequested, LeaseClassified) if event.kind == "write"]
        granted = [event.lease for event in world.events(LeaseGranted) if event.lease in writes]
        as_writer = [lease for index, lease in enumerate(granted) if lease not in granted[index + 1 :]]
        assert as_writer == sorted(as_writer)
        assert len(as_writer) == 7
        world.check_at_rest()
        world.dispose()


def test_reader_waits_for_one_writer_in_a_storm_of_them(pool: Any) -> None:
    world = pool()
    world.spawn("known", lambda: world.manager.execute("INSERT INTO t(x) VALUES (0)"))
    world.run()
    for number in range(8):
        world.at(f"writer-{number}", 0, lambda: world.manager.execute("INSERT INTO t(x) VALUES (0)"))
    world.at("reader", 1, lambda: world.manager.execute("SELECT count(*) FROM t"))
    world.run()
    assert [name for name, _, _ in world.seen].index("reader") == 1


def test_more_than_may_wait_are_told_so_and_nothing_is_done(pool: Any) -> None:
    world = pool(waiting_max=2)

    def late() -> None:
        with pytest.raises(Overloaded, match=r"2 statements wait .* waiting_max is 2"):
            world.manager.execute("INSERT INTO t(x) VALUES (0)")

    world.spawn("owner", lambda: world.manager.execute_script("INSERT INTO t(x) VALUES (1)"))
    for number in range(2):
        world.spawn(f"waiting-{number}", lambda: world.manager.execute("INSERT INTO t(x) VALUES (0)"), 0.5)
    world.spawn("late", late, 0.75)
    world.run()
    assert (7, "refused", "waiting") not in world.endings()
    assert [how for _, how, _ in world.endings()].count("refused") == 1
    world.check_at_rest()


# Transactions


def test_statement_of_another_caller_waits_until_the_transaction_is_over(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        assert world.manager.snapshot().transaction == "owner"
        world.kernel.sleep(50 * MS)
        inside = world.manager.execute("SELECT count(*) FROM t")
        assert (inside.rows, inside.route) == (((2,),), "write_fallback")
        world.manager.execute("ROLLBACK")

    world.spawn("owner", owner)
    world.spawn("other", lambda: world.manager.execute("INSERT INTO t VALUES (3, 3)"), 20)
    world.at("reader", 20, lambda: world.manager.execute("SELECT id FROM t").rows)
    world.run()
    assert world.seen[0][1] in (((1,), (3,)), ((1,),))
    world.spawn("look", lambda: world.seen.append(world.manager.execute("SELECT id FROM t").rows))
    world.run()
    assert world.seen[-1] == ((1,), (3,))
    world.check_at_rest()


@pytest.mark.parametrize("last", ["ROLLBACK", "COMMIT", "SELECT 1"])
def test_transaction_past_its_deadline_is_rolled_back_and_its_owner_is_told(pool: Any, last: str) -> None:
    world = pool(transaction_deadline_ns=100 * MS)

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        world.kernel.sleep(200 * MS)
        with pytest.raises(TransactionExpired):
            world.manager.execute("INSERT INTO t VALUES (3, 3)")
        if last == "ROLLBACK":
            world.manager.execute(last)
        else:
            with pytest.raises(TransactionExpired):
                world.manager.execute(last)
        if last != "SELECT 1":
            world.manager.execute("INSERT INTO t VALUES (4, 4)")

    world.spawn("owner", owner)
    world.at("other", 20, lambda: world.manager.execute("SELECT id FROM t").rows)
    world.run()
    assert world.seen[0][1] == ((1,),)
    assert 100 * MS < world.seen[0][2] < 150 * MS
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["deadline"]
    world.check_at_rest()


def test_deadline_waits_for_the_statement_under_way(pool: Any) -> None:
    world = pool(transaction_deadline_ns=MS // 2)

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.seen.append(world.manager.execute("INSERT INTO t VALUES (2, 2)").changes)
        with pytest.raises(TransactionExpired):
            world.manager.execute("COMMIT")

    world.spawn("owner", owner)
    world.run()
    assert world.seen == [1]
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["deadline"]
    world.check_at_rest()


def test_transaction_whose_owner_ended_is_rolled_back(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")

    world.spawn("owner", owner)
    world.at("other", 30, lambda: world.manager.execute("SELECT id FROM t").rows)
    world.run()
    assert world.seen[0][1] == ((1,),)
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["abandoned"]
    assert world.manager.metrics.leases_dropped_total == 1
    world.check_at_rest()


def block(world: Any, *sql: str, then: Callable[[], Any] = lambda: None, deadline_ns: int | None = None) -> None:
    with world.manager.transaction(deadline_ns) as manager:
        for text in sql:
            manager.execute(text)
        then()


def fail() -> None:
    raise ZeroDivisionError


def test_transaction_block_commits_or_rolls_back(pool: Any) -> None:
    world = pool()

    def body() -> None:
        block(world, "INSERT INTO t VALUES (2, 2)")
        with pytest.raises(ZeroDivisionError):
            block(world, "INSERT INTO t VALUES (3, 3)", then=fail)
        with pytest.raises(MisuseError, match="SAVEPOINT"):
            block(world, "INSERT INTO t VALUES (4, 4)", then=lambda: block(world))
        with pytest.raises(apsw.SQLError, match="no transaction is active"):
            block(world, "ROLLBACK")
        world.seen.append(world.manager.execute("SELECT id FROM t").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,), (2,))]
    world.check_at_rest()


def test_transaction_block_past_its_deadline_does_not_commit(pool: Any) -> None:
    world = pool()

    def late_failure() -> None:
        world.kernel.sleep(20 * MS)
        fail()

    def body() -> None:
        with pytest.raises(TransactionExpired):
            block(world, "INSERT INTO t VALUES (2, 2)", then=lambda: world.kernel.sleep(50 * MS), deadline_ns=20 * MS)
        with pytest.raises(ZeroDivisionError):
            block(world, "INSERT INTO t VALUES (3, 3)", then=late_failure, deadline_ns=20 * MS)
        world.seen.append(world.manager.execute("SELECT id FROM t").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),)]
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["deadline", "deadline"]
    world.check_at_rest()


def test_cancelled_owner_loses_its_transaction_before_it_hears_of_it(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        world.manager.execute("BEGIN")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        with pytest.raises(TimedOut), world.kernel.timeout(MS // 2):
            world.manager.execute("SELECT count(*) FROM other")
        assert world.manager.snapshot().transaction is None

    world.spawn("owner", owner)
    world.run()
    assert [event.cause for event in world.events(TransactionRolledBack)] == ["cancelled"]
    world.check_at_rest()


def test_write_mode_is_that_of_its_task_alone(pool: Any) -> None:
    world = pool()

    def owner() -> None:
        with world.manager.write_mode() as manager, world.manager.write_mode():
            manager.execute("CREATE TEMP TABLE own AS SELECT 7 AS x")
            world.kernel.sleep(30 * MS)
            world.seen.append(manager.execute("SELECT x FROM own").route)
        world.seen.append(world.manager.execute("SELECT 1").route)

    world.spawn("owner", owner)
    world.spawn("other", lambda: world.seen.append(world.manager.execute("SELECT count(*) FROM t").route), 10)
    world.run()
    assert sorted(world.seen) == ["read", "read", "write_fallback"]
    assert world.seen[0] != "read"
    world.check_at_rest()


def test_migration_is_all_or_nothing_and_no_reader_runs_meanwhile(pool: Any) -> None:
    world = pool()

    def body() -> None:
        with pytest.raises(apsw.ConstraintError):
            world.manager.migrate(["CREATE TABLE fresh(x)", ("INSERT INTO t VALUES (?, 1)", (1,))])
        with pytest.raises(apsw.SQLError):
            world.manager.execute("SELECT * FROM fresh")
        world.manager.migrate(["CREATE TABLE fresh(x)", ("INSERT INTO fresh VALUES (?)", (1,))])
        world.seen.append(world.manager.execute("SELECT * FROM fresh").rows)

    world.spawn("client", body)
    world.run()
    assert world.seen == [((1,),)]
    world.check_at_rest()


def test_script_gives_the_last_rows_and_leaves_a_transaction_to_the_caller(pool: Any) -> None:
    world = pool()

    def body() -> None:
        result = world.manager.execute_script(
            "SELECT 1 AS a; INSERT INTO t VALUES (2, 2); SELECT id AS b FROM t; BEGIN"
        )
        world.seen.append((result.columns, result.rows, world.manager.snapshot().transaction))
        world.manager.execute("COMMIT")

    world.spawn("client", body)
    world.run()
    assert world.seen == [(("b",), ((1,), (2,)), "client")]
    world.check_at_rest()


def test_statement_that_another_made_possible_just_before_is_answered(pool: Any) -> None:
    """The table does not exist yet when the reader looks; it was asked for later, so it is answered later."""
    world = pool()
    world.spawn("create", lambda: world.manager.execute("CREATE TABLE fresh(x)"))
    world.at("read", 0.1, lambda: world.manager.execute("SELECT * FROM fresh").columns)
    world.run()
    assert world.seen[0][1] == ("x",)
    assert len(world.events(LeaseGranted)) == 4
    world.check_at_rest()


def test_journal_that_no_reader_may_roll_back_is_left_to_the_writer(pool: Any) -> None:
    """The commit fails, and then the commit of SQLite's rollback: the journal stays, hot."""
    rules = tuple(FaultRule(FaultPoint.COMMIT_BEFORE_TX, Fail(), nth=nth) for nth in (1, 2))
    for ask in ("execute", "read_lease"):
        world = pool(rules=rules)

        def body(world: Any = world, ask: str = ask) -> None:
            with pytest.raises(apsw.IOError):
                world.manager.execute("INSERT INTO t VALUES (2, 2)")
            if ask == "execute":
                world.seen.append(world.manager.execute("SELECT id FROM t").rows)
            with world.manager.read_lease() as lease:
                world.seen.append(lease.execute("SELECT id FROM t").rows)

        world.spawn("client", body)
        world.run()
        assert world.seen == [((1,),)] * (2 if ask == "execute" else 1)
        world.check_at_rest()


@pytest.mark.parametrize("order", ["timed", "any"])
def test_threads_that_pass_a_baton_give_the_same_history(pool: Any, order: str) -> None:
    digests = []
    for carrier in ("greenlet", "thread"):
        world = pool(order=order, carrier=carrier)
        for number in range(3):
            world.spawn("reader", partial(world.manager.execute, "SELECT count(*) FROM t"), number)
            world.spawn("writer", partial(world.manager.execute, "INSERT INTO t(x) VALUES (1)"), number)
            world.spawn("block", partial(block, world, "INSERT INTO t(x) VALUES (2)"), number)
        world.spawn("abandoned", partial(world.manager.execute, "BEGIN"), 1)
        world.run()
        world.spawn("close", world.manager.close)
        world.run()
        digests.append(digest(world.kernel.history, ()))
    assert digests[0] == digests[1]
