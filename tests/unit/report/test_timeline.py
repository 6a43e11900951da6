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
from simkit.depot.events import CommitApplied
from simkit.kernel import Record
from simkit.pool.events import ModeChanged
from simkit.report.timeline import timeline_svg
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
