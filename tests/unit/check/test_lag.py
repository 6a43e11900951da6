"""COMP-2 on histories written by hand: a branch that lags is compacted in time, or excused, or reported."""

from __future__ import annotations

import pytest

from simkit.check.events import DepotSwept, InstanceCrashed, RunEnded
from simkit.check.judge import judge
from simkit.check.lag import Lag, compaction_bound_ns
from simkit.check.oracle import Oracle
from simkit.check.watch import follow
from simkit.depot.events import (
    CommitApplied,
    CompactionRested,
    DatabaseForked,
    DatabaseRolledBack,
    FaultFired,
    HotInstalled,
    HotStaged,
    JobFailed,
    ManagerLooked,
    NetworkDisturbed,
)
from simkit.depot.settings import CompactionSettings
from simkit.kernel import Record
from simkit.kernel.units import SECOND

SETTINGS = CompactionSettings(enabled=True, lag_threshold=3)
BOUND = compaction_bound_ns(SETTINGS)
LATE = 3 + BOUND + 1


def commits(count: int, at: int = 1, branch: int = 1, first: int = 1) -> list[Record]:
    return [
        CommitApplied(at + number, "ann", "instance-1", 1, first + number, first + number, branch)
        for number in range(count)
    ]


def installed(at: int, watermark: int, branch: int = 1) -> Record:
    return HotInstalled(at, "hot compacter", branch, 1, watermark, 1, 1, 1)


def found(*events: Record) -> list[str]:
    return [violation.sentence for violation in follow(list(events), Lag(SETTINGS))]


def end(at: int) -> Record:
    return RunEnded(at, "", "done", "")


def test_silent_when_the_watermark_moves_in_time() -> None:
    assert found(*commits(3), installed(LATE - 2, 3), end(10 * LATE)) == []


def test_silent_below_the_threshold_however_long_it_takes() -> None:
    assert found(*commits(2), end(10 * LATE)) == []


def test_silent_when_the_run_is_over_before_the_bound() -> None:
    assert found(*commits(9), end(LATE - 2)) == []


def test_branch_that_is_never_compacted_is_reported_at_the_end() -> None:
    (sentence,) = found(*commits(4), end(LATE))
    assert sentence.startswith("branch 1 has been 4 commits behind for ")


def test_watermark_that_moves_too_late_is_reported() -> None:
    assert len(found(*commits(3), installed(LATE, 3), end(LATE))) == 1


def test_install_that_leaves_the_lag_at_the_threshold_begins_another_bound() -> None:
    history = [*commits(8), installed(50, 2)]
    assert found(*history, end(50 + BOUND)) == []
    assert len(found(*history, end(51 + BOUND))) == 1


def test_bound_counts_from_the_last_disturbance() -> None:
    fault = FaultFired(30, "hot compacter", "compaction", -1, 0, "hot.install_before_root_update", "fail")
    network = NetworkDisturbed(40, "ann", "instance-1", 7, "request", "lost")
    assert found(*commits(3), fault, network, end(40 + BOUND)) == []
    assert len(found(*commits(3), fault, network, end(41 + BOUND))) == 1


def test_job_that_a_fault_holds_is_waited_for_until_it_is_heard_of() -> None:
    held = FaultFired(10, "hot compacter", "compaction", -4, 0, "hot.stage_before_input_read", "pause")
    assert found(*commits(3), held, end(10 * LATE)) == []
    again = HotStaged(20, "hot compacter", 1, 4, 0, 3, 1)
    assert len(found(*commits(3), held, again, end(10 * LATE))) == 1


def test_failed_jobs_are_an_excuse_but_not_for_ever() -> None:
    failed = [
        JobFailed(number * BOUND, "hot compacter", 1, number, "hot", "InjectedFault", "") for number in range(1, 60)
    ]
    assert found(*commits(3), *failed[:15], end(15 * BOUND)) == []
    assert len(found(*commits(3), *failed, end(60 * BOUND))) == 1


def test_branch_that_comes_to_rest_while_it_lags_is_reported_at_once() -> None:
    (sentence,) = found(*commits(3), CompactionRested(5, "manager", 1, 3, 0), end(6))
    assert sentence == "compaction of branch 1 came to rest 3 commits behind, and 3 are to wake it"
    assert found(*commits(3), installed(4, 3), CompactionRested(5, "manager", 1, 3, 3), end(6)) == []


