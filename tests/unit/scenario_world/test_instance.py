"""An instance by itself: the handles of its connections, the native close, and being cut off from its storage."""

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from simkit.check.events import NativeCloseFinished, NativeCloseStarted, StatementStarted
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.kernel import Decisions, Event, Kernel, Record
from simkit.kernel.kernel import Order
from simkit.pool.system import DatabaseClosed
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import parts_for
from simkit.vfs.errors import InstanceDead
from simkit.vfs.events import FileClosed, FileOpened, VfsUnregistered
from simkit.vfs.settings import VfsSettings

MS = 1_000_000
SCHEMA = "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)"


class Site:
    """A depot 25 ms away, and one open instance that keeps nothing in its cache."""

    def __init__(self, seed: int = 0, order: Order = "timed", sqlite_cache_kib: int = 2000, close_takes_ns: int = 0):
        self.kernel = Kernel(Decisions(seed), order=order)
        self.depot = Depot(self.kernel, LATENCY_PROFILES["network-20ms"], DepotImage(None, 0, 512))
        self.instance = InstanceProcess(
            self.kernel,
            self.depot,
            self.depot.allocate(),
            parts_for("single"),
            VfsSettings(page_cache_pages=0),
            sqlite_cache_kib,
            close_takes_ns=close_takes_ns,
        )

    def run(self, body: Callable[[], None]) -> None:
        """Runs it when the database is open and has a table."""

        def whole() -> None:
            self.instance.database.open()
            self.instance.connect().execute(SCHEMA).fetchall()
            body()

        task = self.kernel.spawn(whole, name="test", supervised=True)
        with self.kernel:
            self.kernel.run()
        self.instance.dispose()
        if task.error is not None:
            raise task.error

    def all(self, *kinds: type[Record]) -> list[Any]:
        return [event for event in self.kernel.history if type(event) in kinds]


def test_connections_that_open_at_once_keep_their_handles_apart() -> None:
    site = Site()

    def read(number: int) -> None:
        with site.kernel.working_for(number):
            connection = site.instance.connect(readonly=True)
            connection.execute("SELECT * FROM t").fetchall()

    def body() -> None:
        readers = [site.kernel.spawn(read, number) for number in range(3)]
        for reader in readers:
            reader.join()

    site.run(body)
    handles = {event.task: event.handle for event in site.all(FileOpened)}
    assert len(handles) == 4
    assert all(handles[event.task] == event.handle for event in site.all(StatementStarted))


def test_connection_that_cannot_be_given_its_cache_is_closed() -> None:
    site = Site(sqlite_cache_kib=8)
    reads: list[str] = []

    def fail_after_the_header(operation: str) -> None:
        reads.append(operation)
        if len(reads) > 1:
            raise apsw.IOError("disk")

    def body() -> None:
        site.instance.watch_io(fail_after_the_header)
        with pytest.raises(apsw.IOError):
            site.instance.connect(readonly=True)
        assert [event.handle for event in site.all(FileClosed)] == [2]
        site.instance.watch_io(None)

    site.run(body)


@pytest.mark.parametrize("calls", [1, 2])
def test_native_close_takes_its_time_and_happens_once(calls: int) -> None:
    site = Site(close_takes_ns=7 * MS)

    def body() -> None:
        began = site.kernel.now
        for _ in range(calls):
            site.instance.close_database()
        assert site.kernel.now == began + 7 * MS

    site.run(body)
    kinds = (NativeCloseStarted, VfsUnregistered, NativeCloseFinished)
    # A second call does nothing but stand in the history, for CLOSE-1.
    assert [type(event) for event in site.all(*kinds)] == [*kinds, *[NativeCloseStarted] * (calls - 1)]
    assert site.instance.closed


def test_native_close_is_not_cut_short() -> None:
    site = Site(close_takes_ns=7 * MS)

    def body() -> None:
        closer = site.kernel.spawn(site.instance.close_database)
        site.kernel.sleep(1 * MS)
        closer.cancel()
        site.kernel.sleep(10 * MS)
        assert site.instance.closed

    site.run(body)


def test_nothing_connects_once_the_native_close_began() -> None:
    site = Site(close_takes_ns=7 * MS)

    def body() -> None:
        site.kernel.spawn(site.instance.close_database)
        site.kernel.sleep(1 * MS)
        with pytest.raises(DatabaseClosed, match="instance-1 cannot connect: the database is closed"):
            site.instance.connect()

    site.run(body)


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(10))
def test_whoever_waits_for_storage_is_cut_off_at_once_and_no_late_reply_wakes_it(seed: int, order: Order) -> None:
    site = Site(seed, order)
    kernel, instance = site.kernel, site.instance
    for_ever = Event(kernel, "nothing")
    ended: list[str] = []

    def work(name: str, sql: str) -> None:
        with instance.group:
            try:
                instance.connect().execute(sql).fetchall()
            except InstanceDead:
                ended.append(name)
            for_ever.wait()  # a reply that wakes it here would be a wait that ends by itself
            ended.append("woken")

    def body() -> None:
        kernel.spawn(work, "reader", "SELECT * FROM t", background=True)
        kernel.spawn(work, "writer", "INSERT INTO t VALUES(3)", background=True)
        kernel.sleep(90 * MS)
        at = kernel.now
        instance.lose("the test says so")
        kernel.sleep(0)
        assert kernel.now == at
        kernel.sleep(2_000 * MS)
        assert ended
        assert "woken" not in ended
        with pytest.raises(InstanceDead, match="the test says so"):
            instance.database.require_alive()

    site.run(body)
