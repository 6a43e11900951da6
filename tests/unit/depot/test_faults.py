"""Fault rules: which passages they count, which of them acts, and what each action does to requests and to jobs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pytest

from simkit.depot.errors import InjectedFault
from simkit.depot.events import FaultFired
from simkit.depot.fault_points import FaultPoint
from simkit.depot.faults import Crash, Delay, Drop, Fail, FaultRule, Faults, NodeCrashed, Pause, Scope
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND, SECOND

COMMIT = FaultPoint.COMMIT_BEFORE_TX
LOADED = FaultPoint.READ_AFTER_DELTA_BLOB_LOAD
STAGED = FaultPoint.HOT_STAGE_AFTER_SHARD_WRITE


@dataclass(frozen=True)
class Passer:
    """A request when its number is above 0, else a job."""

    number: int = 1
    instance: str = "instance-1"
    database: str = "main"
    task_name: str = "task"
    numbers: tuple[int, ...] = ()


JOB = Passer(number=-1, instance="compaction", task_name="hot compacter")


class Place:
    """Fault rules, and somebody who passes points one after the other."""

    def __init__(self, *rules: FaultRule, seed: int = 0) -> None:
        self.kernel = Kernel(Decisions(seed))
        self.crashed: list[str] = []
        self.faults = Faults(self.kernel, rules, self.crashed.append)

    def passes(
        self, point: FaultPoint, passer: Passer = Passer(), pages: Collection[int] = (), shard: int | None = None
    ) -> Any:
        """Whether what the point stands for is lost; the error of a failure; "held" when it has not gone on by rest."""
        ended: list[Any] = []

        def done(lost: Any, error: Exception | None) -> None:
            ended.append(lost if error is None else error)

        self.kernel.process(self.faults.at(point, passer, pages, shard), done)
        self.rest()
        return ended[0] if ended else "held"

    def rest(self, duration_ns: int = MILLISECOND) -> None:
        self.kernel.spawn(self.kernel.sleep, duration_ns)
        self.kernel.run()

    @property
    def fired(self) -> list[tuple[int, str]]:
        return [(event.rule, event.action) for event in self.kernel.history if isinstance(event, FaultFired)]


def test_nth_passage_acts_and_no_other() -> None:
    place = Place(FaultRule(COMMIT, Fail(), nth=2))
    assert [type(place.passes(COMMIT)) for _ in range(3)] == [bool, InjectedFault, bool]


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        (Scope(instance="instance-2"), Passer(instance="instance-2"), Passer()),
        (Scope(instance="compaction"), JOB, Passer()),
        (Scope(database="copy"), Passer(database="copy"), Passer()),
        (Scope(page=7), Passer(numbers=(3, 7)), Passer(numbers=(3,))),
        (Scope(shard=1), Passer(numbers=(64,)), Passer(numbers=(63,))),
        (Scope(page=7, database="copy"), Passer(database="copy", numbers=(7,)), Passer(numbers=(7,))),
        (Scope(), Passer(), None),
    ],
    ids=["instance", "compaction", "database", "page", "shard", "both", "anybody"],
)
def test_only_passages_in_scope_are_counted(scope: Scope, inside: Passer, outside: Passer | None) -> None:
    place = Place(FaultRule(COMMIT, Fail(), nth=1, scope=scope))
    if outside is not None:
        assert place.passes(COMMIT, outside) is False
    assert isinstance(place.passes(COMMIT, inside), InjectedFault)


def test_page_in_hand_counts_and_not_those_of_the_request() -> None:
    place = Place(FaultRule(LOADED, Fail(), nth=1, scope=Scope(page=7)))
    assert place.passes(LOADED, Passer(numbers=(3, 7)), pages=(3,)) is False
    assert isinstance(place.passes(LOADED, Passer(numbers=(3, 7)), pages=(7,)), InjectedFault)


def test_shard_in_hand_counts() -> None:
    place = Place(FaultRule(STAGED, Fail(), nth=1, scope=Scope(shard=4)))
    assert place.passes(STAGED, JOB, shard=3) is False
    assert isinstance(place.passes(STAGED, JOB, shard=4), InjectedFault)


def test_page_scope_is_never_met_where_no_page_is_known() -> None:
    place = Place(FaultRule(STAGED, Fail(), nth=1, scope=Scope(page=1)))
    assert place.passes(STAGED, JOB) is False


def test_every_rule_counts_and_the_first_ready_one_acts() -> None:
    place = Place(
        FaultRule(COMMIT, Fail(), nth=2), FaultRule(COMMIT, Delay(1), nth=2), FaultRule(COMMIT, Fail(), nth=3)
    )
    for _ in range(3):
        place.passes(COMMIT)
    assert place.fired == [(0, "fail"), (2, "fail")]


def test_rule_that_is_not_ready_blocks_no_later_one() -> None:
    place = Place(FaultRule(COMMIT, Fail(), nth=9), FaultRule(COMMIT, Fail(), nth=1))
    place.passes(COMMIT)
    assert place.fired == [(1, "fail")]


def test_rule_with_once_acts_once() -> None:
    place = Place(FaultRule(COMMIT, Fail(), once=True))
    assert [type(place.passes(COMMIT)) for _ in range(2)] == [InjectedFault, bool]


def test_probability_is_drawn_for_each_passage() -> None:
    place = Place(FaultRule(COMMIT, Fail(), probability_ppm=500_000))
    assert 20 < sum(place.passes(COMMIT) is False for _ in range(80)) < 60


def test_delay_takes_its_time() -> None:
    place = Place(FaultRule(COMMIT, Delay(5 * MILLISECOND), nth=1))
    assert place.passes(COMMIT) == "held"
    place.rest(10 * MILLISECOND)
    assert place.fired == [(0, "delay")]


def test_drop_says_that_something_is_lost() -> None:
    place = Place(FaultRule(LOADED, Drop(), nth=1))
    assert place.passes(LOADED) is True


def test_nothing_can_be_dropped_where_nothing_gets_lost_alone() -> None:
    with pytest.raises(ValueError, match=r"nothing can be dropped at commit\.before_tx"):
        Place(FaultRule(COMMIT, Drop(), nth=1))


def test_crash_of_a_request_is_that_of_its_instance_and_the_request_goes_on() -> None:
    place = Place(FaultRule(COMMIT, Crash(), nth=1))
    assert place.passes(COMMIT) is False
    assert place.crashed == ["instance-1"]


def test_crash_of_a_job_is_its_own() -> None:
    place = Place(FaultRule(STAGED, Crash(), nth=1))
    assert isinstance(place.passes(STAGED, JOB), NodeCrashed)
    assert place.crashed == []


@pytest.mark.parametrize("passer", [Passer(), JOB], ids=["request", "job"])
@pytest.mark.parametrize("until", ["rest", "crash", "takeover"])
def test_pause_ends_with_what_it_waits_for(until: Any, passer: Passer) -> None:
    place = Place(FaultRule(STAGED, Pause(until, SECOND), nth=1))
    ended: list[Any] = []
    place.kernel.process(place.faults.at(STAGED, passer), lambda *end: ended.append(end))
    place.rest()
    assert ended == []
    assert place.faults.pausing is (until == "rest")
    place.faults.release(until)
    assert ended == [(False, None)]


@pytest.mark.parametrize("until", ["crash", "takeover"])
def test_pause_ends_in_any_case(until: Any) -> None:
    place = Place(FaultRule(COMMIT, Pause(until, 5 * MILLISECOND), nth=1))
    ended: list[Any] = []
    place.kernel.process(place.faults.at(COMMIT, Passer()), lambda *end: ended.append(end))
    place.rest(6 * MILLISECOND)
    assert ended == [(False, None)]


def test_rule_that_was_expected_and_did_not_act_is_told() -> None:
    never, acts, optional = (FaultRule(COMMIT, Fail(), nth=nth, expected=nth < 9) for nth in (5, 1, 9))
    place = Place(never, acts, optional)
    place.passes(COMMIT)
    assert place.faults.unfired() == [0]


WORDS: list[tuple[FaultPoint, Callable[[FaultPoint], bool]]] = [
    (FaultPoint.HOT_INSTALL_BEFORE_ROOT_UPDATE, lambda point: point.needs_compaction),
    (FaultPoint.RECLAIM_BEFORE_HOT_DELETE, lambda point: point.needs_compaction),
    (FaultPoint.COMMIT_BEFORE_COMPACTION_SIGNAL, lambda point: point.needs_compaction),
    (FaultPoint.COMMIT_BEFORE_TX, lambda point: not point.needs_compaction),
    (FaultPoint.READ_DELTA_BLOB_MISSING, lambda point: point.needs_lost_delta),
]


@pytest.mark.parametrize(("point", "holds"), WORDS, ids=[point.value for point, _ in WORDS])
def test_point_knows_what_it_takes_to_be_passed(point: FaultPoint, holds: Callable[[FaultPoint], bool]) -> None:
    assert holds(point)
