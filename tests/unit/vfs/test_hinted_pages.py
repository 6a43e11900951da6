"""Which pages are loaded on the advice of earlier instances: order, budget, and the settings that have a say."""

from typing import Any

import pytest

from simkit.depot.records import PreloadHints
from simkit.vfs.preload import hinted_pages
from simkit.vfs.ranges import is_range
from simkit.vfs.settings import VfsSettings

PAGE_BYTES = 512
PAGES = 300
HINTS = PreloadHints(hot_pages=(3, 50), early_pages=(40, 9), scan_ranges=((100, 109), (200, 203)))
HINTED = (3, 9, 40, 50, *range(100, 110), *range(200, 204))


def chosen(hints: PreloadHints = HINTS, first_pages: int = 1, page_count: int = PAGES, **settings: Any) -> list[int]:
    return list(hinted_pages(hints, VfsSettings(**settings), PAGE_BYTES, first_pages, page_count))


def test_all_kinds_are_loaded_ascending_and_once() -> None:
    assert chosen() == list(HINTED)
    assert chosen(PreloadHints(hot_pages=(5, 6), early_pages=(6, 5), scan_ranges=((4, 7),))) == [4, 5, 6, 7]


def test_what_is_loaded_already_or_beyond_the_end_is_left_out() -> None:
    assert chosen(PreloadHints(hot_pages=(1, 2, 3, 9)), first_pages=2, page_count=8) == [3]
    assert chosen(PreloadHints(scan_ranges=((6, 1 << 31),)), page_count=8) == [6, 7, 8]


def test_the_budget_is_for_all_but_page_one_and_takes_the_first_the_hot_and_then_the_newest_runs() -> None:
    assert chosen(preload_bytes_max=0) == []
    assert chosen(preload_bytes_max=2 * PAGE_BYTES) == [9, 40]
    assert chosen(preload_bytes_max=5 * PAGE_BYTES) == [3, 9, 40, 50, 200]
    assert chosen(first_pages=2, preload_bytes_max=2 * PAGE_BYTES) == [40]
    assert chosen(page_cache_pages=1) == [40]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"preload_hints": False}, ()),
        ({"cache_mode": "off"}, ()),
        ({"cache_mode": "target"}, ()),
        ({"page_cache_pages": 0}, ()),
        ({"cache_mode": "startup"}, HINTED),
        ({"hint_hot_pages": False}, (9, 40, *HINTED[4:])),
        ({"hint_early_pages": False}, (3, 50, *HINTED[4:])),
        ({"hint_scan_ranges": False}, HINTED[:4]),
    ],
)
def test_settings_say_which_kinds_are_loaded(settings: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert chosen(**settings) == list(expected)


def test_only_a_long_run_is_asked_for_as_a_range() -> None:
    assert is_range(tuple(range(2, 67)), VfsSettings(), 4096)
    assert not is_range(tuple(range(2, 66)), VfsSettings(), 4096)
    assert not is_range((*range(2, 67), 68), VfsSettings(), 4096)
    assert not is_range(tuple(range(2, 67)), VfsSettings(range_reads=False), 4096)


@pytest.mark.parametrize(("page_size", "longest"), [(512, 256), (4096, 256), (8192, 128), (16_384, 0)])
def test_range_has_256_pages_and_a_mebibyte_at_most(page_size: int, longest: int) -> None:
    lengths = [length for length in range(65, 300) if is_range(tuple(range(2, 2 + length)), VfsSettings(), page_size)]
    assert max(lengths, default=0) == longest
