"""What the VFS of one instance did for its pages, counted as the real system counts it.

A *target* is a page that SQLite asked for. What is loaded at open is in no figure but `preloaded_pages`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class PageCounters:
    """Counts since the database was opened.

    Attributes:
        resolves: calls for pages; a call may have several targets.
        requested: targets of all calls, repeated ones too.
        hits: targets that were buffered or cached; those that nothing was missing beside are counted with repetition.
        misses: distinct targets that had to be fetched.
        joined: targets that another task was fetching already, part of the hits.
        get_pages: requests for pages, lists and ranges.
        range_reads: those of them that asked for a range.
        fetched_pages: pages in these requests.
        prefetched_pages: those of them that nobody had asked for.
        overflow_pages: overflow pages that came along, in no other figure.
        preloaded_pages: pages asked for at open.
        commits: commits that the depot acknowledged.
        committed_pages: pages in these commits.
    """

    resolves: int = 0
    requested: int = 0
    hits: int = 0
    misses: int = 0
    joined: int = 0
    get_pages: int = 0
    range_reads: int = 0
    fetched_pages: int = 0
    prefetched_pages: int = 0
    overflow_pages: int = 0
    preloaded_pages: int = 0
    commits: int = 0
    committed_pages: int = 0

    def since(self, earlier: PageCounters) -> PageCounters:
        """What was counted after `earlier` was copied."""
        return PageCounters(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))

    def copy(self) -> PageCounters:
        return PageCounters(*(getattr(self, f.name) for f in fields(self)))
