"""PROG-1 on small histories: the turns of readers and writers, and the order of what one client sends."""

import msgspec
import pytest

from simkit.check.events import FAILED, OK, InstanceCrashed, OperationEnded, OperationInvoked
from simkit.check.phases import check_phases
from simkit.depot.events import CommitApplied
from simkit.kernel import Record
from simkit.pool.events import LeaseClassified, LeaseEnded, LeaseGranted, LeaseRequested

ONE = "instance-1"
KINDS = {"R": "read", "W": "write", "U": "unknown"}


def step(word: str) -> Record:
    """`W1?` asks for lease 1 as a writer, `1+` grants it, `1-` ends it, `1=W` classifies it, `!` crashes."""
    if word == "!":
        return InstanceCrashed(0, "", ONE, "planned")
    if word.endswith("?"):
        number = int(word[1:-1])
        return LeaseRequested(0, "", ONE, number, KINDS[word[0]], number)
    if word.endswith("+"):
        return LeaseGranted(0, "", ONE, int(word[:-1]), 0, 0, 0)
    if word.endswith("-"):
        return LeaseEnded(0, "", ONE, int(word[:-1]), "released", "running", 0, 0, 0)
    number_, _, kind = word.partition("=")
    return LeaseClassified(0, "", ONE, int(number_), KINDS[kind])


def in_order(events: list[Record]) -> list[Record]:
    return [msgspec.structs.replace(event, at=index) for index, event in enumerate(events)]


def found(story: str) -> list[str]:
    return [violation.sentence for violation in check_phases(in_order([step(word) for word in story.split()]))]


@pytest.mark.parametrize(
    "story",
    [
        "R1? 1+ R2? 2+ 1- 2-",
        # The reader that waits while a writer runs goes before the next writer.
        "W1? 1+ R2? W3? 1- 2+ 2- 3+ 3-",
        # The reader that came behind a waiting writer sees that one pass.
        "R1? 1+ W2? R3? 1- 2+ 2- 3+",
        # A batch of readers that waited while a writer ran, admitted in several rounds.
        "W1? 1+ R2? R3? R4? W5? 1- 2+ 2- 3+ 3- 4+ 4- 5+",
        # A reader that waits for a slot before a writer comes.
        "R1? 1+ R2? W3? 1- 2+ 2- 3+",
        # Readers beside each other, writers in order, one of them gives up.
        "W1? 1+ W2? W3? 2- 1- 3+ 3-",
        # Found to be a writer before and after its grant.
        "U1? 1+ 1=W 1+ 1-",
        "W1? 1+ U2? 2=W W3? 1- 2+ 2- 3+",
        "W1? 1+ U2? W3? 1- 2+ 2=W 2+ 2- 3+",
        "U1? 1+ 1=R R2? 2+ 1- 2-",
        # A reader that comes before it is known that there is a writer.
        "U1? 1+ R2? 1=W 2+ 2- 1+",
        # A reader that no reader can serve keeps no place.
        "W1? 1+ R2? W3? 1- 2+ 2=W 3+ 3- 2+",
        "W1? 1+ R2? ! 1- W3? 3+ 3- W4? 4+",
    ],
)
def test_turns_that_are_fair(story: str) -> None:
    assert found(story) == []


@pytest.mark.parametrize(
    ("story", "part"),
    [
        # Back to back writers: a reader that waited while one ran, and one that waited before.
        ("W1? 1+ R2? W3? 1- 3+", "waited for a second writer phase to pass"),
        ("R1? 1+ W2? R3? W4? 1- 2+ 2- 4+", "waited for a second writer phase to pass"),
        # A reader barges in before a waiting writer.
        ("R1? 1+ W2? R3? 3+", "was let into instance-1"),
        ("W1? 1+ W2? 1- R3? 3+", "was let into instance-1"),
        ("R1? 1+ U2? 2=W R3? 3+", "was let into instance-1"),
        # Writers out of order.
        ("W1? 1+ W2? W3? 1- 3+", "which had asked for it first"),
        ("W1? 1+ U2? W3? 2=W 1- 3+", "which had asked for it first"),
        ("R1? 1+ U2? W3? 1- 3+ 3- 2+ 2=W", "which had asked for it first"),
    ],
)
def test_turns_that_are_not_fair(story: str, part: str) -> None:
    (sentence,) = found(story)
    assert part in sentence


def test_sentence_names_who_passed_whom() -> None:
    told = [
        OperationInvoked(0, "ann", 2, "ann", ONE, "look", "statement", (), False),
        OperationInvoked(0, "bob", 3, "bob", ONE, "add", "statement", (), False),
        *(step(word) for word in ["W1?", "1+", "R2?", "W3?", "1-", "3+"]),
    ]
    (violation,) = check_phases(in_order(told))
    assert violation.sentence == (
        "operation 3 (add of bob) got the writer of instance-1 while operation 2 (look of ann), a reader, waited for a "
        "second writer phase to pass"
    )
    assert (violation.invariant, violation.operations, violation.tasks) == ("PROG-1", (2, 3), ("ann", "bob"))


def invoked(number: int, client: str = "ann", instance: str = ONE, begins_writing: bool = True) -> Record:
    return OperationInvoked(
        0, f"{client}.{number}", number, client, instance, "add", "statement", (), False, (), begins_writing
    )


def committed(number: int) -> Record:
    return CommitApplied(0, "", ONE, number, number, number)


def ended(number: int, outcome: str = OK) -> Record:
    return OperationEnded(0, "ann", number, outcome, "")


def order(*events: Record) -> list[tuple[int, ...]]:
    return [violation.operations for violation in check_phases(in_order(list(events)))]


def test_commits_out_of_program_order() -> None:
    assert order(invoked(1), invoked(2), committed(2), ended(2), committed(1), ended(1)) == [(1, 2)]


@pytest.mark.parametrize(
    "events",
    [
        [invoked(1), invoked(2), committed(1), committed(2), ended(2), ended(1)],
        [invoked(1), invoked(2, "bob"), committed(2), ended(2), committed(1), ended(1)],
        [invoked(1), invoked(2, instance="instance-2"), committed(2), ended(2), committed(1), ended(1)],
        [invoked(1, begins_writing=False), invoked(2), committed(2), ended(2), committed(1), ended(1)],
        [invoked(1), invoked(2), committed(2), ended(2), committed(1), ended(1, FAILED)],
        [invoked(1), invoked(2), committed(2), ended(2), committed(1), committed(1), ended(1)],
        [invoked(1), invoked(2), committed(2), ended(2), ended(1)],
        [invoked(1), ended(1), invoked(2), committed(2), ended(2), committed(1)],
    ],
)
def test_commits_whose_order_is_free_or_right(events: list[Record]) -> None:
    assert order(*events) == []
