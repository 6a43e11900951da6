"""Sound systems of other designs than ours are never condemned; what they get wrong is named rightly."""

from typing import Any

import apsw
import pytest

from simkit.kernel import Decisions, Event, Queue
from simkit.pool.result import Result
from simkit.pool.single import SingleConnection, run_statement
from simkit.scenario.image import Prepared, prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts
from simkit.search.execute import execute

MIXED = """\
name: mixed
attacks: Systems of other designs.
setup:
  - CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER)
  - {sql: "INSERT INTO t VALUES(:id, 0)", repeat: 4, params: {id: {sequence: 1}}}
operations:
  add: {sql: "UPDATE t SET v = v + :n WHERE id = :id", params: {n: {int: [1, 100]}, id: {int: [1, 3]}}}
  set: {sql: "UPDATE t SET v = :n WHERE id = :id", params: {n: {int: [1, 100]}, id: {int: [1, 2]}}}
  insert: {sql: "INSERT INTO t(v) VALUES(:n)", params: {n: {int: [1, 9]}}}
  read: {sql: "SELECT id, v FROM t ORDER BY id"}
  swap:
    transaction:
      - UPDATE t SET v = v + 1 WHERE id = 1
      - SELECT v FROM t WHERE id = 1
      - UPDATE t SET v = v - 1 WHERE id = 2
clients:
  - {name: client, count: 3, operations: 6, think: [0ms, 3ms], mix: {add: 3, set: 2, read: 3, swap: 2, insert: 1}}
crash: {at: {time: [5ms, 80ms]}, probability: 0.5}
"""
ORDERS = {"timed": "", "any": "strategy: {name: random-walk, order: any}\n", "instant": "latency: instant\n"}


class Worker:
    """One task owns the connection, the others post their statements to it; it does not say for whom it works."""

    def __init__(self, instance: Any) -> None:
        self.kernel = instance.kernel
        self.connection = instance.connect()
        self.jobs: Queue[Any] = Queue(self.kernel, 16, "jobs")
        self.owner: Any = None
        self.parked: list[Any] = []
        self.kernel.spawn(self.work, name="worker", background=True, group=instance.group)

    def work(self) -> None:
        while True:
            self.serve(self.jobs.get())
            while self.owner is None and self.parked:
                self.serve(self.parked.pop(0))

    def serve(self, job: Any) -> None:
        task, sql, params, box, done = job
        if self.owner not in (None, task):
            self.parked.append(job)
            return
        try:
            box.append(run_statement(self.connection, sql, params))
        except apsw.Error as error:
            box.append(error)
        self.owner = task if self.connection.in_transaction else None
        done.set()

    def execute(self, sql: str, params: Any = None) -> Result:
        box: list[Any] = []
        done = Event(self.kernel, "answer")
        self.jobs.put((self.kernel.current, sql, params, box, done))
        done.wait()
        if isinstance(box[0], apsw.Error):
            raise box[0]
        assert isinstance(box[0], Result)
        return box[0]

    def close(self) -> None:
        self.connection.close()


class WorkerThatTells(Worker):
    """The same worker, which says for whom it works."""

    def serve(self, job: Any) -> None:
        with self.kernel.working_for(job[0].context):
            super().serve(job)


def prepared(order: str) -> Prepared:
    return prepare(parse_scenario(MIXED + ORDERS[order], "mixed.yaml"))


def verdicts(system: Any, order: str, seeds: int) -> list[str]:
    ready = prepared(order)
    parts = Parts(system=system)
    return [
        f"seed {seed}: {violation.invariant} {violation.sentence}"
        for seed in range(seeds)
        for violation in execute(ready, ready.plans.draw(seed), Decisions(seed), parts).violations
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("system", [Worker, WorkerThatTells])
def test_sound_system_with_a_worker_is_not_condemned(system: Any, order: str) -> None:
    assert verdicts(system, order, 60) == []


class WorkerThatForgets(Worker):
    """Answers every fifth write without doing it."""

    count = 0

    def serve(self, job: Any) -> None:
        if job[1].startswith("UPDATE") and self.owner is None:
            self.count += 1
            if self.count % 5 == 0:
                job[3].append(Result((), (), 1, None))
                job[4].set()
                return
        super().serve(job)


def test_worker_that_forgets_writes_is_caught() -> None:
    assert verdicts(WorkerThatForgets, "timed", 10)


class WrongAnswers(SingleConnection):
    """Does everything rightly and reports one thing wrongly."""

    def wrong(self, result: Result) -> Result:
        raise NotImplementedError

    def execute(self, sql: str, params: Any = None) -> Result:
        return self.wrong(super().execute(sql, params))


class WrongRowid(WrongAnswers):
    def wrong(self, result: Result) -> Result:
        return Result(result.columns, result.rows, result.changes, 4242 if result.changes else None)


class WrongColumns(WrongAnswers):
    def wrong(self, result: Result) -> Result:
        return Result(("x",) * len(result.columns), result.rows, result.changes, result.last_insert_rowid)


class WrongSum(WrongAnswers):
    def wrong(self, result: Result) -> Result:
        rows: Any = tuple(tuple(f"wrong {value!r}" for value in row) for row in result.rows)
        return Result(result.columns, rows, result.changes, result.last_insert_rowid)


@pytest.mark.parametrize("system", [WrongRowid, WrongColumns, WrongSum])
def test_wrong_answer_is_not_taken_for_lost_durability(system: Any) -> None:
    found = {verdict.split()[2] for verdict in verdicts(system, "timed", 8)}
    assert found
    assert found <= {"ISO-1", "ISO-2", "VAL-1"}
