"""What SQLite expects of a VFS, asked of any: ours, and the operating system's as APSW shows it.

A VFS of your own takes one more entry in `SUBJECTS` of `conftest.py`, which says what a subject is.

Files are called as SQLite calls them, by the x-methods, in sequences that SQLite makes. A main file is read in any
piece, and written and cut in whole pages; journals and temporary files are bytes. Short reads are told by fewer bytes:
APSW fills up with zeros and tells SQLite that it was short. APSW gives no zeros that ended a short read of a VFS in C,
so pieces here end in other bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from typing import Any

import apsw
import pytest

PAGE = 1024
Subject = Any
Run = Callable[[Callable[[Subject], None]], None]

CREATE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
MAIN = apsw.SQLITE_OPEN_MAIN_DB | CREATE
JOURNAL = apsw.SQLITE_OPEN_MAIN_JOURNAL | CREATE
TEMP = apsw.SQLITE_OPEN_TEMP_DB | CREATE | apsw.SQLITE_OPEN_EXCLUSIVE | apsw.SQLITE_OPEN_DELETEONCLOSE

NONE = apsw.SQLITE_LOCK_NONE
SHARED = apsw.SQLITE_LOCK_SHARED
RESERVED = apsw.SQLITE_LOCK_RESERVED
EXCLUSIVE = apsw.SQLITE_LOCK_EXCLUSIVE


def on_any(test: Callable[..., None]) -> Callable[..., None]:
    """The test, which takes a subject first, run on each."""

    @wraps(test)
    def on_each(run: Run, **parameters: Any) -> None:
        run(lambda subject: test(subject, **parameters))

    shown = signature(test)
    first, *others = shown.parameters.values()
    on_each.__signature__ = shown.replace(parameters=[first.replace(name="run"), *others])  # type: ignore[attr-defined]
    return on_each


def open_file(subject: Subject, flags: int, short: str = "file.tmp") -> Any:
    """A file of the kind that the flags say; a temporary one has no name."""
    name: str | None = subject.name(short)
    if flags & apsw.SQLITE_OPEN_MAIN_DB:
        name = subject.main
    elif flags & apsw.SQLITE_OPEN_TEMP_DB:
        name = None
    return subject.vfs.xOpen(name, [flags, 0])


def for_writing(file: Any) -> Any:
    """The file, locked as SQLite locks what it writes."""
    for level in (SHARED, RESERVED, EXCLUSIVE):
        file.xLock(level)
    return file


def page(letter: str) -> bytes:
    return letter.encode() * PAGE


kinds = pytest.mark.parametrize("flags", [MAIN, JOURNAL, TEMP], ids=["main", "journal", "temporary"])
byte_kinds = pytest.mark.parametrize("flags", [JOURNAL, TEMP], ids=["journal", "temporary"])


# Reading and writing


@kinds
@on_any
def test_new_file_is_empty(subject: Subject, flags: int) -> None:
    file = open_file(subject, flags)
    assert file.xFileSize() == 0
    assert file.xRead(100, 0) == b""
    assert file.xRead(16, 24) == b""
    file.xClose()


@kinds
@on_any
def test_what_was_written_is_read_in_any_piece(subject: Subject, flags: int) -> None:
    file = for_writing(open_file(subject, flags))
    for number, letter in enumerate("abc"):
        file.xWrite(page(letter), number * PAGE)
    assert file.xRead(PAGE, PAGE) == page("b")
    assert file.xRead(16, 24) == b"a" * 16
    assert file.xRead(1, 3 * PAGE - 1) == b"c"
    assert file.xRead(4, PAGE - 2) == b"aabb"
    assert file.xRead(2 * PAGE, PAGE // 2) == (page("a") + page("b") + page("c"))[PAGE // 2 : PAGE // 2 + 2 * PAGE]
    file.xWrite(page("d"), PAGE)
    assert file.xRead(3 * PAGE, 0) == page("a") + page("d") + page("c")
    assert file.xFileSize() == 3 * PAGE
    file.xClose()


@kinds
@on_any
def test_read_over_the_end_is_short_and_one_beyond_it_empty(subject: Subject, flags: int) -> None:
    file = for_writing(open_file(subject, flags))
    file.xWrite(page("a"), 0)
    file.xWrite(page("b"), PAGE)
    assert file.xRead(100, 2 * PAGE - 30) == b"b" * 30
    assert file.xRead(4 * PAGE, PAGE // 2) == b"a" * (PAGE // 2) + page("b")
    assert file.xRead(100, 2 * PAGE) == b""
    assert file.xRead(100, 50 * PAGE + 7) == b""
    file.xClose()


@kinds
@on_any
def test_writing_beyond_the_end_grows_the_file_by_zeros(subject: Subject, flags: int) -> None:
    file = for_writing(open_file(subject, flags))
    file.xWrite(page("a"), 0)
    file.xWrite(page("d"), 3 * PAGE)
    assert file.xFileSize() == 4 * PAGE
    assert file.xRead(4 * PAGE, 0) == page("a") + bytes(2 * PAGE) + page("d")
    file.xClose()


@byte_kinds
@on_any
def test_bytes_are_written_anywhere(subject: Subject, flags: int) -> None:
    file = open_file(subject, flags)
    file.xWrite(b"abcdef", 3)
    file.xWrite(b"XY", 5)
    file.xWrite(b"end", 20)
    assert file.xFileSize() == 23
    assert file.xRead(100, 0) == bytes(3) + b"abXYef" + bytes(11) + b"end"
    file.xClose()


@on_any
def test_parts_of_pages_of_a_main_file_are_written(subject: Subject) -> None:
    file = for_writing(open_file(subject, MAIN))
    file.xWrite(page("a") + page("b"), 0)
    file.xWrite(b"counter", 24)
    file.xWrite(b"across", PAGE - 3)
    expected = bytearray(page("a") + page("b"))
    expected[24:31], expected[PAGE - 3 : PAGE + 3] = b"counter", b"across"
    assert file.xRead(2 * PAGE, 0) == expected
    file.xClose()


# Cutting


@kinds
@on_any
def test_cut_file_is_shorter(subject: Subject, flags: int) -> None:
    file = for_writing(open_file(subject, flags))
    file.xWrite(page("a") + page("b") + page("c"), 0)
    file.xTruncate(PAGE)
    assert file.xFileSize() == PAGE
    assert file.xRead(2 * PAGE, 0) == page("a")
    file.xTruncate(0)
    assert file.xFileSize() == 0
    assert file.xRead(10, 0) == b""
    file.xClose()


@kinds
@pytest.mark.parametrize("synced", [False, True])
@on_any
def test_what_was_cut_off_reads_as_zeros_when_the_file_grows_again(subject: Subject, flags: int, synced: bool) -> None:
    file = for_writing(open_file(subject, flags))
    file.xWrite(b"".join(map(page, "abcd")), 0)
    if synced:
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        assert file.xRead(PAGE, 2 * PAGE) == page("c")
    file.xTruncate(PAGE)
    file.xWrite(page("e"), 3 * PAGE)
    assert file.xRead(4 * PAGE, 0) == page("a") + bytes(2 * PAGE) + page("e")
    if synced:
        file.xSync(apsw.SQLITE_SYNC_NORMAL)
        assert file.xRead(4 * PAGE, 0) == page("a") + bytes(2 * PAGE) + page("e")
    file.xClose()


@byte_kinds
@on_any
def test_bytes_are_cut_anywhere(subject: Subject, flags: int) -> None:
    file = open_file(subject, flags)
    file.xWrite(b"0123456789", 0)
    file.xTruncate(4)
    assert (file.xFileSize(), file.xRead(10, 0)) == (4, b"0123")
    file.xClose()


@kinds
@on_any
def test_cutting_at_a_greater_size_grows_the_file_by_zeros(subject: Subject, flags: int) -> None:
    file = for_writing(open_file(subject, flags))
    file.xWrite(page("a"), 0)
    file.xTruncate(3 * PAGE)
    assert file.xFileSize() == 3 * PAGE
    file.xWrite(b"x", 3 * PAGE - 1)
    assert file.xRead(3 * PAGE, 0) == page("a") + bytes(2 * PAGE - 1) + b"x"
    file.xClose()


# Several handles and files


@pytest.mark.parametrize("flags", [MAIN, JOURNAL], ids=["main", "journal"])
@on_any
def test_handles_of_one_file_see_the_same(subject: Subject, flags: int) -> None:
    one, two = open_file(subject, flags), open_file(subject, flags)
    for_writing(one).xWrite(page("a") + page("b"), 0)
    one.xSync(apsw.SQLITE_SYNC_FULL)
    one.xUnlock(NONE)
    assert (two.xFileSize(), two.xRead(2 * PAGE, 0)) == (2 * PAGE, page("a") + page("b"))
    for_writing(two).xTruncate(PAGE)
    two.xWrite(page("c"), 0)
    two.xSync(apsw.SQLITE_SYNC_FULL)
    two.xUnlock(NONE)
    two.xClose()
    assert (one.xFileSize(), one.xRead(2 * PAGE, 0)) == (PAGE, page("c"))
    one.xClose()


@on_any
def test_files_of_several_kinds_are_apart(subject: Subject) -> None:
    main, journal = for_writing(open_file(subject, MAIN)), open_file(subject, JOURNAL)
    first, second = open_file(subject, TEMP), open_file(subject, TEMP)
    files = {"m": main, "j": journal, "1": first, "2": second}
    for turn in range(3):
        for letter, file in files.items():
            file.xWrite(page(letter), turn * PAGE)
    journal.xTruncate(PAGE)
    for letter, file in files.items():
        count = 1 if file is journal else 3
        assert file.xRead(4 * PAGE, 0) == page(letter) * count
        file.xClose()


@pytest.mark.parametrize("level", [apsw.SQLITE_SYNC_NORMAL, apsw.SQLITE_SYNC_FULL])
@pytest.mark.parametrize("data_only", [0, apsw.SQLITE_SYNC_DATAONLY])
@kinds
@on_any
def test_sync_keeps_what_was_written(subject: Subject, flags: int, level: int, data_only: int) -> None:
    file = for_writing(open_file(subject, flags))
    file.xSync(level | data_only)
    file.xWrite(page("a"), 0)
    file.xSync(level | data_only)
    file.xSync(level | data_only)
    assert (file.xFileSize(), file.xRead(PAGE, 0)) == (PAGE, page("a"))
    file.xClose()


@on_any
def test_synced_main_file_is_there_after_its_last_handle_was_closed(subject: Subject) -> None:
    file = for_writing(open_file(subject, MAIN))
    file.xWrite(page("a"), 0)
    file.xSync(apsw.SQLITE_SYNC_NORMAL)
    file.xUnlock(NONE)
    file.xClose()
    again = open_file(subject, MAIN)
    assert again.xRead(PAGE, 0) == page("a")
    again.xClose()


# Names: open, access, delete, full names


@on_any
def test_file_that_is_missing_is_not_opened(subject: Subject) -> None:
    name = subject.name("missing.tmp")
    with pytest.raises(apsw.CantOpenError):
        subject.vfs.xOpen(name, [apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_READWRITE, 0])
    with pytest.raises(apsw.CantOpenError):
        subject.vfs.xOpen(name, [apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_READONLY, 0])
    assert not subject.vfs.xAccess(name, apsw.SQLITE_ACCESS_EXISTS)


@on_any
def test_opening_says_how_the_file_was_opened(subject: Subject) -> None:
    for kind in (MAIN, JOURNAL):
        flags = [kind, 0]
        name = subject.main if kind is MAIN else subject.name("file.tmp")
        subject.vfs.xOpen(name, flags).xClose()
        assert flags[1] & apsw.SQLITE_OPEN_READWRITE
        assert not flags[1] & apsw.SQLITE_OPEN_READONLY


@pytest.mark.parametrize("kind", [apsw.SQLITE_OPEN_MAIN_DB, apsw.SQLITE_OPEN_MAIN_JOURNAL], ids=["main", "journal"])
@on_any
def test_handle_for_reading_reads_only(subject: Subject, kind: int) -> None:
    writer = for_writing(open_file(subject, kind | CREATE))
    writer.xWrite(page("a"), 0)
    writer.xSync(apsw.SQLITE_SYNC_NORMAL)
    reader = open_file(subject, kind | apsw.SQLITE_OPEN_READONLY)
    assert reader.xRead(PAGE, 0) == page("a")
    for change in (partial(reader.xWrite, page("b"), 0), partial(reader.xTruncate, 0)):
        with pytest.raises(apsw.Error):
            change()
    assert writer.xRead(PAGE, 0) == page("a")
    reader.xClose()
    writer.xClose()


@pytest.mark.parametrize("kind", [apsw.SQLITE_OPEN_MAIN_JOURNAL, apsw.SQLITE_OPEN_SUPER_JOURNAL])
@on_any
def test_exclusive_creation_fails_where_there_is_a_file(subject: Subject, kind: int) -> None:
    name, flags = subject.name("one.tmp"), kind | CREATE | apsw.SQLITE_OPEN_EXCLUSIVE
    file = subject.vfs.xOpen(name, [flags, 0])
    file.xWrite(b"x", 0)
    asked = [flags, 0]
    try:  # the system's gives a handle for reading where it cannot create
        subject.vfs.xOpen(name, asked).xClose()
    except apsw.CantOpenError:
        asked[1] = apsw.SQLITE_OPEN_READONLY
    assert asked[1] & apsw.SQLITE_OPEN_READONLY
    assert file.xRead(1, 0) == b"x"
    file.xClose()


@on_any
def test_access_tells_what_exists(subject: Subject) -> None:
    name, access = subject.name("some.tmp"), subject.vfs.xAccess
    assert not access(name, apsw.SQLITE_ACCESS_EXISTS)
    file = open_file(subject, JOURNAL, "some.tmp")
    file.xWrite(b"x", 0)
    assert access(name, apsw.SQLITE_ACCESS_EXISTS)
    assert access(name, apsw.SQLITE_ACCESS_READWRITE)
    file.xClose()
    assert access(name, apsw.SQLITE_ACCESS_EXISTS)
    subject.vfs.xDelete(name, False)
    assert not access(name, apsw.SQLITE_ACCESS_EXISTS)


@on_any
def test_open_file_that_is_deleted_serves_its_handles_and_no_new_ones(subject: Subject) -> None:
    name = subject.name("file.tmp")
    old = open_file(subject, JOURNAL)
    old.xWrite(b"old", 0)
    subject.vfs.xDelete(name, True)
    new = open_file(subject, JOURNAL)
    assert new.xFileSize() == 0
    new.xWrite(b"new", 0)
    assert old.xRead(3, 0) == b"old"
    old.xClose()
    assert subject.vfs.xAccess(name, apsw.SQLITE_ACCESS_EXISTS)
    assert new.xRead(3, 0) == b"new"
    new.xClose()


@on_any
def test_deleting_what_is_missing_harms_nothing(subject: Subject) -> None:
    code = apsw.SQLITE_IOERR_DELETE_NOENT
    try:
        subject.vfs.xDelete(subject.name("missing.tmp"), False)
    except apsw.IOError as error:
        code = error.extendedresult  # type: ignore[attr-defined]  # APSW's stubs leave it out
    assert code == apsw.SQLITE_IOERR_DELETE_NOENT


@on_any
def test_main_file_is_deleted_only_where_that_is_possible(subject: Subject) -> None:
    file = for_writing(open_file(subject, MAIN))
    file.xWrite(page("a"), 0)
    file.xSync(apsw.SQLITE_SYNC_NORMAL)
    file.xUnlock(NONE)
    file.xClose()
    if subject.main_can_be_deleted:
        subject.vfs.xDelete(subject.main, False)
    else:
        with pytest.raises(apsw.IOError) as raised:
            subject.vfs.xDelete(subject.main, False)
        assert raised.value.extendedresult == apsw.SQLITE_IOERR_DELETE  # type: ignore[attr-defined]  # not in the stubs
    kept = subject.vfs.xAccess(subject.main, apsw.SQLITE_ACCESS_EXISTS)
    assert bool(kept) is not subject.main_can_be_deleted


@pytest.mark.parametrize("name", [None, "named.tmp"])
@on_any
def test_temporary_file_is_gone_when_it_is_closed(subject: Subject, name: str | None) -> None:
    full = subject.name(name) if name else None
    file = subject.vfs.xOpen(full, [TEMP, 0])
    file.xWrite(b"x", 0)
    assert file.xRead(1, 0) == b"x"
    file.xClose()
    if full:
        assert not subject.vfs.xAccess(full, apsw.SQLITE_ACCESS_EXISTS)


@on_any
def test_full_name_of_a_full_name_is_itself(subject: Subject) -> None:
    for name in (subject.main, subject.name("file.tmp"), subject.name("grüße.tmp")):
        assert subject.vfs.xFullPathname(name) == name


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"], ids=["long", "NUL"])
@on_any
def test_impossible_names_are_refused(subject: Subject, name: str) -> None:
    with pytest.raises((apsw.CantOpenError, ValueError)):
        subject.vfs.xFullPathname(subject.name("") + name)


# Locks


def granted(file: Any, level: int) -> bool:
    try:
        file.xLock(level)
    except apsw.BusyError:
        return False
    return True


@on_any
def test_any_number_of_readers_shares_with_one_that_is_going_to_write(subject: Subject) -> None:
    one, two, three = (open_file(subject, MAIN) for _ in range(3))
    for file in (one, two):
        assert granted(file, SHARED)
    assert granted(one, RESERVED)
    assert granted(three, SHARED)
    assert not granted(two, RESERVED)
    assert not granted(two, EXCLUSIVE)
    one.xUnlock(SHARED)
    assert granted(two, RESERVED)
    assert not granted(one, RESERVED)
    for file in (one, two, three):
        file.xClose()


@on_any
def test_writer_that_waits_for_readers_keeps_new_ones_out(subject: Subject) -> None:
    writer, reader, late = (open_file(subject, MAIN) for _ in range(3))
    assert granted(reader, SHARED)
    assert granted(writer, SHARED)
    assert granted(writer, RESERVED)
    assert not granted(writer, EXCLUSIVE)
    assert not granted(late, SHARED)
    assert not granted(reader, RESERVED)
    assert not granted(writer, EXCLUSIVE)
    reader.xUnlock(NONE)
    assert not granted(reader, SHARED)
    assert granted(writer, EXCLUSIVE)
    assert not granted(late, SHARED)
    writer.xUnlock(SHARED)
    assert granted(late, SHARED)
    for file in (writer, reader, late):
        file.xClose()


@on_any
def test_writer_that_gave_up_waiting_lets_readers_in_again(subject: Subject) -> None:
    writer, reader, late = (open_file(subject, MAIN) for _ in range(3))
    for file in (writer, reader):
        assert granted(file, SHARED)
    assert granted(writer, RESERVED)
    assert not granted(writer, EXCLUSIVE)
    writer.xUnlock(SHARED)
    assert granted(late, SHARED)
    assert granted(reader, RESERVED)
    for file in (writer, reader, late):
        file.xClose()


@on_any
def test_reader_recovers_alone_or_not_at_all(subject: Subject) -> None:
    one, two, late = (open_file(subject, MAIN) for _ in range(3))
    assert granted(one, SHARED)
    assert granted(two, SHARED)
    assert not granted(one, EXCLUSIVE)
    one.xUnlock(NONE)
    assert granted(late, SHARED)
    late.xUnlock(NONE)
    assert granted(two, EXCLUSIVE)
    assert not granted(one, SHARED)
    for file in (one, two, late):
        file.xClose()


@on_any
def test_locking_what_is_held_changes_nothing(subject: Subject) -> None:
    one, two = open_file(subject, MAIN), open_file(subject, MAIN)
    for_writing(one)
    for level in (SHARED, RESERVED, EXCLUSIVE):
        assert granted(one, level)
    assert not granted(two, SHARED)
    one.xUnlock(NONE)
    one.xUnlock(NONE)
    assert granted(two, SHARED)
    for file in (one, two):
        file.xClose()


@on_any
def test_reserved_is_told_to_everybody(subject: Subject) -> None:
    one, two = open_file(subject, MAIN), open_file(subject, MAIN)
    for level, expected in ((SHARED, False), (RESERVED, True), (EXCLUSIVE, True)):
        one.xLock(level)
        assert [bool(file.xCheckReservedLock()) for file in (one, two)] == [expected, expected]
    one.xUnlock(SHARED)
    assert not two.xCheckReservedLock()
    for file in (one, two):
        file.xClose()


@pytest.mark.parametrize("level", [SHARED, RESERVED, EXCLUSIVE])
@on_any
def test_closing_gives_locks_up(subject: Subject, level: int) -> None:
    one, two = open_file(subject, MAIN), open_file(subject, MAIN)
    for step in (SHARED, RESERVED, EXCLUSIVE):
        if step <= level:
            one.xLock(step)
    one.xClose()
    assert not two.xCheckReservedLock()
    for_writing(two)
    two.xClose()


# What else a file and a VFS are asked


@kinds
@on_any
def test_file_says_what_it_is_written_on(subject: Subject, flags: int) -> None:
    file = open_file(subject, flags)
    sector = file.xSectorSize()
    assert 32 <= sector <= 65536
    assert sector & (sector - 1) == 0
    assert not file.xDeviceCharacteristics() & apsw.SQLITE_IOCAP_IMMUTABLE
    file.xClose()


@kinds
@on_any
def test_unknown_file_control_is_not_handled(subject: Subject, flags: int) -> None:
    file = open_file(subject, flags)
    assert file.xFileControl(98_765, 0) is False
    file.xClose()


@on_any
def test_vfs_gives_chance_sleep_time_and_errors(subject: Subject) -> None:
    vfs = subject.vfs
    assert len(vfs.xRandomness(20)) == 20
    assert vfs.xRandomness(20) != vfs.xRandomness(20)
    before_ms = vfs.xCurrentTimeInt64()
    assert vfs.xSleep(5) >= 5
    assert vfs.xCurrentTimeInt64() >= before_ms
    assert 2_440_587.5 < before_ms / 86_400_000 < 2_600_000, "a Julian day since 1970"
    code, text = vfs.xGetLastError()
    assert isinstance(code, int)
    assert text is None or isinstance(text, str)


# SQLite on it


def rows(connection: apsw.Connection, sql: str) -> list[Any]:
    return connection.execute(sql).fetchall()


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "off"])
@on_any
def test_sqlite_writes_cuts_and_reads(subject: Subject, mode: str) -> None:
    connection = subject.connect()
    for pragma in (f"page_size = {PAGE}", f"journal_mode = {mode}", "cache_size = 5", "temp_store = FILE"):
        rows(connection, f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
    with connection:
        connection.executemany("INSERT INTO t(x) VALUES (?)", [(bytes(700),)] * 200)
    connection.execute("CREATE INDEX i ON t(x)")
    if mode != "off":
        rows(connection, "BEGIN; DELETE FROM t WHERE id > 7; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; ROLLBACK")
    connection.execute("DELETE FROM t WHERE id > 100")
    rows(connection, "VACUUM")
    connection.close()
    again = subject.connect()
    assert rows(again, "PRAGMA integrity_check") == [("ok",)]
    assert rows(again, "SELECT count(*), max(id), sum(length(x)) FROM t") == [(100, 100, 70_000)]
    again.close()


@on_any
def test_sqlite_keeps_writers_apart(subject: Subject) -> None:
    one, two = subject.connect(), subject.connect()
    one.execute("CREATE TABLE t(x)")
    one.execute("BEGIN IMMEDIATE")
    one.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(apsw.BusyError):
        two.execute("INSERT INTO t VALUES (2)")
    assert rows(two, "SELECT count(*) FROM t") == [(0,)]
    one.execute("COMMIT")
    assert rows(two, "SELECT count(*) FROM t") == [(1,)]
    one.close()
    two.close()
