"""Page versions: what SQLite was given must be one version, in time; and what counts as given."""

from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest

from simkit.check.events import OK, OperationEnded, OperationInvoked, StateObserved
from simkit.check.pages import check_pages
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.events import CommitAcknowledged, CommitApplied, CommitRequested, InstanceAllocated
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel, Record
from simkit.vfs.database import Database
from simkit.vfs.events import PagesCommitted, PagesSeen, TransactionBegan, TransactionEnded, VfsRegistered
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.observed_file import STAMP, ObservedFile, content_hash, observe_commits
from simkit.vfs.settings import VfsSettings

A, B, C, D = 11, 22, 33, 44


class Story:
    """A history in the making, with contents in place of their hashes. Operations are begun by `invoke`."""

    def __init__(self) -> None:
        self.history: list[Record] = []
        self.operations = 0
        self.requests = 0

    def add(self, kind: Callable[..., Record], *fields: Any, task: str = "task") -> None:
        self.history.append(kind(len(self.history), task, *fields))

    def invoke(self) -> int:
        self.operations += 1
        number = self.operations
        self.add(OperationInvoked, number, f"client-{number}", "instance-1", "op", "statement", (), False)
        return number

    def end(self, number: int) -> None:
        self.add(OperationEnded, number, OK, "")

    def request(self, pages: dict[int, int], operation: int = -1, told: bool = True) -> int:
        self.requests += 1
        if told:
            self.add(PagesCommitted, "instance-1", tuple(pages.items()))
        self.add(CommitRequested, "instance-1", operation, self.requests, tuple(pages), 9, 0)
        return self.requests

    def apply(self, request: int, operation: int = -1) -> None:
        self.add(CommitApplied, "instance-1", operation, request, request)

    def acknowledge(self, request: int, operation: int = -1) -> None:
        self.add(CommitAcknowledged, "instance-1", operation, request, request)

    def commit(self, pages: dict[int, int], operation: int = -1, told: bool = True) -> None:
        """A commit from its request to its acknowledgement."""
        request = self.request(pages, operation, told)
        self.apply(request, operation)
        self.acknowledge(request, operation)

    def see(
        self, *pages: tuple[int, int], operation: int = -1, commits: bool = False, instance: str = "instance-1"
    ) -> None:
        self.add(PagesSeen, instance, 1, operation, pages, commits)

    def look(self, *pages: tuple[int, int]) -> None:
        """A whole operation that is given these pages."""
        number = self.invoke()
        self.see(*pages, operation=number)
        self.end(number)

    @property
    def found(self) -> list[str]:
        violations = check_pages(self.history)
        assert {(violation.invariant, violation.check) for violation in violations} <= {("ISO-1", "page-versions")}
        return [violation.sentence for violation in violations]

    @property
    def only(self) -> str:
        (sentence,) = self.found
        return sentence


@pytest.fixture
def story() -> Story:
    return Story()


# The check


def test_history_without_observed_pages_says_nothing(story: Story) -> None:
    story.commit({1: A})
    assert story.found == []


def test_pages_of_the_newest_version_are_fine(story: Story) -> None:
    story.look((1, A), (2, B))
    story.commit({1: C})
    story.look((1, C), (2, B))
    assert story.found == []


def test_page_from_before_an_acknowledged_commit_is_stale(story: Story) -> None:
    writer = story.invoke()
    story.commit({2: A}, writer)
    story.commit({2: B}, writer)
    story.look((2, A))
    assert story.only == (
        "operation 2 (op of client-2) was given page 2 from before operation 1 (op of client-1), which was known "
        "before it began"
    )


def test_page_from_before_the_first_commit_is_stale_too(story: Story) -> None:
    story.look((2, A))
    story.commit({2: B})
    story.look((2, A))
    assert "from before a commit of instance-1, which was known before it began" in story.only


def test_older_page_is_fine_while_its_successor_is_not_acknowledged(story: Story) -> None:
    story.look((2, A))
    story.apply(story.request({2: B}))
    story.look((2, A))
    assert story.found == []


