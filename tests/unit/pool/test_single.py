"""The smallest system: order, ownership of transactions, cancellation, close, and what a statement gives back."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import apsw
import pytest

from simkit.kernel import Cancelled, Crashed, Decisions, Group, Kernel
from simkit.pool.classify import NulInStatement
from simkit.pool.result import Result
from simkit.pool.settings import PoolSettings
from simkit.pool.single import IntegerOutOfRange, SingleConnection, TrailingStatement
from simkit.pool.system import DatabaseClosed


class Memory:
    """An instance whose database is in memory; the SQL function `pause(ms)` waits in simulated time."""

    def __init__(self, kernel: Kernel) -> None:
        self.name = "instance-1"
        self.kernel = kernel
        self.settings = PoolSettings()
        self.group: Group = kernel.group("instance-1")
        self.connections: list[apsw.Connection] = []

    def connect(self, readonly: bool = False) -> apsw.Connection:
        connection = apsw.Connection(":memory:")
        connection.create_scalar_function("pause", self._pause)
        self.connections.append(connection)
        return connection

    def close_database(self) -> None:
        pass

    def handle_of(self, connection: apsw.Connection) -> int:
        return 1 + self.connections.index(connection)

    def lose(self, cause: str) -> None:
        raise AssertionError(f"a single connection cuts nobody off: {cause}")

    def _pause(self, *milliseconds: Any) -> int:
        self.kernel.sleep(int(milliseconds[0]) * 1_000_000)
        return 0


class Home:
    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        self.instance = Memory(self.kernel)
        self.system = SingleConnection(self.instance)
        self.seen: list[Any] = []

    def spawn(self, name: str, body: Callable[[], Any], after_ms: int = 0) -> Any:
        def run() -> None:
            self.kernel.sleep(after_ms * 1_000_000)
            body()

        return self.kernel.spawn(run, name=name, supervised=True)

    def execute(self, sql: str, params: Any = None) -> Any:
        return self.system.execute(sql, params)


@pytest.fixture
def home() -> Home:
    home = Home()
    home.instance.connections[0].execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
    return home


def run(home: Home, *tasks: Any) -> None:
    home.kernel.run()
    for task in tasks:
        if task.error is not None:
            raise task.error
    home.kernel.close()


def one(home: Home, body: Callable[[], Any]) -> None:
    run(home, home.spawn("test", body))


def test_statements_are_served_in_the_order_of_arrival(home: Home) -> None:
    def client(name: str) -> Callable[[], None]:
        return lambda: home.seen.append((home.execute("SELECT pause(10)") and name, home.kernel.now))

    run(home, *[home.spawn(name, client(name), after) for after, name in enumerate(["one", "two", "three"])])
    assert [name for name, _ in home.seen] == ["one", "two", "three"]
    assert [now for _, now in home.seen] == [10_000_000, 20_000_000, 30_000_000]


def test_transaction_belongs_to_its_task(home: Home) -> None:
    def writer() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.kernel.sleep(20_000_000)
        home.execute("ROLLBACK")

    def reader() -> None:
        home.seen.append(home.execute("SELECT count(*) FROM t").rows)

    run(home, home.spawn("writer", writer), home.spawn("reader", reader, after_ms=5))
    assert home.seen == [((0,),)]
    assert home.kernel.now == 20_000_000


def test_transaction_that_sqlite_ended_gives_the_connection_back(home: Home) -> None:
    def writer() -> None:
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.execute("BEGIN")
        with pytest.raises(apsw.ConstraintError):
            home.execute("INSERT OR ROLLBACK INTO t VALUES (1, 2)")

    def reader() -> None:
        home.seen.append(home.execute("SELECT x FROM t").rows)

    run(home, home.spawn("writer", writer), home.spawn("reader", reader, after_ms=5))
    assert home.seen == [((1,),)]


def test_failed_statement_leaves_the_transaction_open(home: Home) -> None:
    def body() -> None:
        home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        with pytest.raises(apsw.ConstraintError):
            home.execute("INSERT INTO t VALUES (1, 2)")
        home.execute("COMMIT")
        assert home.execute("SELECT x FROM t").rows == ((1,),)

    one(home, body)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_cancelled_statement_takes_its_transaction_along_and_frees_the_connection(
    home: Home, in_transaction: bool
) -> None:
    def victim() -> None:
        if in_transaction:
            home.execute("BEGIN")
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.execute("UPDATE t SET x = pause(50)")

    def other() -> None:
        task.cancel()
        home.seen.append(home.execute("SELECT x FROM t").rows)

    task = home.spawn("victim", victim)
    run(home, home.spawn("other", other, after_ms=10))
    assert isinstance(task.error, Cancelled | None)
    assert home.seen == [() if in_transaction else ((1,),)]


def test_cancelled_while_waiting_for_its_turn(home: Home) -> None:
    def waiting() -> None:
        home.execute("SELECT 1")
        home.seen.append("never")

    def canceller() -> None:
        task.cancel()

    busy = home.spawn("busy", lambda: home.execute("SELECT pause(30)"))
    task = home.spawn("waiting", waiting, after_ms=5)
    late = home.spawn("late", lambda: home.seen.append("late") if home.execute("SELECT 1") else None, after_ms=6)
    run(home, busy, home.spawn("canceller", canceller, after_ms=10), late)
    assert home.seen == ["late"]


def test_crash_while_a_statement_runs_and_others_wait(home: Home) -> None:
    group = home.instance.group

    def client() -> None:
        try:
            with group:
                home.execute("SELECT pause(50)")
        except Crashed:
            home.seen.append(home.kernel.now)

    tasks = [home.spawn(f"client-{number}", client) for number in range(3)]
    run(home, *tasks, home.spawn("crash", group.crash, after_ms=10))
    assert home.seen == [10_000_000] * 3


def test_all_closes_return_after_the_statement_that_runs(home: Home) -> None:
    def closing() -> None:
        home.system.close()
        home.seen.append(home.kernel.now)

    def late() -> None:
        with pytest.raises(DatabaseClosed, match="after close"):
            home.execute("SELECT 1")

    def queued() -> None:
        with pytest.raises(DatabaseClosed, match="waited"):
            home.execute("SELECT 1")

    run(
        home,
        home.spawn("busy", lambda: home.execute("SELECT pause(30)")),
        home.spawn("queued", queued, after_ms=1),
        home.spawn("close-1", closing, after_ms=5),
        home.spawn("close-2", closing, after_ms=6),
        home.spawn("late", late, after_ms=10),
    )
    assert home.seen == [30_000_000] * 2
    with pytest.raises(apsw.ConnectionClosedError):
        home.instance.connections[0].execute("SELECT 1")


def test_close_waits_for_an_open_transaction(home: Home) -> None:
    def writer() -> None:
        home.execute("BEGIN")
        home.kernel.sleep(20_000_000)
        home.execute("INSERT INTO t VALUES (1, 1)")
        home.execute("COMMIT")

    def closing() -> None:
        home.system.close()
        home.seen.append(home.kernel.now)

    run(home, home.spawn("writer", writer), home.spawn("closing", closing, after_ms=5))
    assert home.seen == [20_000_000]


def test_close_by_the_owner_of_a_transaction_ends_it(home: Home) -> None:
    def body() -> None:
        home.execute("BEGIN")
        home.system.close()
        home.system.close()
        with pytest.raises(DatabaseClosed):
            home.execute("COMMIT")

    one(home, body)


@pytest.mark.parametrize(
    "rest", ["SELECT 2", "; INSERT INTO t VALUES (9, 9)", "nonsense", "-- a remark\nDELETE FROM t"]
)
def test_second_statement_is_refused_before_anything_runs(home: Home, rest: str) -> None:
    def body() -> None:
        with pytest.raises(TrailingStatement):
            home.execute(f"INSERT INTO t VALUES (1, 1); {rest}")
        assert home.execute("SELECT count(*) FROM t").rows == ((0,),)

    one(home, body)


@pytest.mark.parametrize("rest", ["", ";", " ; \n;", " -- a remark", "; /* one */ -- two"])
def test_what_is_no_statement_may_follow(home: Home, rest: str) -> None:
    one(home, lambda: home.seen.append(home.execute(f"SELECT 1{rest}").rows))
    assert home.seen == [((1,),)]


@pytest.mark.parametrize("rest", ["DELETE FROM t", "nonsense", "'open"])
def test_pragma_before_a_second_statement_is_not_carried_out(home: Home, rest: str) -> None:
    def body() -> None:
        with pytest.raises(TrailingStatement, match=rest):
            home.execute(f"PRAGMA foreign_keys=ON; {rest}")
        assert home.execute("PRAGMA foreign_keys").rows == ((0,),)

    one(home, body)


def test_semicolon_in_a_statement_is_part_of_it(home: Home) -> None:
    def body() -> None:
        home.execute("CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET x = ';'; SELECT 1; END; -- the end;")
        home.execute("INSERT INTO t VALUES (1, 1)")
        assert home.execute("SELECT x, '; SELECT 2' FROM t").rows == ((";", "; SELECT 2"),)

    one(home, body)


@pytest.mark.parametrize("sql", ["", " \n", ";;", "-- nothing", "/* nothing */ ;"])
def test_text_without_a_statement_gives_nothing(home: Home, sql: str) -> None:
    one(home, lambda: home.seen.append(home.execute(sql)))
    assert home.seen == [Result((), (), 0, None)]


@pytest.mark.parametrize("sql", [None, b"SELECT 1", 5])
def test_what_is_no_text_is_refused(home: Home, sql: Any) -> None:
    def body() -> None:
        with pytest.raises(TypeError, match=f"the SQL text is of type {type(sql).__name__}; pass a str"):
            home.execute(sql)

    one(home, body)


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (1, 1)\0", "INSERT INTO t VALUES (1, '\0')"])
def test_nul_in_the_text_is_refused(home: Home, sql: str) -> None:
    def body() -> None:
        with pytest.raises(NulInStatement, match="bind the text as a parameter"):
            home.execute(sql)
        assert home.execute("SELECT count(*) FROM t").rows == ((0,),)

    one(home, body)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**20_000], ids=["high", "low", "huge"])
@pytest.mark.parametrize("named", [False, True])
def test_integer_beyond_64_bits_is_refused(home: Home, value: int, named: bool) -> None:
    def body() -> None:
        with pytest.raises(IntegerOutOfRange, match=f"parameter {'x' if named else '2'} is an integer"):
            home.execute("INSERT INTO t VALUES (:id, :x)", {"id": 1, "x": value} if named else (1, value))
        assert home.execute("SELECT count(*) FROM t").rows == ((0,),)

    one(home, body)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_integers_of_64_bits_are_exact(home: Home, value: int) -> None:
    one(home, lambda: home.seen.append(home.execute("SELECT ?", (value,)).rows))
    assert home.seen == [((value,),)]


def test_overflow_within_a_function_is_left_as_it_is(home: Home) -> None:
    def overflow(*_arguments: Any) -> int:
        raise OverflowError("own")

    home.instance.connections[0].create_scalar_function("overflow", overflow)

    def body() -> None:
        with pytest.raises(OverflowError, match="own") as caught:
            home.execute("SELECT overflow()", {"unused": 2**63})
        assert not isinstance(caught.value, IntegerOutOfRange)

    one(home, body)


def test_parameters_by_name_and_by_position(home: Home) -> None:
    def body() -> None:
        home.execute("INSERT INTO t VALUES (:id, :x)", {"id": 1, "x": b"\0"})
        home.execute("INSERT INTO t VALUES (?, ?)", (2, "a\0b"))
        assert home.execute("SELECT * FROM t").rows == ((1, b"\0"), (2, "a\0b"))
        with pytest.raises(apsw.BindingsError):
            home.execute("SELECT ?, ?", (1,))

    one(home, body)


@pytest.mark.parametrize("given", [{"a": 1}, MappingProxyType({"a": 1})])
def test_parameter_without_a_value_is_named(home: Home, given: Any) -> None:
    def body() -> None:
        with pytest.raises(apsw.BindingsError, match=r"parameter b for which no .* given for: a"):
            home.execute("SELECT :a, :b", given)
        with pytest.raises(apsw.BindingsError, match="values were given for: none"):
            home.execute("SELECT :a", {})

    one(home, body)


def test_key_error_within_a_function_is_left_as_it_is(home: Home) -> None:
    def missing(*_arguments: Any) -> int:
        raise KeyError("own")

    home.instance.connections[0].create_scalar_function("missing", missing)

    def body() -> None:
        with pytest.raises(KeyError, match="own"):
            home.execute("SELECT missing(:a)", {"a": 1})

    one(home, body)


def test_columns_of_an_empty_answer(home: Home) -> None:
    one(home, lambda: home.seen.append(home.execute("SELECT id, x AS y FROM t")))
    assert home.seen[0].columns == ("id", "y")
    assert home.seen[0].rows == ()


def test_changes_and_rowid_are_those_of_the_statement(home: Home) -> None:
    def body() -> None:
        inserted = home.execute("INSERT INTO t(x) VALUES (1), (2), (3)")
        assert (inserted.changes, inserted.last_insert_rowid) == (3, 3)
        nothing = home.execute("UPDATE t SET x = 0 WHERE id = 99")
        assert (nothing.changes, nothing.last_insert_rowid) == (0, None)
        looked = home.execute("SELECT * FROM t")
        assert (looked.changes, looked.last_insert_rowid) == (0, None)
        returning = home.execute("DELETE FROM t WHERE id < 3 RETURNING id")
        assert (returning.changes, returning.rows, returning.columns) == (2, ((1,), (2,)), ("id",))

    one(home, body)


def test_is_used_by_tasks_only(home: Home) -> None:
    with pytest.raises(RuntimeError):
        home.execute("SELECT 1")
