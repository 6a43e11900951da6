"""Broken caches and read-ahead: pages that outlive what made them true, or stand under a wrong number.

They break ISO-1, ISO-2, DUR-2 and PROG-2 on purpose, each by one step of the page cache, of the resolver or of the
requests for ranges. What is committed is right at first; what SQLite is given is not, and it may write that back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from simkit.depot.storage import DirectStorage
from simkit.kernel.units import MILLISECOND
from simkit.vfs.database import Database
from simkit.vfs.errors import StorageFailed
from simkit.vfs.page_cache import PageCache
from simkit.vfs.resolver import Resolver

_PREFETCH_AFTER_NS = 4 * MILLISECOND


# Truncation


class TruncateKeepsCache(Database):
    """Leaves pages beyond the new end in the cache, and takes pages of a file that grew for new to the cache.

    Nobody can have read a page that was not there, so it enters the cache when somebody does: right, if the end of a
    file had never moved down.
    """

    def make_cache(self) -> PageCache:
        return _KeptBeyondTheEnd.with_settings(self.settings)

    def commit(self) -> None:
        before, _ = self._settled
        assert isinstance(self.cache, _KeptBeyondTheEnd)
        self.cache.known = before
        super().commit()


class StagedPagesSurviveTruncation(TruncateKeepsCache):
    """Does the same, but only to pages that were read ahead and that nobody has asked for."""

    def make_cache(self) -> PageCache:
        return _StagedBeyondTheEnd.with_settings(self.settings)


class _KeptBeyondTheEnd(PageCache):
    __slots__ = ("known",)

    def __init__(self, capacity: int, protected_pages: int = 0, staging_ns: int | None = None) -> None:
        super().__init__(capacity, protected_pages, staging_ns)
        #: the size before the commit that is told next
        self.known = 0

    def drop_beyond(self, page_count: int) -> None:
        """Does nothing."""

    def put_all(self, pages: Mapping[int, bytes]) -> None:
        super().put_all({number: page for number, page in pages.items() if number <= self.known})


class _StagedBeyondTheEnd(_KeptBeyondTheEnd):
    __slots__ = ()

    def drop_beyond(self, page_count: int) -> None:
        staged = dict(self.staged)
        PageCache.drop_beyond(self, page_count)
        self.staged.update(staged)


# Requests under way


class LatePrefetchEntersCache(Database):
    """Reads ahead in the background, and keeps what comes whenever it comes."""

    def make_resolver(self) -> Resolver:
        return _BackgroundPrefetch(self)


class _BackgroundPrefetch(Resolver):
    def _fetch(self, targets: tuple[int, ...], missing: list[int], prefetch: bool, found: dict[int, bytes]) -> None:
        database = self._database
        super()._fetch(targets, missing, False, found)
        if not prefetch:
            return
        prediction = self._read_ahead.predict(targets, len(missing), database.page_count)
        wanted = [number for number in prediction.pages if number not in found and not self._at_hand(number)]
        if wanted:
            database.kernel.spawn(self._fetch_later, tuple(wanted), name="background prefetch", background=True)

    def _fetch_later(self, wanted: tuple[int, ...]) -> None:
        database = self._database
        if database.death is not None:
            return
        with suppress(StorageFailed):
            pages = dict(zip(wanted, database.fetch(wanted), strict=True))
            database.kernel.sleep(_PREFETCH_AFTER_NS)  # the reply is on its way
            for number, page in pages.items():
                if page is not None:
                    database.cache.put(number, page)


class LandedFlightAnswers(Database):
    """Keeps requests that were answered among those under way, and goes on handing out what they brought."""

    def make_resolver(self) -> Resolver:
        return _NeverForgotten(self)


class _NeverForgotten(Resolver):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._brought: dict[int, bytes] = {}

    def _fetch(self, targets: tuple[int, ...], missing: list[int], prefetch: bool, found: dict[int, bytes]) -> None:
        for number in [number for number in missing if number in self._brought]:
            found[number] = self._brought[number]
            missing.remove(number)
        if missing:
            super()._fetch(targets, missing, prefetch, found)
            self._brought.update((number, found[number]) for number in missing)


class FailedFetchStrandsWaiters(Database):
    """A request for pages that failed does not wake those who wait for the same pages."""

    def fetch(
        self, numbers: tuple[int, ...], ranged: bool = False, overflow: dict[int, bytes] | None = None
    ) -> list[bytes | None]:
        try:
            return super().fetch(numbers, ranged, overflow)
        except StorageFailed:
            flights = self._resolver._flights
            for number in numbers:
                if number in flights:
                    flights[number].landed = None  # whoever waits for it is forgotten
            raise


# Ranges and mirrors


class RangeShifted(DirectStorage):
    """Takes the pages of a range for those from the one after its first on: each stands under the next number."""

    def get_range(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        first, second, *rest = super().get_range(numbers, overflow)
        return [first, first, second, *rest[:-1]] if rest else [first, second]


class MirrorFallback(DirectStorage):
    """Reads from a mirror of what was ever sent to be committed, whatever became of it, and from the depot the rest."""

    def commit(self, pages: Mapping[int, bytes], page_count: int) -> None:
        self._mirror().update(pages)
        super().commit(pages, page_count)

    def get_pages(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        return self._mirrored(numbers) or super().get_pages(numbers, overflow)

    def get_range(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        return self._mirrored(numbers) or super().get_range(numbers, overflow)

    def _mirrored(self, numbers: tuple[int, ...]) -> list[bytes | None]:
        """The pages, if the mirror has them all."""
        mirror = self._mirror()
        return [mirror[number] for number in numbers] if all(number in mirror for number in numbers) else []

    def _mirror(self) -> dict[int, bytes]:
        """Shared by all instances of a run: it is kept where the depot is."""
        mirror: dict[int, bytes] = self.depot.__dict__.setdefault("mirror", {})
        return mirror
