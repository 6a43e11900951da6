"""Histories of a correct system are never reported, and mutated ones are, with the right invariant.

A generated list of numbers drives a native SQLite that executes operations one at a time, each at some moment between
its invocation and its end. Crashes leave operations unacknowledged, which took effect or not, with or without an event
that says so.
"""

from collections.abc import Iterator
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from simkit.check.dump import read_state
from simkit.check.events import UNKNOWN, InstanceOpened, StatementReturned, StateObserved

STATEMENTS: list[tuple[Any, ...]] = [
    ("SELECT id, a FROM t ORDER BY id",),
    ("SELECT sum(a), count(*) FROM t",),
    (("UPDATE t SET a = a + :n WHERE id = :id", "n", "id"),),
    (("UPDATE t SET a = :n WHERE id = :id", "n", "id"),),
    (("INSERT OR IGNORE INTO t VALUES (:id, :n)", "n", "id"),),
    (("DELETE FROM t WHERE id = :id", "id"),),
    (
        ("UPDATE t SET a = a - :n WHERE id = :id", "n", "id"),
        "SELECT sum(a) FROM t",
        ("INSERT INTO log VALUES (:n)", "n"),
    ),
    ("SELECT count(*) FROM log", "SELECT sum(a) FROM t"),
    ("INSERT INTO log SELECT a FROM t RETURNING x",),
    ("CREATE TABLE IF NOT EXISTS extra(x)",),
    ("DROP TABLE IF EXISTS extra",),
]
SETUP = (
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
    "CREATE TABLE log(x)",
    "INSERT INTO t VALUES (1, 100), (2, 200), (3, 300)",
)
CLIENTS = 3


class Driver:
    """Turns numbers into a history of a correct system."""

    def __init__(self, story: Any, numbers: list[int]) -> None:
        self.story = story
        self.numbers = iter(numbers)
        #: what each client is doing: [operation, executed]
        self.busy: dict[int, list[Any]] = {}
        story.open()

    def draw(self, below: int) -> int:
        return next(self.numbers) % below

    def run(self) -> None:
        try:
            while True:
                self.step()
        except StopIteration:
            for client in list(self.busy):
                self.finish(client)
        self.story.observe(when="end")

    def step(self) -> None:
        action = self.draw(12)
        if action == 0:
            self.crash()
            return
        client = self.draw(CLIENTS)
        if client not in self.busy:
            self.begin(client)
        elif not self.busy[client][1]:
            self.execute(client)
        else:
            self.finish(client)

    def begin(self, client: int) -> None:
        template = STATEMENTS[self.draw(len(STATEMENTS))]
        values = {"n": self.draw(1000), "id": self.draw(5)}
        statements = [
            item if isinstance(item, str) else (item[0], {name: values[name] for name in item[1:]}) for item in template
        ]
        instance = f"instance-{self.story.generation}"
        number = self.story.invoke(*statements, client=f"client-{client}", instance=instance)
        self.busy[client] = [number, False]

    def execute(self, client: int, answered: bool = True, hinted: bool = True) -> None:
        story, (number, _) = self.story, self.busy[client]
        self.busy[client][1] = True
        before = read_state(story.system)
        length = len(story.history)
        story.take_effect(number)
        if not answered:
            del story.history[length:]
        if read_state(story.system) != before and hinted:
            story.applied(number)

    def finish(self, client: int) -> None:
        if not self.busy[client][1]:
            self.execute(client)
        self.story.end(self.busy.pop(client)[0])

    def crash(self) -> None:
        for client in list(self.busy):
            fate = self.draw(4)
            number, executed = self.busy[client]
            if not executed and fate == 0:
                self.execute(client, answered=False)
            elif not executed and fate == 1:
                self.execute(client, answered=False, hinted=False)
            elif not executed and fate == 2:
                self.story.request(number)
                self.story.applied(number)  # the commit of a rollback
            self.story.end(number, UNKNOWN)
            del self.busy[client]
        self.story.allocate()
        self.story.observe()
        self.story.add(InstanceOpened, f"instance-{self.story.generation}", self.story.generation)


def numbers() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 999), min_size=10, max_size=120)


