"""Two databases of the depot in one connection: one transaction over both, and what a crash or a failure leaves of it.

Each database commits by itself. Cut off between the two commits, the transaction is whole in each database and may be
in one only; a commit that fails is rolled back in both.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import apsw
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import InjectedFault
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.vfs.database import Database
from simkit.vfs.errors import InstanceDead, StorageFailed
from simkit.vfs.filesystem import DepotVfs, RandomBytes, registered
from simkit.vfs.settings import VfsSettings

OTHER = "other.db"
WRITE_BOTH = "BEGIN; UPDATE main.t SET x = x + 1; UPDATE other.t SET x = x + 1; COMMIT"


class Site:
    """A depot with two databases, and an instance that has both."""

    def __init__(self, latency: str = "instant") -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES[latency], DepotImage(None, 0, 4096))
        self.resources = ExitStack()
        self.instances = 0

    def database(self, name: str) -> Database:
        self.instances += 1
        instance = f"instance-{self.instances}-{name}"
        return Database(DirectStorage(self.depot, instance, self.depot.allocate(name), database=name), VfsSettings())

    def instance(self) -> DepotVfs:
        database = self.database("main")
        database.open()
        vfs = self.resources.enter_context(registered(database, RandomBytes(1, database.storage.instance)))
        vfs.attachable[OTHER] = lambda: self.database("other")
        return vfs

    def run(self, body: Callable[[], None]) -> None:
        with self.kernel, self.resources:
            task = self.kernel.spawn(body, name="test", supervised=True)
            self.kernel.run()
            if task.error is not None:
                raise task.error


def rows(connection: apsw.Connection, sql: str) -> list[Any]:
    return connection.execute(sql).fetchall()


def attached(vfs: DepotVfs) -> apsw.Connection:
    connection = vfs.connect()
    connection.execute(f"ATTACH '{OTHER}' AS other")
    return connection


def filled(vfs: DepotVfs) -> apsw.Connection:
    connection = attached(vfs)
    for schema in ("main", "other"):
        connection.execute(f"CREATE TABLE {schema}.t(id INTEGER PRIMARY KEY, x, y)")
        connection.execute(f"INSERT INTO {schema}.t(x, y) VALUES " + ", ".join(["(0, zeroblob(1000))"] * 20))
    return connection


def values(connection: apsw.Connection) -> tuple[int, int]:
    """What x is in each database; it is the same in all rows of one."""
    for schema in ("main", "other"):
        assert rows(connection, f"PRAGMA {schema}.integrity_check") == [("ok",)]
    found = [rows(connection, f"SELECT DISTINCT x FROM {schema}.t") for schema in ("main", "other")]
    assert [len(answer) for answer in found] == [1, 1], "a transaction is whole in each database"
    return found[0][0][0], found[1][0][0]


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory"])
def test_transaction_over_two_databases_is_kept_by_both(mode: str) -> None:
    site = Site()

    def body() -> None:
        connection = filled(site.instance())
        for schema in ("main", "other"):
            rows(connection, f"PRAGMA {schema}.journal_mode = {mode}")
        rows(connection, WRITE_BOTH)
        rows(connection, "BEGIN; UPDATE main.t SET x = 7; UPDATE other.t SET x = 7; ROLLBACK")
        connection.close(True)
        again = attached(site.instance())
        assert values(again) == (1, 1)
        again.close(True)

    site.run(body)


def test_database_that_several_attach_at_once_is_opened_once() -> None:
    site = Site("network-20ms")
    found = []

    def body() -> None:
        vfs = site.instance()
        filled(vfs).close(True)
        other = site.instance()  # knows nothing of the other database yet

        def attach() -> None:
            connection = attached(other)
            found.append(rows(connection, "SELECT count(*) FROM other.t"))
            connection.close(True)

        for task in [site.kernel.spawn(attach, name=f"attach-{number}", supervised=True) for number in range(3)]:
            site.kernel.wait_for_end(task)
            assert task.error is None
        assert len(other.databases) == 2

    site.run(body)
    assert found == [[(20,)]] * 3


def test_databases_are_vacuumed_joined_and_detached() -> None:
    site = Site()

    def body() -> None:
        vfs = site.instance()
        connection = filled(vfs)
        rows(connection, "DELETE FROM other.t WHERE id > 3")
        rows(connection, "VACUUM other")
        assert rows(connection, "SELECT count(*) FROM main.t JOIN other.t USING (id)") == [(3,)]
        connection.execute("DETACH other")
        second = attached(vfs)
        assert rows(second, "SELECT count(*) FROM other.t") == [(3,)]
        assert len(vfs.databases) == 2
        for each in (connection, second):
            each.close(True)

    site.run(body)


def test_vacuum_into_writes_a_database_of_the_depot() -> None:
    site = Site()

    def body() -> None:
        vfs = site.instance()
        connection = vfs.connect()
        connection.execute("CREATE TABLE t(x)")
        connection.execute("INSERT INTO t VALUES (1), (2)")
        connection.execute(f"VACUUM INTO '{OTHER}'")
        connection.execute(f"ATTACH '{OTHER}' AS other")
        assert rows(connection, "SELECT count(*) FROM other.t") == [(2,)]
        connection.close(True)

    site.run(body)


def test_unknown_databases_are_not_attached() -> None:
    site = Site()

    def body() -> None:
        connection = site.instance().connect()
        with pytest.raises(apsw.CantOpenError):
            connection.execute("ATTACH 'stranger.db' AS stranger")
        connection.close(True)

    site.run(body)


def test_crash_at_every_storage_operation_leaves_each_database_whole() -> None:
    outcomes = set()
    for stop_at in range(1, 200):
        site = Site()
        seen: list[str] = []

        def body(site: Site = site, seen: list[str] = seen, stop_at: int = stop_at) -> None:
            vfs = site.instance()
            connection = filled(vfs)

            def on_io(name: str) -> None:
                seen.append(name)
                if len(seen) == stop_at:
                    for database in vfs.databases:
                        database.die("crashed")

            for database in vfs.databases:
                database.on_io = on_io
            with suppress(InstanceDead):
                rows(connection, WRITE_BOTH)
            for database in vfs.databases:
                database.die("crashed")
                database.on_io = None
            with suppress(InstanceDead):
                connection.close(True)
            again = attached(site.instance())
            outcomes.add(values(again))
            rows(again, WRITE_BOTH)
            again.close(True)

        site.run(body)
        if len(seen) < stop_at:
            break
    assert outcomes == {(0, 0), (1, 0), (1, 1)}, "main commits first"


@pytest.mark.parametrize("which", [0, 1])
def test_commit_that_fails_in_one_database_is_rolled_back_in_both(which: int) -> None:
    site = Site()

    def body() -> None:
        vfs = site.instance()
        connection = filled(vfs)
        storage = vfs.databases[which].storage
        commit = storage.commit

        def fail(pages: Any, page_count: int) -> None:
            storage.commit = commit  # type: ignore[method-assign]
            raise InjectedFault("not this time")

        storage.commit = fail  # type: ignore[method-assign]
        with pytest.raises(StorageFailed, match="not this time"):
            rows(connection, WRITE_BOTH)
        assert values(connection) == (0, 0)
        rows(connection, WRITE_BOTH)
        connection.close(True)
        again = attached(site.instance())
        assert values(again) == (1, 1)
        again.close(True)

    site.run(body)
