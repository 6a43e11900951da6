"""The page cache of an instance: newest committed content by page number, the oldest entry leaves first."""

from __future__ import annotations

from collections.abc import Mapping


class PageCache:
    """At most `capacity` pages. `pages` may be read directly; change it only through the methods."""

    __slots__ = ("capacity", "pages")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.pages: dict[int, bytes] = {}

    def put(self, number: int, page: bytes) -> None:
        pages = self.pages
        if self.capacity == 0:
            return
        if number not in pages and len(pages) >= self.capacity:
            del pages[next(iter(pages))]
        pages[number] = page

    def put_all(self, pages: Mapping[int, bytes]) -> None:
        for number, page in pages.items():
            self.put(number, page)

    def drop_beyond(self, page_count: int) -> None:
        """Forgets every page whose number exceeds `page_count`."""
        for number in [number for number in self.pages if number > page_count]:
            del self.pages[number]
