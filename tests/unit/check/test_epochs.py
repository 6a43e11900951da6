"""Rollbacks begin another past, and forks are other databases: both as the checks of operations see them."""

from __future__ import annotations

from typing import Any

from simkit.check.epochs import epochs_of
from simkit.check.events import OK, UNKNOWN, InstanceOpened, StillWaiting
from simkit.depot.events import CommitApplied, DatabaseForked, DatabaseRolledBack, InstanceAllocated


class Told:
    """A story whose commits have transactions and branches, and whose system can be put back."""

    def __init__(self, story: Any) -> None:
        self.story = story
        self.branch, self.txid = 1, 0
        self.saved: dict[tuple[int, int], bytes] = {(1, 0): story.system.serialize("main")}
        self.branches = 1

    def write(self, value: int, key: int = 1, outcome: str = OK) -> int:
        story = self.story
        number: int = story.invoke(
            f"UPDATE t SET a = {value} WHERE id = {key}", instance=f"instance-{story.generation}"
        )
        story.take_effect(number)
        self.txid += 1
        story.requests += 1
        story.add(CommitApplied, "instance-1", number, story.requests, self.txid, self.branch)
        self.saved[self.branch, self.txid] = story.system.serialize("main")
        story.end(number, outcome)
        return number

    def read(self, key: int = 1, instance: str = "") -> int:
        story = self.story
        number: int = story.invoke(
            f"SELECT a FROM t WHERE id = {key}", instance=instance or f"instance-{story.generation}"
        )
        story.take_effect(number)
        story.end(number)
        return number

    def roll_back(self, branch: int, txid: int) -> None:
        story = self.story
        left, self.branch = self.branch, self.branches + 1
        self.branches += 1
        story.add(DatabaseRolledBack, "main", self.branch, branch, txid, left)
        self.txid = txid
        story.system.deserialize("main", self.saved[branch, txid])
        self.saved[self.branch, txid] = self.saved[branch, txid]
        story.allocate()
        story.observe()
        story.add(InstanceOpened, f"instance-{story.generation}", story.generation)


def test_history_without_rollbacks_is_taken_as_it_is(story: Any) -> None:
    story.do("UPDATE t SET a = 5 WHERE id = 1")
    assert epochs_of(story.history)[0] is story.history


def test_silent_when_later_commits_are_undone(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.write(12)
    told.read()
    told.roll_back(1, 1)
    told.read()
    told.write(13, key=2)
    story.observe()
    assert story.verdict() == []


def test_commit_that_the_rollback_kept_and_is_lost_is_found(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.write(12)
    told.saved[1, 1] = told.saved[1, 0]
    told.roll_back(1, 1)
    assert story.verdict() == ["DUR-1"]


def test_commit_that_was_undone_and_is_still_there_is_found(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.write(12)
    told.saved[1, 1] = told.saved[1, 2]
    told.roll_back(1, 1)
    assert len(story.verdict()) == 1


def test_first_epoch_is_judged_as_it_was(story: Any) -> None:
    told = Told(story)
    told.write(11)
    number = story.invoke("SELECT a FROM t WHERE id = 1")
    story.answer(number, 0, ((10,),))
    story.end(number)
    told.roll_back(1, 0)
    told.read()
    assert story.verdict() == ["ISO-1"]


def test_rollback_to_what_an_earlier_one_undid_brings_it_back(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.write(12)
    told.write(13)
    told.roll_back(1, 1)
    told.write(14, key=2)
    told.roll_back(1, 3)
    told.read()
    told.read(key=2)
    told.write(15, key=3)
    story.observe()
    assert story.verdict() == []


def test_operation_under_way_at_the_rollback_may_end_anyhow(story: Any) -> None:
    told = Told(story)
    told.write(11)
    hanging = story.invoke("UPDATE t SET a = 77 WHERE id = 3", client="bob")
    told.roll_back(1, 1)
    story.end(hanging, UNKNOWN)
    told.read(key=3)
    story.observe()
    assert story.verdict() == []


def test_instance_from_before_the_rollback_may_serve_what_it_had(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.write(12)
    number = story.invoke("SELECT a FROM t WHERE id = 1", client="bob")
    told.roll_back(1, 1)
    story.answer(number, 0, ((12,),))
    story.end(number)
    late = story.invoke("SELECT a FROM t WHERE id = 1", client="bob", instance="instance-1")
    story.answer(late, 0, ((12,),))
    story.end(late)
    story.observe()
    assert story.verdict() == []


def test_unknown_outcome_with_a_commit_that_was_kept_is_there(story: Any) -> None:
    told = Told(story)
    told.write(11, outcome=UNKNOWN)
    told.write(12, key=2)
    told.roll_back(1, 1)
    told.read()
    assert story.verdict() == []


def test_later_past_is_not_judged_where_a_commit_may_be_for_several_operations(story: Any) -> None:
    told = Told(story)
    told.write(11)
    number = story.invoke("UPDATE t SET a = 21 WHERE id = 2")
    story.take_effect(number)
    story.end(number)
    told.saved[1, 1] = story.system.serialize("main")
    told.roll_back(1, 1)
    assert story.verdict() == []


def test_later_past_is_not_judged_where_an_operation_is_half_undone(story: Any) -> None:
    told = Told(story)
    told.write(5)
    # The next operation first puts right what somebody else left, in a commit of its own: that one is kept.
    story.add(CommitApplied, "instance-1", story.numbers + 1, story.requests + 100, 2, 1)
    told.txid, told.saved[1, 2] = 2, told.saved[1, 1]
    told.write(6)
    told.roll_back(1, 2)
    assert len(epochs_of(story.history)) == 1
    assert story.verdict() == []


def test_tasks_that_still_wait_belong_to_every_past(story: Any) -> None:
    told = Told(story)
    told.write(11)
    told.roll_back(1, 1)
    story.add(StillWaiting, "ann", "get_pages", "get_pages #7", (), 0)
    _, later = epochs_of(story.history)
    assert any(isinstance(event, StillWaiting) for event in later)


def test_what_is_done_to_a_fork_is_nothing_to_the_database(story: Any) -> None:
    told = Told(story)
    told.write(11)
    story.add(DatabaseForked, "copy", 2, 1, 1)
    story.add(InstanceAllocated, 17, "copy")
    story.add(CommitApplied, "reader of the copy", -1, 900, 2, 2, "copy")
    told.write(12)
    told.read()
    story.observe()
    (epoch,) = epochs_of(story.history)
    assert not any(getattr(event, "database", "main") == "copy" for event in epoch if type(event) is not DatabaseForked)
    assert story.verdict() == []
