"""The scenario file as a frozen model: every key, its type, its default and what it means.

The text below each field is the documentation that editors show (through the JSON Schema) and that
`docs/scenario-file.md` enlarges on. Rules that concern several keys, and SQL, are checked by `cross_check`,
`cross_check_operations` and `sql_check` on the positioned text, so that one wrong key hides no other error. Load with
`simkit.scenario.load`; constructing a model directly skips those checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, Tag, WithJsonSchema

from simkit.depot.distribution import constant
from simkit.depot.latency import DEFAULT_LATENCY_PROFILE, LATENCY_PROFILES
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.model_base import (
    Count,
    DurationDistribution,
    DurationNs,
    Flag,
    Model,
    by_shape,
    describe,
    one_of,
    refuse,
)
from simkit.scenario.model_checks import CHECK_IDS, Checks, Expect, ExpectField
from simkit.scenario.model_depot import Depot
from simkit.scenario.model_fault_matrix import Faults
from simkit.scenario.model_faults import EVERY_IO, Crashes, Takeovers
from simkit.scenario.model_latency import Latency
from simkit.scenario.model_marks import Marks
from simkit.scenario.model_network import NetworkRules
from simkit.scenario.model_operations import Client, Holds, Operation, SetupItem, SetupStatement
from simkit.scenario.model_operator import OperatorSteps
from simkit.scenario.model_pool import Pool
from simkit.scenario.model_vfs import Vfs
from simkit.scenario.positions import Position
from simkit.scenario.problems import Problem, suggest

STRATEGY_NAMES = ("random-walk",)
SYSTEM_NAMES = ("pool", "worker", "single")
ORDERS = ("timed", "any")
PAGE_SIZES = tuple(2**power for power in range(9, 17))

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _system(value: object) -> object:
    if isinstance(value, str) and (value in SYSTEM_NAMES or _FACTORY.fullmatch(value)):
        return value
    raise refuse(
        f"{describe(value)} is no system; {suggest(value, SYSTEM_NAMES)}, or your own as 'package.module:factory'"
    )


def _page_size(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and value in PAGE_SIZES:
        return value
    raise refuse(f"{describe(value)} is no page size; allowed: {', '.join(map(str, PAGE_SIZES))}")


class Instances(Model):
    """The processes that open the database, one after the other."""

    restart_after: DurationDistribution = Field(default=constant(5 * MILLISECOND), json_schema_extra={"default": "5ms"})
    """A crashed or fenced instance is replaced after this time."""
    sqlite_cache_kib: Annotated[int, Field(strict=True, ge=0)] = 2_000
    """SQLite's own page cache, in KiB."""
    close_takes: DurationDistribution = Field(default=constant(1 * MILLISECOND), json_schema_extra={"default": "1ms"})
    """How long the native close takes, after the last connection was closed."""


class Strategy(Model):
    """How the next task is chosen."""

    name: Annotated[str, *one_of("strategy", STRATEGY_NAMES)] = "random-walk"
    """The strategy."""
    order: Annotated[str, *one_of("order", ORDERS)] = "timed"
    """timed: replies arrive when their latency says. any: any outstanding reply may be next."""


class Bounds(Model):
    """Where a run is stopped and reported as stuck."""

    steps: Count = 200_000
    """Scheduler steps."""
    time: DurationNs = Field(default=180 * SECOND, json_schema_extra={"default": "180s"})
    """Simulated time."""
    operation: DurationNs = Field(default=30 * SECOND, json_schema_extra={"default": "30s"})
    """Once faults stop, every operation and every close ends within this simulated time (PROG-3)."""


if TYPE_CHECKING:
    StrategyField = Strategy
    SetupField = tuple[SetupStatement, ...]
else:
    StrategyField = Annotated[
        Annotated[str, *one_of("strategy", STRATEGY_NAMES), Tag("<text>")] | Annotated[Strategy, Tag("<mapping>")],
        by_shape("the name of a strategy, or a mapping {name, order}"),
        AfterValidator(lambda value: Strategy(name=value) if isinstance(value, str) else value),
    ]
    SetupField = tuple[SetupItem, ...]


