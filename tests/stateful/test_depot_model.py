"""The depot against a naive model that keeps every version of every database whole.

Commits, restore points, forks and rollbacks go on while compaction and reclaim are somewhere in the middle of their
work. After each step, and after each key-value commit of a job, every version that must be readable reads as it was,
and the quota of each branch is what its rows add up to. In the end everything is given up, and the rows go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simkit.depot.commands import AtRestorePoint, AtTime, Latest, Target
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.errors import DepotError, RestoreTargetExpired, TooManyRestorePoints
from simkit.depot.events import JobFailed
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import decode_counter
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.operator import Operator
from simkit.depot.request import Request
from simkit.depot.restore_points import restore_points
from simkit.depot.retention import readable_versions
from simkit.depot.settings import CompactionSettings, DepotSettings, Grain
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.kernel import Order
from simkit.kernel.units import MILLISECOND

PAGE_BYTES = 512
DATABASES_MAX = 4
RESTORE_POINTS_MAX = 5
RETENTION_MS = 300
COST = RequestLatency(constant(1 * MILLISECOND), constant(2 * MILLISECOND), 0)
PROFILE = LatencyProfile("steady", "for tests", COST, COST, COST)

Pages = dict[int, bytes]
_T = TypeVar("_T")

WHICH = st.integers(min_value=0, max_value=7)
SIZES = st.integers(min_value=1, max_value=14)
NUMBERS = st.sets(st.integers(min_value=1, max_value=14), max_size=3)
TARGETS = st.one_of(
    st.just("latest"), st.tuples(st.just("time"), st.integers(0, 100)), st.tuples(st.just("point"), WHICH)
)


def keys_of(branch: int) -> BranchKeys:
    return BranchKeys(branch.to_bytes(16, "big"))


class DepotMachine(RuleBasedStateMachine):
    """The model: by branch the content of each of its commits, and where it was derived from."""

    @initialize(
        grain=st.sampled_from(["transaction", "operation"]),
        order=st.sampled_from(["timed", "any"]),
        batch_keys=st.sampled_from([4, 500]),
        seed=st.integers(min_value=0, max_value=99),
    )
    def start(self, grain: Grain, order: Order, batch_keys: int, seed: int) -> None:
        compaction = CompactionSettings(
            enabled=True,
            lag_threshold=2,
            throttle_ns=5 * MILLISECOND,
            max_silence_ns=200 * MILLISECOND,
            hot_after_ns=3 * MILLISECOND,
            reclaim_after_ns=4 * MILLISECOND,
            settle_after_ns=20 * MILLISECOND,
            job_service_ns=2 * MILLISECOND,
            batch_keys=batch_keys,
        )
        self.settings = DepotSettings(
            grain=grain,
            chunk_bytes=200,
            shard_pages=4,
            restore_points_max=RESTORE_POINTS_MAX,
            pitr_interval_ms=40,
            pitr_retention_ms=RETENTION_MS,
            compaction=compaction,
        )
        self.kernel = Kernel(Decisions(seed), order=order)
        self.depot = Depot(self.kernel, PROFILE, DepotImage(None, 0, PAGE_BYTES), self.settings)
        assert self.depot.compaction is not None
        self.compaction = self.depot.compaction
        self.compaction.on_step = lambda _: self.everything_reads_as_it_was()
        self.depot.on_applied = self.applied
        self.commits: dict[int, dict[int, Pages]] = {}
        self.parents: dict[int, tuple[int, int]] = {}
        self.heads: dict[int, int] = {}
        self.instances: dict[str, DirectStorage] = {}
        self.branches: dict[str, int] = {}
        self.takeover("main")

    # The model

    def applied(self, request: Request) -> None:
        """A commit is durable; its reply may still be on its way while jobs go on."""
        self.heads[request.branch] = request.txid

    def content(self, branch: int, txid: int) -> Pages:
        while txid not in self.commits[branch]:
            if txid == 0:
                return {}
            branch, start = self.parents[branch]
            assert txid <= start
        return self.commits[branch][txid]

    def derived(self, database: str, branch: int) -> None:
        record = self.depot.core.sources.record(self.depot.store.snapshot(), keys_of(branch).branch_id)
        assert record is not None
        parent = int.from_bytes(record.parent, "big")
        self.parents[branch] = (parent, record.parent_txid)
        self.commits[branch] = {}
        self.heads[branch] = record.parent_txid
        assert record.parent_txid in self.commits[parent], "it is derived from the branch that owns the commit"
        self.branches[database] = branch
        self.takeover(database)

    def takeover(self, database: str) -> None:
        storage = DirectStorage(self.depot, f"instance of {database}", self.depot.allocate(database), database=database)
        self.do(storage.open)
        self.instances[database] = storage
        if database not in self.branches:
            self.branches[database] = 1
            self.commits[1], self.heads[1] = {}, 0

    def do(self, function: Callable[[], _T]) -> _T:
        """Runs a function in a task, to its end. Raises the depot's error."""
        results: list[_T] = []
        errors: list[DepotError] = []

        def run() -> None:
            try:
                results.append(function())
            except DepotError as error:
                errors.append(error)

        self.kernel.spawn(run, name="step")
        self.kernel.run()
        if errors:
            raise errors[0]
        return results[0]

    def database(self, which: int) -> str:
        names = sorted(self.branches)
        return names[which % len(names)]

    def operator(self, database: str) -> Operator:
        return Operator(self.depot, database=database)

    def target(self, database: str, drawn: Any) -> Target:
        if drawn == "latest":
            return Latest()
        kind, number = drawn
        if kind == "time":
            return AtTime(self.depot.core.now_ms - number)
        points = restore_points(self.depot.store.snapshot(), database)
        return AtRestorePoint(points[number % len(points)].id) if points else Latest()

    def allowed(self, target: Target) -> tuple[type[DepotError], ...]:
        """How a command with this target may end beside success."""
        return (TooManyRestorePoints, RestoreTargetExpired) if isinstance(target, AtTime) else (TooManyRestorePoints,)

    def has_commits(self, which: int) -> bool:
        return self.heads[self.branches[self.database(which)]] > 0

    # Steps

    @rule(which=WHICH, commits=st.lists(st.tuples(NUMBERS, SIZES), min_size=1, max_size=5))
    def commit(self, which: int, commits: list[tuple[set[int], int]]) -> None:
        for numbers, size in commits:
            self.commit_once(self.database(which), numbers, size)

    def commit_once(self, database: str, numbers: set[int], size: int) -> None:
        branch, storage = self.branches[database], self.instances[database]
        txid = self.heads[branch] + 1
        old = self.content(branch, txid - 1)
        written = {number for number in numbers if number <= size} | set(range(len(old) + 1, size + 1)) or {1}
        pages = {
            number: f"page {number} of {txid} on {branch};".encode().ljust(PAGE_BYTES, b".")
            for number in sorted(written)
        }
        now_whole = {number: page for number, page in {**old, **pages}.items() if number <= size}
        self.commits[branch][txid] = now_whole
        self.do(lambda: storage.commit(pages, size))
        assert self.heads[branch] == txid

    @rule(which=WHICH, drawn=TARGETS)
    def make_restore_point(self, which: int, drawn: Any) -> None:
        if not self.has_commits(which):
            return
        database = self.database(which)
        target = self.target(database, drawn)
        try:
            point = self.do(lambda: self.operator(database).make_restore_point(target))
        except self.allowed(target):
            return
        assert point.txid in self.commits[int.from_bytes(point.branch_id, "big")]

    @rule(which=WHICH, number=WHICH)
    def delete_restore_point(self, which: int, number: int) -> None:
        database = self.database(which)
        points = restore_points(self.depot.store.snapshot(), database)
        if points:
            self.do(lambda: self.operator(database).delete_restore_point(points[number % len(points)].id))

    @precondition(lambda self: len(self.branches) < DATABASES_MAX)
    @rule(which=WHICH, drawn=TARGETS)
    def fork(self, which: int, drawn: Any) -> None:
        if not self.has_commits(which):
            return
        origin, database = self.database(which), f"copy-{len(self.branches)}"
        target = self.target(origin, drawn)
        try:
            branch = self.do(lambda: self.operator(origin).fork(database, target))
        except self.allowed(target):
            return
        self.derived(database, branch)

    @rule(which=WHICH, drawn=TARGETS, keep_undo=st.booleans())
    def rollback(self, which: int, drawn: Any, keep_undo: bool) -> None:
        if not self.has_commits(which):
            return
        database = self.database(which)
        target = self.target(database, drawn)
        try:
            branch = self.do(lambda: self.operator(database).rollback(target, keep_undo))
        except self.allowed(target):
            return
        self.derived(database, branch)

    @rule(duration_ms=st.integers(min_value=1, max_value=60))
    def let_time_pass(self, duration_ms: int) -> None:
        self.do(lambda: self.kernel.sleep(duration_ms * MILLISECOND))

    @rule(which=WHICH)
    def force_compaction(self, which: int) -> None:
        self.do(lambda: self.operator(self.database(which)).force_compaction())

    @rule()
    def come_to_rest(self) -> None:
        def wait() -> None:
            for _ in range(5_000):
                if self.compaction.idle:
                    return
                self.kernel.sleep(10 * MILLISECOND)
            raise AssertionError("COMP-2: compaction does not come to rest")

        self.do(wait)

    # What must hold

    @invariant()
    def everything_reads_as_it_was(self) -> None:
        snapshot, sources = self.depot.store.snapshot(), self.depot.core.sources
        for branch in self.commits:
            keys = keys_of(branch)
            must = {version.txid for version in readable_versions(snapshot, keys, self.depot.core.now_ms)}
            must |= set(range(sources.watermark(snapshot, keys) + 1, self.heads[branch] + 1))
            if branch in self.branches.values() and self.heads[branch]:
                must.add(self.heads[branch])
            for txid in sorted(must):
                try:
                    contents = sources.contents(snapshot, keys, txid)
                except DepotError as error:
                    raise AssertionError(f"COMP-1: commit {txid} of branch {branch} cannot be read") from error
                assert contents == self.content(branch, txid), f"COMP-1: commit {txid} of branch {branch} has changed"
            ranges = (keys.all_deltas_range(), keys.all_shards_range(), keys.commits_range(), keys.vtx_range())
            stored = sum(len(key) + len(raw) for rows in ranges for key, raw in snapshot.get_range(*rows))
            assert decode_counter(snapshot.get(keys.quota)) == stored, branch

    @invariant()
    def no_job_has_failed(self) -> None:
        failed = [event for event in self.kernel.history if isinstance(event, JobFailed)]
        assert not [event for event in failed if event.error != "job_rejected"], failed

    def teardown(self) -> None:
        if not hasattr(self, "depot"):
            return
        for database in sorted(self.branches):
            for point in restore_points(self.depot.store.snapshot(), database):
                operator, id = self.operator(database), point.id
                self.do(lambda operator=operator, id=id: operator.delete_restore_point(id))  # type: ignore[misc]
        for _ in range(2):
            for database in sorted(self.branches):
                self.do(self.operator(database).force_compaction)
            self.come_to_rest()
            self.do(lambda: self.kernel.sleep(RETENTION_MS * MILLISECOND))
        for database in sorted(self.branches):
            self.do(self.operator(database).force_compaction)
        self.come_to_rest()
        for branch in self.branches.values():
            self.only_what_is_needed_is_left(keys_of(branch))
        self.everything_reads_as_it_was()

    def only_what_is_needed_is_left(self, keys: BranchKeys) -> None:
        snapshot, sources = self.depot.store.snapshot(), self.depot.core.sources
        watermark = sources.watermark(snapshot, keys)
        needed = {version.txid for version in readable_versions(snapshot, keys, self.depot.core.now_ms)} | {watermark}
        assert watermark == self.heads[keys.number], "it was forced"
        assert snapshot.get_range(*keys.all_deltas_range()) == []
        assert {keys.parse_commits(key) for key, _ in snapshot.get_range(*keys.commits_range())} <= needed
        assert snapshot.get_range(*keys.stage_range()) == []
        assert snapshot.get_range(*keys.pitr_range()) == []
        versions: dict[int, set[int]] = {}
        for key, _ in snapshot.get_range(*keys.all_shards_range()):
            shard, as_of, _ = keys.parse_shard(key)
            versions.setdefault(shard, set()).add(as_of)
        assert all(len(found) <= len(needed) for found in versions.values())


TestDepot = DepotMachine.TestCase
TestDepot.settings = settings(max_examples=50, stateful_step_count=30)
