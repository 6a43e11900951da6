"""What is loaded at opening on the advice of earlier instances, and how the advice gets into the depot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from simkit.depot.commands import AtRestorePoint
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.errors import DepotError, GenerationFenceMismatch, HintsInvalid, InjectedFault
from simkit.depot.events import HintsStored, PagesRead, RequestFailed
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.operator import Operator
from simkit.depot.records import HINTS_BYTES_MAX, PreloadHints, RecordCorrupt, decode_hints, encode_hints, encode_row
from simkit.depot.settings import DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Crashed, Decisions, Group, Kernel
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.parts import parts_for
from simkit.vfs.database import Database
from simkit.vfs.errors import InstanceDead
from simkit.vfs.events import HintFlushEnded
from simkit.vfs.hint_flush import FLUSH_EVERY_NS, WORTH_PAGES
from simkit.vfs.settings import VfsSettings

PAGE_BYTES = 512
PAGES = 300
COST = RequestLatency(constant(MILLISECOND), constant(MILLISECOND), 0)
HINTS = PreloadHints(hot_pages=(3, 50), early_pages=(40, 9), scan_ranges=((100, 109), (200, 203)))
HINTED = (3, 9, 40, 50, *range(100, 110), *range(200, 204))
#: no pages but those that are asked for, so that it is plain what was loaded
PLAIN: dict[str, Any] = {"read_ahead": "none"}


class SlowControl(Depot):
    """Answers no control request in time."""

    def send(self, request: Any, arrival_ns: int, service_ns: int, reply_ns: int) -> None:
        slow_ns = 60 * SECOND if request.kind == "control" else 0
        super().send(request, arrival_ns + slow_ns, service_ns, reply_ns)


class Site:
    """A depot with a database of 300 pages, and instances that open it one after the other."""

    def __init__(self, depot: type[Depot] = Depot, grain: Any = "request") -> None:
        self.kernel = Kernel(Decisions(1))
        profile = LatencyProfile("steady", "for tests", COST, COST, COST)
        self.depot = depot(self.kernel, profile, DepotImage(None, 0, PAGE_BYTES), DepotSettings(grain=grain))
        self.group: Group = self.kernel.group("none")
        self.run(self._fill)

    def _fill(self) -> None:
        writer = DirectStorage(self.depot, "setup", self.depot.allocate())
        writer.open()
        writer.commit({number: self.content(number) for number in range(1, PAGES + 1)}, PAGES)

    def content(self, number: int) -> bytes:
        return b"\x0d" + f"page {number}".encode().ljust(PAGE_BYTES - 1, b".")

    def run(self, body: Callable[[], Any]) -> Any:
        task = self.kernel.spawn(body, name="test", supervised=True)
        self.kernel.run()
        if task.error is not None:
            raise task.error
        return task.result

    def opened(self, **settings: Any) -> Database:
        """A new instance that has opened the database."""
        database = self.instance(**settings)
        database.open()
        return database

    def instance(self, **settings: Any) -> Database:
        generation = self.depot.allocate()
        storage = DirectStorage(self.depot, f"instance-{generation}", generation)
        database = Database(storage, VfsSettings(**{**PLAIN, **settings}))
        self.group = self.kernel.group(storage.instance)
        database.flush_hints_in(self.group)
        return database

    def store(self, hints: PreloadHints) -> None:
        """What an earlier instance advised."""
        self.run(lambda: DirectStorage(self.depot, "earlier", self.depot.allocate()).store_hints(hints))

    def row(self, database: str = "main") -> PreloadHints | None:
        raw = self.depot.store.snapshot().get(self.keys(database).hints)
        return decode_hints(raw) if raw is not None else None

    def keys(self, database: str = "main") -> BranchKeys:
        branch_id = self.depot.store.snapshot().get(database_pointer_key(database))
        assert branch_id is not None
        return BranchKeys(branch_id)

    def damage(self, raw: bytes) -> None:
        with self.depot.store.begin() as transaction:
            transaction.set(self.keys().hints, raw)
            transaction.commit()

    def told(self) -> list[HintsStored]:
        return [event for event in self.kernel.history if isinstance(event, HintsStored)]

    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.kernel.history if isinstance(event, HintFlushEnded)]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.kernel.close()


def read(database: Database, *numbers: int) -> None:
    for number in numbers:
        database.read_page(number)


# Loading


def test_hinted_pages_come_in_one_request_and_count_as_preloaded_only(site: Site) -> None:
    site.store(HINTS)
    database = site.run(site.opened)

    requests = [event.pages for event in site.kernel.history if isinstance(event, PagesRead)]
    assert requests[-2:] == [(1,), HINTED]
    counters = database.counters
    assert counters.preloaded_pages == 1 + len(HINTED)
    assert (counters.get_pages, counters.fetched_pages, counters.misses) == (0, 0, 0)

    site.run(lambda: read(database, *HINTED))
    assert (database.counters.hits, database.counters.get_pages) == (len(HINTED), 0)
    assert database.read_page(40) == site.content(40)


def test_nothing_to_load_is_no_request(site: Site) -> None:
    before = site.depot.requests_total
    site.run(site.opened)
    site.store(PreloadHints(hot_pages=(PAGES + 1,)))
    site.run(site.opened)

    assert site.depot.requests_total == before + 3


@pytest.mark.parametrize("settings", [{"preload_hints": False}, {"preload_bytes_max": 0}, {"cache_mode": "prefetch"}])
def test_hints_are_left_alone_when_switched_off(site: Site, settings: dict[str, Any]) -> None:
    site.store(HINTS)
    database = site.run(lambda: site.opened(**settings))

    assert database.counters.preloaded_pages == 1
    assert 40 not in database.cache


def test_first_pages_are_loaded_with_the_opening(site: Site) -> None:
    database = site.run(lambda: site.opened(preload_first_pages=16))

    assert [number for number in range(1, 20) if number in database.cache] == list(range(1, 17))
    small = site.run(lambda: site.opened(preload_first_pages=16, preload_bytes_max=4 * PAGE_BYTES))
    assert small.counters.preloaded_pages < 16


@pytest.mark.parametrize("grain", ["request", "operation"])
def test_both_ways_of_reading_bring_the_hints(grain: str) -> None:
    site = Site(grain=grain)
    site.store(HINTS)

    assert site.run(lambda: DirectStorage(site.depot, "reader", site.depot.allocate()).open().value) == HINTS
    site.kernel.close()


class FailingGetPages(DirectStorage):
    error: DepotError = InjectedFault("the request failed")

    def get_pages(self, numbers: tuple[int, ...], *_: Any, **__: Any) -> list[bytes | None]:
        raise self.error


class Fenced(FailingGetPages):
    error = GenerationFenceMismatch("a later instance owns the database")


class CommittingMeanwhile(DirectStorage):
    def get_pages(self, numbers: tuple[int, ...], *others: Any, **named: Any) -> list[bytes | None]:
        pages = super().get_pages(numbers, *others, **named)
        self.commits += 1
        return pages


def opened_over(site: Site, storage: type[DirectStorage]) -> Any:
    def body() -> Database:
        generation = site.depot.allocate()
        database = Database(storage(site.depot, "instance", generation), VfsSettings())
        database.open()
        return database

    return site.run(body)


def test_a_preload_that_fails_is_no_failure_of_the_opening(site: Site) -> None:
    site.store(HINTS)
    database = opened_over(site, FailingGetPages)

    assert database.death is None
    assert 40 not in database.cache


def test_a_fence_while_preloading_is_fatal(site: Site) -> None:
    site.store(HINTS)
    with pytest.raises(InstanceDead):
        opened_over(site, Fenced)


def test_what_comes_back_after_a_commit_is_not_kept(site: Site) -> None:
    site.store(HINTS)

    assert 40 not in opened_over(site, CommittingMeanwhile).cache


def test_whoever_only_inspects_loads_nothing(site: Site) -> None:
    site.store(HINTS)

    def body() -> Database:
        storage = DirectStorage(site.depot, "inspector", site.depot.allocate(), immediate=True)
        database = Database(storage, VfsSettings())
        database.open()
        return database

    assert site.run(body).counters.preloaded_pages == 1


# The row


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        encode_hints(HINTS)[:-1],
        encode_row(PreloadHints(hot_pages=(0,))),
        encode_row(PreloadHints(early_pages=(1 << 32,))),
        encode_row(PreloadHints(scan_ranges=((9, 8),))),
        encode_row(PreloadHints(hot_pages=tuple(range(1, HINTS_BYTES_MAX)))),
    ],
)
def test_hints_that_do_not_decode_are_ignored(site: Site, raw: bytes) -> None:
    site.damage(raw)

    assert site.run(site.opened).counters.preloaded_pages == 1
    with pytest.raises(RecordCorrupt, match="PreloadHints"):
        decode_hints(raw)


@pytest.mark.parametrize(
    "hints", [PreloadHints(hot_pages=(0,)), PreloadHints(hot_pages=tuple(range(1, HINTS_BYTES_MAX)))]
)
def test_hints_that_cannot_be_are_refused(site: Site, hints: PreloadHints) -> None:
    with pytest.raises(HintsInvalid):
        site.store(hints)
    assert site.row() is None


def test_an_earlier_instance_does_not_replace_the_hints_of_a_later_one(site: Site) -> None:
    def body() -> None:
        earlier, later = site.opened(), site.opened()
        later.storage.store_hints(HINTS)
        earlier.storage.store_hints(PreloadHints(hot_pages=(7,)))

    with pytest.raises(GenerationFenceMismatch):
        site.run(body)
    assert site.row() == HINTS


def test_an_instance_allocated_amid_a_flush_refuses_it() -> None:
    site = Site(grain="operation")

    def body() -> None:
        earlier = site.opened()
        site.kernel.timer(MILLISECOND // 2, lambda _: site.depot.allocate(), "takeover")
        earlier.storage.store_hints(HINTS)

    with pytest.raises(GenerationFenceMismatch):
        site.run(body)
    assert site.row() is None
    site.kernel.close()


def test_hints_need_no_present_head(site: Site) -> None:
    def body() -> None:
        storage = site.opened().storage
        storage.head = 99
        storage.store_hints(HINTS)

    site.run(body)
    assert site.row() == HINTS


def test_a_fork_and_a_rollback_begin_with_the_hints_of_their_parent(site: Site) -> None:
    site.store(HINTS)

    def body() -> None:
        operator = Operator(site.depot)
        operator.fork("copy")
        point = operator.make_restore_point()
        operator.rollback(AtRestorePoint(point.id))

    site.run(body)
    assert site.row("copy") == HINTS
    assert site.row() == HINTS


# Telling the depot


def test_what_was_asked_for_is_told_after_thirty_seconds_and_loaded_by_the_next(site: Site) -> None:
    def body() -> PreloadHints:
        database = site.opened()
        read(database, 40, 50, 40)
        site.kernel.sleep(FLUSH_EVERY_NS - 10 * MILLISECOND)
        read(database, 60)
        site.kernel.sleep(SECOND)
        assert site.told() == []
        read(database, 70)
        site.kernel.sleep(SECOND)
        return database.hints()

    expected = site.run(body)
    assert expected == PreloadHints(hot_pages=(40, 50, 60, 70), early_pages=(40, 50, 60, 70))
    assert site.row() == expected
    assert site.outcomes() == ["stored"]
    cache = site.run(site.opened).cache
    assert 40 in cache
    assert 50 in cache


@pytest.mark.parametrize(
    ("setting", "missing"),
    [("hint_hot_pages", "hot_pages"), ("hint_early_pages", "early_pages"), ("hint_scan_ranges", "scan_ranges")],
)
def test_a_kind_that_is_switched_off_is_not_told(site: Site, setting: str, missing: str) -> None:
    def told(**settings: Any) -> PreloadHints | None:
        def body() -> None:
            database = site.opened(**settings)
            read(database, 3, *range(20, 30))
            site.kernel.sleep(FLUSH_EVERY_NS)
            read(database, 3)
            database.note_accesses()
            site.kernel.sleep(SECOND)

        site.run(body)
        return site.row()

    everything, rest = told(), told(**{setting: False})
    assert getattr(everything, missing)
    assert not getattr(rest, missing)


def test_with_flushing_switched_off_nothing_is_followed_or_sent(site: Site) -> None:
    def body() -> Database:
        database = site.opened(hint_flush=False)
        before = site.depot.requests_total
        read(database, *range(2, 100))
        fetched = database.counters.get_pages
        site.kernel.sleep(3 * FLUSH_EVERY_NS)
        database.close()
        assert site.depot.requests_total - before == fetched
        return database

    assert site.run(body).recent is None
    assert site.row() is None


def test_an_instance_that_does_nothing_causes_no_events(site: Site) -> None:
    def body() -> None:
        read(site.opened(), 40)
        assert not any(event.callbacks is not None for *_, event in site.kernel.clock.queue)
        site.kernel.sleep(10 * FLUSH_EVERY_NS)

    site.run(body)
    assert site.outcomes() == []


def test_what_the_depot_has_already_is_not_told_again(site: Site) -> None:
    def body() -> None:
        database = site.opened(page_cache_pages=0)
        for number in (40, 40, 40, 41):
            site.kernel.sleep(FLUSH_EVERY_NS + SECOND)
            read(database, number)
        site.kernel.sleep(SECOND)

    site.run(body)
    assert [event.early_pages for event in site.told()] == [(40,), (40, 41)]


def test_a_flush_takes_five_seconds_at_most_and_is_tried_again() -> None:
    site = Site(SlowControl)

    def body() -> None:
        database = site.opened(page_cache_pages=0)
        site.kernel.sleep(FLUSH_EVERY_NS)
        read(database, 40)
        site.kernel.sleep(4 * SECOND)
        assert site.outcomes() == []
        site.kernel.sleep(SECOND)
        assert site.outcomes() == ["timed out"]
        site.kernel.sleep(FLUSH_EVERY_NS)
        read(database, 40)
        site.kernel.sleep(5 * SECOND)

    site.run(body)
    assert site.outcomes() == ["timed out", "timed out"]
    site.kernel.close()


def test_a_flush_that_meets_a_fence_is_the_last_one_and_no_error(site: Site) -> None:
    def body() -> Database:
        database = site.opened()
        read(database, 40)
        site.depot.allocate()
        for _ in range(2):
            site.kernel.sleep(FLUSH_EVERY_NS)
            read(database, 40)  # from memory: no other request meets the fence
            database.note_accesses()
        site.kernel.sleep(SECOND)
        return database

    assert site.run(body).death is None
    assert site.outcomes() == ["fence_mismatch"]
    failed = [event.kind for event in site.kernel.history if isinstance(event, RequestFailed)]
    assert failed == ["control"]


def test_a_crashed_instance_sends_nothing(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        site.kernel.sleep(FLUSH_EVERY_NS)
        database.die("the instance crashed")
        site.group.crash()
        read(database, 1)
        database.note_accesses()
        site.kernel.sleep(SECOND)

    site.run(body)
    assert site.outcomes() == []


def test_a_crash_amid_a_flush_is_survived_by_what_reached_the_depot() -> None:
    site = Site(SlowControl)

    def body() -> None:
        database = site.opened()
        site.kernel.sleep(FLUSH_EVERY_NS)
        read(database, 40)
        site.kernel.sleep(SECOND)
        database.die("the instance crashed")
        site.group.crash()
        site.kernel.sleep(61 * SECOND)

    site.run(body)
    assert site.outcomes() == ["cut short"]
    # It was on its way, and nobody else has opened the database.
    assert site.row() == PreloadHints(hot_pages=(40,), early_pages=(40,))
    site.kernel.close()


# The end


def test_an_instance_that_saw_little_tells_nothing_at_its_end(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        read(database, *range(2, WORTH_PAGES + 1))
        before = site.depot.requests_total
        database.close()
        assert site.depot.requests_total == before

    site.run(body)
    assert site.row() is None


@pytest.mark.parametrize(
    "numbers", [range(2, 2 * WORTH_PAGES + 2, 2), range(20, 20 + WORTH_PAGES)], ids=["pages", "run"]
)
def test_an_instance_that_saw_enough_tells_it_at_its_end(site: Site, numbers: range) -> None:
    def body() -> None:
        database = site.opened()
        read(database, *numbers)
        database.close()
        database.close()

    site.run(body)
    assert site.outcomes() == ["stored"]
    cache = site.run(site.opened).cache
    assert all(number in cache for number in numbers)


def test_an_instance_that_lived_for_long_tells_what_is_new_at_its_end(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        site.kernel.sleep(FLUSH_EVERY_NS)
        read(database, 40)
        site.kernel.sleep(SECOND)
        read(database, 40, 41)
        database.close()

    site.run(body)
    assert [event.early_pages for event in site.told()] == [(40,), (40, 41)]


def test_the_end_waits_no_longer_than_250_milliseconds() -> None:
    site = Site(SlowControl)

    def body() -> int:
        database = site.opened()
        read(database, *range(20, 20 + WORTH_PAGES))
        before_ns = site.kernel.now
        database.close()
        return site.kernel.now - before_ns

    assert site.run(body) == 250 * MILLISECOND
    assert site.outcomes() == ["timed out"]
    site.kernel.close()


def test_the_end_cuts_a_flush_short_that_is_under_way() -> None:
    site = Site(SlowControl)

    def body() -> int:
        database = site.opened()
        site.kernel.sleep(FLUSH_EVERY_NS)
        read(database, 40)
        site.kernel.sleep(SECOND)
        before_ns = site.kernel.now
        database.close()
        return site.kernel.now - before_ns

    assert site.run(body) == 250 * MILLISECOND
    assert site.outcomes() == ["cut short", "timed out"]
    site.kernel.close()


def test_a_cancellation_does_not_cut_the_end_short(site: Site) -> None:
    def body() -> list[str]:
        database = site.opened()
        read(database, *range(20, 20 + WORTH_PAGES))
        closer = site.kernel.spawn(database.close, name="closer")
        site.kernel.sleep(MILLISECOND // 2)
        closer.cancel()
        site.kernel.sleep(SECOND)
        return site.outcomes()

    assert site.run(body) == ["stored"]


def test_a_crash_amid_the_end_is_one(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        read(database, *range(20, 20 + WORTH_PAGES))
        site.kernel.timer(MILLISECOND // 2, lambda _: site.group.crash(), "crash")
        with pytest.raises(Crashed), site.group:
            database.close()

    site.run(body)
    assert site.outcomes() == ["cut short"]


def test_a_dead_instance_tells_nothing_at_its_end(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        read(database, *range(20, 20 + WORTH_PAGES))
        database.die("it was cut off")
        database.close()

    site.run(body)
    assert site.outcomes() == []


def test_a_dead_instance_tells_nothing_any_more(site: Site) -> None:
    def body() -> None:
        database = site.opened()
        read(database, *range(2, 70))
        site.kernel.sleep(FLUSH_EVERY_NS)
        database.die("gave up a close")
        read(database, 100, 200)
        site.kernel.sleep(SECOND)

    site.run(body)
    assert site.outcomes() == []
    assert site.row() is None


def test_a_process_tells_at_its_close_what_the_next_one_loads(site: Site) -> None:
    def process() -> InstanceProcess:
        return InstanceProcess(
            site.kernel, site.depot, site.depot.allocate(), parts_for("single"), VfsSettings(**PLAIN), 2_000
        )

    def body() -> tuple[int, ...]:
        first = process()
        first.database.open()
        read(first.database, *range(20, 20 + WORTH_PAGES))
        first.close_database()
        second = process()
        second.database.open()
        second.close_database()
        return tuple(number for number in range(1, 300) if number in second.database.cache)

    assert site.run(body) == (1, *range(20, 20 + WORTH_PAGES))
    assert site.outcomes() == ["stored"]
