"""The prepared scenario: setup run once, kept as a page image that every run starts from in microseconds.

The setup runs twice, on the depot through the real VFS and natively for the oracle; their states must agree
before any run starts. The depot has the settings of the runs there, as far as they shape its rows, and no limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apsw
import msgspec

from simkit.check.dump import differences, encode_state, read_state
from simkit.check.oracle import Oracle
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.settings import DEFAULT_SETTINGS, CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.scenario.generate import PlanGenerator, setup_statements
from simkit.scenario.model import Scenario
from simkit.vfs.database import Database
from simkit.vfs.filesystem import RandomBytes, registered
from simkit.vfs.settings import VfsSettings

_STATEMENTS_PER_TRANSACTION = 200
_BYTES_PER_TRANSACTION = 1_000_000


class SetupFailed(Exception):
    """The setup of a scenario could not be run."""


@dataclass(frozen=True)
class Prepared:
    """A scenario, ready to run. Make one per process with `prepare`."""

    scenario: Scenario
    depot_image: DepotImage
    oracle: Oracle
    plans: PlanGenerator
    holds: tuple[tuple[str, tuple[tuple[Any, ...], ...]], ...]
    native_image: bytes = field(repr=False)


def prepare(scenario: Scenario) -> Prepared:
    """Runs the setup. Raises `SetupFailed`."""
    plans = PlanGenerator(scenario)
    statements = [(statement.sql, statement.params) for statement in setup_statements(scenario)]
    native = _run_natively(statements)
    depot_image = _run_on_depot(scenario, statements, native)
    holds = []
    for item in scenario.holds:
        found = tuple(native.execute(item.sql).fetchall())
        expected = tuple(tuple(row) for row in item.equals)
        if found != expected:
            raise SetupFailed(
                f"holds: {item.sql!r} answers {list(found)} after the setup, and must be {list(expected)}"
            )
        holds.append((item.sql, expected))
    image = native.serialize("main")
    native.close()
    return Prepared(scenario, depot_image, Oracle(image), plans, tuple(holds), image)


def _run_natively(statements: list[tuple[str, dict[str, Any]]]) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for batch in _batches(statements):
        _run_batch(connection, batch)
    return connection


def _setup_settings(scenario: Scenario) -> DepotSettings:
    """Rows as the runs have them, but nobody beside the setup and no limit to it."""
    return msgspec.structs.replace(
        scenario.depot.settings(),
        grain=DEFAULT_SETTINGS.grain,
        commit_pages_max=None,
        quota_bytes=DEFAULT_SETTINGS.quota_bytes,
        compaction=CompactionSettings(enabled=False),
    )


def _run_on_depot(
    scenario: Scenario, statements: list[tuple[str, dict[str, Any]]], native: apsw.Connection
) -> DepotImage:
    kernel = Kernel(Decisions(0))
    page_size = scenario.page_size
    image = DepotImage(None, 0, page_size)
    depot = Depot(kernel, LATENCY_PROFILES["instant"], image, _setup_settings(scenario))

    def setup() -> None:
        database = Database(DirectStorage(depot, "setup", depot.allocate()), VfsSettings())
        database.open()
        with registered(database, RandomBytes(0, "setup")) as vfs:
            connection = vfs.connect()
            try:
                connection.pragma("page_size", page_size)
                for batch in _batches(statements):
                    _run_batch(connection, batch)
                found = read_state(connection)
            finally:
                connection.close(True)
        expected = read_state(native)
        if encode_state(found) != encode_state(expected):
            raise SetupFailed(
                "the setup differs between the depot and native SQLite:\n" + "\n".join(differences(expected, found))
            )

    task = kernel.spawn(setup, name="setup", supervised=True)
    try:
        kernel.run()
        if task.error is not None:
            raise SetupFailed(f"setup: {task.error}") from task.error
    finally:
        kernel.close()
    return depot.image()


def _run_batch(connection: apsw.Connection, batch: list[tuple[str, dict[str, Any]]]) -> None:
    if len(batch) == 1:
        connection.execute(batch[0][0], batch[0][1] or None).fetchall()
        return
    with connection:
        for sql, params in batch:
            connection.execute(sql, params or None).fetchall()


def _batches(statements: list[tuple[str, dict[str, Any]]]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Runs of the same SQL text share transactions of bounded size; any other statement stands alone."""
    batch: list[tuple[str, dict[str, Any]]] = []
    size = 0
    for sql, params in statements:
        if batch and (
            batch[0][0] != sql or len(batch) >= _STATEMENTS_PER_TRANSACTION or size >= _BYTES_PER_TRANSACTION
        ):
            yield batch
            batch, size = [], 0
        batch.append((sql, params))
        size += sum(len(value) for value in params.values() if isinstance(value, str | bytes))
    if batch:
        yield batch
