"""What an instance's VFS can be told. No setting is advisory."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_CACHE_PAGES = 50_000


@dataclass(frozen=True)
class VfsSettings:
    """What one instance's VFS does.

    Attributes:
        page_cache_pages: the capacity of the page cache; 0 keeps nothing.
        observe_pages: tell the history which pages SQLite was given and which were committed, by their hashes. Costs
            time, and changes nothing that SQLite or a client could notice.
    """

    page_cache_pages: int = PAGE_CACHE_PAGES
    observe_pages: bool = False

    def __post_init__(self) -> None:
        if self.page_cache_pages < 0:
            raise ValueError(f"page_cache_pages is {self.page_cache_pages}; it is a number of pages, at least 0")
