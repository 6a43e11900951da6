"""The scenario file as a frozen model: every key, its type, its default and what it means.

The text below each field is the documentation that editors show (through the JSON Schema) and that
`docs/scenario-file.md` enlarges on. Rules that concern several keys, and SQL, are checked by `cross_check` and
`sql_check` on the positioned text, so that one wrong key hides no other error. Load with
`simkit.scenario.load`; constructing a model directly skips those checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, Tag, WithJsonSchema

from simkit.check.verdict import INVARIANTS
from simkit.depot.distribution import constant
from simkit.depot.latency import DEFAULT_LATENCY_PROFILE, LATENCY_PROFILES
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.model_base import (
    Count,
    DurationDistribution,
    DurationNs,
    Model,
    by_shape,
    describe,
    one_of,
    refuse,
)
from simkit.scenario.model_faults import EVERY_IO, Crashes, FaultRule, Latency, Takeovers, check_name
from simkit.scenario.model_operations import Client, Holds, Operation, SetupItem, SetupStatement
from simkit.scenario.problems import suggest

CHECK_IDS = tuple(INVARIANTS)
STRATEGY_NAMES = ("random-walk",)
SYSTEM_NAMES = ("single",)
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
    page_cache_pages: Annotated[int, Field(strict=True, ge=0)] = 50_000
    """Pages that the VFS of an instance keeps."""
    sqlite_cache_kib: Annotated[int, Field(strict=True, ge=0)] = 2_000
    """SQLite's own page cache, in KiB."""


class Depot(Model):
    """The page store."""

    concurrency: Count = 8
    """Requests served at once; others wait in order."""


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
    time: DurationNs = 60 * SECOND
    """Simulated time."""


class Expectation(Model):
    """What the search is expected to find."""

    violation: Annotated[str, *one_of("check", CHECK_IDS)] | None = None
    """The check that must be violated."""


class Expect(Model):
    """The normalised `expect` key: whether a violation is expected, and of which check (None: of any)."""

    violated: bool = False
    check: str | None = None


_EXPECT_WORDS = ("no violation", "violation")


def _expect_word(value: object) -> object:
    return check_name("expectation", value, _EXPECT_WORDS)


def _build_expect(value: Any) -> Expect:
    if isinstance(value, str):
        return Expect(violated=value == "violation")
    assert isinstance(value, Expectation)
    return Expect(violated=True, check=value.violation)


def _check_item(value: object) -> object:
    return check_name("check", value, CHECK_IDS)


_CheckId = Annotated[str, BeforeValidator(_check_item), WithJsonSchema({"type": "string", "enum": list(CHECK_IDS)})]

if TYPE_CHECKING:
    StrategyField = Strategy
    Checks = tuple[str, ...]
    ExpectField = Expect
    SetupField = tuple[SetupStatement, ...]
else:
    StrategyField = Annotated[
        Annotated[str, *one_of("strategy", STRATEGY_NAMES), Tag("<text>")] | Annotated[Strategy, Tag("<mapping>")],
        by_shape("the name of a strategy, or a mapping {name, order}"),
        AfterValidator(lambda value: Strategy(name=value) if isinstance(value, str) else value),
    ]
    Checks = Annotated[
        Annotated[str, *one_of("set of checks", ("all",)), Tag("<text>")]
        | Annotated[tuple[_CheckId, ...], Field(min_length=1), Tag("<list>")],
        by_shape("'all' or a list of check ids"),
        AfterValidator(lambda value: CHECK_IDS if value == "all" else value),
    ]
    ExpectField = Annotated[
        Annotated[str, *one_of("expectation", _EXPECT_WORDS), Tag("<text>")] | Annotated[Expectation, Tag("<mapping>")],
        by_shape("'no violation', 'violation' or {violation: <check id>}"),
        AfterValidator(_build_expect),
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
    latency: Latency = Field(
        default=LATENCY_PROFILES[DEFAULT_LATENCY_PROFILE], json_schema_extra={"default": DEFAULT_LATENCY_PROFILE}
    )
    """What depot requests cost: the name of a profile, or a mapping."""
    depot: Depot = Depot()
    """How the page store serves requests."""
    faults: tuple[FaultRule, ...] = ()
    """Rules for failures at named points of the depot."""
    crash: Crashes = ()
    """Crashes of the live instance."""
    takeover: Takeovers = ()
    """Later instances that open the database while the earlier one still runs."""
    strategy: StrategyField = Strategy()
    """How the next task is chosen."""
    checks: Checks = CHECK_IDS
    """Which checks judge a run: all, or a list of ids."""
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

    @property
    def enumerates_crashes(self) -> bool:
        """Whether `crash: {at: every io}` asks for one run per storage operation of the marked step."""
        return any(crash.at == EVERY_IO for crash in self.crash)
