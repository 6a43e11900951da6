"""Models of what goes wrong: fault rules at named points, crashes, takeovers.

A rule says where, when and what. Boundary classes (which states are right afterwards) belong to the fault
points themselves, in `simkit.depot.fault_points`. Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from simkit.depot.distribution import Distribution
from simkit.depot.fault_points import FAULT_POINT_NAMES, FaultPoint
from simkit.depot.faults import Scope
from simkit.kernel.units import SECOND
from simkit.scenario.model_base import (
    Count,
    CountRange,
    DurationDistribution,
    DurationNs,
    Flag,
    Model,
    Probability,
    by_shape,
    describe,
    keyed,
    one_of,
    refuse,
    refuse_unkeyed,
    shape,
)
from simkit.scenario.problems import suggest

DELAY_NS_MAX = 30 * SECOND
PAUSE_ENDS = ("rest", "crash", "takeover")
EVERY_IO: Literal["every io"] = "every io"


class WhenNth(Model):
    """The rule fires at one particular passage of its point."""

    nth: Count
    """Which passage, counted from 1 over the whole run."""


class WhenProbability(Model):
    """The rule fires at each passage with a probability, drawn during the run."""

    probability: Probability
    """Above 0, at most 1."""


_WHEN_TAGS = ("nth", "probability")


def _when_tag(value: object) -> str | None:
    return keyed("condition", _WHEN_TAGS)(value) if shape(value) == "<mapping>" else None


When = Annotated[
    Annotated[WhenNth, Tag("<nth>")] | Annotated[WhenProbability, Tag("<probability>")],
    Discriminator(
        _when_tag,
        custom_error_type="scenario",
        custom_error_message="expected a condition: {nth: 2} or {probability: 0.05}",
    ),
    refuse_unkeyed("condition", _WHEN_TAGS),
]


class Delay(Model):
    """The request or job goes on after a while."""

    delay: DurationDistribution
    """How long; at most 30s."""


class PauseUntil(Model):
    """What ends a pause, and its bound."""

    until: Annotated[str, *one_of("end of a pause", PAUSE_ENDS)]
    """rest: nothing else can run. crash: the instance crashed. takeover: a later instance opened the database."""
    at_most: DurationNs = DELAY_NS_MAX
    """The pause ends after this simulated time in any case."""


class Pause(Model):
    """The request or job waits for an event of the run."""

    pause: PauseUntil
    """What it waits for."""


_ACTIONS = ("fail", "crash", "drop")
_ACTION_TAGS = ("delay", "pause")


def _action_tag(value: object) -> str | None:
    return keyed("action", _ACTION_TAGS)(value) if shape(value) == "<mapping>" else shape(value)


def bounded_delay(value: Distribution) -> Distribution:
    """A time for which a fault may hold something up."""
    if value.quantiles[-1] > DELAY_NS_MAX:
        raise refuse("a delay is at most 30s: use a pause to hold a request longer")
    return value


def _bounded_delay(value: Any) -> Any:
    if isinstance(value, Delay):
        bounded_delay(value.delay)
    return value


Action = Annotated[
    Annotated[
        Literal["fail", "crash", "drop"],
        *one_of("action", _ACTIONS, ", {delay: 30ms}, {pause: {until: takeover}}"),
        Tag("<text>"),
    ]
    | Annotated[Delay, Tag("<delay>")]
    | Annotated[Pause, Tag("<pause>")],
    Discriminator(
        _action_tag,
        custom_error_type="scenario",
        custom_error_message="expected an action: fail, crash, drop, {delay: 30ms} or {pause: {until: takeover}}",
    ),
    AfterValidator(_bounded_delay),
    refuse_unkeyed("action", _ACTION_TAGS),
]


def _fault_point(value: Any) -> FaultPoint:
    # A function of its own: from Python 3.12 on, Pydantic cannot read the signature of an enum.
    return FaultPoint(value)


class FaultScope(Model):
    """Which passages of a point a rule concerns; what is left out is not asked for."""

    instance: Annotated[str, Field(min_length=1)] | None = None
    """Who passes: instance-2 is the second instance of the run; compaction (its jobs); operator (its requests)."""
    database: Annotated[str, Field(min_length=1)] | None = None
    """The database, by its name: main, or that of a fork."""
    page: Count | None = None
    """A page that is read or written there."""
    shard: Annotated[int, Field(strict=True, ge=0)] | None = None
    """A shard that is read or written there: page number divided by `depot.shard_pages`, rounded down."""

    @property
    def planned(self) -> Scope | None:
        """The scope for the plan; None when it asks for nothing."""
        scope = Scope(self.instance, self.database, self.page, self.shard)
        return scope if scope != Scope() else None


class FaultRule(Model):
    """One rule: at a point of the depot, when a condition holds, do something."""

    point: Annotated[
        FaultPoint,
        BeforeValidator(_fault_point),
        *one_of("fault point", FAULT_POINT_NAMES),
    ]
    """Where: in the commit, the read, a hot job or a reclaim."""
    when: When
    """At which passage of the point."""
    action: Action
    """What happens: fail, crash, drop, {delay: ...} or {pause: ...}."""
    scope: FaultScope = FaultScope()
    """Only these passages are counted."""
    once: Flag = False
    """With a probability: fire at most once in a run."""
    expected: Flag | None = None
    """Report a run in which this rule never fired. Default false."""
    optional: Flag | None = None
    """The opposite of `expected`, for reading aloud: the rule may stay unfired. Default true."""

    @property
    def is_expected(self) -> bool:
        """Whether a run in which the rule never fired is to be reported."""
        return self.expected is True or self.optional is False


class AtTime(Model):
    """At a simulated time."""

    time: DurationDistribution
    """The time since the start of the run: a duration, or a range to draw from."""


class AtIo(Model):
    """At a storage operation of the live instance."""

    io: CountRange
    """Which one, counted from 1: a number, or [low, high] to draw from."""


_AT_TAGS = ("time", "io")


def _at_tag(value: object) -> str | None:
    return keyed("moment", _AT_TAGS)(value) if shape(value) == "<mapping>" else shape(value)


At = Annotated[
    Annotated[Literal["every io"], *one_of("moment", (EVERY_IO,)), Tag("<text>")]
    | Annotated[AtTime, Tag("<time>")]
    | Annotated[AtIo, Tag("<io>")],
    Discriminator(
        _at_tag,
        custom_error_type="scenario",
        custom_error_message="expected a moment: {time: [1ms, 40ms]}, {io: [1, 60]} or 'every io'",
    ),
    refuse_unkeyed("moment", _AT_TAGS),
]


class Crash(Model):
    """The instance stops dead, and a new one opens the database after `instances.restart_after`."""

    at: At
    """When: {time: ...}, {io: ...}, or `every io` for one run per storage operation of the marked step."""
    probability: Probability = 1.0
    """In which share of the runs."""


class Takeover(Model):
    """A later instance opens the database while the earlier one still runs."""

    at: AtTime
    """When: {time: ...}."""
    probability: Probability = 1.0
    """In which share of the runs."""


def one_or_list(kind: Any, what: str) -> Any:
    """The annotation of a key that takes one mapping or a list of them; a tuple in the model."""
    return Annotated[
        Annotated[kind, Tag("<mapping>")] | Annotated[tuple[kind, ...], Tag("<list>")],
        by_shape(f"{what}, or a list of them"),
        AfterValidator(lambda value: value if isinstance(value, tuple) else (value,)),
    ]


if TYPE_CHECKING:
    Crashes = tuple[Crash, ...]
    Takeovers = tuple[Takeover, ...]
else:
    Crashes = one_or_list(Crash, "a crash {at: ...}")
    Takeovers = one_or_list(Takeover, "a takeover {at: {time: ...}}")


def check_name(what: str, value: object, allowed: tuple[str, ...]) -> str:
    """`value` when it is one of `allowed`; otherwise an error with the closest one."""
    if isinstance(value, str) and value in allowed:
        return value
    raise refuse(f"{describe(value)} is no {what}; {suggest(value, allowed)}")
