"""The picture of a run: every client, connection and crash has its place, and any history can be drawn."""

import xml.etree.ElementTree as ElementTree

from simkit.check.events import (
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    OperationEnded,
    OperationInvoked,
    StatementStarted,
)
from simkit.check.verdict import Violation
from simkit.depot.events import (
    CommitApplied,
    DatabaseForked,
    DatabaseRolledBack,
    HotInstalled,
    HotStaged,
    JobFailed,
    Reclaimed,
    RestorePointDeleted,
    RestorePointMade,
    WakeSent,
)
from simkit.kernel import Record
from simkit.pool.events import ModeChanged
from simkit.report.timeline import timeline_svg
from simkit.report.timeline_axis import Axis
from simkit.scenario.events import OperatorFailed
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, TransactionEnded

HISTORY: list[Record] = [
    ModeChanged(0, "", "instance-1", "closed", "write", "a writer came"),
    FileOpened(0, "ann", "instance-1", 1, True),
    OperationInvoked(10, "ann", 1, "ann", "instance-1", "add <one>", "statement", (("INSERT", {}),), False),
    StatementStarted(20, "ann", "instance-1", 1, 1, False, False),
    TransactionBegan(20, "ann", "instance-1", 1, 1, 0),
    CommitApplied(30, "ann", "instance-1", 1, 1, 1),
    TransactionEnded(35, "ann", "instance-1", 1),
    OperationEnded(40, "ann", 1, "ok", ""),
    CloseInvoked(50, "bob", "instance-1"),
    FileClosed(55, "bob", "instance-1", 1),
    CloseReturned(60, "bob", "instance-1", ""),
    OperationInvoked(70, "ann", 2, "ann", "instance-1", "late", "statement", (("INSERT", {}),), False),
    InstanceCrashed(80, "", "instance-1", "planned"),
]


def words(svg: str) -> str:
    return " | ".join(text for text in ElementTree.fromstring(svg).itertext() if text.strip())


def test_every_row_and_mark_is_named() -> None:
    shown = words(timeline_svg(HISTORY, "a run"))
    for text in (
        "a run",
        "instance-1 mode",
        "instance-1 writer 1",
        "ann",
        "bob",
        "write: a writer came (0ns to 80ns)",
        "1: add <one> waits (10ns to 20ns)",
        "1: add <one>: ok (20ns to 40ns)",
        "commit 1 of operation 1 is durable",
        "close of instance-1 (50ns to 60ns)",
        "2: late waits (70ns to 80ns)",
        "instance-1 crashed: planned",
    ):
        assert text in shown, text


def test_violations_stand_below_the_picture() -> None:
    found = Violation("DUR-1", "durable-state", "operation 1 & its rows are gone", 60)
    assert "DUR-1 violated: operation 1 & its rows are gone" in words(timeline_svg(HISTORY, "a run", [found]))


def test_empty_history_is_an_empty_picture() -> None:
    assert words(timeline_svg([], "nothing")).startswith("nothing")


def test_same_history_gives_the_same_picture() -> None:
    assert timeline_svg(HISTORY, "a run") == timeline_svg(list(HISTORY), "a run")


DEPOT_HISTORY: list[Record] = [
    CommitApplied(5, "ann", "instance-1", 1, 1, 1),
    WakeSent(10, "ann", 1, 7, 4),
    WakeSent(15, "ann", 1, 8, 5, lost=True),
    HotStaged(20, "hot compacter", 1, 3, 0, 8, 2),
    HotInstalled(30, "hot compacter", 1, 3, 8, 1, 2, 5),
    Reclaimed(40, "reclaimer", 1, 4, 6, 6, 1),
    HotStaged(45, "hot compacter", 1, 5, 8, 9, 1),
    JobFailed(50, "hot compacter", 1, 5, "hot", "injected_fault", "injected somewhere"),
    RestorePointMade(60, "operator", "main", "0a-0b", 1, 8),
    DatabaseForked(65, "operator", "copy", 2, 1, 8),
    DatabaseRolledBack(70, "operator", "main", 3, 1, 8, 1),
    RestorePointDeleted(75, "operator", "main", "0a-0b", 1),
    OperatorFailed(80, "operator", 4, "fork", "copy", "database_exists", "there is one already"),
    HotStaged(90, "hot compacter", 3, 9, 8, 10, 1),
]


def test_depot_has_rows_of_its_own() -> None:
    shown = words(timeline_svg(DEPOT_HISTORY, "a run"))
    for text in (
        "compaction, branch 1",
        "wake: commit 7, 4 above the watermark",
        "wake lost: commit 8, 5 above the watermark",
        "job 3 staged 2 shards of commits 1 to 8 (20ns to 30ns)",
        "job 3 installed 2 shards up to commit 8",
        "job 4 deleted 6 deltas, 6 commits, 1 shards",
        "job 5 staged 1 shards of commits 9 to 9 (45ns to 50ns)",
        "hot job 5 failed: injected_fault injected somewhere",
        "operator",
        "restore point 0a-0b at commit 8 of branch 1",
        "copy forked from commit 8 of branch 1",
        "main rolled back to commit 8 of branch 1",
        "restore point 0a-0b deleted",
        "fork copy failed: database_exists there is one already",
        "compaction, branch 3",
        "job 9 staged 1 shards of commits 9 to 10 (90ns to 90ns)",
        "rollback",
    ):
        assert text in shown, text


def test_depot_without_work_of_its_own_has_no_row() -> None:
    shown = words(timeline_svg(HISTORY, "a run"))
    assert "compaction" not in shown
    assert "rollback" not in shown


def test_axis_is_to_scale() -> None:
    axis = Axis([0, 250, 500, 750, 1000], 100, 800)
    assert [axis.x(at) for at in (0, 250, 375, 1000)] == [100, 300, 400, 900]
    assert axis.gaps == []


def test_long_stretch_without_events_is_drawn_short() -> None:
    axis = Axis([*range(101), 10_000], 0, 1050)
    assert axis.x(100) == 1000
    assert axis.x(10_000) == 1050
    assert axis.gaps == [(1000, 1050, 9_900)]


def test_ticks_tell_the_time_on_both_sides_of_a_gap() -> None:
    axis = Axis([*range(101), *range(10_000, 10_101)], 0, 2050)
    ticks = axis.ticks()
    assert [at for _, at in ticks] == sorted(at for _, at in ticks)
    assert [ticks[0], ticks[-1]] == [(0, 0), (2050, 10_100)]
    assert all(at <= 100 or at >= 10_000 for _, at in ticks)


def test_gap_says_how_long_it_is() -> None:
    late: list[Record] = [CommitApplied(at, "ann", "instance-1", 1, 1, at) for at in (*range(101), 10_000)]
    assert "nothing happens for 9.9us" in words(timeline_svg(late, "a run"))
