"""SQLite's lock levels over handles."""

import apsw
import pytest

from simkit.vfs.locks import EXCLUSIVE, PENDING, RESERVED, SHARED, UNLOCKED, LockTable

ONE, TWO, THREE = "one", "two", "three"


def table(**levels: int) -> LockTable:
    locks = LockTable()
    locks._levels.update(levels)
    return locks


@pytest.mark.parametrize(
    ("other", "wanted", "granted"),
    [
        (UNLOCKED, SHARED, True),
        (SHARED, SHARED, True),
        (RESERVED, SHARED, True),
        (PENDING, SHARED, False),
        (EXCLUSIVE, SHARED, False),
        (SHARED, RESERVED, True),
        (RESERVED, RESERVED, False),
        (PENDING, RESERVED, False),
        (EXCLUSIVE, RESERVED, False),
        (UNLOCKED, EXCLUSIVE, True),
        (SHARED, EXCLUSIVE, False),
        (RESERVED, EXCLUSIVE, False),
        (PENDING, EXCLUSIVE, False),
    ],
)
def test_what_another_handle_allows(other: int, wanted: int, granted: bool) -> None:
    locks = table(one=other)
    if granted:
        locks.lock(TWO, wanted)
        assert locks.level(TWO) == wanted
    else:
        with pytest.raises(apsw.BusyError):
            locks.lock(TWO, wanted)


def test_waiting_writer_keeps_new_readers_out_and_gets_in_when_the_old_ones_left() -> None:
    locks = table(one=RESERVED, two=SHARED)
    with pytest.raises(apsw.BusyError):
        locks.lock(ONE, EXCLUSIVE)
    assert locks.level(ONE) == PENDING
    with pytest.raises(apsw.BusyError):
        locks.lock(THREE, SHARED)
    locks.unlock(TWO, UNLOCKED)
    locks.lock(ONE, EXCLUSIVE)
    assert locks.level(ONE) == EXCLUSIVE


def test_recovery_that_meets_a_writer_leaves_it_alone() -> None:
    locks = table(one=RESERVED, two=SHARED)
    with pytest.raises(apsw.BusyError):
        locks.lock(TWO, EXCLUSIVE)
    assert locks.level(TWO) == SHARED


def test_levels_only_rise_by_locking_and_fall_by_unlocking() -> None:
    locks = table(one=EXCLUSIVE)
    locks.lock(ONE, SHARED)
    assert locks.level(ONE) == EXCLUSIVE
    locks.unlock(ONE, SHARED)
    assert locks.level(ONE) == SHARED
    locks.unlock(ONE, UNLOCKED)
    assert locks.level(ONE) == UNLOCKED
    locks.unlock(ONE, SHARED)
    assert locks.level(ONE) == UNLOCKED


@pytest.mark.parametrize(("level", "seen"), [(UNLOCKED, False), (SHARED, False), (RESERVED, True), (EXCLUSIVE, True)])
def test_reserved_is_seen(level: int, seen: bool) -> None:
    assert table(one=level).reserved() is seen
