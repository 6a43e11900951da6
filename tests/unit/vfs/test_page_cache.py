"""The page cache: what leaves first, what never leaves, what expires."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.vfs.page_cache import PageCache


def test_oldest_ordinary_page_leaves_first() -> None:
    cache = PageCache(2)
    for number in (5, 6, 5, 7):
        cache.put(number, b"x")
    assert sorted(cache.pages) == [6, 7]


def test_replaced_page_has_the_new_content() -> None:
    cache = PageCache(2)
    cache.put(5, b"old")
    cache.put(5, b"new")
    assert cache.pages == {5: b"new"}


def test_protected_pages_stay_and_do_not_count() -> None:
    cache = PageCache(1, protected_pages=10)
    for number in (1, 10, 11, 12):
        cache.put(number, b"x")
    assert sorted(cache.pages) == [1, 10, 12]


def test_capacity_of_nothing_keeps_nothing() -> None:
    cache = PageCache(0, protected_pages=10, staging_ns=100)
    cache.put(1, b"x")
    cache.stage(20, b"x", 0)
    assert 1 not in cache
    assert 20 not in cache


def test_staged_page_asked_for_in_time_stays() -> None:
    cache = PageCache(10, staging_ns=100)
    cache.stage(5, b"x", 0)
    assert 5 not in cache.pages
    assert cache.take_staged(5, 99) == b"x"
    assert cache.pages == {5: b"x"}
    assert cache.take_staged(5, 99) is None


def test_staged_page_expires() -> None:
    cache = PageCache(10, staging_ns=100)
    cache.stage(5, b"x", 0)
    assert cache.take_staged(5, 100) is None
    assert 5 not in cache


def test_staging_again_gives_new_content_and_time() -> None:
    cache = PageCache(10, staging_ns=100)
    cache.stage(5, b"old", 0)
    cache.stage(5, b"new", 60)
    cache.stage(6, b"y", 120)
    assert cache.take_staged(5, 150) == b"new"


def test_staged_pages_leave_before_ordinary_ones() -> None:
    cache = PageCache(2, staging_ns=100)
    cache.put(5, b"x")
    cache.stage(6, b"x", 0)
    cache.stage(7, b"x", 0)
    assert (5 in cache, 6 in cache, 7 in cache) == (True, False, True)


def test_committed_content_replaces_staged_content() -> None:
    cache = PageCache(10, staging_ns=100)
    cache.stage(5, b"old", 0)
    cache.put(5, b"new")
    assert cache.take_staged(5, 1) is None
    assert cache.pages[5] == b"new"


@pytest.mark.parametrize("staging_ns", [0, 100])
def test_nothing_survives_beyond_a_cut(staging_ns: int) -> None:
    cache = PageCache(10, protected_pages=4, staging_ns=staging_ns)
    for number in (2, 4, 6):
        cache.put(number, b"x")
    cache.stage(8, b"x", 0)
    cache.drop_beyond(3)
    assert [number for number in range(1, 10) if number in cache] == [2]
    for number in range(20, 40):
        cache.put(number, b"x")
    assert len(cache.pages) == 11  # the protected one and ten others: nothing cut off takes up room


@given(st.lists(st.tuples(st.sampled_from(["put", "stage", "take", "cut"]), st.integers(1, 30)), max_size=80))
def test_capacity_holds_whatever_happens(steps: list[tuple[str, int]]) -> None:
    cache = PageCache(5, protected_pages=3, staging_ns=10)
    content: dict[int, bytes] = {}
    for now_ns, (step, number) in enumerate(steps):
        page = str(now_ns).encode()
        match step:
            case "put":
                cache.put(number, page)
                content[number] = page
            case "stage" if number not in cache:
                cache.stage(number, page, now_ns)
                content[number] = page
            case "take":
                found = cache.take_staged(number, now_ns)
                assert found is None or found == content[number]
            case "cut":
                cache.drop_beyond(number)
        assert all(cache.pages[each] == content[each] for each in cache.pages)
        assert sum(each > 3 for each in range(1, 31) if each in cache) <= 5
