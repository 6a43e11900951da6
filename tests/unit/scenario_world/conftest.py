"""Runs a scenario with changes to its plan and its parts, and looks into what happened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from simkit.kernel import Decisions, Record
from simkit.pool.result import Result
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import Parts, parts_for
from simkit.search.execute import Run, execute

BASE = """\
name: world
attacks: The world itself.
setup:
  - CREATE TABLE t(a INTEGER PRIMARY KEY, b)
  - CREATE TABLE child(a INTEGER PRIMARY KEY, parent INTEGER REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED)
"""


@dataclass(frozen=True)
class Story:
    """One run, by its events."""

    run: Run

    def all(self, kind: type[Record]) -> list[Any]:
        return [event for event in self.run.history if type(event) is kind]

    def kinds(self, *kinds: type[Record]) -> list[str]:
        return [type(event).__name__ for event in self.run.history if type(event) in kinds]


@pytest.fixture
def story() -> Callable[..., Story]:
    """Runs BASE with more YAML; keywords of a plan replace what was drawn, `parts` what it runs on."""

    def tell(text: str, seed: int = 0, parts: Parts | None = None, **plan: Any) -> Story:
        scenario = parse_scenario(BASE + text, "world.yaml")
        prepared = prepare(scenario)
        drawn = msgspec.structs.replace(prepared.plans.draw(seed), **plan)
        return Story(execute(prepared, drawn, Decisions(seed), parts or parts_for(scenario.system)))

    return tell


class Asked(SingleConnection):
    """Has all methods that a plan may name, and notes each call as (method, SQL)."""

    def __init__(self, instance: Instance, asked: list[tuple[str, str]]) -> None:
        super().__init__(instance)
        self.asked = asked
        self.kernel = instance.kernel

    def execute(self, sql: str, params: Any = None) -> Result:
        self.asked.append(("execute", sql))
        return super().execute(sql, params)

    def execute_write(self, sql: str, params: Any = None) -> Result:
        self.asked.append(("execute_write", sql))
        return super().execute(sql, params)

    def query(self, sql: str, params: Any = None) -> Result:
        self.asked.append(("query", sql))
        return super().execute(sql, params)

    def run(self, sql: str, params: Any = None) -> Result:
        self.asked.append(("run", sql))
        return super().execute(sql, params)

    def execute_script(self, sql: str) -> Result:
        self.asked.append(("execute_script", sql))
        return super().execute(sql)

    @contextmanager
    def read_lease(self) -> Iterator["AskedLease"]:
        self.asked.append(("read_lease", ""))
        yield AskedLease(self)
        self.asked.append(("released", ""))

    @contextmanager
    def write_lease(self) -> Iterator["AskedLease"]:
        self.asked.append(("write_lease", ""))
        yield AskedLease(self)
        self.asked.append(("released", ""))

    @contextmanager
    def write_mode(self) -> Iterator[None]:
        self.asked.append(("write_mode", ""))
        yield
        self.asked.append(("end of write_mode", ""))

    @contextmanager
    def transaction(self, deadline_ns: int | None = None) -> Iterator["Asked"]:
        self.asked.append(("transaction", ""))
        super().execute("BEGIN IMMEDIATE")
        try:
            yield self
        except Exception:
            super().execute("ROLLBACK")
            raise
        super().execute("COMMIT")
        self.asked.append(("end of transaction", ""))

    def migrate(self, steps: list[tuple[str, Any]]) -> None:
        self.asked.append(("migrate", "; ".join(sql for sql, _ in steps)))
        super().execute("BEGIN IMMEDIATE")
        for sql, params in steps:
            super().execute(sql, params)
        super().execute("COMMIT")


class AskedLease:
    """A lease on the one connection there is."""

    def __init__(self, system: Asked) -> None:
        self._system = system

    def execute(self, sql: str, params: Any = None) -> Result:
        self._system.asked.append(("lease.execute", sql))
        self._system.kernel.sleep(2_000_000)
        return SingleConnection.execute(self._system, sql, params)

    def drop(self) -> None:
        self._system.asked.append(("drop", ""))


@pytest.fixture
def noting() -> tuple[Parts, list[tuple[str, str]]]:
    """Parts whose system has every method, and what it will have been asked."""
    asked: list[tuple[str, str]] = []
    return Parts(lambda instance: Asked(instance, asked)), asked