def tell(story_type: Any, drawn: list[int], first: str | None = None) -> Any:
    """A history of a correct system, which begins with the statement `first`."""
    story = story_type(*SETUP)
    driver = Driver(story, drawn)
    if first is not None:
        story.do(first, instance=f"instance-{story.generation}")
    driver.run()
    return story


@given(drawn=numbers())
@example(drawn=[7, 2, 1] * 30)
def test_correct_histories_are_never_reported(story_type: Any, drawn: list[int]) -> None:
    assert [str(violation) for violation in tell(story_type, drawn).judge()] == []


def changed(history: list[Any], position: int, **fields: Any) -> list[Any]:
    kind = type(history[position])
    values = {name: getattr(history[position], name) for name in kind.__struct_fields__} | fields
    return [*history[:position], kind(**values), *history[position + 1 :]]


def answers(story: Any) -> Iterator[tuple[int, StatementReturned]]:
    for position, event in enumerate(story.history):
        if isinstance(event, StatementReturned) and event.rows:
            yield position, event


@given(drawn=numbers(), which=st.integers(0, 50))
def test_altered_answer_is_reported(story_type: Any, drawn: list[int], which: int) -> None:
    story = tell(story_type, drawn, first="SELECT id, a FROM t ORDER BY id")
    found = [(position, event) for position, event in answers(story) if "id" in event.columns]
    position, event = found[which % len(found)]
    rows = [list(row) for row in event.rows]
    rows[which % len(rows)][1] = -123_456
    story.history = changed(story.history, position, rows=tuple(map(tuple, rows)))
    violations = story.judge()
    assert [violation.operations for violation in violations] == [(event.operation,)]
    assert violations[0].invariant in ("VAL-1", "ISO-2")


@given(drawn=numbers(), which=st.integers(0, 50))
def test_swapped_answers_are_reported(story_type: Any, drawn: list[int], which: int) -> None:
    story = story_type(*SETUP)
    driver = Driver(story, drawn)
    reads = []
    for _ in range(4):
        for _ in range(4):
            try:
                driver.step()
            except StopIteration:
                break
        for client in list(driver.busy):
            driver.finish(client)
        instance = f"instance-{story.generation}"
        story.do("INSERT INTO log VALUES (0)", instance=instance)
        reads.append(story.do("SELECT count(*) AS id FROM log", instance=instance))
    positions = [position for position, event in answers(story) if event.operation in reads]
    first, second = positions[which % 3], positions[which % 3 + 1]
    early, late = story.history[first].rows, story.history[second].rows
    story.history = changed(changed(story.history, first, rows=late), second, rows=early)
    by_operation = {violation.operations: violation.invariant for violation in story.judge()}
    assert by_operation[story.history[second].operation,] == "ISO-1"
    assert by_operation.get((story.history[first].operation,)) in ("ISO-1", "ISO-2")


@given(drawn=numbers())
def test_lost_operation_is_reported(story_type: Any, drawn: list[int]) -> None:
    story = tell(story_type, drawn)
    for client in range(2):
        # Something that every later state shows: the number of rows of a log.
        instance = f"instance-{story.generation}"
        story.do(("INSERT INTO log VALUES (:n)", {"n": client}), instance=instance)
    story.system.execute("DELETE FROM log WHERE rowid = (SELECT max(rowid) FROM log)")
    story.observe(when="end")
    assert story.verdict() == ["DUR-1"]


@given(drawn=numbers(), which=st.integers(0, 50))
def test_altered_state_is_reported(story_type: Any, drawn: list[int], which: int) -> None:
    story = tell(story_type, drawn)
    position, event = [(p, e) for p, e in enumerate(story.history) if isinstance(e, StateObserved)][-1]
    state = [list(entry) for entry in event.state]
    (table,) = [entry for entry in state if entry[0] == "t"]
    assume(table[2])
    rows = [list(row) for row in table[2]]
    rows[which % len(rows)][1] = -123_456
    table[2] = tuple(map(tuple, rows))
    story.history = changed(story.history, position, state=tuple(map(tuple, state)))
    (invariant,) = story.verdict()
    assert invariant in ("VAL-1", "DUR-1", "DUR-2")