class Scenario(Model):
    """What to run, what goes wrong meanwhile, and what must hold."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=80, examples=["money-transfers"])]
    """The name, in kebab-case."""
    attacks: Annotated[str, Field(min_length=1)]
    """One paragraph: what this scenario tries to break."""
    system: Annotated[
        str,
        BeforeValidator(_system),
        WithJsonSchema(
            {"anyOf": [{"enum": list(SYSTEM_NAMES)}, {"type": "string", "pattern": f"^{_FACTORY.pattern}$"}]}
        ),
    ] = "single"
    """The system under test: a name, or your own as package.module:factory."""
    pool: Pool = Pool()
    """Settings of the system under test: each a value, or a list of which every run draws one."""
    page_size: Annotated[int, BeforeValidator(_page_size), WithJsonSchema({"enum": list(PAGE_SIZES)})] = 4096
    """Bytes in a database page."""
    setup: SetupField = ()
    """SQL run once, before the first run; all runs start from its result."""
    operations: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$")], Operation] = Field(
        default_factory=dict
    )
    """Named operations: SQL with parameters that are drawn for each use."""
    clients: Annotated[tuple[Client, ...], Field(min_length=1)]
    """Who runs operations, and how."""
    instances: Instances = Instances()
    """The processes that open the database."""
    vfs: Vfs = Vfs()
    """What the VFS of an instance does: caching, reading ahead, preloading, the way of commits."""
    latency: Latency = Field(
        default=LATENCY_PROFILES[DEFAULT_LATENCY_PROFILE], json_schema_extra={"default": DEFAULT_LATENCY_PROFILE}
    )
    """What depot requests cost: the name of a profile, or a mapping."""
    depot: Depot = Depot()
    """Limits, grain, retention and compaction of the page store."""
    faults: Faults = ()
    """Rules for failures at named points of the depot, and matrices of which every run gets one."""
    network: NetworkRules = ()
    """Messages that are lost, doubled, late or held between instances and depot, and slow disks."""
    crash: Crashes = ()
    """Crashes of the live instance."""
    takeover: Takeovers = ()
    """Later instances that open the database while the earlier one still runs."""
    operator: OperatorSteps = ()
    """Restore points, forks and rollbacks, one after the other, beside the clients."""
    swarm: Flag = False
    """Each run keeps only some entries of every mix, some fault rules, network rules, crashes and takeovers."""
    strategy: StrategyField = Strategy()
    """How the next task is chosen."""
    checks: Checks = CHECK_IDS
    """Which checks judge a run: all, a list of ids, or {without: [ids]}."""
    observe_pages: Flag = False
    """ISO-1 also looks at the versions of the pages that every transaction read; costs time."""
    sometimes: Marks = ()
    """Marks that a search of this file must have hit at least once, such as 'mode closed->read'."""
    holds: tuple[Holds, ...] = ()
    """Queries whose answer is the same after the setup and in every recovered state."""
    expect: ExpectField = Expect()
    """What the search is expected to find; a defect's scenario expects a violation."""
    defect: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")] | None = None
    """A deliberate breakage to plant."""
    bounds: Bounds = Bounds()
    """Where a run is stopped."""

    _statement_names: dict[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)
    _source_text: str = PrivateAttr(default="")
    _file_name: str = PrivateAttr(default="")
    _attachments: dict[str, str] = PrivateAttr(default_factory=dict)
    _positions: dict[str, Position] = PrivateAttr(default_factory=dict)

    @property
    def statement_names(self) -> Mapping[str, tuple[str, ...]]:
        """The parameter names of each SQL text, as SQLite gave them; empty for a scenario that was not loaded."""
        return self._statement_names

    @property
    def source_text(self) -> str:
        """The YAML this was loaded from."""
        return self._source_text

    @property
    def file_name(self) -> str:
        """The file this was loaded from, as it was named."""
        return self._file_name

    @property
    def attachments(self) -> Mapping[str, str]:
        """The texts of the files that it names, by the names it uses: with them the YAML stands by itself."""
        return self._attachments

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """A problem with the value of a top-level key, found after loading, at its place in the file."""
        line, column = self._positions.get(key, (1, 1))
        return Problem(self._file_name, line, column, message, hint)

    @property
    def enumerates_crashes(self) -> bool:
        """Whether `crash: {at: every io}` asks for one run per storage operation of the marked step."""
        return any(crash.at == EVERY_IO for crash in self.crash)