def test_older_page_is_stale_once_somebody_was_told_of_its_successor(story: Story) -> None:
    story.look((2, A))
    story.apply(story.request({2: B}))
    story.look((2, B))
    story.look((2, A))
    assert "page 2 from before a commit of instance-1" in story.only


def test_commit_during_an_operation_may_be_seen_or_not(story: Story) -> None:
    number = story.invoke()
    story.see((2, A), operation=number)
    story.commit({2: B})
    story.see((2, A), operation=number)
    story.see((2, B), operation=number)
    assert story.found == []


def test_pages_of_different_versions_are_reported(story: Story) -> None:
    story.look((2, A), (3, A))
    number = story.invoke()
    story.commit({2: B, 3: B})
    story.see((2, A), (3, B), operation=number)
    assert "was given page 2 and page 3 of different versions: none from 0 to 1 has all its pages" in story.only


def test_one_page_with_two_contents_is_reported(story: Story) -> None:
    number = story.invoke()
    story.look((2, A))
    story.commit({2: B})
    story.see((2, A), (2, B), operation=number)
    assert "was given page 2 and page 2 of different versions" in story.only


def test_content_that_nobody_committed_is_taken_for_that_of_the_beginning(story: Story) -> None:
    story.commit({2: A})
    story.look((2, D))
    assert "page 2 from before a commit of instance-1" in story.only


def test_content_that_changes_without_a_commit_is_reported(story: Story) -> None:
    story.look((2, A))
    story.look((2, B))
    assert "was given page 2 with content that it has at no version up to 0" in story.only


def test_content_before_its_commit_is_reported(story: Story) -> None:
    story.look((2, A))
    request = story.request({2: B})
    story.look((2, B))
    story.apply(request)
    assert "with content that it has at no version up to 0" in story.only


def test_content_that_comes_back_may_belong_to_either_version(story: Story) -> None:
    story.commit({2: A})
    number = story.invoke()
    story.commit({2: B})
    story.commit({2: A, 3: C})
    story.see((2, A), (3, D), operation=number)
    story.see((2, A), (3, C), operation=number)
    assert story.found == []


def test_commit_of_unknown_content_fits_everything(story: Story) -> None:
    story.look((2, A))
    story.commit({2: B}, told=False)
    story.look((2, C))
    assert story.found == []


def test_transaction_without_an_operation_must_know_what_was_known_when_it_began(story: Story) -> None:
    story.look((2, A))
    story.add(TransactionBegan, "instance-1", 1, -1, 0)
    story.commit({2: B})
    story.see((2, A))
    story.add(TransactionEnded, "instance-1", 1)
    assert story.found == []
    story.add(TransactionBegan, "instance-1", 1, -1, 0)
    story.see((2, A))
    assert story.only.startswith("a transaction of instance-1 was given page 2 from before a commit")


def test_superseded_instance_may_serve_what_it_had(story: Story) -> None:
    story.add(InstanceAllocated, 1)
    story.add(VfsRegistered, "instance-1")
    story.look((2, A))
    story.add(InstanceAllocated, 2)
    story.add(VfsRegistered, "instance-2")
    request = story.request({2: B})
    story.apply(request)
    story.add(CommitAcknowledged, "instance-2", -1, request, request)
    story.look((2, A))
    assert story.found == []


def test_superseded_instance_must_know_its_own_commits(story: Story) -> None:
    story.add(InstanceAllocated, 1)
    story.add(VfsRegistered, "instance-1")
    story.look((2, A))
    request = story.request({2: B})
    story.apply(request)
    story.add(InstanceAllocated, 2)
    story.acknowledge(request)
    story.look((2, A))
    assert "page 2 from before a commit of instance-1" in story.only


def test_superseded_instance_must_know_what_it_served(story: Story) -> None:
    story.add(InstanceAllocated, 1)
    story.add(VfsRegistered, "instance-1")
    story.look((2, A))
    story.apply(story.request({2: B}))
    story.add(InstanceAllocated, 2)
    story.look((2, B))
    story.look((2, A))
    assert "page 2 from before a commit of instance-1" in story.only


