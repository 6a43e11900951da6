"""Which pages count as worth loading: compared with a slow way of following accesses, and setting by setting."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.depot.records import HINTS_BYTES_MAX, PreloadHints, encode_row
from simkit.vfs.recent_pages import EARLY_PAGES, HOT_PAGES, SCAN_PAGES_MIN, SCAN_RANGES, RecentPages
from simkit.vfs.settings import VfsSettings


def followed(*batches: list[int], **changes: Any) -> PreloadHints:
    recent = RecentPages(VfsSettings(**changes))
    for batch in batches:
        recent.record_all(batch)
    return recent.snapshot()


def slowly(pages: list[int]) -> PreloadHints:
    """What has to come out, access by access and with a search for everything."""
    hot: dict[int, tuple[int, int]] = {}
    early: list[int] = []
    ranges: list[set[int]] = []
    run: list[int] = []

    def with_run(found: list[set[int]]) -> list[set[int]]:
        if len(run) < SCAN_PAGES_MIN:
            return found
        reach = set(range(run[0] - 1, run[-1] + 2))
        touched = [pages for pages in found if pages & reach]
        merged = set(run).union(*touched)
        return [*(pages for pages in found if pages not in touched), merged][-SCAN_RANGES:]

    for moment, number in enumerate(map(abs, pages)):
        if number not in early and len(early) < EARLY_PAGES:
            early.append(number)
        if number not in hot and len(hot) == HOT_PAGES:
            del hot[min(hot, key=lambda page: hot[page])]
        hot[number] = hot.get(number, (0, 0))[0] + 1, moment
        if not run or number != run[-1] + 1:
            ranges = with_run(ranges)
            run = []
        run.append(number)
    ranges = with_run(ranges)
    outside = [number for number in hot if not any(number in pages for pages in ranges)]
    best = sorted(outside, key=lambda page: (-hot[page][0], -hot[page][1], page))[:HOT_PAGES]
    return PreloadHints(
        hot_pages=tuple(sorted(best)),
        early_pages=tuple(early),
        scan_ranges=tuple((min(pages), max(pages)) for pages in ranges),
    )


number = st.integers(1, 400)
piece = st.one_of(
    st.lists(st.integers(1, 150), max_size=40),
    st.lists(number, max_size=40),
    st.builds(lambda first, count: list(range(first, first + count)), number, st.integers(1, 300)),
    st.builds(lambda first, count: list(range(first + count, first, -1)), number, st.integers(1, 140)),
    st.builds(lambda page, count: [page] * count, number, st.integers(1, 30)),
    st.builds(lambda page: [-page], number),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(piece, max_size=4).map(lambda pieces: [page for some in pieces for page in some]), max_size=8))
def test_batches_come_to_what_single_accesses_would(batches: list[list[int]]) -> None:
    expected = slowly([page for batch in batches for page in batch])

    assert followed(*batches) == expected
    assert followed(*([page] for batch in batches for page in batch)) == expected


def test_a_page_that_is_asked_for_often_outlives_a_scan() -> None:
    hints = followed([7_000] * 2, list(range(1, 1_000, 2)))

    assert len(hints.hot_pages) == HOT_PAGES
    assert 7_000 in hints.hot_pages
    assert 1 not in hints.hot_pages


def test_of_pages_asked_for_equally_often_the_one_not_asked_for_the_longest_makes_room() -> None:
    pages = list(range(2, 2 * HOT_PAGES + 2, 2))

    hints = followed([*pages, *pages, pages[0], pages[0], 1_001, 1_003])

    # Page 1,001 had the lowest count when 1,003 came.
    assert set(pages) - set(hints.hot_pages) == {pages[1]}
    assert 1_003 in hints.hot_pages


def test_a_run_becomes_a_range_at_its_eighth_page() -> None:
    assert followed([*range(10, 17)]).scan_ranges == ()
    assert followed([*range(10, 18)]).scan_ranges == ((10, 17),)
    assert followed([*range(10, 17)], [17]).scan_ranges == ((10, 17),)
    assert followed([*range(10, 14), 14, 14, *range(15, 18)]).scan_ranges == ()


def test_pages_of_a_range_are_not_told_a_second_time() -> None:
    assert followed([3, 3, *range(10, 20), 12, 12, 40]) == PreloadHints(
        hot_pages=(3, 40), early_pages=(3, *range(10, 20), 40), scan_ranges=((10, 19),)
    )


def test_ranges_that_touch_are_one_and_the_newest_sixteen_stay() -> None:
    assert followed([*range(10, 20)], [*range(30, 40)], [*range(20, 30)]).scan_ranges == ((10, 39),)
    runs = [list(range(first, first + 9)) for first in range(1, 2_000, 100)]
    assert followed(*runs).scan_ranges == tuple((run[0], run[-1]) for run in runs[-SCAN_RANGES:])


def test_the_first_pages_are_told_in_their_order_and_without_repetition() -> None:
    assert followed([9, 4, 9, -6], [2]).early_pages == (9, 4, 6, 2)
    assert followed([*range(500, 1, -3)]).early_pages == tuple(range(500, 1, -3))[:EARLY_PAGES]


def test_each_kind_is_followed_by_itself() -> None:
    trace = [3, 3, *range(10, 20)]

    assert followed(trace, hint_hot_pages=False) == PreloadHints(
        early_pages=(3, *range(10, 20)), scan_ranges=((10, 19),)
    )
    assert followed(trace, hint_early_pages=False) == PreloadHints(hot_pages=(3,), scan_ranges=((10, 19),))
    assert followed(trace, hint_scan_ranges=False) == PreloadHints(
        hot_pages=(3, *range(10, 20)), early_pages=(3, *range(10, 20))
    )


def test_the_most_there_can_be_told_fits_in_a_row() -> None:
    most = 1 << 32
    runs = [list(range(most - 1_000 * back, most - 1_000 * back + 9)) for back in range(1, SCAN_RANGES + 1)]
    hints = followed(*runs, [*range(most - 1, most - 600, -2)])

    counts = len(hints.hot_pages), len(hints.early_pages), len(hints.scan_ranges)
    assert counts == (HOT_PAGES, EARLY_PAGES, SCAN_RANGES)
    assert len(encode_row(hints)) < HINTS_BYTES_MAX // 2


def test_whoever_asked_for_it_hears_of_news() -> None:
    recent = RecentPages(VfsSettings())
    heard: list[int] = []
    recent.on_news = lambda: heard.append(1)

    recent.record_all([4])
    recent.record_all([5, 6])

    assert heard == [1, 1]