def test_derived_branch_begins_without_lag() -> None:
    fork = DatabaseForked(20, "operator", "copy", 2, 1, 50)
    assert found(fork, *commits(2, at=21, branch=2, first=51), end(10 * LATE)) == []
    assert len(found(fork, *commits(3, at=21, branch=2, first=51), end(10 * LATE))) == 1


def test_branch_that_was_left_is_not_waited_for() -> None:
    left = DatabaseRolledBack(20, "operator", "main", 2, 1, 1, 1)
    assert found(*commits(9), left, CompactionRested(25, "manager", 1, 9, 0), end(10 * LATE)) == []


def test_network_that_disturbs_all_the_time_does_not_hide_an_earlier_finding() -> None:
    late = [*commits(3), *commits(1, at=LATE, first=4)]
    assert len(found(*late, NetworkDisturbed(LATE + 1, "ann", "i", 1, "reply", "lost"), end(LATE + 5 * SECOND))) == 1


@pytest.mark.parametrize(("settings", "verdict"), [(SETTINGS, ["COMP-2"]), (CompactionSettings(lag_threshold=3), [])])
def test_lag_is_judged_where_there_is_compaction(settings: CompactionSettings, verdict: list[str]) -> None:
    history = [*commits(3), end(LATE)]
    violations = judge(history, ["COMP-2"], Oracle(b""), compaction=settings)
    assert [violation.invariant for violation in violations] == verdict
    assert judge(history, ["COMP-2"], Oracle(b"")) == []


def swept(at: int, at_rest: bool) -> Record:
    return DepotSwept(at, "", "end", at_rest, (), ())


def test_compaction_that_never_rests_is_reported() -> None:
    late = 10 + BOUND
    assert "has not come to rest" in found(*commits(2), swept(late, False), end(late))[0]
    assert found(*commits(2), swept(late, True), end(late)) == []


def test_silent_about_rest_while_there_is_work_or_trouble() -> None:
    late = 10 + BOUND
    assert found(*commits(2), installed(late - 1, 2), swept(late, False), end(late)) == []
    failed = JobFailed(late - 1, "reclaimer", 1, 1, "reclaim", "injected_fault", "")
    assert found(*commits(2), failed, swept(late, False), end(late)) == []
    assert found(*commits(2), swept(late, False), RunEnded(late, "", "bound", "")) == []


def looked(at: int, plan: str = "hot") -> Record:
    return ManagerLooked(at, "compaction manager", 1, "wake", 3, 0, plan)


def test_slow_job_counts_from_its_signs_of_life() -> None:
    staged = HotStaged(2 * BOUND, "hot compacter", 1, 4, 0, 3, 1)
    slow = [*commits(3), looked(BOUND), staged, installed(3 * BOUND, 3)]
    assert found(*slow, end(10 * LATE)) == []
    assert len(found(*commits(3), looked(BOUND), staged, end(3 * BOUND + 1))) == 1
    assert len(found(*commits(3), looked(BOUND, "hot:no-actionable-lag reclaim"), end(LATE))) == 1


def test_looking_and_staging_again_and_again_is_no_excuse() -> None:
    looks = [looked(number * BOUND // 2) for number in range(1, 8)]
    assert len(found(*commits(3), *looks, end(4 * BOUND))) == 1
    stages = [HotStaged(number * BOUND // 2, "hot compacter", 1, number, 0, 3, 1) for number in range(1, 8)]
    assert len(found(*commits(3), *stages, end(4 * BOUND))) == 1


def test_bound_has_room_for_the_service_times_of_a_job() -> None:
    slow = CompactionSettings(enabled=True, job_service_ns=3 * SECOND)
    assert compaction_bound_ns(slow) > compaction_bound_ns(CompactionSettings(enabled=True)) + 100 * SECOND
    assert compaction_bound_ns(SETTINGS, operation_ns=SECOND) > BOUND


def test_commit_of_an_instance_that_crashed_before_the_reply_counts() -> None:
    crashed = InstanceCrashed(3, "", "instance-1", "the power went")
    assert len(found(*commits(2), crashed, *commits(1, at=4, first=3), end(LATE + 4))) == 1
    assert found(*commits(2), crashed, end(LATE + 4)) == []
