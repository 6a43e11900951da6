"""Models of what goes wrong: fault rules at named points, crashes, takeovers; and of what requests cost.

A rule says where, when and what. Boundary classes (which states are right afterwards) belong to the fault
points themselves, in `simkit.depot.fault_points`. Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag

from simkit.depot.fault_points import FAULT_POINT_NAMES, FaultPoint
from simkit.depot.latency import DEFAULT_LATENCY_PROFILE, LATENCY_PROFILES, LatencyProfile, RequestLatency
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
    """The request goes on after a while."""

    delay: DurationDistribution
    """How long; at most 30s."""


class PauseUntil(Model):
    """What ends a pause, and its bound."""

    until: Annotated[str, *one_of("end of a pause", PAUSE_ENDS)]
    """rest: nothing else can run. crash: the instance crashed. takeover: a later instance opened the database."""
    at_most: DurationNs = DELAY_NS_MAX
    """The pause ends after this simulated time in any case."""


class Pause(Model):
    """The request waits for an event of the run."""

    pause: PauseUntil
    """What it waits for."""


_ACTIONS = ("fail", "crash")
_ACTION_TAGS = ("delay", "pause")


def _action_tag(value: object) -> str | None:
    return keyed("action", _ACTION_TAGS)(value) if shape(value) == "<mapping>" else shape(value)


def _bounded_delay(value: Any) -> Any:
    if isinstance(value, Delay) and value.delay.quantiles[-1] > DELAY_NS_MAX:
        raise refuse("a delay is at most 30s: use a pause to hold a request longer")
    return value


Action = Annotated[
    Annotated[
        Literal["fail", "crash"],
        *one_of("action", _ACTIONS, ", {delay: 30ms}, {pause: {until: takeover}}"),
        Tag("<text>"),
    ]
    | Annotated[Delay, Tag("<delay>")]
    | Annotated[Pause, Tag("<pause>")],
    Discriminator(
        _action_tag,
        custom_error_type="scenario",
        custom_error_message="expected an action: fail, crash, {delay: 30ms} or {pause: {until: takeover}}",
    ),
    AfterValidator(_bounded_delay),
    refuse_unkeyed("action", _ACTION_TAGS),
]


def _fault_point(value: Any) -> FaultPoint:
    # A function of its own: from Python 3.12 on, Pydantic cannot read the signature of an enum.
    return FaultPoint(value)


class FaultRule(Model):
    """One rule: at a point of the depot, when a condition holds, do something."""

    point: Annotated[
        FaultPoint,
        BeforeValidator(_fault_point),
        *one_of("fault point", FAULT_POINT_NAMES),
    ]
    """Where, in the commit or the read path."""
    when: When
    """At which passage of the point."""
    action: Action
    """What happens: fail, crash, {delay: ...} or {pause: ...}."""
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


class InlineRequest(Model):
    """The cost of one kind of request; what is left out comes from the base profile."""

    rtt: DurationDistribution | None = None
    """Network round trip."""
    server: DurationDistribution | None = None
    """Fixed work of the server."""
    per_page: DurationNs | None = None
    """Added for each page carried."""

    def over(self, base: RequestLatency) -> RequestLatency:
        """This cost, completed from `base`."""
        return RequestLatency(
            rtt=base.rtt if self.rtt is None else self.rtt,
            server=base.server if self.server is None else self.server,
            per_page_ns=base.per_page_ns if self.per_page is None else self.per_page,
        )


_PROFILE_NAMES = tuple(LATENCY_PROFILES)


class InlineLatency(Model):
    """A latency profile written in the scenario, over a named one."""

    base: Annotated[str, *one_of("latency profile", _PROFILE_NAMES)] = DEFAULT_LATENCY_PROFILE
    """The profile that gives whatever is left out."""
    get_pages: InlineRequest = InlineRequest()
    """The cost of reading pages."""
    commit: InlineRequest = InlineRequest()
    """The cost of a commit."""
    open: InlineRequest = InlineRequest()
    """The cost of opening the database."""

    def build(self) -> LatencyProfile:
        """The complete profile."""
        base = LATENCY_PROFILES[self.base]
        return LatencyProfile(
            name="inline",
            source=f"Written in the scenario over {base.name}. {base.source}",
            get_pages=self.get_pages.over(base.get_pages),
            commit=self.commit.over(base.commit),
            open=self.open.over(base.open),
        )


def _profile(value: Any) -> LatencyProfile:
    return LATENCY_PROFILES[value] if isinstance(value, str) else value.build()


if TYPE_CHECKING:
    Latency = LatencyProfile
    Crashes = tuple[Crash, ...]
    Takeovers = tuple[Takeover, ...]
else:
    Latency = Annotated[
        Annotated[str, *one_of("latency profile", _PROFILE_NAMES), Tag("<text>")]
        | Annotated[InlineLatency, Tag("<mapping>")],
        by_shape("the name of a latency profile, or a mapping {base, get_pages, commit, open}"),
        AfterValidator(_profile),
    ]
    Crashes = one_or_list(Crash, "a crash {at: ...}")
    Takeovers = one_or_list(Takeover, "a takeover {at: {time: ...}}")


def check_name(what: str, value: object, allowed: tuple[str, ...]) -> str:
    """`value` when it is one of `allowed`; otherwise an error with the closest one."""
    if isinstance(value, str) and value in allowed:
        return value
    raise refuse(f"{describe(value)} is no {what}; {suggest(value, allowed)}")
