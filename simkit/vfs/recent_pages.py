"""Which pages are worth loading at the next open: those asked for most, those asked for first, and runs.

Follows every page that SQLite asks for, so it works on batches. What it keeps is exact, as if each access were looked
at by itself: at most 128 pages with their counts, of which the one with the lowest (count, last access) makes room for
a page that is new. Pages of equal count stand in one bucket in the order of their last access, so making room needs no
search. Batches for which the outcome is plain, because nothing has to make room or nothing comes twice, are recorded as
a whole.

A run is a sequence of accesses each to the page after the one before; a second access to the same page ends it. Runs
of 8 pages and more become ranges, which are merged with those they touch or overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from simkit.depot.records import PreloadHints
from simkit.vfs.settings import VfsSettings

HOT_PAGES = 128
SCAN_PAGES_MIN = 8
SCAN_RANGES = 16
EARLY_PAGES = 32
"""How many pages count as asked for first after opening. The described design gives no number; this one is ours."""

_NO_RUN = -1
_PENDING_MAX = 512
"""Accesses that are noted before they are looked at."""
_BATCH_MIN = 8
"""Fewer pages are recorded one by one: looking at them as a batch would cost more."""


class RecentPages:
    """Follows accesses from the opening of a database on. Numbers of overflow pages are negative.

    Attributes:
        on_news: called once accesses were recorded, when set.
    """

    def __init__(self, settings: VfsSettings) -> None:
        self._follows_hot = settings.hint_hot_pages
        self._follows_runs = settings.hint_scan_ranges
        self._hot: dict[int, int] = {}
        #: by count: pages, the one that was not asked for the longest first; none but the first one is ever empty
        self._buckets: dict[int, dict[int, None]] = {1: {}}
        #: the lowest count, while there is any page
        self._lowest = 1
        self._early: dict[int, None] = {}
        self._early_missing = EARLY_PAGES if settings.hint_early_pages else 0
        self._run_first = self._run_next = _NO_RUN
        #: first and last page of each, the newest last
        self._ranges: list[tuple[int, int]] = []
        #: accesses that were not looked at yet
        self._pending: list[int] = []
        self.on_news: Callable[[], None] | None = None

    @property
    def distinct_pages(self) -> int:
        """How many different pages it remembers at least."""
        self._look_at_pending()
        in_ranges = sum(last - first + 1 for first, last in self._all_ranges())
        return max(len(self._hot), len(self._early), in_ranges)

    def record_all(self, trace: Sequence[int]) -> None:
        """These pages were asked for, in this order."""
        self._pending.extend(trace)
        if len(self._pending) >= _PENDING_MAX:
            self._look_at_pending()
        if self.on_news is not None:
            self.on_news()

    def snapshot(self) -> PreloadHints:
        """What is worth loading, by now."""
        self._look_at_pending()
        ranges = self._all_ranges()
        inside: set[int] = set()
        for first, last in ranges:
            inside.update(number for number in self._hot if first <= number <= last)
        # No more pages are followed than may be told, so nothing is left to choose by count and last access here.
        hot = sorted(number for number in self._hot if number not in inside)
        return PreloadHints(hot_pages=tuple(hot), early_pages=tuple(self._early), scan_ranges=tuple(ranges))

    def _look_at_pending(self) -> None:
        if not self._pending:
            return
        pages = [*map(abs, self._pending)]
        self._pending.clear()
        if self._early_missing:
            self._record_early(pages)
        if self._follows_hot:
            self._record_hot(pages)
        if self._follows_runs:
            self._record_runs(pages)

    # Pages

    def _record_early(self, pages: Sequence[int]) -> None:
        early = self._early
        for number in pages:
            if number not in early:
                early[number] = None
                self._early_missing -= 1
                if not self._early_missing:
                    return

    def _record_hot(self, pages: Sequence[int]) -> None:
        if len(pages) >= _BATCH_MIN and (self._count_whole(pages) or self._pass_through(pages)):
            return
        hot, buckets, lowest = self._hot, self._buckets, self._lowest
        for number in pages:
            count = hot.get(number)
            if count is None:
                if len(hot) == HOT_PAGES:
                    self._make_room(lowest)
                hot[number] = lowest = 1
                buckets[1][number] = None
                continue
            left = buckets[count]
            del left[number]
            if not left:
                if lowest == count:
                    lowest += 1
                if count > 1:
                    del buckets[count]
            hot[number] = count = count + 1
            bucket = buckets.get(count)
            if bucket is None:
                buckets[count] = {number: None}
            else:
                bucket[number] = None
        self._lowest = lowest

    def _count_whole(self, pages: Sequence[int]) -> bool:
        """Records a batch as a whole when there is room for all that is new in it; otherwise does nothing."""
        hot, buckets = self._hot, self._buckets
        # By last access, the latest first: a dictionary keeps the place where a key was seen first.
        distinct = dict.fromkeys(reversed(pages))
        if len(distinct) > HOT_PAGES or len(hot.keys() | distinct.keys()) > HOT_PAGES:
            return False
        counts = Counter(pages)
        for number in reversed(distinct):
            count = hot.get(number, 0)
            if count:
                left = buckets[count]
                del left[number]
                if not left and count > 1:
                    del buckets[count]
            hot[number] = count = count + counts[number]
            buckets.setdefault(count, {})[number] = None
        self._lowest = 1 if buckets[1] else min(count for count, bucket in buckets.items() if bucket)
        return True

    def _pass_through(self, pages: Sequence[int]) -> bool:
        """Records a batch of pages none of which is followed or comes twice; otherwise does nothing.

        Each makes room by the oldest of those that were asked for once, as soon as there is one.
        """
        hot, ones = self._hot, self._buckets[1]
        if len(hot) < HOT_PAGES or len(set(pages)) < len(pages) or not hot.keys().isdisjoint(pages):
            return False
        if not ones:
            self._make_room(self._lowest)
        stay = HOT_PAGES - len(hot) + len(ones)
        for number in ones:
            del hot[number]
        remain = [*ones, *pages][-stay:]
        ones.clear()
        ones.update(dict.fromkeys(remain))
        hot.update(dict.fromkeys(remain, 1))
        self._lowest = 1
        return True

    def _make_room(self, lowest: int) -> None:
        bucket = self._buckets[lowest]
        number = next(iter(bucket))
        del bucket[number], self._hot[number]
        if not bucket and lowest > 1:
            del self._buckets[lowest]

    # Runs

    def _record_runs(self, pages: Sequence[int]) -> None:
        first, following = self._run_first, self._run_next
        for number in pages:
            if number == following:
                following += 1
            else:
                if following - first >= SCAN_PAGES_MIN:
                    self._add_range(first, following - 1)
                first = number
                following = number + 1
        self._run_first, self._run_next = first, following

    def _add_range(self, first: int, last: int) -> None:
        self._ranges = _with_range(self._ranges, first, last)

    def _all_ranges(self) -> list[tuple[int, int]]:
        """The ranges, with the run that has not ended."""
        if self._run_next - self._run_first >= SCAN_PAGES_MIN:
            return _with_range(self._ranges, self._run_first, self._run_next - 1)
        return self._ranges


def _with_range(ranges: list[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """The ranges with one that is the newest, merged with those that it touches."""
    kept = []
    for other_first, other_last in ranges:
        if other_first <= last + 1 and first <= other_last + 1:
            first, last = min(first, other_first), max(last, other_last)
        else:
            kept.append((other_first, other_last))
    kept.append((first, last))
    return kept[-SCAN_RANGES:]
