"""What is fetched and counted when SQLite asks for pages, over the real depot."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.errors import DepotError
from simkit.depot.events import RequestFailed
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.vfs.database import Database
from simkit.vfs.errors import StorageFailed
from simkit.vfs.resolver import Resolver
from simkit.vfs.settings import PROFILES, VfsSettings

PAGE = 512
BARE = replace(PROFILES["merge"], read_ahead="none", probe_at_open=False)


class RefusingRanges(DirectStorage):
    """Answers lists only."""

    refused = 0

    def get_range(self, numbers: tuple[int, ...], overflow: dict[int, bytes] | None = None) -> list[bytes | None]:
        self.refused += 1
        raise DepotError("no ranges today")


class Site:
    """A depot with a database of `count` pages, page n filled with n modulo 251; the first byte says "no b-tree"."""

    def __init__(self, latency: str = "instant") -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE))
        self.latency = latency

    def fill(self, count: int) -> None:
        def write() -> None:
            storage = DirectStorage(self.depot, "writer", self.depot.allocate())
            storage.open()
            storage.commit({number: page(number) for number in range(1, count + 1)}, count)

        self.run(write)
        self.depot = Depot(self.kernel, LATENCY_PROFILES[self.latency], self.depot.image())

    def open(self, settings: VfsSettings, storage: type[DirectStorage] = DirectStorage) -> Database:
        generation = self.depot.allocate()
        database = Database(storage(self.depot, f"instance-{generation}", generation), settings)
        database.open()
        return database

    def run(self, *bodies: Callable[[], Any]) -> None:
        tasks = [self.kernel.spawn(body, name=f"test-{place}", supervised=True) for place, body in enumerate(bodies)]
        self.kernel.run()
        for task in tasks:
            if task.error is not None:
                raise task.error


def page(number: int, version: int = 0) -> bytes:
    return bytes([13, version]) + bytes([number % 251]) * (PAGE - 2)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.fill(600)
    yield site
    site.kernel.close()


@pytest.fixture
def slow() -> Iterator[Site]:
    site = Site("local-debug")
    site.fill(600)
    yield site
    site.kernel.close()


def test_miss_is_fetched_once_and_then_a_hit(site: Site) -> None:
    def body() -> None:
        database = site.open(BARE)
        assert database.read_page(7) == database.read_page(7) == page(7)
        counted = database.counters
        assert (counted.resolves, counted.requested) == (2, 2)
        assert (counted.hits, counted.misses, counted.get_pages, counted.fetched_pages) == (1, 1, 1, 1)

    site.run(body)


def test_opening_counts_in_no_figure_but_its_own(site: Site) -> None:
    def body() -> None:
        counted = site.open(replace(BARE, preload_first_pages=50)).counters
        assert (counted.preloaded_pages, counted.get_pages, counted.requested) == (50, 0, 0)

    site.run(body)


def test_hits_beside_misses_count_without_repetition(site: Site) -> None:
    def body() -> None:
        database = site.open(BARE)
        database.read_pages(5, 6)
        assert database.read_pages(5, 8) == [page(number) for number in (5, 6, 7, 8)]
        counted = database.counters
        assert (counted.requested, counted.hits, counted.misses, counted.get_pages) == (6, 2, 4, 2)

    site.run(body)


def test_hits_that_nothing_was_missing_beside_count_with_repetition(site: Site) -> None:
    def body() -> None:
        database = site.open(BARE)
        database.read_pages(7, 8)
        before = database.counters
        assert database._resolver.resolve((7, 8, 7)) == {7: page(7), 8: page(8)}
        counted = database.counters.since(before)
        assert (counted.resolves, counted.requested, counted.hits, counted.misses) == (1, 3, 3, 0)

    site.run(body)


def test_cached_pages_are_predicted_again_unless_skipped(site: Site) -> None:
    def body() -> None:
        for skip, expected in ((False, 65), (True, 61)):
            database = site.open(replace(BARE, read_ahead="bounded", skip_cached=skip))
            for number in (33, 34, 35, 36):
                database.write_page(number, page(number, 1))
            for number in (10, 11, 12):
                database.read_page(number)
            assert database.counters.fetched_pages == 2 + expected

    site.run(body)


def test_partial_write_reads_no_further(site: Site) -> None:
    def body() -> None:
        database = site.open(replace(BARE, read_ahead="adaptive"))
        for number in (10, 11, 12, 13):
            database.read_pages(number, number, prefetch=False)
        assert database.counters.prefetched_pages == 0

    site.run(body)


def test_scan_asks_for_a_range(site: Site) -> None:
    def body() -> None:
        database = site.open(PROFILES["merge"])
        for number in range(10, 300):
            assert database.read_page(number) == page(number)
        assert database.counters.range_reads == 1

    site.run(body)


def test_scan_asks_for_lists_where_ranges_are_switched_off(site: Site) -> None:
    def body() -> None:
        database = site.open(replace(PROFILES["merge"], range_reads=False))
        for number in range(10, 300):
            assert database.read_page(number) == page(number)
        assert database.counters.range_reads == 0
        assert database.counters.get_pages < 20

    site.run(body)


def test_one_read_of_more_pages_than_a_range_has(site: Site) -> None:
    def body() -> None:
        database = site.open(PROFILES["merge"])
        for number in range(10, 16):
            database.read_page(number)
        assert database.read_pages(20, 419) == [page(number) for number in range(20, 420)]
        assert database.counters.range_reads == 0

    site.run(body)


def test_range_that_fails_is_asked_for_as_a_list(site: Site) -> None:
    def body() -> None:
        database = site.open(PROFILES["merge"], RefusingRanges)
        for number in range(10, 300):
            assert database.read_page(number) == page(number)
        assert isinstance(database.storage, RefusingRanges)
        assert database.storage.refused == database.counters.range_reads == 1
        assert database.death is None

    site.run(body)


def test_fence_in_a_range_ends_the_instance(site: Site) -> None:
    def body() -> None:
        database = site.open(PROFILES["merge"])
        for number in range(10, 16):
            database.read_page(number)
        site.depot.allocate()
        with pytest.raises(StorageFailed):
            database.read_pages(16, 200)
        assert database.death is not None
        assert database.counters.range_reads == 1
        failed = [event.error for event in site.kernel.history if isinstance(event, RequestFailed)]
        assert failed == ["fence_mismatch"], "it is not asked for as a list"

    site.run(body)


@pytest.mark.parametrize(("single_flight", "requests", "joined"), [(True, 1, 1), (False, 2, 0)])
def test_page_that_is_being_fetched(slow: Site, single_flight: bool, requests: int, joined: int) -> None:
    databases: list[Database] = []

    def first() -> None:
        databases.append(slow.open(replace(BARE, single_flight=single_flight)))
        assert databases[0].read_page(9) == page(9)

    def second() -> None:
        while not databases:
            slow.kernel.sleep(MILLISECOND // 4)
        assert databases[0].read_page(9) == page(9)

    slow.run(first, second)
    counted = databases[0].counters
    assert (counted.get_pages, counted.joined) == (requests, joined)
    assert counted.misses + counted.hits == 2


def test_whoever_waited_for_a_cancelled_fetch_fetches(slow: Site) -> None:
    databases: list[Database] = []
    found: list[bytes] = []

    def first() -> None:
        databases.append(slow.open(replace(BARE, single_flight=True)))
        databases[0].read_page(9)

    def second() -> None:
        while not databases:
            slow.kernel.sleep(MILLISECOND // 4)
        found.append(databases[0].read_page(9))

    leader = slow.kernel.spawn(first, name="leader", supervised=True)
    slow.kernel.spawn(second, name="waiter")

    def cancel() -> None:
        while not databases:
            slow.kernel.sleep(MILLISECOND // 4)
        slow.kernel.sleep(MILLISECOND // 2)
        leader.cancel()

    slow.kernel.spawn(cancel, name="canceller")
    slow.kernel.run()
    assert found == [page(9)]
    assert databases[0].counters.get_pages == 2


def test_reply_from_before_a_commit_never_enters_the_cache(slow: Site) -> None:
    databases: list[Database] = []

    def reader() -> None:
        databases.append(slow.open(replace(BARE, read_ahead="bounded")))
        database = databases[0]
        for number in (10, 11):
            database.read_page(number)
        database.read_page(12)  # and 63 pages after it, while the writer commits
        assert database.read_page(20) == page(20, 1)

    def writer() -> None:
        while not databases or databases[0].counters.get_pages < 3:
            slow.kernel.sleep(MILLISECOND // 10)
        database = databases[0]
        database.write_page(20, page(20, 1))
        # As if a depot that is slow to reply met a quick commit.
        database.storage.commits += 1
        database.cache.put_all(database.dirty)
        database.dirty.clear()

    slow.run(reader, writer)
    assert 30 not in databases[0].cache


def test_page_that_was_cut_off_while_it_was_on_its_way_is_not_kept(slow: Site) -> None:
    databases: list[Database] = []

    def reader() -> None:
        databases.append(slow.open(replace(BARE, read_ahead="bounded")))
        database = databases[0]
        for number in (10, 11):
            database.read_page(number)
        database.read_page(12)  # and 63 pages after it, while the writer cuts them off
        assert database.page_count == 60
        assert database.read_page(12) == database.read_page(20) == bytes(PAGE)
        assert database.read_page(60) == page(60, 1)

    def writer() -> None:
        while not databases or databases[0].counters.get_pages < 3:
            slow.kernel.sleep(MILLISECOND // 10)
        databases[0].truncate(11)
        databases[0].write_page(60, page(60, 1))

    slow.run(reader, writer)


def test_reply_from_before_a_commit_is_of_no_use_to_whoever_waits_for_it(slow: Site) -> None:
    databases: list[Database] = []
    found: list[bytes] = []

    def first() -> None:
        databases.append(slow.open(replace(BARE, single_flight=True)))
        databases[0].read_page(20)

    def second() -> None:
        while not databases:
            slow.kernel.sleep(MILLISECOND // 10)
        found.append(databases[0].read_page(20))

    def writer() -> None:
        while not databases or not databases[0].counters.get_pages:
            slow.kernel.sleep(MILLISECOND // 10)
        slow.kernel.sleep(MILLISECOND // 2)
        # As if a depot that is slow to reply met a quick commit.
        databases[0].storage.commits += 1
        databases[0].cache.put(20, page(20, 1))

    slow.run(first, second, writer)
    assert found == [page(20, 1)]
    assert databases[0].counters.joined == 0


@pytest.mark.parametrize("stage_pages", [False, True])
def test_commit_replaces_what_was_read_ahead(site: Site, stage_pages: bool) -> None:
    def body() -> None:
        settings = replace(BARE, read_ahead="bounded", stage_pages=stage_pages, staging_ns=30 * SECOND)
        database = site.open(settings)
        for number in (10, 11, 12):
            database.read_page(number)
        assert 20 in database.cache
        database.write_page(20, page(20, 1))
        database.sync()
        requests = database.counters.get_pages
        assert database.read_page(20) == page(20, 1)
        assert database.counters.get_pages == requests

    site.run(body)


def test_page_read_ahead_expires(site: Site) -> None:
    def body() -> None:
        database = site.open(replace(BARE, read_ahead="bounded", stage_pages=True, staging_ns=SECOND))
        for number in (10, 11, 12):
            database.read_page(number)
        before = database.counters.get_pages
        database.read_page(13)
        assert database.counters.get_pages == before
        site.kernel.sleep(SECOND)
        database.read_page(14)
        assert database.counters.get_pages == before + 1

    site.run(body)


@pytest.mark.parametrize(
    ("changed", "hits"),
    [({}, 2), ({"cache_mode": "off"}, 0), ({"retain_targets": False}, 0), ({"page_cache_pages": 0}, 0)],
)
def test_what_was_asked_for_is_kept_if_it_may(site: Site, changed: dict[str, Any], hits: int) -> None:
    def body() -> None:
        database = site.open(replace(BARE, **changed))
        for _ in range(3):
            database.read_page(9)
        assert database.counters.hits == hits

    site.run(body)


def test_training_on_hits_changes_what_is_predicted(site: Site) -> None:
    def body() -> None:
        fetched = []
        for train in (True, False):
            database = site.open(replace(BARE, read_ahead="bounded", train_on_hits=train, preload_first_pages=12))
            for number in (10, 11, 12, 13):
                database.read_page(number)
            fetched.append(database.counters.fetched_pages)
        assert fetched == [65, 1]

    site.run(body)


def test_predicted_pages_that_the_depot_does_not_have_are_left_out(site: Site) -> None:
    def body() -> None:
        database = site.open(replace(BARE, read_ahead="bounded"))
        database.write_page(700, page(700, 1))
        for number in (597, 598, 599):
            database.read_page(number)
        assert database.counters.fetched_pages > 3
        assert database.read_page(650) == bytes(PAGE)
        assert 650 not in database.cache

    site.run(body)


class GeneralWay(Resolver):
    """Takes no short cuts."""

    def resolve_one(self, number: int) -> bytes:
        return self.resolve((number,))[number]

    def _fetch_alone(self, number: int, found: dict[int, bytes]) -> None:
        self._fetch_several([number], [number], False, found)


class GeneralDatabase(Database):
    def make_resolver(self) -> Resolver:
        return GeneralWay(self)


@pytest.mark.parametrize("settings", [*PROFILES.values(), BARE, replace(BARE, single_flight=True, stage_pages=True)])
def test_short_cuts_do_what_the_general_way_does(settings: VfsSettings) -> None:
    def told(kind: type[Database]) -> Any:
        site = Site("local-debug")
        site.fill(600)
        begun = len(site.kernel.history)
        storage = DirectStorage(site.depot, "instance", site.depot.allocate())
        database = kind(storage, replace(settings, page_cache_pages=20, protected_pages=4))
        drawn = Random(3)
        found: list[bytes] = []

        def read(count: int) -> None:
            at = 1
            for _ in range(count):
                at = at % 600 + 1 if drawn.random() < 0.7 else drawn.randrange(1, 601)
                found.append(database.read_page(at))

        def fail() -> None:
            site.kernel.sleep(40 * MILLISECOND)
            site.depot.allocate()

        def first() -> None:
            database.open()
            readers = [site.kernel.spawn(read, 60, name=f"reader-{number}") for number in range(3)]
            for reader in readers:
                reader.join()
            with suppress(StorageFailed):
                site.kernel.spawn(fail, name="fence")
                read(400)

        site.run(first)
        site.kernel.close()
        return found, database.counters, database.death, site.kernel.history[begun:]

    assert told(Database) == told(GeneralDatabase)
