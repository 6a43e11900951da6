"""Answers SQLite's calls for pages that are not in memory: which to fetch, in one request, and what to keep.

Counts as the real system counts (see `PageCounters`). Upholds ISO-2 in the cache: a reply that was asked for before the
newest commit of this instance never enters it. With `single_flight` a page that another task is fetching is waited for;
whoever waited looks again, so a fetch that fails or is cancelled costs the others a request of their own and no more.

Pages found in memory are noted in a trace by the fast path of `Database.read_page` and counted and learned from here,
before anything is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from simkit.kernel import Event
from simkit.vfs.counters import PageCounters
from simkit.vfs.errors import missing_page
from simkit.vfs.ranges import range_length
from simkit.vfs.read_ahead import ReadAhead, is_btree

if TYPE_CHECKING:
    from simkit.vfs.database import Database


class _Flight:
    """A request under way. `commits` is what the instance had committed when it was sent."""

    __slots__ = ("commits", "landed", "pages")

    def __init__(self, commits: int) -> None:
        self.commits = commits
        self.pages: dict[int, bytes] = {}
        #: made by the first task that waits
        self.landed: Event | None = None


class Resolver:
    """Resolves targets of one database."""

    def __init__(self, database: Database) -> None:
        settings = database.settings
        self._database = database
        self._settings = settings
        self._read_ahead = ReadAhead(settings, database.page_size)
        self._flights: dict[int, _Flight] = {}
        self._predicts = settings.read_ahead != "none"
        self._expands = settings.overflow_expansion
        self._keeps_targets = settings.keeps("target")
        self._keeps_prefetched = settings.keeps("prefetch")
        self._single_flight = settings.single_flight
        self._staged = database.cache.staged
        self._zeros = bytes(database.page_size)
        self.counters = PageCounters()
        #: pages found in memory and not counted yet, overflow pages as negative numbers
        self.trace: list[int] = []

    def note_hits(self) -> None:
        """Counts the trace and learns from it."""
        trace = self.trace
        if not trace:
            return
        counters, count = self.counters, len(trace)
        counters.resolves += count
        counters.requested += count
        counters.hits += count
        self._learn(trace)
        trace.clear()

    def resolve_one(self, number: int) -> bytes:
        """The content of one page that is neither buffered nor in the cache proper: what `resolve` does, in less time.

        A test compares the two. Raises `StorageFailed`.
        """
        if self.trace:
            self.note_hits()
        if number in self._flights or number in self._staged or number > self._database.low_water:
            return self.resolve((number,))[number]
        counters = self.counters
        counters.resolves += 1
        counters.requested += 1
        counters.misses += 1
        found: dict[int, bytes] = {}
        self._fetch((number,), [number], True, found)
        return found[number]

    def resolve(self, targets: Sequence[int], prefetch: bool = True) -> dict[int, bytes]:
        """The content of pages within the size. Raises `StorageFailed`."""
        self.note_hits()
        counters = self.counters
        counters.resolves += 1
        counters.requested += len(targets)
        found: dict[int, bytes] = {}
        missing = self._look_up(dict.fromkeys(targets), found)
        if missing and self._flights:
            missing = self._join(missing, found)
        if not missing:
            counters.hits += len(targets)
            self._learn([number if is_btree(number, found[number]) else -number for number in targets])
            return found
        counters.hits += len(found)
        counters.misses += len(missing)
        self._fetch(tuple(targets), missing, prefetch, found)
        return found

    def _learn(self, trace: Sequence[int]) -> None:
        if self._predicts:
            self._read_ahead.train(trace)
        recent = self._database.recent
        if recent is not None:
            recent.record_all(trace)

    def _look_up(self, numbers: Sequence[int] | dict[int, None], found: dict[int, bytes]) -> list[int]:
        """Adds what is in memory to `found`, and returns the rest."""
        database = self._database
        cache, now_ns, missing = database.cache, database.kernel.now, []
        for number in numbers:
            page = database.dirty.get(number) or cache.pages.get(number) or cache.take_staged(number, now_ns)
            if page is None and number > database.low_water:
                page = self._zeros
            if page is None:
                missing.append(number)
            else:
                found[number] = page
        return missing

    def _join(self, missing: list[int], found: dict[int, bytes]) -> list[int]:
        """Waits for the requests of others that bring missing pages; what is missing then."""
        database = self._database
        while flight := next((self._flights[number] for number in missing if number in self._flights), None):
            if flight.landed is None:
                flight.landed = Event(database.kernel, f"pages that {database.storage.instance} is fetching")
            flight.landed.wait()
            if flight.commits == database.storage.commits:
                joined = [number for number in missing if number in flight.pages]
                self.counters.joined += len(joined)
                found.update((number, flight.pages[number]) for number in joined)
                missing = [number for number in missing if number not in flight.pages]
            missing = self._look_up(missing, found)
        return missing

    def _fetch(self, targets: tuple[int, ...], missing: list[int], prefetch: bool, found: dict[int, bytes]) -> None:
        """Fetches the missing pages, and those that may come next, into `found` and the cache."""
        database = self._database
        wanted, scan = missing, False
        if self._predicts:
            prediction = self._read_ahead.predict(targets, len(missing), database.page_count)
            if prefetch and prediction.pages:
                wanted, scan = self._with_predicted(missing, found, prediction.pages), prediction.scan
        recent = database.recent
        if recent is not None:
            recent.record_all(targets)
        if len(wanted) == 1 == len(missing):
            self._fetch_alone(wanted[0], found)
            return
        self._fetch_several(wanted, missing, scan, found)

    def _fetch_several(self, wanted: list[int], missing: list[int], scan: bool, found: dict[int, bytes]) -> None:
        """Fetches pages in one request, the missing ones first."""
        database, counters = self._database, self.counters
        length = range_length(wanted, self._settings, database.page_size) if scan else 0
        ranged = length >= len(missing)
        if ranged:
            del wanted[length:]
        counters.get_pages += 1
        counters.range_reads += ranged
        counters.fetched_pages += len(wanted)
        counters.prefetched_pages += len(wanted) - len(missing)

        flight = _Flight(database.storage.commits)
        if self._single_flight:
            for number in wanted:
                self._flights.setdefault(number, flight)
        try:
            self._receive(flight, wanted, missing, ranged, found)
        finally:
            if self._single_flight:
                for number in wanted:
                    if self._flights.get(number) is flight:
                        del self._flights[number]
                if flight.landed is not None:
                    flight.landed.set()

    def _fetch_alone(self, number: int, found: dict[int, bytes]) -> None:
        """Fetches a page by itself: what `_fetch_several` does, in less time. A test compares the two."""
        database, counters = self._database, self.counters
        counters.get_pages += 1
        counters.fetched_pages += 1
        flight = _Flight(database.storage.commits)
        if self._single_flight:
            self._flights[number] = flight
        try:
            overflow: dict[int, bytes] | None = {} if self._expands else None
            page = database.fetch((number,), False, overflow)[0]
            if page is None:
                raise missing_page(number, database.page_count)
            found[number] = flight.pages[number] = page
            if database.storage.commits == flight.commits:
                if self._keeps_targets and number <= database.low_water:
                    database.cache.put(number, page)
                if overflow:
                    self._keep_overflow(overflow, flight, found)
        finally:
            if self._single_flight:
                del self._flights[number]
                if flight.landed is not None:
                    flight.landed.set()

    def _with_predicted(self, missing: list[int], found: dict[int, bytes], predicted: Sequence[int]) -> list[int]:
        database = self._database
        database.cache.expire(database.kernel.now)
        known = found.keys() | set(missing)
        skip_cached, at_hand = self._settings.skip_cached, self._at_hand
        more = [number for number in predicted if number not in known and not (skip_cached and at_hand(number))]
        return missing + more

    def _receive(
        self, flight: _Flight, wanted: list[int], missing: list[int], ranged: bool, found: dict[int, bytes]
    ) -> None:
        """Asks the depot, hands out what was missing and keeps what may be kept."""
        database = self._database
        overflow: dict[int, bytes] | None = {} if self._expands else None
        replied = database.fetch(tuple(wanted), ranged, overflow)
        # Those that were missing come first in what was wanted.
        for number, page in zip(missing, replied, strict=False):
            if page is None:
                raise missing_page(number, database.page_count)
            found[number] = flight.pages[number] = page
        if database.storage.commits != flight.commits:
            return
        if self._keeps_targets:
            low_water, put = database.low_water, database.cache.put
            for number in missing:
                if number <= low_water:  # else it was cut off while it was on its way
                    put(number, found[number])
        if len(wanted) > len(missing):
            self._keep_prefetched(zip(wanted[len(missing) :], replied[len(missing) :], strict=True), flight)
        if overflow:
            self._keep_overflow(overflow, flight, found)

    def _keep_overflow(self, overflow: dict[int, bytes], flight: _Flight, found: dict[int, bytes]) -> None:
        self.counters.overflow_pages += len(overflow)
        self._keep_prefetched(((number, page) for number, page in overflow.items() if number not in found), flight)

    def _at_hand(self, number: int) -> bool:
        """Whether a predicted page is in memory, or on its way there."""
        database = self._database
        return number in database.dirty or number in database.cache or number in self._flights

    def _keep_prefetched(self, pages: Iterable[tuple[int, bytes | None]], flight: _Flight) -> None:
        database = self._database
        stage, now_ns, low_water = database.cache.stage, database.kernel.now, database.low_water
        for number, page in pages:
            if page is not None and number <= low_water:  # else it is beyond the end, or was cut off on its way
                flight.pages[number] = page
                if self._keeps_prefetched:
                    stage(number, page, now_ns)
