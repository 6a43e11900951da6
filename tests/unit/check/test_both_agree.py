"""The two ways to look at isolation agree: values as clients saw them, page versions as SQLite was given them.

What "agree" means. On sound parts both are silent. On a part that gives SQLite old or mixed pages, or lets it commit on
top of them, every run in which an outsider finds an anomaly is one in which the insider finds one too, and there are
such runs. The reverse does not hold: a page that was out of date may hold no row that anybody asked for, and a register
may have had either order. Nor do they agree on what no page can explain: a system that lets a stranger into an open
transaction, or answers from memory, gives SQLite the right pages, and an acknowledged commit that is lost (DUR-1)
leaves pages of one version behind. Those are the outsider's alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simkit.check.pages import check_pages
from simkit.check.values import check_values
from simkit.defects.depot_defects import FenceSkipped, StalePageIndexCache
from simkit.kernel import Decisions
from simkit.pool.result import Parameters, Result
from simkit.pool.single import SingleConnection, run_statement
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import SYSTEMS, Parts, parts_for
from simkit.scenario.world import World
from simkit.search.execute import execute
from simkit.vfs.database import Database

SCENARIO = """
name: both
attacks: lists and registers on few pages, under changing instances
system: SYSTEM
page_size: 512
setup:
  - CREATE TABLE item(position INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER, value INTEGER NOT NULL, pad BLOB)
  - CREATE TABLE register(key TEXT PRIMARY KEY, value INTEGER, pad BLOB)
operations:
  append:
    sql: INSERT INTO item(list, value, pad) VALUES(:list, :value, :pad)
    params: {list: {int: [1, 2]}, value: {sequence: 1}, pad: {blob: [100, 200]}}
    effect: {append: [list, value]}
  items:
    sql: SELECT value FROM item WHERE list = :list ORDER BY position
    params: {list: {int: [1, 2]}}
    effect: {list: list}
  write:
    sql: REPLACE INTO register VALUES(:key, :value, :pad)
    params: {key: {choice: [a, b]}, value: {sequence: 1}, pad: {blob: [100, 200]}}
    effect: {write: [key, value]}
  read: {sql: SELECT value FROM register WHERE key = :key, params: {key: {choice: [a, b]}}, effect: {read: key}}
  look:
    transaction:
      - SELECT value FROM item WHERE list = 1 ORDER BY position
      - SELECT value FROM item WHERE list = 2 ORDER BY position
      - SELECT value FROM register WHERE key = 'a'
    effects: [{list: 1}, {list: 2}, {read: a}]
    begin: deferred
  copy:
    transaction:
      - SELECT value FROM register WHERE key = :key
      - INSERT INTO item(list, value) VALUES(:list, :first)
      - REPLACE INTO register VALUES(:key, :second, NULL)
    params: {key: {choice: [a, b]}, list: {int: [1, 2]}, first: {sequence: 1}, second: {sequence: 1}}
    effects: [{read: key}, {append: [list, first]}, {write: [key, second]}]
  undone:
    transaction: ["INSERT INTO item(list, value) VALUES(1, :value)"]
    params: {value: {sequence: 1}}
    effects: [{append: [1, value]}]
    rollback: true
clients:
  - name: client
    count: 4
    operations: 8
    think: [0ms, 6ms]
    mix: {append: 2, items: 3, write: 2, read: 3, look: 2, copy: 1, undone: 1}
instances: {restart_after: [0ms, 2ms], sqlite_cache_kib: 2}
vfs: {page_cache_pages: 6, protected_pages: 0, read_ahead: none}
latency:
  base: loopback
  commit: {rtt: [1ms, 8ms], server: [0ms, 4ms]}
observe_pages: true
takeover:
  - at: {time: [5ms, 40ms]}
  - at: {time: [20ms, 80ms]}
  - {at: {time: [40ms, 120ms]}, probability: 0.7}
