"""Lists and registers as clients saw them: every anomaly is reported, and no history that some order explains is."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.check.events import FAILED, OK, UNKNOWN, OperationEnded, OperationInvoked, StatementReturned
from simkit.check.values import check_values, explain_values
from simkit.kernel import Record

Effect = tuple[str, Any, Any]


def append(key: Any, value: Any) -> Effect:
    return "append", key, value


def items(key: Any) -> Effect:
    return "list", key, None


def write(key: Any, value: Any) -> Effect:
    return "write", key, value


def read(key: Any) -> Effect:
    return "read", key, None


class Story:
    """A history in the making. Operations are numbered from 1."""

    def __init__(self) -> None:
        self.history: list[Record] = []
        self.numbers = itertools.count(1)

    def begin(self, *effects: Effect | None, rollback: bool = False, several: bool = False) -> int:
        number = next(self.numbers)
        self.history.append(
            OperationInvoked(
                len(self.history),
                f"task-{number}",
                number,
                f"client-{number}",
                "instance-1",
                "op",
                "transaction",
                (("", {}),) * len(effects),
                rollback,
                effects,
                several=several,
            )
        )
        return number

    def answer(self, number: int, index: int, *found: Any, changes: int = 0) -> None:
        rows = tuple((value,) for value in found)
        self.history.append(
            StatementReturned(len(self.history), f"task-{number}", number, index, ("x",), rows, changes)
        )

    def end(self, number: int, outcome: str = OK) -> None:
        self.history.append(OperationEnded(len(self.history), f"task-{number}", number, outcome, ""))

    def do(self, effect: Effect, *found: Any, outcome: str = OK, rollback: bool = False, changes: int = 1) -> int:
        """An operation of one statement, from its beginning to its end."""
        number = self.begin(effect, rollback=rollback)
        if outcome == OK:
            self.answer(number, 0, *found, changes=changes if effect[0] in ("append", "write") else 0)
        self.end(number, outcome)
        return number

    def whole(self, *statements: tuple[Effect, tuple[Any, ...]]) -> int:
        """A transaction of several statements, each with what it found, from its beginning to its end."""
        number = self.begin(*(effect for effect, _ in statements))
        self.answers(number, *statements)
        self.end(number)
        return number

    def answers(self, number: int, *statements: tuple[Effect, tuple[Any, ...]]) -> None:
        for index, (effect, found) in enumerate(statements):
            self.answer(number, index, *found, changes=effect[0] in ("append", "write"))

    @property
    def found(self) -> list[str]:
        violations = check_values(self.history)
        assert {(violation.invariant, violation.check) for violation in violations} <= {("ISO-1", "values")}
        return [violation.sentence for violation in violations]

    @property
    def only(self) -> str:
        (sentence,) = self.found
        return sentence


@pytest.fixture
def story() -> Story:
    return Story()


# Lists


def test_reads_in_the_order_of_appends_are_fine(story: Story) -> None:
    story.do(items("k"))
    story.do(append("k", 1))
    story.do(append("k", 2))
    story.do(items("k"), 1, 2)
    assert story.found == []


def test_acknowledged_append_must_be_found(story: Story) -> None:
    story.do(append("k", 1))
    story.do(items("k"))
    assert "operation 2 (op of client-2) did not find 1 in list 'k', which operation 1" in story.only


def test_append_that_no_read_ever_showed_is_told_apart(story: Story) -> None:
    story.do(append("k", 1))
    story.do(append("k", 2))
    story.do(items("k"), 1)
    (violation,) = check_values(story.history)
    assert "no read ever showed 2" in violation.details


def test_read_older_than_one_that_was_over_is_stale(story: Story) -> None:
    lasting = story.begin(append("k", 1))
    story.do(items("k"), 1)
    story.do(items("k"))
    story.end(lasting)
    (violation,) = check_values(story.history)
    assert sorted(violation.operations) == [1, 2, 3]
    assert sorted(violation.details) == [
        "operation 2 (op of client-2) found 1 in list 'k', which operation 1 (op of client-1) appended",
        "operation 2 (op of client-2) was over before operation 3 (op of client-3) began",
        "operation 3 (op of client-3) read list 'k' before operation 1 (op of client-1) appended 1",
    ]


def test_append_under_way_may_be_found_or_not(story: Story) -> None:
    lasting = story.begin(append("k", 1))
    story.do(items("k"))
    story.do(items("k"), 1)
    story.end(lasting)
    assert story.found == []


def test_orders_that_differ_are_reported_once(story: Story) -> None:
    first, second = story.begin(append("k", 1)), story.begin(append("k", 2))
    early, late = story.begin(items("k")), story.begin(items("k"))
    story.answer(early, 0, 1, 2)
    story.answer(late, 0, 2, 1)
    for number in (first, second, early, late):
        story.end(number)
    assert "found list 'k' in another order than operation 3 (op of client-3): 2 and 1 both at place 1" in story.only


def test_value_found_twice_is_reported(story: Story) -> None:
    story.do(append("k", 1))
    story.do(items("k"), 1, 1)
    assert "found 1 twice in list 'k'" in story.only


def test_value_found_twice_in_a_later_read_is_reported(story: Story) -> None:
    story.do(append("k", 1))
    story.do(append("k", 2))
    story.do(items("k"), 1, 2)
    story.do(items("k"), 1, 1, 2)
    assert "found 1 twice in list 'k'" in story.only


def test_value_that_nobody_appended_is_reported(story: Story) -> None:
    story.do(append("k", 1))
    story.do(items("k"), 1, 7)
    assert "found 7 in list 'k', which nobody appended" in story.only


@pytest.mark.parametrize("how", [{"outcome": FAILED}, {"rollback": True}])
def test_value_that_was_not_kept_is_reported(story: Story, how: dict[str, Any]) -> None:
    story.do(append("k", 1), **how)
    story.do(items("k"), 1)
    assert "found 1 in list 'k', which operation 1 (op of client-1) appended and did not keep" in story.only


def test_append_of_unknown_outcome_may_be_missing(story: Story) -> None:
    story.do(append("k", 1), outcome=UNKNOWN)
    story.do(items("k"))
    assert story.found == []


def test_append_of_unknown_outcome_may_come_late(story: Story) -> None:
    story.do(append("k", 1), outcome=UNKNOWN)
    story.do(items("k"))
    story.do(items("k"), 1)
    assert story.found == []


def test_append_of_unknown_outcome_stays_once_it_was_found(story: Story) -> None:
    story.do(append("k", 1), outcome=UNKNOWN)
    story.do(items("k"), 1)
    story.do(items("k"))
    assert "fit no serial order" in story.only


def test_transaction_finds_its_own_appends(story: Story) -> None:
    story.whole((append("k", 1), ()), (items("k"), (1,)))
    assert story.found == []


def test_transaction_without_its_own_appends_is_reported(story: Story) -> None:
    story.whole((append("k", 1), ()), (items("k"), ()))
    assert "read list 'k' without its own appends at the end: it had appended 1 and found []" in story.only


def test_list_that_changes_within_a_transaction_is_reported(story: Story) -> None:
    other = story.begin(append("k", 1))
    story.whole((items("k"), ()), (items("k"), (1,)))
    story.end(other)
    assert "saw list 'k' change under it: first it was [], later [1]" in story.only


def test_half_of_a_transaction_is_reported(story: Story) -> None:
    lasting = story.begin(append("k", 1), append("k", 2))
    story.do(items("k"), 1)
    story.end(lasting)
    assert any("saw list 'k' in the middle of operation 1" in sentence for sentence in story.found)


def test_second_half_of_a_transaction_is_reported(story: Story) -> None:
    story.whole((append("k", 1), ()), (append("k", 2), ()))
    story.do(items("k"), 2)
    assert any("found 2 in list 'k' and not 1 right before it" in sentence for sentence in story.found)


def test_two_lists_seen_in_opposite_orders_are_a_cycle(story: Story) -> None:
    left, right = story.begin(append("x", 1)), story.begin(append("y", 2))
    one, other = story.begin(items("x"), items("y")), story.begin(items("x"), items("y"))
    story.answers(one, (items("x"), (1,)), (items("y"), ()))
    story.answers(other, (items("x"), ()), (items("y"), (2,)))
    for number in (left, right, one, other):
        story.end(number)
    (violation,) = check_values(story.history)
    assert sorted(violation.operations) == [1, 2, 3, 4]
    assert sorted(violation.tasks) == ["task-1", "task-2", "task-3", "task-4"]
    assert len(violation.details) == 4


def test_write_skew_is_a_cycle(story: Story) -> None:
    one, other = story.begin(items("x"), append("y", 1)), story.begin(items("y"), append("x", 2))
    story.answers(one, (items("x"), ()), (append("y", 1), ()))
    story.answers(other, (items("y"), ()), (append("x", 2), ()))
    story.end(one)
    story.end(other)
    (violation,) = check_values(story.history)
    assert violation.sentence.endswith("(rw, rw)")
    assert sorted(violation.details) == [
        "operation 1 (op of client-1) read list 'x' before operation 2 (op of client-2) appended to it",
        "operation 2 (op of client-2) read list 'y' before operation 1 (op of client-1) appended to it",
    ]


def test_two_appends_to_the_same_version_are_reported(story: Story) -> None:
    one, other = story.begin(items("k"), append("k", 1)), story.begin(items("k"), append("k", 2))
    for number, value in ((one, 1), (other, 2)):
        story.answers(number, (items("k"), ()), (append("k", value), ()))
    story.end(one)
    story.end(other)
    assert "appended 2 to list 'k' in the same place as operation 1" in story.only


def test_rows_of_the_setup_are_no_surprise(story: Story) -> None:
    story.do(items("k"), "a", "b")
    story.do(append("k", 1))
    story.do(items("k"), "a", "b", 1)
    assert story.found == []


def test_rows_of_the_setup_do_not_vanish(story: Story) -> None:
    story.do(items("k"), "a", "b")
    story.do(items("k"), "a")
    assert "found list 'k' shorter than it was in the beginning" in story.only


# Registers


def test_register_reads_what_was_written_last(story: Story) -> None:
    story.do(read("k"))
    story.do(write("k", 1))
    story.do(read("k"), 1)
    story.do(write("k", 2))
    story.do(read("k"), 2)
    assert story.found == []


def test_value_of_the_setup_is_no_surprise(story: Story) -> None:
    story.do(read("k"), 0)
    story.do(write("k", 1))
    story.do(read("k"), 1)
    assert story.found == []


def test_overwritten_value_is_stale(story: Story) -> None:
    story.do(write("k", 1))
    story.do(write("k", 2))
    story.do(read("k"), 1)
    assert "found 1 in register 'k', which operation 2 (op of client-2) had overwritten before it began" in story.only


def test_value_of_the_setup_is_stale_after_a_write(story: Story) -> None:
    story.do(write("k", 1))
    story.do(read("k"))
    assert "found None in register 'k', which operation 1 (op of client-1) had overwritten" in story.only


def test_writes_side_by_side_may_come_in_any_order(story: Story) -> None:
    one, other = story.begin(write("k", 1)), story.begin(write("k", 2))
    story.end(one)
    story.end(other)
    story.do(read("k"), 1)
    assert story.found == []


def test_register_does_not_go_back(story: Story) -> None:
    one, other = story.begin(write("k", 1)), story.begin(write("k", 2))
    story.end(one)
    story.end(other)
    story.do(read("k"), 2)
    story.do(read("k"), 1)
    assert "found 1 in register 'k'; before it began, operation 3 (op of client-3) had found 2 there" in story.only


def test_lost_update_is_reported(story: Story) -> None:
    one, other = story.begin(read("k"), write("k", 1)), story.begin(read("k"), write("k", 2))
    for number, value in ((one, 1), (other, 2)):
        story.answers(number, (read("k"), ()), (write("k", value), ()))
    story.end(one)
    story.end(other)
    assert "operation 2 (op of client-2) and operation 1 (op of client-1) both found None in register 'k'" in story.only


def test_transaction_reads_its_own_write(story: Story) -> None:
    story.whole((write("k", 1), ()), (read("k"), (1,)))
    assert story.found == []


def test_transaction_that_reads_something_else_than_it_wrote_is_reported(story: Story) -> None:
    story.whole((write("k", 1), ()), (read("k"), ()))
    assert "read None from register 'k', where it had written 1" in story.only


def test_two_values_of_nobody_are_reported(story: Story) -> None:
    story.do(read("k"), 0)
    story.do(read("k"), 5)
    assert "found 5 in register 'k', which nobody wrote" in story.only


def test_value_in_the_middle_of_a_transaction_is_reported(story: Story) -> None:
    lasting = story.begin(write("k", 1), write("k", 2))
    story.do(read("k"), 1)
    story.end(lasting)
    assert "saw register 'k' in the middle of operation 1" in story.only


def test_register_that_was_not_kept_is_reported(story: Story) -> None:
    story.do(write("k", 1), outcome=FAILED)
    story.do(read("k"), 1)
    assert "wrote and did not keep" in story.only


def test_undone_transaction_is_judged_by_what_it_read(story: Story) -> None:
    story.do(write("k", 1))
    story.do(read("k"), rollback=True)
    assert "had overwritten before it began" in story.only


# What nothing is said of


def test_value_given_twice_silences_its_key(story: Story) -> None:
    story.do(append("k", 1))
    story.do(append("k", 1))
    story.do(items("k"))
    story.whole((append("k", 2), ()), (items("k"), ()))
    assert story.found == []


def test_value_found_before_its_writer_began_silences_its_key(story: Story) -> None:
    story.do(read("k"), 1)
    story.do(write("k", 2))
    story.do(write("k", 1))
    story.do(read("k"), 2)
    assert story.found == []


def test_write_that_changed_nothing_may_be_missing(story: Story) -> None:
    story.do(append("k", 1), changes=0)
    story.do(items("k"))
    assert story.found == []


def test_answers_of_several_statements_are_passed_over(story: Story) -> None:
    story.do(append("k", 1))
    number = story.begin(items("k"), several=True)
    story.answer(number, 0)
    story.end(number)
    assert story.found == []


def test_operations_without_meaning_are_passed_over(story: Story) -> None:
    number = story.begin(None)
    story.answer(number, 0, 1, 2, 3)
    story.end(number)
    assert story.found == []


def test_keys_of_lists_and_registers_have_nothing_in_common(story: Story) -> None:
    story.do(append("k", 1))
    story.do(write("k", 1))
    story.do(items("k"), 1)
    story.do(read("k"), 1)
    assert story.found == []


def test_at_most_ten_are_reported_and_the_rest_is_counted(story: Story) -> None:
    story.do(append("k", 1))
    for _ in range(13):
        story.do(items("k"))
    violations = check_values(story.history)
    assert len(violations) == 10
    assert violations[0].details[-1] == "and 3 more findings in lists and registers"


# Generated histories, against every serial order there is


class Guesswork:
    """A database that mostly works: it may run a transaction on an old version, or switch versions within it."""

    def __init__(self, numbers: random.Random, weird: float) -> None:
        self.numbers = numbers
        self.weird = weird
        self.story = Story()
        self.versions: list[dict[tuple[str, str], Any]] = [{}]
        self.values = itertools.count(1)

    def chance(self, probability: float) -> bool:
        return self.numbers.random() < probability

    def tell(self, operations: int) -> list[Record]:
        todo = operations
        running: list[tuple[int, list[Effect], str]] = []
        executed: list[tuple[int, str]] = []
        while todo or running or executed:
            action = self.numbers.randrange(3)
            if action == 0 and todo:
                todo -= 1
                running.append(self.begin())
            elif action == 1 and running:
                executed.append(self.execute(*running.pop(self.numbers.randrange(len(running)))))
            elif action == 2 and executed:
                self.story.end(*executed.pop(self.numbers.randrange(len(executed))))
        return self.story.history

    def begin(self) -> tuple[int, list[Effect], str]:
        effects = []
        for _ in range(self.numbers.randint(1, 3)):
            kind, key = (
                self.numbers.choice(["append", "list", "list", "write", "read", "read"]),
                self.numbers.choice("xy"),
            )
            effects.append((kind, key, next(self.values) if kind in ("append", "write") else None))
        fate = self.numbers.choices(["kept", "failed", "unknown", "rolled back"], [6, 1, 1, 1])[0]
        return self.story.begin(*effects, rollback=fate == "rolled back"), effects, fate

    def execute(self, number: int, effects: list[Effect], fate: str) -> tuple[int, str]:
        seen = self.versions[-1]
        if self.chance(self.weird):
            seen = self.numbers.choice(self.versions)
        mine = dict(seen)
        cut = self.numbers.randint(0, len(effects)) if fate in ("failed", "unknown") else len(effects)
        for index, (kind, name, value) in enumerate(effects[:cut]):
            if self.chance(self.weird / 4):
                mine = dict(self.numbers.choice(self.versions))
            found: tuple[Any, ...] = ()
            if kind == "append":
                mine["list", name] = (*mine.get(("list", name), ()), value)
            elif kind == "write":
                mine["register", name] = value
            elif kind == "list":
                found = mine.get(("list", name), ())
            elif ("register", name) in mine:
                found = (mine["register", name],)
            self.story.answer(number, index, *found, changes=kind in ("append", "write"))
        kept = fate == "kept" or (fate == "unknown" and cut == len(effects) and self.chance(0.5))
        if kept != self.chance(self.weird / 8):
            touched = {("list" if kind == "append" else "register", name) for kind, name, value in effects if value}
            changed = {key: mine[key] for key in sorted(touched) if key in mine}
            self.versions.append(self.versions[-1] | changed)
        return number, {"failed": FAILED, "unknown": UNKNOWN}.get(fate, OK)


def some_order_explains(history: list[Record]) -> bool:
    """Tries every serial order that time allows, with every choice of what an unknown outcome was."""
    begun = {
        event.operation: (index, event) for index, event in enumerate(history) if isinstance(event, OperationInvoked)
    }
    ended = {
        event.operation: (index, event) for index, event in enumerate(history) if isinstance(event, OperationEnded)
    }
    answers = {(event.operation, event.index): event.rows for event in history if isinstance(event, StatementReturned)}
    unknown = [number for number, (_, event) in ended.items() if event.outcome == UNKNOWN]
    told = {number for number, (_, event) in ended.items() if event.outcome == OK and not begun[number][1].rollback}
    for size in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, size):
            before = [
                (one, other)
                for one in begun
                for other in begun
                if one not in happened and ended[one][0] < begun[other][0]
            ]
            for order in itertools.permutations(begun):
                place = {number: position for position, number in enumerate(order)}
                if all(place[one] < place[other] for one, other in before) and fits(
                    order, begun, answers, told | set(happened)
                ):
                    return True
    return False


def fits(order: tuple[int, ...], begun: Any, answers: Any, kept: set[int]) -> bool:
    state: dict[tuple[str, Any], Any] = {}
    for number in order:
        mine = dict(state)
        for index, (kind, name, value) in enumerate(begun[number][1].effects):
            if kind == "append":
                mine["list", name] = (*mine.get(("list", name), ()), value)
            elif kind == "write":
                mine["register", name] = value
            elif (number, index) in answers:
                found = tuple(row[0] for row in answers[number, index])
                if kind == "list" and found != mine.get(("list", name), ()):
                    return False
                if kind == "read" and (found[0] if found else None) != mine.get(("register", name)):
                    return False
        if number in kept:
            state = mine
    return True


@given(seed=st.integers(0, 2**32), operations=st.integers(2, 5), weird=st.sampled_from([0.0, 0.1, 0.3]))
def test_what_some_order_explains_is_never_reported(seed: int, operations: int, weird: float) -> None:
    history = Guesswork(random.Random(seed), weird).tell(operations)
    if check_values(history):
        assert not some_order_explains(history)


@given(seed=st.integers(0, 2**32))
def test_histories_of_a_sound_database_are_never_reported(seed: int) -> None:
    assert check_values(Guesswork(random.Random(seed), 0.0).tell(40)) == []


def test_what_no_order_explains_is_nearly_always_reported() -> None:
    missed = wrong = 0
    for seed in range(400):
        history = Guesswork(random.Random(seed), 1.0).tell(4)
        if not some_order_explains(history):
            wrong += 1
            missed += not check_values(history)
    assert wrong > 50
    assert missed <= wrong // 50


# Work


def long_histories() -> Iterator[int]:
    for operations in (2_000, 4_000):
        _, order = explain_values(Guesswork(random.Random(1), 0.0).tell(operations))
        yield len(order) + order.edges


def test_work_grows_with_the_history_and_not_faster() -> None:
    once, twice = long_histories()
    assert twice <= 2.1 * once


def test_graph_has_a_few_edges_for_each_operation() -> None:
    _, order = explain_values(Guesswork(random.Random(1), 0.0).tell(2_000))
    assert order.edges <= 10 * order.transactions
