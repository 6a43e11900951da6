"""Batch-atomic writes: the file controls as SQLite sends them, what a failure leaves, which path is in use."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apsw
import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import DepotError, InjectedFault, QuotaExceeded
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Cancelled, Decisions, Kernel
from simkit.vfs import database as database_module
from simkit.vfs.batch_atomic import batch_atomic_supported
from simkit.vfs.database import Database
from simkit.vfs.errors import InstanceDead, StorageFailed
from simkit.vfs.events import SyncReturned, SyncStarted, VfsRegistered
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.main_file import MainFile
from simkit.vfs.settings import VfsSettings

PAGE = 512
BEGIN = apsw.SQLITE_FCNTL_BEGIN_ATOMIC_WRITE
COMMIT = apsw.SQLITE_FCNTL_COMMIT_ATOMIC_WRITE
ROLLBACK = apsw.SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE


class FailingStorage(DirectStorage):
    """Fails its next commit with `failure`; a `late` failure comes after the commit was made."""

    failure: DepotError | None = None
    late = False

    def commit(self, pages: Mapping[int, bytes], page_count: int) -> None:
        failure, self.failure, head = self.failure, None, self.head
        if failure is None or self.late:
            super().commit(pages, page_count)
        if failure is not None:
            self.head = head
            raise failure


class Site:
    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE))

    def open(self, **settings: Any) -> Database:
        generation = self.depot.allocate()
        storage = FailingStorage(self.depot, f"instance-{generation}", generation)
        database = Database(storage, VfsSettings(**settings))
        database.open()
        return database

    def run(self, body: Callable[[], None]) -> None:
        task = self.kernel.spawn(body, name="test", supervised=True)
        self.kernel.run()
        if task.error is not None:
            raise task.error

    def content(self) -> bytes:
        """What a fresh instance finds."""
        file = MainFile(self.open(), writable=False)
        return file.xRead(file.xFileSize(), 0) if file.xFileSize() else b""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.kernel.close()


def page(letter: str) -> bytes:
    return letter.encode() * PAGE


def locked(database: Database) -> MainFile:
    file = MainFile(database, writable=True)
    for level in (apsw.SQLITE_LOCK_SHARED, apsw.SQLITE_LOCK_RESERVED, apsw.SQLITE_LOCK_EXCLUSIVE):
        file.xLock(level)
    return file


def write(file: MainFile, letters: str) -> None:
    for number, letter in enumerate(letters):
        file.xWrite(page(letter), number * PAGE)


def committed(database: Database, letters: str) -> MainFile:
    file = locked(database)
    write(file, letters)
    file.xSync(0)
    return file


def failing(database: Database, failure: DepotError, late: bool = False) -> None:
    assert isinstance(database.storage, FailingStorage)
    database.storage.failure, database.storage.late = failure, late


def test_batch_is_one_commit_without_a_sync(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = locked(database)
        assert file.xFileControl(BEGIN, 0)
        write(file, "abc")
        file.xTruncate(3 * PAGE)
        assert database.storage.commits == 0
        assert file.xFileControl(COMMIT, 0)
        assert (database.storage.commits, database.atomic_commits, database.dirty) == (1, 1, {})
        file.xSync(0)
        assert database.storage.commits == 1
        kinds = [type(event) for event in site.kernel.history if isinstance(event, SyncStarted | SyncReturned)]
        assert kinds == [SyncStarted, SyncReturned]
        assert site.content() == page("a") + page("b") + page("c")

    site.run(body)


def test_batch_that_is_rolled_back_never_was(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "abc")
        file.xWrite(page("s"), 0)  # spilled before the batch
        assert file.xFileControl(BEGIN, 0)
        file.xWrite(page("x"), PAGE)
        file.xWrite(page("y"), 5 * PAGE)
        file.xTruncate(2 * PAGE)
        assert file.xFileControl(ROLLBACK, 0)
        assert file.xFileSize() == 3 * PAGE
        assert file.xRead(3 * PAGE, 0) == page("s") + page("b") + page("c")
        file.xSync(0)
        assert site.content() == page("s") + page("b") + page("c")

    site.run(body)


def test_sync_within_a_batch_publishes_nothing(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        file.xFileControl(BEGIN, 0)
        file.xWrite(page("x"), 0)
        file.xSync(0)
        assert database.storage.commits == 1
        file.xFileControl(ROLLBACK, 0)
        assert site.content() == page("a")

    site.run(body)


def fall_back(file: MainFile, letters: str) -> None:
    """What SQLite does when a batch failed: the same with a journal."""
    assert file.xFileControl(ROLLBACK, 0)
    write(file, letters)
    file.xFileControl(apsw.SQLITE_FCNTL_SYNC, 0)


def test_fallback_to_a_journal_fails_with_the_cause_of_the_batch(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "ab")
        failing(database, InjectedFault("the first cause"))
        file.xFileControl(BEGIN, 0)
        write(file, "xy")
        with pytest.raises(StorageFailed, match="the first cause") as raised:
            file.xFileControl(COMMIT, 0)
        assert raised.value.extendedresult == apsw.SQLITE_IOERR_COMMIT_ATOMIC
        with pytest.raises(StorageFailed, match="the first cause") as raised:
            fall_back(file, "xy")
        assert raised.value.extendedresult == apsw.SQLITE_IOERR_FSYNC
        write(file, "ab")  # SQLite rolls back
        file.xSync(0)
        assert database.death is None
        assert database.storage.commits == 2
        assert site.content() == page("a") + page("b")

    site.run(body)


def test_lost_reply_of_a_batch_ends_at_the_fence(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "ab")
        failing(database, InjectedFault("no reply"), late=True)
        file.xFileControl(BEGIN, 0)
        write(file, "xy")
        with pytest.raises(StorageFailed):
            file.xFileControl(COMMIT, 0)
        with pytest.raises(StorageFailed, match="no reply"):
            fall_back(file, "xy")
        write(file, "ab")
        with pytest.raises(InstanceDead, match="head_fence_mismatch"):
            file.xSync(0)
        assert site.content() == page("x") + page("y")

    site.run(body)


def test_failure_of_a_batch_is_not_left_over_for_the_next_transaction(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        failing(database, InjectedFault("once"))
        file.xFileControl(BEGIN, 0)
        write(file, "x")
        with pytest.raises(StorageFailed):
            file.xFileControl(COMMIT, 0)
        file.xFileControl(ROLLBACK, 0)
        file.xUnlock(apsw.SQLITE_LOCK_SHARED)
        for level in (apsw.SQLITE_LOCK_RESERVED, apsw.SQLITE_LOCK_EXCLUSIVE):
            file.xLock(level)
        write(file, "b")
        file.xSync(0)
        assert site.content() == page("b")

    site.run(body)


def test_batch_that_nobody_ended_does_not_swallow_the_next_sync(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        file.xFileControl(BEGIN, 0)
        write(file, "x")
        file.xUnlock(apsw.SQLITE_LOCK_SHARED)
        for level in (apsw.SQLITE_LOCK_RESERVED, apsw.SQLITE_LOCK_EXCLUSIVE):
            file.xLock(level)
        write(file, "b")
        file.xSync(0)
        assert database.dirty == {}
        assert site.content() == page("b")

    site.run(body)


def test_batch_whose_commit_is_cancelled_can_be_rolled_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "ab")
        file.xFileControl(BEGIN, 0)
        write(file, "xyz")

        def cancelled(_: int) -> None:
            raise Cancelled("while it looked at what the depot holds")

        monkeypatch.setattr(database, "sync", cancelled)
        with pytest.raises(Cancelled):
            file.xFileControl(COMMIT, 0)
        file.xFileControl(ROLLBACK, 0)
        assert database.dirty == {}
        assert file.xFileSize() == 2 * PAGE

    site.run(body)


def test_cut_after_a_commit_is_where_a_refused_commit_returns_to(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "abcd")
        file.xTruncate(2 * PAGE)  # and the lock is kept, as by locking_mode = EXCLUSIVE
        failing(database, QuotaExceeded(10, 10))
        write(file, "xyz")
        with pytest.raises(StorageFailed):
            file.xSync(0)
        write(file, "ab")
        file.xTruncate(2 * PAGE)
        failing(database, QuotaExceeded(10, 10))
        file.xSync(0)  # nothing is left to send
        assert database.dirty == {}
        assert site.content()[: 2 * PAGE] == page("a") + page("b")

    site.run(body)


def test_page_that_is_written_again_after_a_cut_is_sent_even_if_it_is_what_it_was(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "abcd")
        failing(database, QuotaExceeded(10, 10))
        write(file, "x")
        with pytest.raises(StorageFailed):
            file.xSync(0)
        file.xTruncate(2 * PAGE)
        write(file, "abcd")
        file.xSync(0)
        assert site.content() == page("a") + page("b") + page("c") + page("d")

    site.run(body)


def test_reader_and_dead_instance_begin_no_batch(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = committed(database, "a")
        reader = MainFile(database, writable=False)
        for operation in (BEGIN, COMMIT):
            with pytest.raises(apsw.ReadOnlyError, match="ROLE-1"):
                reader.xFileControl(operation, 0)
        database.die("a test")
        for operation, code in (
            (BEGIN, apsw.SQLITE_IOERR_BEGIN_ATOMIC),
            (COMMIT, apsw.SQLITE_IOERR_COMMIT_ATOMIC),
        ):
            with pytest.raises(InstanceDead, match="a test") as raised:
                file.xFileControl(operation, 0)
            assert raised.value.extendedresult == code
        assert file.xFileControl(ROLLBACK, 0)

    site.run(body)


def test_storage_points_of_a_batch_are_told(site: Site) -> None:
    def body() -> None:
        database = site.open()
        file = locked(database)
        seen: list[str] = []
        database.on_io = seen.append
        file.xFileControl(BEGIN, 0)
        write(file, "ab")
        file.xFileControl(COMMIT, 0)
        assert seen == ["begin atomic", "write", "write", "commit atomic", "synced"]

    site.run(body)


def test_switched_off_the_file_knows_no_batches(site: Site) -> None:
    def body() -> None:
        file = locked(site.open(batch_atomic=False))
        assert file.xDeviceCharacteristics() == 0
        for operation in (BEGIN, COMMIT, ROLLBACK):
            assert not file.xFileControl(operation, 0)
        assert locked(site.open()).xDeviceCharacteristics() == apsw.SQLITE_IOCAP_BATCH_ATOMIC

    site.run(body)


def test_this_build_of_sqlite_is_asked(site: Site) -> None:
    before = apsw.vfs_names()
    built = "ENABLE_BATCH_ATOMIC_WRITE" in apsw.compile_options
    batch_atomic_supported.cache_clear()
    assert batch_atomic_supported() is built
    assert apsw.vfs_names() == before


@pytest.mark.parametrize(("built", "allowed"), [(True, True), (True, False), (False, True)])
def test_instance_says_how_it_commits(site: Site, built: bool, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "batch_atomic_supported", lambda: built)

    def body() -> None:
        expected = "batch-atomic" if built and allowed else "journal"
        database = site.open(batch_atomic=allowed)
        assert database.commit_path == expected
        with registered(database, RandomBytes(1, "x")):
            told = [event.commit_path for event in site.kernel.history if isinstance(event, VfsRegistered)]
            assert told == [expected]

    site.run(body)


def test_probe_at_open_is_one_commit_and_one_page(site: Site) -> None:
    def body() -> None:
        for turn in range(2):
            database = site.open(probe_at_open=True)
            with registered(database, RandomBytes(1, "x")) as vfs:
                before = database.page_count
                if turn:
                    vfs.connect(readonly=True).close()
                    assert database.storage.commits == 0
                connection = vfs.connect()
                assert database.storage.commits == 1
                assert database.page_count == (before if turn else 2)
                assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
                assert connection.pragma("page_size") == PAGE
                vfs.connect().close()
                assert database.storage.commits == 1
                connection.close()

    site.run(body)


def test_probe_that_fails_opens_nothing(site: Site) -> None:
    def body() -> None:
        database = site.open(probe_at_open=True)
        failing(database, InjectedFault("not now"))
        with registered(database, RandomBytes(1, "x")) as vfs:
            with pytest.raises(StorageFailed, match="not now"):
                vfs.connect()
            assert not database.open_handles
            vfs.connect().close()
            assert database.storage.commits == 1

    site.run(body)


def test_probe_tells_when_batches_were_expected_and_did_not_come(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    if batch_atomic_supported():
        pytest.skip("this SQLite makes them")
    monkeypatch.setattr(database_module, "batch_atomic_supported", lambda: True)

    def body() -> None:
        database = site.open(probe_at_open=True)
        with (
            registered(database, RandomBytes(1, "x")) as vfs,
            pytest.raises(RuntimeError, match="did not use them"),
        ):
            vfs.connect()

    site.run(body)
