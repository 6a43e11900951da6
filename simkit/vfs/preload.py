"""Which pages to load right after opening, on the advice of earlier instances.

They are fetched in one request, the second one of an opening, when there is any to fetch at all. Stale advice costs
time and nothing else: the pages are read at the present head, and their numbers say nothing about their content. What
comes back after a commit of this instance, or beyond the end, is not kept (ISO-2).

Pages asked for first come before those asked for most, and those before runs, the newest run first: a page of a run is
the one that read-ahead would bring anyway. Within the request pages are ascending.
"""

from __future__ import annotations

from collections.abc import Iterator

from simkit.depot.records import PreloadHints
from simkit.vfs.settings import VfsSettings

REQUEST_PAGES_MAX = 8_192
"""What a depot answers at most in one request."""


def hinted_pages(
    hints: PreloadHints, settings: VfsSettings, page_size: int, first_pages: int, page_count: int
) -> tuple[int, ...]:
    """The pages to load on the advice of `hints`, ascending.

    Parameters:
        first_pages: how many pages from 1 on are loaded already; all but page 1 count towards the budget.
        page_count: the size of the database.
    """
    if not settings.preload_hints or not settings.keeps("startup"):
        return ()
    budget = settings.preload_bytes_max // page_size - (first_pages - 1)
    budget = min(budget, REQUEST_PAGES_MAX, settings.page_cache_pages)
    chosen: set[int] = set()
    for number in _in_order(hints, settings, page_count):
        if len(chosen) >= budget:
            break
        if first_pages < number <= page_count:
            chosen.add(number)
    return tuple(sorted(chosen))


def _in_order(hints: PreloadHints, settings: VfsSettings, page_count: int) -> Iterator[int]:
    """All pages that are advised, the most important first. A kind that is switched off is not followed either."""
    if settings.hint_early_pages:
        yield from hints.early_pages
    if settings.hint_hot_pages:
        yield from hints.hot_pages
    if settings.hint_scan_ranges:
        for first, last in reversed(hints.scan_ranges):
            yield from range(first, min(last, page_count) + 1)