def test_new_instance_may_not_serve_what_an_earlier_one_had(story: Story) -> None:
    story.add(InstanceAllocated, 1)
    story.add(VfsRegistered, "instance-1")
    story.look((2, A))
    story.commit({2: B})
    story.add(InstanceAllocated, 2)
    story.add(VfsRegistered, "instance-2")
    story.see((2, A), operation=story.invoke(), instance="instance-2")
    assert "page 2 from before" in story.only


def test_what_a_fresh_instance_found_is_known_to_all(story: Story) -> None:
    story.look((2, A))
    story.apply(story.request({2: B}))
    story.add(StateObserved, "recovery", 2, (), (), ())
    story.look((2, A))
    assert "page 2 from before" in story.only


def test_commit_on_top_of_a_version_that_it_did_not_see_is_reported(story: Story) -> None:
    one, other = story.invoke(), story.invoke()
    story.see((2, A), operation=one)
    story.add(PagesSeen, "instance-1", 2, other, ((2, A),), True, task="other")
    story.commit({2: B}, one)
    story.add(PagesCommitted, "instance-1", ((2, C),), task="other")
    story.add(CommitRequested, "instance-1", other, 9, (2,), 9, 0, task="other")
    story.apply(9, other)
    assert story.only == (
        "operation 2 (op of client-2) committed on top of operation 1 (op of client-1) without having seen it: it was "
        "given page 2 from before that"
    )


def test_commit_on_top_of_what_it_saw_is_fine(story: Story) -> None:
    for before, after in ((A, B), (B, C), (C, D)):
        number = story.invoke()
        story.see((2, before), operation=number, commits=True)
        story.commit({2: after}, number)
        story.end(number)
    assert story.found == []


def test_later_commit_of_a_task_belongs_to_another_transaction(story: Story) -> None:
    number = story.invoke()
    story.see((2, A), operation=number, commits=True)
    story.add(TransactionEnded, "instance-1", 1)
    other = story.request({2: B})
    story.apply(other)
    story.commit({2: C}, number)
    assert story.found == []


def test_at_most_ten_are_reported_and_the_rest_is_counted(story: Story) -> None:
    story.look((2, A))
    story.commit({2: B})
    for _ in range(12):
        story.look((2, A))
    violations = check_pages(story.history)
    assert len(violations) == 10
    assert violations[0].details[-1] == "and 2 more transactions with pages of no allowed version"


# What counts as seen


class Site:
    """A depot, and databases on it whose handles are observed."""

    page_size = 512

    def __init__(self) -> None:
        self.kernel = Kernel(Decisions(1))
        self.depot = Depot(self.kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, self.page_size))

    def open(self) -> Database:
        generation = self.depot.allocate()
        storage = DirectStorage(self.depot, f"instance-{generation}", generation)
        database = Database(storage, VfsSettings(observe_pages=True))
        database.open()
        return database

    def run(self, body: Callable[[], None]) -> None:
        task = self.kernel.spawn(body, name="test", supervised=True)
        self.kernel.run()
        if task.error is not None:
            raise task.error

    def page(self, letter: str) -> bytes:
        return letter.encode() * self.page_size

    def events(self, kind: type[Record]) -> list[Any]:
        return [event for event in self.kernel.history if event.__class__ is kind]

    @property
    def seen(self) -> list[tuple[tuple[int, int], ...]]:
        return [event.pages for event in self.events(PagesSeen)]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.kernel.close()


def committed(site: Site, letters: str) -> ObservedFile:
    """A handle on a database of these pages, without a lock."""
    database = site.open()
    observe_commits(database)
    file = ObservedFile(database, writable=True)
    file.xLock(apsw.SQLITE_LOCK_SHARED)
    file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
    for number, letter in enumerate(letters):
        file.xWrite(site.page(letter), number * site.page_size)
    file.xSync(0)
    file.xUnlock(apsw.SQLITE_LOCK_NONE)
    return file


