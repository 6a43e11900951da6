"""What an instance's VFS can be told. Each setting changes behaviour; none is advisory."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_CACHE_PAGES = 50_000


@dataclass(frozen=True)
class VfsSettings:
    """`page_cache_pages` is the capacity of the page cache; 0 keeps nothing."""

    page_cache_pages: int = PAGE_CACHE_PAGES

    def __post_init__(self) -> None:
        if self.page_cache_pages < 0:
            raise ValueError(f"page_cache_pages is {self.page_cache_pages}; it is a number of pages, at least 0")
