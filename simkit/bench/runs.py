"""How many runs a second a search does, and how many storage operations a second a large scenario."""

from __future__ import annotations

import statistics
from pathlib import Path

from simkit.bench import bare_run
from simkit.bench.figure import Figure, at_least, at_most, for_orientation, median_ratio, paired, seconds
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import parts_for
from simkit.search.subject import Subject, load_source, source_of
from simkit.search.worker import Assignment, run_slice

SMALLEST = Path("scenarios/smallest.yaml")

_LARGE = """
name: large
attacks: Throughput only.
setup:
  - CREATE TABLE item(id INTEGER PRIMARY KEY, payload BLOB NOT NULL)
  - {sql: "INSERT INTO item VALUES(:id, zeroblob(3500))", repeat: 2000, params: {id: {sequence: 1}}}
operations:
  scan:
    sql: SELECT sum(length(payload)) FROM item WHERE id BETWEEN :low AND :low + 400
    params: {low: {int: [1, 1600]}}
  update: {sql: "UPDATE item SET payload = zeroblob(3400) WHERE id = :id", params: {id: {int: [1, 2000]}}}
clients:
  - {name: reader, count: 8, operations: 40, mix: {scan: 30, update: 1}}
instances: {sqlite_cache_kib: 16}
vfs: {page_cache_pages: 0, read_ahead: none}
bounds: {steps: 5000000, time: 3600s}
"""


def measure_smallest(path: Path = SMALLEST, seeds: int = 400, rounds: int = 7) -> list[Figure]:
    """Runs a second of the smallest scenario, everything included."""
    source = load_source(str(path))
    scenario = source.scenario()
    subject = Subject(source, prepare(scenario), parts_for(scenario.system))
    table = bare_run.make_table()

    def whole() -> float:
        part = run_slice(subject, Assignment(0, seeds, 3600.0))
        return part.wall_s / part.runs

    def bare() -> float:
        return seconds(lambda: bare_run.run_all(table, seeds)) / seeds

    wholes, bares = paired([whole, bare], rounds)
    note = f"{path}, one core, plan, run, checks and history; {rounds} rounds of {seeds} seeds"
    return [
        at_least("smallest scenario", 1 / statistics.median(wholes), "runs/s", 1_000, note),
        for_orientation("bare crash test of SQLite", 1 / statistics.median(bares), "runs/s", bare_run.SUMMARY),
        at_most("smallest scenario / bare crash test", median_ratio(wholes, bares), "times", 3.3, note),
    ]


def measure_large(rounds: int = 5) -> list[Figure]:
    """Storage operations a second in a run with a large database and no page cache."""
    scenario = parse_scenario(_LARGE, "large.yaml")
    subject = Subject(source_of(scenario), prepare(scenario), parts_for(scenario.system))
    run_slice(subject, Assignment(0, 1, 3600.0))
    paces = []
    requests = 0
    for number in range(rounds):
        part = run_slice(subject, Assignment(1 + number, 1, 3600.0))
        paces.append(part.requests / part.wall_s)
        requests = part.requests
    note = f"8 clients, 2,000 rows of a page each, about {requests:,} requests a run, checks included; {rounds} rounds"
    return [at_least("large scenario, median", statistics.median(paces), "storage operations/s", 100_000, note)]
