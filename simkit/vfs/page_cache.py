"""The page cache of an instance: newest committed content by page number.

Three classes of pages. *Protected* ones have low numbers (schema, roots) and never leave. *Ordinary* ones leave in the
order they came in, when there are more than the capacity. *Staged* ones were read ahead or loaded at open, and nobody
has asked for them yet: asked for in time they become what their number says, otherwise they expire; they leave before
any ordinary page does.

`pages` holds protected and ordinary pages in one dictionary, because each page that SQLite reads is looked up there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from simkit.vfs.settings import VfsSettings


class PageCache:
    """At most `capacity` pages that are not protected; with a capacity of 0 nothing at all.

    `pages` and `staged` may be read directly; change them only through the methods.
    """

    __slots__ = ("_ordinary", "_staging_ns", "capacity", "pages", "protected_pages", "staged")

    def __init__(self, capacity: int, protected_pages: int = 0, staging_ns: int | None = None) -> None:
        self.capacity = capacity
        self.protected_pages = protected_pages if capacity else 0
        self.pages: dict[int, bytes] = {}
        self._staging_ns = staging_ns
        #: (content, when it expires), the oldest first
        self.staged: dict[int, tuple[bytes, int]] = {}
        #: pages that may leave, the oldest first
        self._ordinary: dict[int, None] = {}

    @classmethod
    def with_settings(cls, settings: VfsSettings) -> Self:
        """A cache as an instance is told to have it."""
        staging_ns = settings.staging_ns if settings.stage_pages else None
        return cls(settings.page_cache_pages, settings.protected_pages, staging_ns)

    def __contains__(self, number: int) -> bool:
        """Whether the page is there, staged pages that have expired included."""
        return number in self.pages or number in self.staged

    def put(self, number: int, page: bytes) -> None:
        """Keeps a page; one that is there already is replaced in its place."""
        if not self.capacity:
            return
        self.staged.pop(number, None)
        if number > self.protected_pages and number not in self.pages:
            self._make_room()
            self._ordinary[number] = None
        self.pages[number] = page

    def put_all(self, pages: Mapping[int, bytes]) -> None:
        for number, page in pages.items():
            self.put(number, page)

    def stage(self, number: int, page: bytes, now_ns: int) -> None:
        """Keeps a page that nobody has asked for yet, for as long as the staging time says."""
        if self._staging_ns is None or number in self.pages:
            self.put(number, page)
            return
        self.expire(now_ns)
        self.staged.pop(number, None)
        if self.capacity and self._staging_ns:
            self._make_room()
            self.staged[number] = (page, now_ns + self._staging_ns)

    def take_staged(self, number: int, now_ns: int) -> bytes | None:
        """The content of a staged page, which is an ordinary one from here on; None for any other page."""
        staged = self.staged.pop(number, None)
        if staged is None or staged[1] <= now_ns:
            return None
        self.put(number, staged[0])
        return staged[0]

    def expire(self, now_ns: int) -> None:
        """Forgets the staged pages whose time is over."""
        staged = self.staged
        while staged:
            number = next(iter(staged))
            if staged[number][1] > now_ns:
                return
            del staged[number]

    def drop_beyond(self, page_count: int) -> None:
        """Forgets every page whose number exceeds `page_count`."""
        for pages in (self.pages, self._ordinary, self.staged):
            for number in [number for number in pages if number > page_count]:
                del pages[number]

    def _make_room(self) -> None:
        if len(self._ordinary) + len(self.staged) < self.capacity:
            return
        if self.staged:
            del self.staged[next(iter(self.staged))]
            return
        oldest = next(iter(self._ordinary))
        del self._ordinary[oldest]
        del self.pages[oldest]
