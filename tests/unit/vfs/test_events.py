"""What the VFS tells the history: handles, transactions of SQLite, syncs, registrations; and whom it does not watch."""

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest

from simkit.check.events import StatementStarted
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel, Record
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import parts_for
from simkit.vfs.database import Database
from simkit.vfs.events import (
    FileClosed,
    FileOpened,
    SyncReturned,
    SyncStarted,
    TransactionBegan,
    TransactionEnded,
    VfsRegistered,
    VfsUnregistered,
)
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

Watched = Callable[[Callable[[InstanceProcess], None]], list[Record]]


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel(Decisions(1)) as kernel:
        yield kernel


@pytest.fixture
def depot(kernel: Kernel) -> Depot:
    return Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, 512))


@pytest.fixture
def watched(kernel: Kernel, depot: Depot) -> Watched:
    """Runs something on an open instance, as operation 7; gives the history."""

    def watch(body: Callable[[InstanceProcess], None]) -> list[Record]:
        instance = InstanceProcess(kernel, depot, depot.allocate(), parts_for("single"), VfsSettings(), 2000)

        def run() -> None:
            instance.database.open()
            with kernel.working_for(7):
                body(instance)

        task = kernel.spawn(run, name="test", supervised=True)
        kernel.run()
        instance.dispose()
        if task.error is not None:
            raise task.error
        return kernel.history

    return watch


def of(history: list[Record], *kinds: type[Record]) -> list[Any]:
    return [event for event in history if type(event) in kinds]


def told(history: list[Record], *kinds: type[Record]) -> list[str]:
    return [type(event).__name__ for event in of(history, *kinds)]


def test_handles_are_numbered_and_say_whether_they_can_write(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        writer = instance.connect()
        writer.execute("CREATE TABLE t(a)")
        instance.connect(readonly=True).close()
        writer.close()

    history = watched(body)
    assert [(event.handle, event.writable) for event in of(history, FileOpened)] == [(1, True), (2, False)]
    assert [event.handle for event in of(history, FileClosed)] == [2, 1]
    assert {event.task for event in of(history, FileOpened, FileClosed)} == {"test"}


def test_transaction_of_sqlite_lasts_from_its_first_lock_to_its_last(watched: Watched) -> None:
    since = 0

    def body(instance: InstanceProcess) -> None:
        nonlocal since
        history = instance.kernel.history
        connection = instance.connect()
        connection.execute("CREATE TABLE t(a)")
        connection.execute("BEGIN")
        since = len(history)
        connection.execute("SELECT * FROM t").fetchall()
        assert told(history[since:], TransactionBegan, TransactionEnded) == ["TransactionBegan"]
        connection.execute("INSERT INTO t VALUES(1)")
        connection.execute("COMMIT")

    history = watched(body)[since:]
    assert told(history, TransactionBegan, SyncReturned, TransactionEnded) == [
        "TransactionBegan", "SyncReturned", "TransactionEnded",
    ]  # fmt: skip
    (began,) = of(history, TransactionBegan)
    assert (began.handle, began.operation, began.head) == (1, 7, 1)


def test_transactions_of_two_connections_overlap_in_the_history(watched: Watched) -> None:
    since = 0

    def body(instance: InstanceProcess) -> None:
        nonlocal since
        instance.connect().execute("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)").fetchall()
        readers = [instance.connect(readonly=True) for _ in range(2)]
        for reader in readers:
            reader.execute("SELECT a FROM t").fetchall()  # reads the schema
        since = len(instance.kernel.history)
        cursors = [reader.execute("SELECT a FROM t") for reader in readers]
        for cursor in cursors:
            cursor.close()

    history = watched(body)[since:]
    assert [(type(event).__name__, event.handle) for event in of(history, TransactionBegan, TransactionEnded)] == [
        ("TransactionBegan", 2), ("TransactionBegan", 3), ("TransactionEnded", 2), ("TransactionEnded", 3),
    ]  # fmt: skip


def test_closing_a_connection_in_a_transaction_ends_it_first(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        connection = instance.connect()
        connection.execute("BEGIN IMMEDIATE")
        connection.close(True)

    assert told(watched(body), TransactionBegan, TransactionEnded, FileClosed) == [
        "TransactionBegan", "TransactionEnded", "FileClosed",
    ]  # fmt: skip


def test_sync_names_the_handle_and_the_operation(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        instance.connect(readonly=True)
        instance.connect().execute("CREATE TABLE t(a)").fetchall()

    (started,), (returned,) = (of(history := watched(body), SyncStarted), of(history, SyncReturned))
    assert (started.handle, started.operation, returned.operation) == (2, 7, 7)
    assert started.pages > 0


def test_statements_are_told_with_where_they_stand(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        connection = instance.connect()
        for sql in ("CREATE TABLE t(a)", "BEGIN", "INSERT INTO t VALUES(1)", " rollback"):
            connection.execute(sql).fetchall()

    started = of(watched(body), StatementStarted)
    assert [(event.in_transaction, event.rollback) for event in started] == [
        (False, False), (False, False), (True, False), (True, True),
    ]  # fmt: skip
    assert {(event.handle, event.operation) for event in started} == {(1, 7)}


def test_statements_that_a_trigger_runs_are_part_of_theirs(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        connection = instance.connect()
        connection.execute(
            "CREATE TABLE t(a); CREATE TRIGGER r AFTER INSERT ON t WHEN new.a < 3 BEGIN UPDATE t SET a = a + 9; END"
        ).fetchall()
        connection.execute("INSERT INTO t VALUES(1)")

    assert len(of(watched(body), StatementStarted)) == 3


def test_what_works_for_nobody_has_no_operation(watched: Watched) -> None:
    def body(instance: InstanceProcess) -> None:
        with instance.kernel.working_for(None):
            instance.connect().execute("CREATE TABLE t(a)")

    history = watched(body)
    assert {event.operation for event in of(history, StatementStarted, TransactionBegan, SyncStarted)} == {-1}


def test_registration_is_told_from_first_to_last(watched: Watched) -> None:
    history = watched(lambda instance: None)
    assert told(history, VfsRegistered, VfsUnregistered) == ["VfsRegistered", "VfsUnregistered"]


def test_registration_that_sqlite_keeps_is_told_as_it_is(kernel: Kernel, depot: Depot) -> None:
    database = Database(DirectStorage(depot, "instance-1", depot.allocate()), VfsSettings())
    with registered(database, RandomBytes(0, "test")) as vfs:
        vfs.unregister()
        other = apsw.VFS(vfs.vfs_name, "")
    assert told(kernel.history, VfsRegistered, VfsUnregistered) == ["VfsRegistered", "VfsRegistered"]
    other.unregister()


def test_whoever_only_inspects_leaves_no_trace(watched: Watched, kernel: Kernel, depot: Depot) -> None:
    watched(lambda instance: instance.connect().execute("CREATE TABLE t(a)").close())
    before = len(kernel.history)

    def look() -> None:
        database = Database(DirectStorage(depot, "inspector", depot.allocate(), immediate=True), VfsSettings())
        database.open()
        with registered(database, RandomBytes(0, "inspector")) as vfs:
            connection = vfs.connect(readonly=True)
            assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
            connection.close(True)

    kernel.spawn(look)
    kernel.run()
    kinds = (FileOpened, FileClosed, TransactionBegan, TransactionEnded, VfsRegistered, VfsUnregistered)
    assert of(kernel.history[before:], *kinds) == []
