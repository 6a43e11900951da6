"""The single worker: order, ownership of transactions, deadlines, close, death, and what its calls give back."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.kernel import Cancelled, Crashed, Decisions, Group, Kernel, MisuseError, TimedOut
from simkit.kernel.kernel import Order
from simkit.pool.commands import Command
from simkit.pool.events import CloseGaveUp, TransactionRolledBack
from simkit.pool.result import Result
from simkit.pool.scripts import StepEndsMigration
from simkit.pool.settings import PoolSettings
from simkit.pool.single import TrailingStatement
from simkit.pool.system import DatabaseClosed, Overloaded, TransactionExpired
from simkit.pool.worker import SingleWorker, WorkerSnapshot
from simkit.pool.worker_engine import WorkerDead

MS = 1_000_000


class Bug(Exception):
    """A mistake in code."""


class Memory:
    """An instance whose database is in memory; the SQL function `pause(ms)` waits in simulated time."""

    def __init__(self, kernel: Kernel, settings: PoolSettings) -> None:
        self.name = "instance-1"
        self.kernel = kernel
        self.settings = settings
        self.group: Group = kernel.group("instance-1")
        self.connections: list[apsw.Connection] = []
        self.closed_at: list[int] = []
        self.lost: list[str] = []
        self.error_of_close: Exception | None = None

    def connect(self, readonly: bool = False) -> apsw.Connection:
        connection = apsw.Connection(":memory:")
        connection.create_scalar_function("pause", self._pause)
        connection.create_scalar_function("bug", self._bug)
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        self.connections.append(connection)
        return connection

    def close_database(self) -> None:
        self.kernel.sleep(5 * MS)
        if self.error_of_close is not None:
            raise self.error_of_close
        self.closed_at.append(self.kernel.now)

    def handle_of(self, connection: apsw.Connection) -> int:
        return 1 + self.connections.index(connection)

    def lose(self, cause: str) -> None:
        self.lost.append(cause)
        for task in self.group.members:
            self.kernel.throw_now(task, apsw.IOError(cause))

    def _pause(self, *milliseconds: Any) -> int:
        self.kernel.sleep(int(milliseconds[0]) * MS)
        return 0

    def _bug(self, *_arguments: Any) -> int:
        raise Bug("a wheel came off")


class Home:
    def __init__(self, order: Order = "timed", **settings: Any) -> None:
        self.kernel = Kernel(Decisions(1), order=order)
        self.instance = Memory(self.kernel, PoolSettings(**settings))
        self.seen: list[Any] = []
        self.tasks: list[Any] = []
        self.system: SingleWorker = self.at_once(lambda: SingleWorker(self.instance))

    def at_once(self, body: Callable[[], Any]) -> Any:
        task = self.kernel.spawn(body, name="opener", supervised=True)
        self.kernel.run()
        assert task.error is None
        return task.result

    def spawn(self, name: str, body: Callable[[], Any], after_ms: int = 0) -> Any:
        def run() -> None:
            self.kernel.sleep(after_ms * MS)
            body()

        self.tasks.append(self.kernel.spawn(run, name=name, supervised=True))
        return self.tasks[-1]

    def execute(self, sql: str, params: Any = None) -> Any:
        return self.system.execute(sql, params)

    def see(self, sql: str) -> Callable[[], None]:
        """A body that keeps the rows of a statement."""
        return lambda: self.seen.append(self.execute(sql).rows)

    def run(self) -> None:
        self.kernel.run()
        for task in self.tasks:
            if task.error is not None and not isinstance(task.error, Cancelled):
                raise task.error

    def events(self, kind: type) -> list[Any]:
        return [event for event in self.kernel.history if type(event) is kind]

    def one(self, body: Callable[[], Any]) -> None:
        self.spawn("test", body)
        self.run()


@pytest.fixture
def home() -> Home:
    return Home()


# Order


def test_statements_run_in_the_order_in_which_they_were_sent(home: Home) -> None:
    for name in ["one", "two", "three"]:
        home.spawn(name, lambda name=name: home.execute("INSERT INTO t(x) VALUES (?)", (name,)))  # type: ignore[misc]
    home.run()
    sent = home.at_once(lambda: home.execute("SELECT x FROM t ORDER BY id").rows)
    assert sorted(sent) == sorted([("one",), ("two",), ("three",)])


def test_place_in_the_queue_is_that_of_the_call(home: Home) -> None:
    home.spawn("busy", lambda: home.execute("SELECT pause(10)"))
    for after, name in enumerate(["one", "two", "three"], 1):
        home.spawn(name, lambda name=name: home.execute("INSERT INTO t(x) VALUES (?)", (name,)), after)  # type: ignore[misc]
    home.run()
    assert home.at_once(lambda: home.execute("SELECT x FROM t ORDER BY id").rows) == (("one",), ("two",), ("three",))


def test_full_queue_refuses_and_says_how_many_wait() -> None:
    home = Home(waiting_max=2)

    def refused() -> None:
        with pytest.raises(Overloaded, match=r"2 statements wait .*waiting_max"):
            home.execute("INSERT INTO t VALUES (9, 9)")

    home.spawn("busy", lambda: home.execute("SELECT pause(10)"))
    home.spawn("first", home.see("SELECT 1"), 1)
    home.spawn("second", home.see("SELECT 2"), 2)
    home.spawn("third", refused, 3)
    home.run()
    assert sorted(home.seen) == [((1,),), ((2,),)]
    assert home.at_once(lambda: home.execute("SELECT count(*) FROM t").rows) == ((0,),)


def test_owner_of_a_transaction_is_not_refused_by_a_full_queue() -> None:
    home = Home(waiting_max=1)

    def owner() -> None:
        home.execute("BEGIN")
        home.kernel.sleep(10 * MS)
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.execute("COMMIT")

    home.spawn("owner", owner)
    home.spawn("parked", home.see("SELECT x FROM t"), 5)
    home.run()
    assert home.seen == [((1,),)]


# Transactions


def test_statements_of_others_wait_for_the_end_of_a_transaction_in_their_order(home: Home) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.kernel.sleep(20 * MS)
        home.execute("ROLLBACK")

    home.spawn("owner", owner)
    home.spawn("insert", lambda: home.execute("INSERT INTO t VALUES (2, 2)"), 5)
    home.spawn("read", home.see("SELECT id FROM t"), 6)
    home.run()
    assert home.seen == [((2,),)]
    assert home.kernel.now == 20 * MS


def test_deadline_rolls_back_and_the_owner_is_told_until_it_ends_its_transaction() -> None:
    home = Home(transaction_deadline_ns=50 * MS)

    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.kernel.sleep(100 * MS)
        for sql in ["INSERT INTO t VALUES (2, 2)", "SELECT 1", "ROLLBACK TO s", "nonsense"]:
            with pytest.raises(TransactionExpired, match="send ROLLBACK"):
                home.execute(sql)
        with pytest.raises(TransactionExpired):
            home.system.execute_script("INSERT INTO t VALUES (3, 3)")
        assert home.execute("ROLLBACK") == Result((), (), 0, None)
        home.execute("INSERT INTO t VALUES (4, 4)")

    home.spawn("owner", owner)
    home.spawn("other", lambda: home.seen.append((home.execute("SELECT id FROM t").rows, home.kernel.now)), 10)
    home.run()
    assert home.seen == [((), 50 * MS)]
    assert home.at_once(lambda: home.execute("SELECT id FROM t").rows) == ((4,),)
    assert [(event.cause, event.at) for event in home.events(TransactionRolledBack)] == [("deadline", 50 * MS)]


@pytest.mark.parametrize("end", ["COMMIT", "END", "RELEASE S"])
def test_commit_of_an_expired_transaction_fails_once(end: str) -> None:
    home = Home(transaction_deadline_ns=50 * MS)

    def owner() -> None:
        home.execute("SAVEPOINT s" if end.startswith("RELEASE") else "BEGIN")
        home.kernel.sleep(100 * MS)
        with pytest.raises(TransactionExpired, match="nothing of it took effect"):
            home.execute(end)
        assert home.execute("SELECT 1").rows == ((1,),)

    home.one(owner)


def test_deadline_waits_for_the_statement_under_way() -> None:
    home = Home(transaction_deadline_ns=50 * MS)

    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t SELECT 1, pause(100)")
        home.seen.append(home.kernel.now)
        with pytest.raises(TransactionExpired):
            home.execute("COMMIT")

    home.one(owner)
    assert home.seen == [100 * MS]
    assert home.at_once(lambda: home.execute("SELECT id FROM t").rows) == ()


def test_commit_under_way_at_the_deadline_counts() -> None:
    home = Home(transaction_deadline_ns=50 * MS)

    def owner() -> None:
        home.system.execute_script("BEGIN; INSERT INTO t VALUES (1, 1)")
        home.system.execute_script("SELECT pause(100); COMMIT")

    home.one(owner)
    assert home.at_once(lambda: home.execute("SELECT id FROM t").rows) == ((1,),)
    assert home.events(TransactionRolledBack) == []


def test_transaction_of_a_task_that_ended_is_rolled_back(home: Home) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")

    home.spawn("owner", owner)
    home.spawn("other", home.see("SELECT id FROM t"), 5)
    home.run()
    assert home.seen == [()]
    assert [event.cause for event in home.events(TransactionRolledBack)] == ["abandoned"]


def test_statement_of_a_cancelled_caller_is_finished_and_its_transaction_rolled_back(home: Home) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t SELECT 1, pause(50)")

    def other() -> None:
        task.cancel()
        home.seen.append((home.execute("SELECT id FROM t").rows, home.kernel.now))

    task = home.spawn("owner", owner)
    home.spawn("other", other, 10)
    home.run()
    assert isinstance(task.error, Cancelled)
    assert home.seen == [((), 50 * MS)]
    assert [event.cause for event in home.events(TransactionRolledBack)] == ["cancelled"]


def test_statement_under_way_outside_of_a_transaction_outlives_its_caller(home: Home) -> None:
    task = home.spawn("writer", lambda: home.execute("INSERT INTO t SELECT 1, pause(50)"))
    home.spawn("canceller", task.cancel, 10)
    home.spawn("other", home.see("SELECT id FROM t"), 20)
    home.run()
    assert home.seen == [((1,),)]


def test_statement_that_waits_is_not_run_when_its_caller_is_gone(home: Home) -> None:
    home.spawn("busy", lambda: home.execute("SELECT pause(50)"))
    task = home.spawn("writer", lambda: home.execute("INSERT INTO t VALUES (1, 1)"), 5)
    home.spawn("canceller", task.cancel, 10)
    home.spawn("other", home.see("SELECT id FROM t"), 20)
    home.run()
    assert home.seen == [()]


def test_caller_that_goes_on_after_a_timeout_is_told_that_its_transaction_is_gone(home: Home) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        with pytest.raises(TimedOut), home.kernel.timeout(10 * MS):
            home.execute("INSERT INTO t SELECT 2, pause(50)")
        with pytest.raises(TransactionExpired, match="cut off"):
            home.execute("INSERT INTO t VALUES (3, 3)")
        home.execute("ROLLBACK")
        home.execute("INSERT INTO t VALUES (4, 4)")

    home.one(owner)
    assert home.at_once(lambda: home.execute("SELECT id FROM t").rows) == ((4,),)


def test_transaction_block_commits_at_its_end(home: Home) -> None:
    def body() -> None:
        with home.system.transaction() as transaction:
            transaction.execute("INSERT INTO t VALUES (1, 1)")
            assert home.system.snapshot().owner == "test"
        assert home.system.snapshot().owner is None

    home.one(body)
    assert home.at_once(lambda: home.execute("SELECT id FROM t").rows) == ((1,),)


def test_transaction_block_rolls_back_when_an_exception_leaves_it(home: Home) -> None:
    def body() -> None:
        with pytest.raises(apsw.ConstraintError), home.system.transaction():
            home.system.execute_script("INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (1, 2)")
        assert home.execute("SELECT id FROM t").rows == ()
        assert home.system.snapshot().transaction_age_ns is None

    home.one(body)


def test_commit_that_fails_leaves_no_transaction_behind(home: Home) -> None:
    def body() -> None:
        home.system.execute_script(
            "PRAGMA foreign_keys=ON; CREATE TABLE child(p REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(apsw.ConstraintError), home.system.transaction():
            home.execute("INSERT INTO child VALUES (7)")
        assert home.execute("SELECT * FROM child").rows == ()

    home.one(body)


def test_transaction_block_has_a_deadline_of_its_own(home: Home) -> None:
    def body() -> None:
        with pytest.raises(TransactionExpired, match="50ms"), home.system.transaction(deadline_ns=50 * MS):
            home.execute("INSERT INTO t SELECT 1, pause(60)")
        assert home.execute("SELECT id FROM t").rows == ()

    home.one(body)


def test_transaction_within_a_transaction_is_refused_and_savepoint_named(home: Home) -> None:
    def body() -> None:
        with home.system.transaction():
            home.execute("INSERT INTO t VALUES (1, 1)")
            with pytest.raises(MisuseError, match="SAVEPOINT"), home.system.transaction():
                pass
        assert home.execute("SELECT id FROM t").rows == ((1,),)

    home.one(body)


def test_write_mode_keeps_others_out_and_may_be_nested(home: Home) -> None:
    def holder() -> None:
        with home.system.write_mode():
            with home.system.write_mode():
                home.execute("INSERT INTO t VALUES (1, 1)")
            home.kernel.sleep(20 * MS)
            home.execute("DELETE FROM t")

    home.spawn("holder", holder)
    home.spawn("other", home.see("SELECT id FROM t"), 5)
    home.run()
    assert home.seen == [()]


def test_write_mode_of_a_task_that_ends_is_over(home: Home) -> None:
    def holder() -> None:
        blocks.append(home.system.write_mode())
        blocks[0].__enter__()

    blocks: list[Any] = []
    home.spawn("holder", holder)
    home.spawn("other", home.see("SELECT 1"), 5)
    home.run()
    assert home.seen == [((1,),)]


def test_transaction_block_of_a_task_that_ends_is_rolled_back(home: Home) -> None:
    def holder() -> None:
        blocks.append(home.system.transaction())
        blocks[0].__enter__()
        home.execute("INSERT INTO t VALUES (1, 1)")

    blocks: list[Any] = []
    home.spawn("holder", holder)
    home.spawn("other", home.see("SELECT id FROM t"), 5)
    home.run()
    assert home.seen == [()]
    assert [event.cause for event in home.events(TransactionRolledBack)] == ["abandoned"]


@pytest.mark.parametrize("deadline_ns", [0, -1])
def test_deadline_is_judged_when_it_is_given(home: Home, deadline_ns: int) -> None:
    with pytest.raises(ValueError, match="deadline_ns"):
        home.system.transaction(deadline_ns)


@pytest.mark.parametrize("error", [ValueError, Cancelled])
def test_exception_that_leaves_write_mode_takes_the_transaction_of_the_block_along(
    home: Home, error: type[BaseException]
) -> None:
    def fail() -> None:
        home.system.execute_script("BEGIN; INSERT INTO t VALUES (1, 1)")
        raise error

    def holder() -> None:
        with pytest.raises(error), home.system.write_mode():
            fail()
        assert home.execute("SELECT id FROM t").rows == ()

    home.one(holder)
    assert [event.cause for event in home.events(TransactionRolledBack)] == [
        "abandoned" if error is ValueError else "cancelled"
    ]


def test_migration_is_all_or_nothing(home: Home) -> None:
    def body() -> None:
        with pytest.raises(apsw.ConstraintError):
            home.system.migrate(["INSERT INTO t VALUES (1, 1)", ("INSERT INTO t VALUES (?, ?)", (1, 2))])
        assert home.execute("SELECT id FROM t").rows == ()
        home.system.migrate(["CREATE TABLE u(a)", ("INSERT INTO u VALUES (:a)", {"a": 5})])
        assert home.execute("SELECT a FROM u").rows == ((5,),)

    home.one(body)


def test_migration_within_a_transaction_is_a_part_of_it(home: Home) -> None:
    def body() -> None:
        with home.system.transaction():
            home.execute("INSERT INTO t VALUES (1, 1)")
            with pytest.raises(apsw.ConstraintError):
                home.system.migrate(["INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (2, 2)"])
            home.system.migrate(["INSERT INTO t VALUES (3, 3)"])
        assert home.execute("SELECT id FROM t").rows == ((1,), (3,))

    home.one(body)


@pytest.mark.parametrize("step", ["BEGIN", "COMMIT", "ROLLBACK", "RELEASE simkit_migration"])
def test_migration_refuses_steps_that_would_end_it(home: Home, step: str) -> None:
    def body() -> None:
        with pytest.raises(StepEndsMigration, match="step 2 of the migration"):
            home.system.migrate(["INSERT INTO t VALUES (1, 1)", step])
        assert home.execute("SELECT id FROM t").rows == ()

    home.one(body)


@pytest.mark.parametrize("step", ["RELEASE outside", "ROLLBACK TO Outside", "ROLLBACK"])
@pytest.mark.parametrize("begin", ["SAVEPOINT outside", "BEGIN; SAVEPOINT outside"])
def test_migration_refuses_steps_that_would_end_what_is_around_it(home: Home, begin: str, step: str) -> None:
    def body() -> None:
        home.system.execute_script(f"{begin}; INSERT INTO t VALUES (1, 1)")
        with pytest.raises(StepEndsMigration, match="step 2"):
            home.system.migrate(["INSERT INTO t VALUES (2, 2)", step])
        assert home.execute("SELECT id FROM t").rows == ((1,),)
        home.execute("ROLLBACK")

    home.one(body)


def test_migration_may_have_savepoints_of_its_own(home: Home) -> None:
    def body() -> None:
        home.system.migrate(["SAVEPOINT s", "INSERT INTO t VALUES (1, 1)", "ROLLBACK TO S", "RELEASE s"])
        home.system.migrate(["SAVEPOINT s", "INSERT INTO t VALUES (2, 2)", "SAVEPOINT s", "RELEASE s", "RELEASE s"])
        for late in (["SAVEPOINT a", "SAVEPOINT b", "RELEASE a", "RELEASE b"], ["RELEASE a", "SAVEPOINT a"]):
            with pytest.raises(StepEndsMigration):
                home.system.migrate(late)
        assert home.execute("SELECT id FROM t").rows == ((2,),)

    home.one(body)


# What calls give back


def test_script_gives_the_last_rows_and_all_changes(home: Home) -> None:
    def body() -> None:
        result = home.system.execute_script(
            "INSERT INTO t VALUES (1, 'a;b'); SELECT 9; SELECT id, x FROM t; UPDATE t SET x = 2; -- the end"
        )
        assert (result.columns, result.rows, result.changes) == (("id", "x"), ((1, "a;b"),), 2)
        assert home.system.execute_script(" ; -- nothing") == Result((), (), 0, None)

    home.one(body)


def test_script_stops_at_an_error_and_keeps_what_ran(home: Home) -> None:
    def body() -> None:
        with pytest.raises(apsw.ConstraintError):
            home.system.execute_script("INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (1, 1); DELETE FROM t")
        assert home.execute("SELECT id FROM t").rows == ((1,),)

    home.one(body)


def test_projections_of_a_result(home: Home) -> None:
    def body() -> None:
        written = home.system.run("INSERT INTO t VALUES (1, 1) RETURNING id")
        assert (written.columns, written.rows, written.changes, written.last_insert_rowid) == ((), (), 1, 1)
        asked = home.system.query("DELETE FROM t RETURNING id")
        assert (asked.columns, asked.rows, asked.changes) == (("id",), ((1,),), 0)
        assert home.system.execute_write("SELECT 1").route == "write"

    home.one(body)


def test_errors_of_a_statement_leave_the_worker_alone(home: Home) -> None:
    def body() -> None:
        for error, sql, params in [
            (apsw.SQLError, "nonsense", None),
            (TrailingStatement, "SELECT 1; SELECT 2", None),
            (TypeError, "SELECT ?", (object(),)),
            (OverflowError, "SELECT ?", (2**63,)),
            (apsw.SQLError, "SELECT '\0'", None),
            (apsw.BindingsError, "SELECT :a, :b", {"a": 1}),
            (Bug, "SELECT bug()", None),
        ]:
            with pytest.raises(error):
                home.execute(sql, params)
        assert home.execute("SELECT ?, ?, ?", (2**63 - 1, "a\0b", b"\0")).rows == ((2**63 - 1, "a\0b", b"\0"),)
        assert home.system.snapshot() == WorkerSnapshot("running", 0, None, None, None)

    home.one(body)


def test_connection_state_stays(home: Home) -> None:
    def body() -> None:
        home.execute("CREATE TEMP TABLE s(a)")
        home.execute("INSERT INTO s VALUES (1)")
        assert home.execute("SELECT changes(), a FROM s").rows == ((1, 1),)

    home.one(body)


def test_transactions_and_waits_are_counted(home: Home) -> None:
    def body() -> None:
        with home.system.transaction():
            home.kernel.sleep(20 * MS)

    home.one(body)
    metrics = home.system.metrics
    assert metrics.value("sqlite_read_pool_manual_transaction_duration_seconds_sum") == 0.02
    assert metrics.value("sqlite_read_pool_write_wait_duration_seconds_count") == 2
    assert metrics.value("sqlite_read_pool_write_fallback_queries_total") == 0


# Close


@pytest.mark.parametrize("order", ["timed", "any"])
def test_all_closes_return_together_after_the_native_close(order: Order) -> None:
    home = Home(order)

    def closing() -> None:
        home.system.close()
        home.seen.append(home.kernel.now)
        assert home.instance.closed_at

    for number in range(4):
        home.spawn(f"close-{number}", closing)
    home.run()
    assert len(home.instance.closed_at) == 1
    assert home.seen == home.instance.closed_at * 4
    home.at_once(home.system.close)
    assert len(home.instance.closed_at) == 1


def test_close_lets_the_statement_under_way_finish_and_refuses_the_rest(home: Home) -> None:
    def refused() -> None:
        with pytest.raises(DatabaseClosed, match="waited"):
            home.execute("SELECT 1")

    def late() -> None:
        with pytest.raises(DatabaseClosed, match="after close"):
            home.execute("SELECT 1")

    home.spawn("busy", home.see("SELECT pause(30)"))
    home.spawn("queued", refused, 1)
    home.spawn("close", home.system.close, 5)
    home.spawn("late", late, 10)
    home.run()
    assert home.seen == [((0,),)]
    assert home.instance.closed_at == [35 * MS]


def test_close_passes_by_a_full_queue() -> None:
    home = Home(waiting_max=1)

    def refused() -> None:
        with pytest.raises(DatabaseClosed):
            home.execute("SELECT pause(1000)")

    home.spawn("busy", lambda: home.execute("SELECT pause(30)"))
    home.spawn("queued", refused, 1)
    home.spawn("close", home.system.close, 5)
    home.run()
    assert home.instance.closed_at == [35 * MS]


@pytest.mark.parametrize("closer", ["owner", "other"])
def test_close_rolls_an_open_transaction_back_and_reports_it(home: Home, closer: str) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        if closer == "owner":
            home.system.close()
        home.kernel.sleep(50 * MS)
        with pytest.raises(DatabaseClosed):
            home.execute("COMMIT")

    home.spawn("owner", owner)
    if closer == "other":
        home.spawn("close", home.system.close, 10)
    home.run()
    assert [event.cause for event in home.events(TransactionRolledBack)] == ["close"]


def test_close_in_a_transaction_block_is_told_at_its_end(home: Home) -> None:
    def owner() -> None:
        with pytest.raises(DatabaseClosed), home.system.transaction():
            home.kernel.sleep(50 * MS)

    home.spawn("owner", owner)
    home.spawn("close", home.system.close, 10)
    home.run()


def test_cancelled_close_goes_on_without_its_caller(home: Home) -> None:
    def second() -> None:
        home.system.close()
        home.seen.append(home.kernel.now)

    home.spawn("busy", lambda: home.execute("SELECT pause(30)"))
    task = home.spawn("close", home.system.close, 5)
    home.spawn("canceller", task.cancel, 10)
    home.spawn("second", second, 20)
    home.run()
    assert isinstance(task.error, Cancelled)
    assert home.seen == home.instance.closed_at == [35 * MS]


def test_close_gives_up_on_work_that_does_not_end() -> None:
    home = Home(close_timeout_ns=100 * MS)

    def stuck() -> None:
        with pytest.raises(apsw.IOError, match="gave up"):
            home.execute("SELECT pause(1000000)")

    home.spawn("stuck", stuck)
    home.spawn("close", home.system.close, 5)
    home.run()
    assert home.instance.closed_at == [110 * MS]
    assert [event.at for event in home.events(CloseGaveUp)] == [105 * MS]
    assert home.instance.lost == ["close() gave up waiting for the statement of stuck"]


def test_every_close_hears_of_a_native_close_that_failed(home: Home) -> None:
    def closing() -> None:
        with pytest.raises(Bug, match="no way"):
            home.system.close()
        home.seen.append(home.kernel.now)

    home.instance.error_of_close = Bug("no way")
    home.spawn("first", closing)
    home.spawn("second", closing)
    home.run()
    assert home.seen == [5 * MS] * 2


# Death


def break_down(home: Home) -> None:
    """From here on the worker itself fails after each statement in which there is a bug."""
    engine = home.system._engine
    follow = engine._follow_transaction

    def broken(command: Command, error: Exception | None) -> None:
        if "bug" in (command.sql or ""):
            raise Bug("a wheel came off")
        follow(command, error)

    engine._follow_transaction = broken  # type: ignore[method-assign]


def test_worker_that_failed_tells_everybody_why_and_can_be_closed(home: Home) -> None:
    def culprit() -> None:
        with pytest.raises(Bug):
            home.execute("SELECT pause(10) AS bug")

    def waiting() -> None:
        with pytest.raises(WorkerDead, match="a wheel came off") as caught:
            home.execute("SELECT 1")
        assert isinstance(caught.value.__cause__, Bug)

    break_down(home)
    home.spawn("culprit", culprit)
    home.spawn("waiting", waiting, 1)
    home.spawn("late", waiting, 20)
    home.run()
    assert home.system.snapshot().state == "dead"
    home.at_once(home.system.close)
    assert home.system.snapshot().state == "closed"
    assert len(home.instance.closed_at) == 1


def test_worker_that_failed_within_a_transaction_can_be_closed(home: Home) -> None:
    def owner() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        with pytest.raises(Bug):
            home.execute("SELECT 1 AS bug")
        with pytest.raises(WorkerDead):
            home.execute("COMMIT")

    break_down(home)
    home.one(owner)
    home.at_once(home.system.close)
    assert [event.cause for event in home.events(TransactionRolledBack)] == ["close"]


def test_crash_of_the_instance_reaches_every_caller(home: Home) -> None:
    group = home.instance.group

    def client() -> None:
        try:
            with group:
                home.execute("SELECT pause(50)")
        except Crashed:
            home.seen.append(home.kernel.now)

    def outsider() -> None:
        with pytest.raises(WorkerDead):
            home.execute("SELECT 1")

    for number in range(3):
        home.spawn(f"client-{number}", client)
    home.spawn("outsider", outsider, 5)
    home.spawn("crash", group.crash, 10)
    home.run()
    assert home.seen == [10 * MS] * 3


def test_connection_that_cannot_be_configured_is_closed() -> None:
    kernel = Kernel(Decisions(1))
    instance = Memory(kernel, PoolSettings())

    def body() -> None:
        connect = instance.connect

        def broken(readonly: bool = False) -> apsw.Connection:
            connection = connect(readonly)
            connection.authorizer = lambda *_: apsw.SQLITE_DENY
            return connection

        instance.connect = broken  # type: ignore[method-assign]
        with pytest.raises(apsw.AuthError):
            SingleWorker(instance)
        with pytest.raises(apsw.ConnectionClosedError):
            instance.connections[0].execute("SELECT 1")

    task = kernel.spawn(body, name="test", supervised=True)
    kernel.run()
    assert task.error is None, task.error
