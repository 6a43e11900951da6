"""Several main files of one VFS, each a database of its own in one depot."""

import errno
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from simkit.conformance.routing import RoutingVfs, ScriptFile
from simkit.conformance.subject import depot_kernel
from simkit.vfs.settings import VfsSettings

Body = Callable[[RoutingVfs, Path], None]


def in_task(folder: Path, body: Body) -> int:
    """Runs `body` in a task, with a VFS over an empty depot; the number of commits."""
    with depot_kernel(1024) as (kernel, depot, tally):

        def task() -> None:
            vfs = RoutingVfs(depot, VfsSettings())
            try:
                body(vfs, folder)
            finally:
                vfs.unregister()

        kernel.spawn(task, name="test")
        kernel.run()
        return tally.commits


def opened(vfs: RoutingVfs, path: Path) -> apsw.Connection:
    return apsw.Connection(str(path), vfs=vfs.vfs_name)


def values(connection: apsw.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]


def made(vfs: RoutingVfs, path: Path, *numbers: int) -> None:
    connection = opened(vfs, path)
    connection.execute("CREATE TABLE t(a)")
    for number in numbers:
        connection.execute("INSERT INTO t VALUES(?)", (number,))
    connection.close()


def test_files_are_databases_of_their_own(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        made(vfs, folder / "one.db", 1)
        made(vfs, folder / "two.db", 2)
        for name, number in (("one.db", 1), ("two.db", 2)):
            connection = opened(vfs, folder / name)
            assert values(connection) == [number]
            connection.close()
        assert list(folder.iterdir()) == []

    assert in_task(tmp_path, body) == 4


def test_two_can_be_attached_and_written_together(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        made(vfs, folder / "one.db", 1)
        made(vfs, folder / "two.db", 2)
        connection = opened(vfs, folder / "one.db")
        connection.execute("ATTACH ? AS two", (str(folder / "two.db"),))
        with connection:
            connection.execute("INSERT INTO main.t VALUES(10); INSERT INTO two.t VALUES(20)")
        assert values(connection) == [1, 10]
        connection.close()
        connection = opened(vfs, folder / "two.db")
        assert values(connection) == [2, 20]
        connection.close()

    in_task(tmp_path, body)


def test_deleting_forgets_the_database(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        path = folder / "one.db"
        made(vfs, path, 1)
        vfs.delete(str(path))
        assert not vfs.holds(str(path))
        with pytest.raises(apsw.CantOpenError):
            apsw.Connection(str(path), vfs=vfs.vfs_name, flags=apsw.SQLITE_OPEN_READWRITE)
        made(vfs, path, 2)

    in_task(tmp_path, body)


def test_a_deleted_file_that_is_open_goes_on(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        path = folder / "one.db"
        made(vfs, path, 1)
        connection = opened(vfs, path)
        assert values(connection) == [1]
        ScriptFile.needs.clear()
        vfs.delete(str(path))
        assert ScriptFile.needs == ["SQLite to notice that a file it has open is gone"]
        made(vfs, path, 2)
        assert values(connection) == [1]
        connection.close()

    in_task(tmp_path, body)


def test_a_copy_has_the_content(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        made(vfs, folder / "one.db", 1, 2)
        vfs.write(str(folder / "two.db"), vfs.content(str(folder / "one.db")))
        connection = opened(vfs, folder / "two.db")
        assert values(connection) == [1, 2]
        connection.close()
        assert vfs.size(str(folder / "two.db")) == len(vfs.content(str(folder / "one.db")))

    in_task(tmp_path, body)


@pytest.mark.parametrize("order", [("", "-journal"), ("-journal", "")])
def test_a_copied_journal_is_rolled_back(tmp_path: Path, order: tuple[str, str]) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        one, two = str(folder / "one.db"), str(folder / "two.db")
        made(vfs, folder / "one.db", *range(200))
        connection = opened(vfs, folder / "one.db")
        connection.execute("PRAGMA cache_size = 1; BEGIN; UPDATE t SET a = -a")
        assert vfs.holds(f"{one}-journal")
        for suffix in order:
            vfs.write(two + suffix, vfs.content(one + suffix))
        copy = opened(vfs, folder / "two.db")
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert values(copy) == list(range(200))
        connection.execute("ROLLBACK")
        connection.close()
        copy.close()

    in_task(tmp_path, body)


def test_a_file_of_the_operating_system_is_taken_into_the_depot(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        path = folder / "one.db"
        outside = apsw.Connection(str(path))
        outside.execute("PRAGMA page_size = 1024; CREATE TABLE t(a); INSERT INTO t VALUES(5)")
        outside.close()
        connection = opened(vfs, path)
        assert values(connection) == [5]
        connection.close()
        assert not path.exists()

    in_task(tmp_path, body)


def test_bytes_can_be_changed_behind_sqlites_back(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        path = str(folder / "one.db")
        made(vfs, folder / "one.db", 1)
        assert vfs.patch(path, 0, b"not a database")
        connection = opened(vfs, folder / "one.db")
        with pytest.raises(apsw.NotADBError):
            connection.execute("SELECT * FROM t")
        connection.close()

    in_task(tmp_path, body)


def test_locks_are_shared_by_the_handles_of_a_file_only(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        made(vfs, folder / "one.db", 1)
        made(vfs, folder / "two.db", 1)
        first, second, other = (opened(vfs, folder / name) for name in ("one.db", "one.db", "two.db"))
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(apsw.BusyError):
            second.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        for connection in (first, second, other):
            connection.close(True)

    in_task(tmp_path, body)


def test_the_names_are_those_of_files_and_journals(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        made(vfs, folder / "one.db", 1)
        connection = opened(vfs, folder / "one.db")
        connection.execute("PRAGMA journal_mode = PERSIST; INSERT INTO t VALUES(2)").fetchall()
        assert list(vfs.names()) == [str(folder / "one.db"), str(folder / "one.db-journal")]
        connection.close()

    in_task(tmp_path, body)


def test_a_closed_file_can_be_handed_to_the_operating_system_and_comes_back(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        path = folder / "one.db"
        made(vfs, path, 1)
        connection = opened(vfs, path)
        assert values(connection) == [1]
        assert not vfs.release(str(path))
        connection.close()
        assert vfs.release(str(path))
        assert not vfs.holds(str(path))
        outside = apsw.Connection(str(path))
        outside.execute("INSERT INTO t VALUES(2)")
        outside.close()
        connection = opened(vfs, path)
        assert values(connection) == [1, 2]
        connection.close()

    in_task(tmp_path, body)


def test_a_refused_log_is_noted_as_a_need(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        connection = opened(vfs, folder / "one.db")
        with pytest.raises(apsw.SQLError):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()

    ScriptFile.needs.clear()
    in_task(tmp_path, body)
    assert ScriptFile.needs == ["a write-ahead log"]
    ScriptFile.needs.clear()


def test_what_is_not_there_has_a_number_of_the_operating_system(tmp_path: Path) -> None:
    def body(vfs: RoutingVfs, folder: Path) -> None:
        with pytest.raises(apsw.CantOpenError):
            opened(vfs, folder / "missing" / "one.db")
        assert vfs.xGetLastError()[0] in (0, errno.ENOENT)
        with pytest.raises(apsw.CantOpenError):
            opened(vfs, folder)
        with pytest.raises(apsw.IOError):
            apsw.Connection(str(folder), vfs=vfs.vfs_name, flags=apsw.SQLITE_OPEN_READONLY)

    in_task(tmp_path, body)
