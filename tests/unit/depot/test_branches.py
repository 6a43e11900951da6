"""Restore points, forks and rollbacks: what they write, whom they refuse, and that they are one transaction each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from simkit.depot.commands import AtRestorePoint, AtTime, Command, Fork, Latest, MakeRestorePoint, Target
from simkit.depot.core import EPOCH_MS
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.errors import (
    BranchNotReachable,
    BranchNotWritable,
    CompactionDisabled,
    DatabaseExists,
    DatabaseNotFound,
    DepotError,
    ForkChainTooDeep,
    ForkOutOfRetention,
    GenerationFenceMismatch,
    MetaMissing,
    RestorePointNotFound,
    RestoreTargetExpired,
    ShardVersionCapExhausted,
    TooManyRestorePoints,
)
from simkit.depot.events import DatabaseForked, DatabaseRolledBack, RestorePointDeleted, RestorePointMade
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.operator import Operator
from simkit.depot.records import (
    BranchRecord,
    Pin,
    PitrInterval,
    RestorePoint,
    decode_commit_row,
    decode_generation,
    decode_row,
    encode_row,
)
from simkit.depot.restore_points import restore_points
from simkit.depot.settings import DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND

PAGE_BYTES = 512
LATENCY = RequestLatency(constant(0), constant(2 * MILLISECOND), 0)
STEADY = LatencyProfile("steady", "for tests", LATENCY, LATENCY, LATENCY)
NOTHING = RequestLatency(constant(0), constant(0), 0)
FREE = LatencyProfile("free", "for tests", NOTHING, NOTHING, NOTHING)


class House:
    """A depot, and calls that run to their end."""

    def __init__(
        self, profile: LatencyProfile = STEADY, seed: int = 1, order: Literal["timed", "any"] = "timed", **settings: Any
    ) -> None:
        self.kernel = Kernel(Decisions(seed), order=order)
        image = DepotImage(None, 0, PAGE_BYTES)
        self.depot = Depot(self.kernel, profile, image, DepotSettings(shard_pages=4, **settings))
        self.operator = Operator(self.depot)

    def do(self, *functions: Callable[[], Any]) -> list[Any]:
        """Runs the functions at once, each in a task; returns what each returned, or the depot's error."""
        outcomes: list[Any] = [None] * len(functions)

        def run(index: int) -> None:
            try:
                outcomes[index] = functions[index]()
            except DepotError as error:
                outcomes[index] = error

        for index in range(len(functions)):
            self.kernel.spawn(run, index, name=f"client-{index}")
        self.kernel.run()
        return outcomes

    def one(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs one function; raises its error."""
        (outcome,) = self.do(lambda: function(*arguments))
        if isinstance(outcome, DepotError):
            raise outcome
        return outcome

    def instance(self, database: str = "main") -> DirectStorage:
        storage = DirectStorage(self.depot, f"instance of {database}", self.depot.allocate(database), database=database)
        self.one(storage.open)
        return storage

    def commit(self, storage: DirectStorage, *letters: str) -> None:
        """Replaces everything: page n is the n-th letter."""
        pages = {number: letter.encode() * PAGE_BYTES for number, letter in enumerate(letters, 1)}
        self.one(storage.commit, pages, len(pages))

    def keys(self, database: str = "main") -> BranchKeys:
        keys = self.depot.core.view(database).branch(self.depot.store.snapshot())
        assert keys is not None
        return keys

    def record(self, keys: BranchKeys) -> BranchRecord:
        record = self.depot.core.sources.record(self.depot.store.snapshot(), keys.branch_id)
        assert record is not None
        return record

    def read(self, keys: BranchKeys, txid: int) -> str:
        contents = self.depot.core.sources.contents(self.depot.store.snapshot(), keys, txid)
        return "".join(chr(contents[number][0]) for number in sorted(contents))

    def pins(self, keys: BranchKeys) -> dict[tuple[str, str], int]:
        rows = self.depot.store.snapshot().get_range(*keys.pins_range())
        return {keys.parse_pin(key): decode_row(Pin, raw).txid for key, raw in rows}

    def points(self, database: str = "main") -> list[RestorePoint]:
        return restore_points(self.depot.store.snapshot(), database)

    def keep_interval(self, keys: BranchKeys, txid: int, expires_in_ms: int = 10_000) -> int:
        """Writes the row of an interval whose commit is `txid`, as an installation does; returns its wall clock."""
        raw = self.depot.store.snapshot().get(keys.commits(txid))
        assert raw is not None
        row = decode_commit_row(raw)
        interval = PitrInterval(
            txid=txid,
            versionstamp=row.versionstamp,
            wall_clock_ms=row.wall_clock_ms,
            expires_at_ms=self.depot.core.now_ms + expires_in_ms,
        )
        transaction = self.depot.store.begin()
        transaction.set(keys.pitr(row.wall_clock_ms), encode_row(interval))
        transaction.commit()
        return row.wall_clock_ms

    def events(self, kind: type) -> list[Any]:
        return [event for event in self.kernel.history if isinstance(event, kind)]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def main(house: House) -> DirectStorage:
    """An instance of `main` after the commits a, ab and abc."""
    storage = house.instance()
    for letters in ("a", "ab", "abc"):
        house.commit(storage, *letters)
    return storage


# Restore points


def test_a_restore_point_is_named_after_its_time_and_commit(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    created_at_ms = point.created_at_ms
    assert point.id == f"{created_at_ms:016x}-{3:016x}"
    assert EPOCH_MS < created_at_ms <= house.depot.core.now_ms


def test_a_restore_point_has_record_and_pin_on_the_branch_of_its_commit(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    assert house.points() == [point]
    assert (point.branch_id, point.txid) == (house.keys().branch_id, 3)
    assert house.pins(house.keys()) == {("restore_point", point.id): 3}


def test_a_restore_point_is_recorded_when_it_is_durable_not_when_the_reply_arrives(
    house: House, main: DirectStorage
) -> None:
    point = house.one(house.operator.make_restore_point)
    (event,) = house.events(RestorePointMade)
    assert (event.restore_point, event.branch, event.txid) == (point.id, 1, 3)


def test_two_restore_points_of_one_commit_in_one_millisecond_are_one() -> None:
    house = House(FREE)
    house.commit(house.instance(), "a")
    first = house.one(house.operator.make_restore_point)
    assert house.one(house.operator.make_restore_point) == first
    assert house.points() == [first]
    assert len(house.events(RestorePointMade)) == 1


def test_restore_points_of_a_fork_and_its_origin_never_share_a_pin(house: House, main: DirectStorage) -> None:
    house.one(house.operator.fork, "copy")
    copy = Operator(house.depot, database="copy")
    first, second = house.do(house.operator.make_restore_point, copy.make_restore_point)
    assert first.branch_id == second.branch_id
    assert first.id != second.id
    house.one(copy.delete_restore_point, second.id)
    assert house.pins(house.keys())["restore_point", first.id] == 3


def test_deleting_a_restore_point_removes_record_and_pin(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.one(house.operator.delete_restore_point, point.id)
    assert not house.points()
    assert not house.pins(house.keys())
    assert [event.restore_point for event in house.events(RestorePointDeleted)] == [point.id]


def test_deleting_what_is_not_there_is_an_error(house: House, main: DirectStorage) -> None:
    with pytest.raises(RestorePointNotFound):
        house.one(house.operator.delete_restore_point, "0-0")


def test_a_database_has_a_limited_number_of_restore_points() -> None:
    house = House(restore_points_max=2)
    storage = house.instance()
    for letter in "ab":
        house.commit(storage, letter)
        house.one(house.operator.make_restore_point)
    house.commit(storage, "c")
    with pytest.raises(TooManyRestorePoints):
        house.one(house.operator.make_restore_point)


def test_of_two_that_want_the_last_place_one_gets_it() -> None:
    house = House(restore_points_max=1)
    storage = house.instance()
    house.commit(storage, "a")
    at = AtTime(house.keep_interval(house.keys(), 1))
    house.commit(storage, "b")
    make = house.operator.make_restore_point
    outcomes = house.do(make, lambda: make(at))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RestorePoint", "TooManyRestorePoints"]


def test_pins_keep_a_limited_number_of_commits_of_a_branch() -> None:
    house = House(shard_versions_max=2)
    storage = house.instance()
    for letter in "ab":
        house.commit(storage, letter)
        house.one(house.operator.make_restore_point)
    house.one(house.operator.fork, "of-a-kept-commit")
    house.commit(storage, "c")
    with pytest.raises(ShardVersionCapExhausted):
        house.one(house.operator.make_restore_point)
    with pytest.raises(ShardVersionCapExhausted):
        house.one(house.operator.fork, "of-another")


def test_a_restore_point_beside_a_commit_keeps_the_head_it_says(house: House, main: DirectStorage) -> None:
    pages = {1: b"z" * PAGE_BYTES}
    point, _ = house.do(house.operator.make_restore_point, lambda: main.commit(pages, 1))
    assert point.txid == 4, "the commit came first, and the restore point ran again"
    assert house.read(house.keys(), point.txid) == "z"


# Targets


@pytest.mark.parametrize("command", [MakeRestorePoint(), Fork("copy", Latest())], ids=["restore point", "fork"])
def test_a_database_without_commits_has_no_latest_commit(house: House, command: Command) -> None:
    house.depot.allocate("main")
    with pytest.raises(MetaMissing):
        house.one(house.operator._call, command)


def test_a_database_that_does_not_exist_is_not_found(house: House) -> None:
    with pytest.raises(DatabaseNotFound):
        house.one(house.operator.make_restore_point)


def test_a_time_means_the_newest_interval_not_after_it(house: House, main: DirectStorage) -> None:
    keys = house.keys()
    first_ms, second_ms = house.keep_interval(keys, 1), house.keep_interval(keys, 2)
    assert first_ms < second_ms
    assert house.one(house.operator.make_restore_point, AtTime(second_ms)).txid == 2
    assert house.one(house.operator.make_restore_point, AtTime(second_ms - 1)).txid == 1
    assert house.one(house.operator.make_restore_point, AtTime(second_ms + 1_000_000)).txid == 2


def test_a_time_before_all_intervals_or_with_expired_ones_only_is_refused(house: House, main: DirectStorage) -> None:
    first_ms = house.keep_interval(house.keys(), 1, expires_in_ms=1)
    with pytest.raises(RestoreTargetExpired):
        house.one(house.operator.make_restore_point, AtTime(first_ms - 1))
    house.one(house.kernel.sleep, 1 * MILLISECOND)
    with pytest.raises(RestoreTargetExpired):
        house.one(house.operator.fork, "copy", AtTime(first_ms))
    assert house.depot.store.snapshot().get(database_pointer_key("copy")) is None


def test_a_time_may_mean_a_commit_of_an_ancestor_but_none_after_the_fork(house: House, main: DirectStorage) -> None:
    keys = house.keys()
    first_ms = house.keep_interval(keys, 1)
    house.one(house.operator.fork, "copy", AtTime(first_ms))
    house.keep_interval(keys, 3)
    copy = Operator(house.depot, database="copy")
    point = house.one(copy.make_restore_point, AtTime(first_ms + 1_000_000))
    assert (point.branch_id, point.txid) == (keys.branch_id, 1)


def test_an_unknown_restore_point_is_not_found(house: House, main: DirectStorage) -> None:
    with pytest.raises(RestorePointNotFound):
        house.one(house.operator.fork, "copy", AtRestorePoint("0-0"))


def test_a_restore_point_of_the_parent_can_be_reached_up_to_the_fork(house: House, main: DirectStorage) -> None:
    before = house.one(house.operator.make_restore_point)
    house.one(house.operator.fork, "copy")
    house.commit(main, "x")
    after = house.one(house.operator.make_restore_point)
    copy = Operator(house.depot, database="copy")
    assert house.one(copy.rollback, AtRestorePoint(before.id)) == 3
    with pytest.raises(BranchNotReachable):
        house.one(copy.rollback, AtRestorePoint(after.id))


def test_a_restore_point_of_an_unrelated_database_is_not_reachable(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.commit(house.instance("other"), "x")
    with pytest.raises(BranchNotReachable):
        house.one(Operator(house.depot, database="other").rollback, AtRestorePoint(point.id))


def test_a_commit_whose_row_is_gone_is_out_of_retention(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    transaction = house.depot.store.begin()
    transaction.clear(house.keys().commits(3))
    transaction.commit()
    with pytest.raises(ForkOutOfRetention):
        house.one(house.operator.fork, "copy", AtRestorePoint(point.id))


def test_a_commit_whose_versionstamp_is_gone_has_expired(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    transaction = house.depot.store.begin()
    transaction.clear(house.keys().vtx(point.versionstamp))
    transaction.commit()
    with pytest.raises(RestoreTargetExpired):
        house.one(house.operator.fork, "copy", AtRestorePoint(point.id))


# Forks


def test_a_fork_reads_as_its_origin_did_and_each_goes_its_own_way(house: House, main: DirectStorage) -> None:
    house.one(house.operator.fork, "copy")
    house.commit(main, "x")
    copy = house.instance("copy")
    assert house.read(house.keys("copy"), 3) == "abc"
    house.commit(copy, "y", "z")
    assert house.read(house.keys("copy"), 4) == "yz"
    assert house.read(house.keys("copy"), 3) == "abc"
    assert house.read(house.keys(), 4) == "x"


def test_a_fork_begins_a_branch_and_pins_the_commit_it_began_at(house: House, main: DirectStorage) -> None:
    number = house.one(house.operator.fork, "copy")
    keys, parent = house.keys("copy"), house.keys()
    record = house.record(keys)
    assert keys.number == number == 2
    assert (record.database_id, record.parent, record.parent_txid) == ("copy", parent.branch_id, 3)
    assert (record.fork_depth, record.state) == (1, "live")
    assert house.pins(parent) == {("fork", "2"): 3}
    (event,) = house.events(DatabaseForked)
    assert (event.database, event.branch, event.parent, event.txid) == ("copy", 2, 1, 3)


def test_a_fork_of_a_fresh_fork_is_derived_from_the_branch_that_owns_the_commit(
    house: House, main: DirectStorage
) -> None:
    house.one(house.operator.fork, "copy")
    house.one(Operator(house.depot, database="copy").fork, "copy of the copy")
    record = house.record(house.keys("copy of the copy"))
    assert (record.parent, record.parent_txid, record.fork_depth) == (house.keys().branch_id, 3, 1)


def test_a_fork_to_a_name_that_is_taken_is_refused(house: House, main: DirectStorage) -> None:
    with pytest.raises(DatabaseExists):
        house.one(house.operator.fork, "main")


def test_of_two_forks_to_one_name_one_succeeds(house: House, main: DirectStorage) -> None:
    outcomes = house.do(*[lambda: house.operator.fork("copy")] * 2)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DatabaseExists", "int"]
    assert len(house.pins(house.keys())) == 1


def test_a_chain_of_forks_has_sixteen_links_and_not_seventeen(house: House) -> None:
    house.commit(house.instance("db-0"), "a")
    for depth in range(1, 17):
        house.one(Operator(house.depot, database=f"db-{depth - 1}").fork, f"db-{depth}")
        house.commit(house.instance(f"db-{depth}"), "a", "b")
    assert house.record(house.keys("db-16")).fork_depth == 16
    with pytest.raises(ForkChainTooDeep):
        house.one(Operator(house.depot, database="db-16").fork, "db-17")
    assert house.read(house.keys("db-16"), 17) == "ab"
    assert house.read(house.keys("db-16"), 1) == "a"


# Rollbacks


def test_a_rollback_goes_on_from_the_commit_that_was_kept(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.commit(main, "x")
    number = house.one(house.operator.rollback, AtRestorePoint(point.id))
    assert house.keys().number == number == 2
    house.commit(house.instance(), "a", "b", "c", "d")
    assert house.read(house.keys(), 4) == "abcd"


def test_a_rollback_freezes_the_branch_it_leaves(house: House, main: DirectStorage) -> None:
    left = house.keys()
    point = house.one(house.operator.make_restore_point)
    before = house.record(left)
    house.one(house.operator.rollback, AtRestorePoint(point.id))
    after = house.record(left)
    assert after.state == "frozen"
    assert after.lifecycle_generation == before.lifecycle_generation + 1
    (event,) = house.events(DatabaseRolledBack)
    assert (event.branch, event.parent, event.txid, event.left) == (2, 1, 3, 1)


def test_every_instance_from_before_a_rollback_is_fenced(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.one(house.operator.rollback, AtRestorePoint(point.id))
    raw = house.depot.store.snapshot().get(house.keys().generation)
    assert raw is not None
    assert decode_generation(raw) == house.depot.generation == main.generation + 1
    with pytest.raises(GenerationFenceMismatch):
        house.one(main.get_pages, (1,))
    with pytest.raises(GenerationFenceMismatch):
        house.commit(main, "x")


@pytest.mark.parametrize("seed", range(8))
def test_a_commit_beside_a_rollback_is_before_it_or_refused(seed: int) -> None:
    house = House(seed=seed, order="any", grain="operation")
    main = house.instance()
    for letters in ("a", "ab", "abc"):
        house.commit(main, *letters)
    point = house.one(house.operator.make_restore_point)

    def write() -> None:
        main.commit({1: b"x" * PAGE_BYTES}, 1)

    outcomes = house.do(lambda: house.operator.rollback(AtRestorePoint(point.id)), write)
    assert outcomes[0] == house.keys().number
    assert house.read(house.keys(), 3) == "abc"
    left_at = house.points()[-1].txid
    assert left_at == (4 if outcomes[1] is None else 3)
    assert outcomes[1] is None or isinstance(outcomes[1], GenerationFenceMismatch)


def test_a_rollback_keeps_the_head_it_leaves_and_can_be_undone(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.commit(main, "x")
    house.one(house.operator.rollback, AtRestorePoint(point.id))
    undo = house.points()[-1]
    assert (undo.txid, undo.branch_id) == (4, BranchKeys((1).to_bytes(16, "big")).branch_id)
    house.commit(house.instance(), "y")
    house.one(house.operator.rollback, AtRestorePoint(undo.id))
    assert house.read(house.keys(), 4) == "x"
    assert house.record(house.keys()).parent == undo.branch_id


def test_a_rollback_can_do_without_the_undo_point(house: House, main: DirectStorage) -> None:
    point = house.one(house.operator.make_restore_point)
    house.one(house.operator.rollback, AtRestorePoint(point.id), False)
    assert house.points() == [point]


def test_a_rollback_that_is_refused_changes_nothing(main: DirectStorage, house: House) -> None:
    version = house.depot.store.version
    with pytest.raises(RestoreTargetExpired):
        house.one(house.operator.rollback, AtTime(0))
    assert house.depot.store.version == version
    assert house.depot.generation == main.generation


def test_a_rollback_without_room_for_the_undo_point_changes_nothing() -> None:
    house = House(restore_points_max=1)
    storage = house.instance()
    house.commit(storage, "a")
    point = house.one(house.operator.make_restore_point)
    house.commit(storage, "b")
    version = house.depot.store.version
    with pytest.raises(TooManyRestorePoints):
        house.one(house.operator.rollback, AtRestorePoint(point.id))
    assert house.depot.store.version == version


def test_a_rollback_of_a_fresh_fork_keeps_its_head_on_the_branch_that_owns_it(
    house: House, main: DirectStorage
) -> None:
    at_ms = house.keep_interval(house.keys(), 1)
    house.one(house.operator.fork, "copy")
    copy = Operator(house.depot, database="copy")
    house.one(copy.rollback, AtTime(at_ms))
    assert house.read(house.keys("copy"), 1) == "a"
    (undo,) = house.points("copy")
    assert (undo.branch_id, undo.txid) == (house.keys().branch_id, 3)
    house.one(copy.rollback, AtRestorePoint(undo.id))
    assert house.read(house.keys("copy"), 3) == "abc"


def test_same_number_other_branch_same_millisecond_gives_another_restore_point() -> None:
    house = House(FREE)
    house.commit(house.instance(), "a")
    house.commit(storage := house.instance(), "b")
    first = house.one(house.operator.make_restore_point)
    house.one(house.operator.rollback, AtRestorePoint(first.id))
    storage = house.instance()
    house.commit(storage, "c")
    second = house.one(house.operator.make_restore_point)
    house.one(house.operator.rollback, AtRestorePoint(first.id), False)
    house.commit(house.instance(), "d")
    third = house.one(house.operator.make_restore_point)
    assert (second.txid, third.txid) == (3, 3)
    assert len({first.id, second.id, third.id}) == 3
    assert house.kernel.now == 0


def test_a_frozen_branch_is_not_rolled_back(house: House, main: DirectStorage) -> None:
    keys = house.keys()
    record = house.record(keys)
    transaction = house.depot.store.begin()
    frozen = BranchRecord(
        branch_id=record.branch_id, database_id="main", state="frozen", created_at_ms=record.created_at_ms
    )
    transaction.set(keys.record, encode_row(frozen))
    transaction.commit()
    with pytest.raises(BranchNotWritable):
        house.one(house.operator.rollback, Latest())


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize("seed", range(10))
def test_rollbacks_beside_each_other_all_take_place_one_after_the_other(order: Any, seed: int) -> None:
    house = House(seed=seed, order=order, grain="operation")
    house.commit(house.instance(), "a")
    target: Target = AtRestorePoint(house.one(house.operator.make_restore_point).id)
    outcomes = house.do(*[lambda: house.operator.rollback(target)] * 3)
    events = house.events(DatabaseRolledBack)
    assert sorted(outcomes) == sorted(event.branch for event in events)
    assert [event.left for event in events[1:]] == [event.branch for event in events[:-1]]
    assert house.keys().number == events[-1].branch
    live = [
        event.branch for event in events if house.record(BranchKeys(event.branch.to_bytes(16, "big"))).state == "live"
    ]
    assert live == [events[-1].branch]


# Compaction on demand


def test_compaction_on_demand_is_refused_where_there_is_none(house: House, main: DirectStorage) -> None:
    with pytest.raises(CompactionDisabled):
        house.one(house.operator.force_compaction)


def test_compaction_on_demand_is_asked_of_the_branch(house: House, main: DirectStorage) -> None:
    asked: list[int] = []
    house.depot.branches.force = lambda keys: asked.append(keys.number)
    house.one(house.operator.force_compaction)
    assert asked == [1]