def test_pages_read_under_a_lock_are_told_when_it_ends(site: Site) -> None:
    def body() -> None:
        file = committed(site, "abc")
        file.xRead(site.page_size, 0)
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xRead(site.page_size, site.page_size)
        file.xRead(site.page_size, 2 * site.page_size)
        file.xRead(site.page_size, site.page_size)
        assert site.seen == []
        file.xUnlock(apsw.SQLITE_LOCK_NONE)

    site.run(body)
    assert site.seen == [((2, content_hash(site.page("b"))), (3, content_hash(site.page("c"))))]


def test_part_of_page_1_counts_as_its_stamp(site: Site) -> None:
    def body() -> None:
        file = committed(site, "ab")
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xRead(16, 24)
        file.xRead(100, 0)
        file.xRead(10, site.page_size)
        file.xClose()

    site.run(body)
    assert site.seen == [((STAMP, content_hash(b"a" * 16)),)]


def test_read_across_pages_counts_each_whole_page(site: Site) -> None:
    def body() -> None:
        file = committed(site, "abcd")
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xRead(3 * site.page_size, site.page_size // 2)
        file.xRead(5 * site.page_size, 3 * site.page_size)
        file.xUnlock(apsw.SQLITE_LOCK_NONE)

    site.run(body)
    assert site.seen == [
        tuple((number, content_hash(site.page(letter))) for number, letter in ((2, "b"), (3, "c"), (4, "d")))
    ]


def test_pages_of_ones_own_do_not_count_until_they_are_committed(site: Site) -> None:
    def body() -> None:
        file = committed(site, "ab")
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xRead(site.page_size, 0)
        file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
        file.xWrite(site.page("x"), site.page_size)
        file.xRead(site.page_size, site.page_size)
        file.xSync(0)
        file.xRead(site.page_size, site.page_size)
        file.xUnlock(apsw.SQLITE_LOCK_NONE)

    site.run(body)
    assert site.seen == [((1, content_hash(site.page("a"))),), ((2, content_hash(site.page("x"))),)]
    assert [event.commits for event in site.events(PagesSeen)] == [True, False]


def test_commit_tells_its_content_and_its_stamp(site: Site) -> None:
    site.run(lambda: committed(site, "ab").xClose())
    (event,) = site.events(PagesCommitted)
    assert event.pages == (
        (1, content_hash(site.page("a"))),
        (2, content_hash(site.page("b"))),
        (STAMP, content_hash(b"a" * 16)),
    )


def run_sql(site: Site, settings: VfsSettings) -> None:
    def body() -> None:
        generation = site.depot.allocate()
        database = Database(DirectStorage(site.depot, "instance-1", generation), settings)
        database.open()
        with registered(database, RandomBytes(1, "test")) as vfs:
            writer, reader = vfs.connect(), vfs.connect(readonly=True)
            writer.execute("PRAGMA page_size = 512; CREATE TABLE t(a, b)").fetchall()
            for number in range(20):
                writer.execute("INSERT INTO t VALUES (?, zeroblob(100))", (number,)).fetchall()
                assert reader.execute("SELECT count(*), sum(a) FROM t").fetchall()[0][0] == number + 1
            writer.execute("BEGIN; DELETE FROM t WHERE a < 10; ROLLBACK").fetchall()
            writer.execute("DELETE FROM t WHERE a < 15; VACUUM").fetchall()
            assert reader.execute("SELECT count(*) FROM t").fetchall() == [(5,)]
            reader.close(True)
            writer.close(True)

    site.run(body)


def test_sqlite_on_a_sound_vfs_is_never_reported(site: Site) -> None:
    run_sql(site, VfsSettings(page_cache_pages=3, observe_pages=True))
    assert len(site.seen) > 40
    assert check_pages(site.kernel.history) == []


def test_observing_adds_events_and_changes_nothing_else(site: Site) -> None:
    run_sql(site, VfsSettings(page_cache_pages=3))
    plain = site.kernel.history
    assert not {event.__class__ for event in plain} & {PagesSeen, PagesCommitted}
    observed = Site()
    run_sql(observed, VfsSettings(page_cache_pages=3, observe_pages=True))
    kept = [event for event in observed.kernel.history if event.__class__ not in (PagesSeen, PagesCommitted)]
    observed.kernel.close()
    assert kept == plain
