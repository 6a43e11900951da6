"""Files as SQLite uses them, called directly: short reads, growth, truncation, roles, registration, SQLite's inputs."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import apsw
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import DepotError, InjectedFault, TransportFailed
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.request import Reply
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.vfs.aux_file import AuxFile
from simkit.vfs.database import Database
from simkit.vfs.errors import InstanceDead, Refused, StorageFailed
from simkit.vfs.filesystem import MAIN_FILE_NAME, RandomBytes, registered, seed_sqlite
from simkit.vfs.main_file import MainFile
from simkit.vfs.page_cache import PageCache
from simkit.vfs.settings import VfsSettings

PAGE = 512
EXCLUSIVE = apsw.SQLITE_LOCK_EXCLUSIVE


class Site:
    def __init__(self, page_size: int = PAGE) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, page_size))

    def open(self) -> Database:
        generation = self.depot.allocate()
        database = Database(DirectStorage(self.depot, f"instance-{generation}", generation), VfsSettings())
        database.open()
        return database

    def run(self, body: Callable[[], None]) -> None:
        task = self.kernel.spawn(body, name="test", supervised=True)
        self.kernel.run()
        if task.error is not None:
            raise task.error


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.kernel.close()


def page(letter: str) -> bytes:
    return letter.encode() * PAGE


def committed(database: Database, letters: str) -> MainFile:
    file = MainFile(database, writable=True)
    file.xLock(apsw.SQLITE_LOCK_SHARED)
    file.xLock(EXCLUSIVE)
    for number, letter in enumerate(letters):
        file.xWrite(page(letter), number * PAGE)
    file.xSync(0)
    return file


def test_reads_within_across_and_beyond(site: Site) -> None:
    def body() -> None:
        file = committed(site.open(), "abc")
        assert file.xRead(PAGE, PAGE) == page("b")
        assert file.xRead(3, PAGE + 7) == b"bbb"
        assert file.xRead(4, PAGE - 2) == b"aabb"
        assert file.xRead(10, 3 * PAGE - 4) == b"cccc"
        assert file.xRead(10, 3 * PAGE) == b""
        assert file.xRead(10, 99 * PAGE) == b""
        assert file.xFileSize() == 3 * PAGE

    site.run(body)


def test_parts_of_pages_are_written(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "ab")
        file.xWrite(b"xyz", PAGE - 1)
        file.xWrite(b"end", 3 * PAGE + 5)
        file.xSync(0)
        again = MainFile(site.open(), writable=False)
        assert again.xRead(2 * PAGE, 0) == b"a" * (PAGE - 1) + b"xyz" + b"b" * (PAGE - 2)
        assert again.xRead(PAGE, 2 * PAGE) == bytes(PAGE)
        assert again.xRead(PAGE, 3 * PAGE) == bytes(5) + b"end" + bytes(PAGE - 8)

    site.run(body)


def test_cut_and_grown_again_reads_zeros(site: Site) -> None:
    def body() -> None:
        file = committed(site.open(), "abcd")
        file.xTruncate(PAGE + 1)
        assert file.xFileSize() == 2 * PAGE
        file.xWrite(page("e"), 3 * PAGE)
        assert file.xRead(PAGE, 2 * PAGE) == bytes(PAGE)
        file.xSync(0)
        again = MainFile(site.open(), writable=False)
        assert again.xRead(4 * PAGE, 0) == page("a") + page("b") + bytes(PAGE) + page("e")

    site.run(body)


def test_cutting_alone_is_told_with_the_next_commit(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "abcd")
        commits = database.storage.commits
        file.xTruncate(PAGE)
        file.xSync(0)
        assert database.storage.commits == commits
        file.xWrite(page("z"), 0)
        file.xSync(0)
        assert MainFile(site.open(), writable=False).xFileSize() == PAGE

    site.run(body)


def test_giving_up_the_lock_forgets_what_was_not_synced(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "abcd")
        file.xTruncate(3 * PAGE)
        file.xUnlock(apsw.SQLITE_LOCK_SHARED)
        file.xLock(EXCLUSIVE)
        file.xWrite(page("x"), 0)
        file.xTruncate(PAGE)
        file.xWrite(page("y"), 5 * PAGE)
        file.xUnlock(apsw.SQLITE_LOCK_NONE)
        assert file.xFileSize() == 3 * PAGE
        assert file.xRead(3 * PAGE, 0) == page("a") + page("b") + page("c")
        assert database.dirty == {}

    site.run(body)


def test_reader_that_unlocks_leaves_the_writer_alone(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        file.xUnlock(apsw.SQLITE_LOCK_SHARED)
        reader = MainFile(database, writable=False)
        reader.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xLock(apsw.SQLITE_LOCK_RESERVED)
        file.xWrite(page("b"), 0)
        reader.xUnlock(apsw.SQLITE_LOCK_NONE)
        reader.xClose()
        assert database.dirty == {1: page("b")}

    site.run(body)


def test_read_only_handle_refuses_every_change(site: Site) -> None:
    def body() -> None:
        database = site.open()
        writer = committed(database, "a")
        writer.xWrite(page("b"), 0)
        reader = MainFile(database, writable=False)
        for change in (
            lambda: reader.xWrite(page("c"), 0),
            lambda: reader.xTruncate(0),
            lambda: reader.xSync(0),
            lambda: reader.xFileControl(apsw.SQLITE_FCNTL_SYNC, 0),
        ):
            with pytest.raises(apsw.ReadOnlyError, match="ROLE-1"):
                change()
        assert database.dirty == {1: page("b")}

    site.run(body)


def test_dead_handle_only_unlocks_and_closes(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        file.xWrite(page("b"), 0)
        database.die("first")
        database.die("second")
        for call in (
            lambda: file.xRead(PAGE, 0),
            lambda: file.xWrite(page("c"), 0),
            lambda: file.xTruncate(0),
            lambda: file.xSync(0),
        ):
            with pytest.raises(InstanceDead, match="first"):
                call()
        file.xUnlock(apsw.SQLITE_LOCK_NONE)
        file.xClose()

    site.run(body)


def test_handles_of_one_name_share_an_auxiliary_file(site: Site) -> None:
    def body() -> None:
        database = site.open()
        content = bytearray()
        one, two = AuxFile(database, content, None), AuxFile(database, content, None)
        one.xWrite(b"abc", 4)
        assert two.xRead(10, 0) == bytes(4) + b"abc"
        two.xTruncate(5)
        assert one.xFileSize() == 5
        two.xTruncate(6)
        assert one.xRead(2, 4) == b"a\0"

    site.run(body)


def test_auxiliary_files_by_name(site: Site) -> None:
    def body() -> None:
        database = site.open()
        with registered(database, RandomBytes(1, "x")) as vfs:
            journal = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_READWRITE
            with pytest.raises(apsw.CantOpenError):
                vfs.xOpen("j", [journal, 0])
            vfs.xOpen("j", [journal | apsw.SQLITE_OPEN_CREATE, 0]).xWrite(b"x", 0)
            assert vfs.xAccess("j", 0)
            assert vfs.xOpen("j", [journal, 0]).xFileSize() == 1
            vfs.xDelete("j", False)
            assert not vfs.xAccess("j", 0)
            temporary = journal | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_DELETEONCLOSE
            vfs.xOpen("k", [temporary, 0]).xClose()
            assert not vfs.xAccess("k", 0)
            with pytest.raises(apsw.IOError):
                vfs.xDelete(MAIN_FILE_NAME, False)
            with pytest.raises(apsw.CantOpenError):
                vfs.xOpen("other.db", [apsw.SQLITE_OPEN_MAIN_DB, 0])
            with pytest.raises(apsw.CantOpenError):
                vfs.xOpen("w", [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_CREATE, 0])

    site.run(body)


def test_registration_ends_on_every_exit(site: Site) -> None:
    def body() -> None:
        database = site.open()
        before = apsw.vfs_names()
        with pytest.raises(ZeroDivisionError), registered(database, RandomBytes(1, "x")) as vfs:
            print(vfs.vfs_name in apsw.vfs_names() and 1 / 0)
        assert apsw.vfs_names() == before

    site.run(body)


def test_sqlite_takes_time_and_chance_from_the_run(site: Site) -> None:
    def body() -> Any:
        database = site.open()
        with registered(database, RandomBytes(1, "x")) as vfs:
            connection = vfs.connect()
            site.kernel.sleep(1_500_000_000)
            now = connection.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchall()
            assert now == [("2023-11-14 22:13:21.500",)]
            before = site.kernel.now
            vfs.xSleep(250)
            assert site.kernel.now == before + 250_000
            assert vfs.xRandomness(20) == RandomBytes(1, "x").take(20)
            connection.close(True)

    site.run(body)


def test_seeded_sqlite_repeats_its_random_numbers() -> None:
    default = apsw.vfs_names()[0]
    connection = apsw.Connection(":memory:")
    drawn = []
    for seed in (1, 2, 1):
        seed_sqlite(seed)
        drawn.append(connection.execute("SELECT random(), random()").fetchall())
    assert drawn[0] == drawn[2] != drawn[1]
    assert apsw.vfs_names()[0] == default


def test_busy_handler_sleeps_in_simulated_time(site: Site) -> None:
    def body() -> None:
        with registered(site.open(), RandomBytes(1, "x")) as vfs:
            one, two = vfs.connect(), vfs.connect()
            one.execute("CREATE TABLE t(x)")
            two.set_busy_timeout(40)
            one.execute("BEGIN IMMEDIATE")
            before = site.kernel.now
            with pytest.raises(apsw.BusyError):
                two.execute("BEGIN IMMEDIATE")
            assert site.kernel.now - before >= 30_000_000
            one.close(True)
            two.close(True)

    site.run(body)


def test_cache_forgets_the_oldest_page() -> None:
    cache = PageCache(2)
    cache.put_all({1: b"a", 2: b"b"})
    cache.put(1, b"c")
    cache.put(3, b"d")
    assert cache.pages == {2: b"b", 3: b"d"}
    cache.drop_beyond(2)
    assert cache.pages == {2: b"b"}
    empty = PageCache(0)
    empty.put(1, b"a")
    assert empty.pages == {}


def test_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        VfsSettings(-1)


# Errors


class FailingStorage(DirectStorage):
    """Fails while `failure` is set."""

    failure: DepotError | None = None

    def get_pages(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        if self.failure is not None:
            raise self.failure
        return super().get_pages(numbers, overflow)

    def commit(self, pages: Mapping[int, bytes], page_count: int) -> None:
        if self.failure is not None:
            raise self.failure
        super().commit(pages, page_count)


def on_failing_storage(site: Site, letters: str) -> tuple[MainFile, FailingStorage]:
    """A file of these pages, none of them in memory."""
    committed(site.open(), letters)
    generation = site.depot.allocate()
    storage = FailingStorage(site.depot, f"instance-{generation}", generation)
    settings = VfsSettings(page_cache_pages=0, protected_pages=0, read_ahead="none", range_reads=False, staging_ns=0)
    database = Database(storage, settings)
    database.open()
    file = MainFile(database, writable=True)
    file.xLock(apsw.SQLITE_LOCK_SHARED)
    file.xLock(EXCLUSIVE)
    return file, storage


def test_each_callback_fails_with_its_own_code(site: Site) -> None:
    def body() -> None:
        file, storage = on_failing_storage(site, "abc")
        file.xWrite(page("x"), 0)
        storage.failure = InjectedFault("storage is away")
        for call, code in (
            (lambda: file.xRead(PAGE, PAGE), apsw.SQLITE_IOERR_READ),
            (lambda: file.xWrite(b"part", PAGE + 3), apsw.SQLITE_IOERR_WRITE),
            (lambda: file.xSync(0), apsw.SQLITE_IOERR_FSYNC),
            (lambda: file.xFileControl(apsw.SQLITE_FCNTL_SYNC, 0), apsw.SQLITE_IOERR_FSYNC),
        ):
            with pytest.raises(StorageFailed, match="storage is away") as raised:
                call()
            assert (raised.value.result, raised.value.extendedresult) == (apsw.SQLITE_IOERR, code)

    site.run(body)


def test_each_callback_of_a_dead_file_fails_with_its_own_code(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        file.xWrite(page("b"), 0)
        database.die("gone")
        for call, code in (
            (lambda: file.xLock(EXCLUSIVE), apsw.SQLITE_IOERR_LOCK),
            (lambda: file.xRead(PAGE, 0), apsw.SQLITE_IOERR_READ),
            (lambda: file.xWrite(page("c"), 0), apsw.SQLITE_IOERR_WRITE),
            (lambda: file.xTruncate(0), apsw.SQLITE_IOERR_TRUNCATE),
            (lambda: file.xSync(0), apsw.SQLITE_IOERR_FSYNC),
        ):
            with pytest.raises(InstanceDead, match="gone") as raised:
                call()
            assert raised.value.extendedresult == code

    site.run(body)


def test_whole_pages_are_written_without_reading_them(site: Site) -> None:
    def body() -> None:
        file, storage = on_failing_storage(site, "abcd")
        storage.failure = InjectedFault("storage is away")
        file.xWrite(page("x") + page("y"), PAGE)
        storage.failure = None
        assert file.xRead(4 * PAGE, 0) == page("a") + page("x") + page("y") + page("d")

    site.run(body)


def test_file_cannot_be_cut_to_less_than_nothing(site: Site) -> None:
    def body() -> None:
        file = committed(site.open(), "a")
        with pytest.raises(Refused) as raised:
            file.xTruncate(-1)
        assert raised.value.extendedresult == apsw.SQLITE_IOERR_TRUNCATE
        assert file.xFileSize() == PAGE

    site.run(body)


def test_last_error_is_the_first_cause_until_the_storage_works_again(site: Site) -> None:
    def body() -> None:
        file, storage = on_failing_storage(site, "abc")
        database = file._database
        with registered(database, RandomBytes(1, "x")) as vfs:
            assert vfs.xGetLastError() == (0, "")
            file.xWrite(page("x"), 0)
            for cause in ("first", "second"):
                storage.failure = InjectedFault(cause)
                for call in (partial(file.xRead, PAGE, PAGE), partial(file.xSync, 0)):
                    with pytest.raises(StorageFailed, match=cause):
                        call()
                code, text = vfs.xGetLastError()
                assert code == apsw.SQLITE_IOERR_READ
                assert "first" in text
            storage.failure = None
            file.xRead(PAGE, PAGE)
            assert vfs.xGetLastError() == (0, "")
            database.die("a fence")
            file.xUnlock(apsw.SQLITE_LOCK_NONE)
            assert vfs.xGetLastError() == (apsw.SQLITE_IOERR, "a fence")

    site.run(body)


def test_last_error_goes_with_a_commit_that_succeeds(site: Site) -> None:
    def body() -> None:
        file, storage = on_failing_storage(site, "abc")
        with registered(file._database, RandomBytes(1, "x")) as vfs:
            file.xWrite(page("x"), 0)
            storage.failure = InjectedFault("once")
            with pytest.raises(StorageFailed, match="once"):
                file.xSync(0)
            storage.failure = None
            file.xSync(0)
            assert vfs.xGetLastError() == (0, "")

    site.run(body)


def test_only_a_fence_ends_the_instance(site: Site) -> None:
    def body() -> None:
        file, storage = on_failing_storage(site, "abc")
        for failure in (InjectedFault("once"), TransportFailed("twice")):
            storage.failure = failure
            with pytest.raises(StorageFailed):
                file.xRead(PAGE, 0)
            assert file._database.death is None
        storage.failure = None
        assert file.xRead(PAGE, 0) == page("a")
        site.depot.allocate()
        with pytest.raises(InstanceDead, match="fence"):
            file.xRead(PAGE, PAGE)
        with pytest.raises(InstanceDead, match="fence"):
            file.xRead(PAGE, 0)

    site.run(body)


# Names and sizes


def test_file_without_a_name_is_temporary_or_not_opened(site: Site) -> None:
    def body() -> None:
        with registered(site.open(), RandomBytes(1, "x")) as vfs:
            flags = apsw.SQLITE_OPEN_TEMP_DB | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            vfs.xOpen(None, [flags | apsw.SQLITE_OPEN_DELETEONCLOSE, 0]).xClose()
            with pytest.raises(apsw.CantOpenError):
                vfs.xOpen(None, [flags, 0])
            for wrong in (apsw.SQLITE_OPEN_DELETEONCLOSE, apsw.SQLITE_OPEN_EXCLUSIVE):
                with pytest.raises(apsw.CantOpenError):
                    vfs.xOpen(MAIN_FILE_NAME, [apsw.SQLITE_OPEN_MAIN_DB | wrong, 0])
            with pytest.raises(apsw.CantOpenError):
                vfs.xOpen(MAIN_FILE_NAME, [flags, 0])

    site.run(body)


@pytest.mark.parametrize(("page_size", "expected"), [(512, 512), (4096, 4096), (65536, 4096)])
def test_sector_is_no_larger_than_a_page(page_size: int, expected: int) -> None:
    with Kernel(Decisions(1)) as kernel:
        depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, page_size))
        database = Database(DirectStorage(depot, "instance-1", 1), VfsSettings())
        assert MainFile(database, writable=True).xSectorSize() == expected


def test_one_changed_page_of_512_bytes_is_one_page_of_the_commit(site: Site) -> None:
    def body() -> None:
        database = site.open()
        with registered(database, RandomBytes(1, "x")) as vfs:
            connection = vfs.connect()
            connection.pragma("page_size", PAGE)
            connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            with connection:
                connection.executemany("INSERT INTO t(x) VALUES (?)", [(bytes(200),)] * 100)
            before = database.counters.committed_pages
            connection.execute("UPDATE t SET x = 1 WHERE id = 50")
            assert database.counters.committed_pages - before == 2, "the leaf, and page 1 with its change counter"
            connection.close()

    site.run(body)


class SparseStorage(DirectStorage):
    """A database of any size in which few pages are not zero."""

    kept: dict[int, bytes]
    page_count = 0

    def open(self, numbers: tuple[int, ...] = (1,)) -> Reply:
        return Reply(1, self.page_count, self.get_pages(numbers))

    def get_pages(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        zeros = bytes(self.page_size)
        return [self.kept.get(number, zeros) if number <= self.page_count else None for number in numbers]

    get_range = get_pages

    def commit(self, pages: Mapping[int, bytes], page_count: int) -> None:
        self.kept.update(pages)
        self.page_count = page_count
        self.commits += 1


def sparse(site: Site, kept: dict[int, bytes], page_count: int) -> Database:
    storage = SparseStorage(site.depot, "instance-1", 1)
    storage.kept, storage.page_count = kept, page_count
    database = Database(storage, VfsSettings())
    database.open()
    return database


def test_offsets_beyond_four_gibibytes(site: Site) -> None:
    count = 2**24  # of 512 bytes: 8 GiB

    def body() -> None:
        database = sparse(site, {count: page("z")}, count)
        file = MainFile(database, writable=True)
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xLock(EXCLUSIVE)
        assert file.xFileSize() == count * PAGE == 8 * 2**30
        assert file.xRead(PAGE, (count - 1) * PAGE) == page("z")
        assert file.xRead(2 * PAGE, (count - 1) * PAGE - 7) == bytes(7) + page("z")
        file.xWrite(page("y"), (count + 1) * PAGE)
        assert file.xFileSize() == (count + 2) * PAGE
        assert file.xRead(PAGE, count * PAGE) == bytes(PAGE)
        file.xSync(0)
        file.xTruncate(count * PAGE - PAGE)
        assert file.xFileSize() == 8 * 2**30 - PAGE

    site.run(body)


def test_sqlite_on_a_database_of_many_gibibytes() -> None:
    site = Site(page_size=4096)
    count = 5 * 2**20  # of 4 KiB: 20 GiB

    def body() -> None:
        small = sparse(site, {}, 0)
        with registered(small, RandomBytes(1, "x")) as vfs:
            connection = vfs.connect()
            connection.pragma("page_size", 4096)
            connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            connection.execute("INSERT INTO t(x) VALUES (zeroblob(3000)), (zeroblob(3000))")
            connection.close()
        assert isinstance(small.storage, SparseStorage)
        kept = small.storage.kept
        # The header says that there are as many pages; those in between belong to nothing.
        kept[1] = kept[1][:28] + count.to_bytes(4, "big") + kept[1][32:]
        large = sparse(site, kept, count)
        with registered(large, RandomBytes(1, "y")) as vfs:
            connection = vfs.connect()
            assert connection.pragma("page_count") == count
            with connection:
                connection.executemany("INSERT INTO t(x) VALUES (?)", [(bytes(3000),)] * 50)
            assert connection.pragma("page_count") == large.page_count > count + 40
            assert connection.execute("SELECT count(*), sum(length(x)) FROM t").fetchall() == [(52, 156_000)]
            connection.execute("DELETE FROM t WHERE id > 2")
            connection.close()
        assert len(kept) < 100

    site.run(body)
