"""The line in which `simkit run` says what compaction made of the depot."""

from simkit.cli.showing import depot_figures
from simkit.depot.events import CommitApplied, HotInstalled, JobFailed, Reclaimed
from simkit.scenario.events import DepotMeasured


def test_figures_are_those_of_the_history() -> None:
    history = [
        CommitApplied(1, "ann", "instance-1", 1, 1, 1),
        CommitApplied(2, "ann", "instance-1", 2, 2, 2),
        HotInstalled(3, "hot compacter", 1, 1, 1, 1, 1, 1),
        HotInstalled(4, "hot compacter", 1, 3, 2, 2, 1, 1),
        HotInstalled(5, "hot compacter", 2, 5, 9, 1, 1, 1),
        Reclaimed(6, "reclaimer", 1, 2, 2, 2, 0),
        JobFailed(7, "hot compacter", 1, 4, "hot", "injected_fault", ""),
        DepotMeasured(8, "", 12, 3456),
    ]
    assert depot_figures(history) == (
        "depot: 2 commits; 3 installs, branch 1 up to commit 2, branch 2 up to commit 9; 1 reclaim of 2 deltas; "
        "1 failed job; 12 rows and 3,456 bytes at the end"
    )


def test_run_that_did_not_come_to_its_end_has_no_rows() -> None:
    assert depot_figures([]) == "depot: 0 commits; 0 installs; 0 reclaims of 0 deltas; 0 failed jobs"