"""

Agreement = Counter[tuple[bool, bool]]
"""How many runs the outsider and the insider found something in."""


@pytest.fixture(scope="module")
def compare() -> Callable[..., Agreement]:
    """Runs seeds of the scenario on changed parts and asks both. A run in which only the outsider finds is printed."""
    prepared: dict[str, Any] = {}

    def run(seeds: int, name: str = "single", **changes: Any) -> Agreement:
        if name not in prepared:
            prepared[name] = prepare(parse_scenario(SCENARIO.replace("SYSTEM", name), "both.yaml"))
        scenario = prepared[name]
        parts: Parts = replace(parts_for(name), **changes)
        found: Agreement = Counter()
        for seed in range(seeds):
            world = World(scenario, scenario.plans.draw(seed), Decisions(seed), parts)
            world.run()
            outsider, insider = check_values(world.kernel.history), check_pages(world.kernel.history)
            found[bool(outsider), bool(insider)] += 1
            if outsider and not insider:
                print(f"seed {seed}: {outsider[0]}")
        return found

    return run


class KeepsOldPages(Database):
    """Its cache forgets to take in every third commit."""

    commits = 0

    def commit(self) -> None:
        before = dict(self.cache.pages)
        super().commit()
        self.commits += 1
        if self.commits % 3 == 0:
            self.cache.pages.update(before)


class KeepsSomeOldPages(Database):
    """Its cache forgets to take in the last page of every second commit."""

    commits = 0

    def commit(self) -> None:
        before, last = dict(self.cache.pages), max(self.dirty)
        super().commit()
        self.commits += 1
        if self.commits % 2 == 0 and last in before:
            self.cache.pages[last] = before[last]


class LetsStrangersIn(SingleConnection):
    """Guards the connection for one statement at a time, whoever has a transaction open on it."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        with self._turn:
            return run_statement(self._connection, sql, params)


class Remembers(SingleConnection):
    """Answers a query from memory when it was asked before."""

    def execute(self, sql: str, params: Parameters = None) -> Result:
        if not sql.startswith("SELECT") or self._owner is not None:
            return super().execute(sql, params)
        memory: dict[str, Result] = self.__dict__.setdefault("memory", {})
        question = f"{sql} {params}"
        if question not in memory:
            memory[question] = super().execute(sql, params)
        return memory[question]


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_both_are_silent_on_sound_parts(compare: Any, system: str) -> None:
    assert set(compare(50, system)) == {(False, False)}


@pytest.mark.parametrize("system", ["pool", "single"])
@pytest.mark.parametrize(
    "broken",
    [
        {"depot": FenceSkipped},
        {"depot": StalePageIndexCache},
        {"database": KeepsOldPages},
        {"database": KeepsSomeOldPages},
    ],
    ids=lambda broken: next(iter(broken.values())).__name__,
)
def test_what_an_outsider_sees_of_wrong_pages_the_insider_sees_too(
    compare: Any, broken: dict[str, Any], system: str
) -> None:
    found = compare(30, system, **broken)
    assert found[True, False] == 0
    assert found[True, True] > 0


@pytest.mark.parametrize("system", [LetsStrangersIn, Remembers])
def test_what_happens_above_the_pages_is_for_the_outsider_alone(compare: Any, system: type[SingleConnection]) -> None:
    found = compare(40, system=system)
    assert found[True, False] > 0
    assert found[True, True] == found[False, True] == 0


def test_judge_asks_both() -> None:
    scenario = prepare(parse_scenario(SCENARIO.replace("SYSTEM", "single"), "both.yaml"))
    parts = replace(parts_for("single"), depot=FenceSkipped)
    runs = [execute(scenario, scenario.plans.draw(seed), Decisions(seed), parts) for seed in range(12)]
    found = {(violation.invariant, violation.check) for run in runs for violation in run.violations}
    assert {("ISO-1", "values"), ("ISO-1", "page-versions")} <= found
