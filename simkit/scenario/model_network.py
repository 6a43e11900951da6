"""The model of `network`: what goes wrong between instances and depot. Each entry is told apart by its first word.

What a rule does is said by `simkit.depot.network_rules`. Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag

from simkit.depot.network_rules import TIMEOUT_DEFAULT_NS, LinkScope
from simkit.kernel.units import format_duration
from simkit.scenario.model_base import (
    DurationDistribution,
    DurationNs,
    Flag,
    Model,
    keyed,
    one_of,
    refuse,
    refuse_unkeyed,
    shape,
)
from simkit.scenario.model_faults import When

LEGS = ("request", "reply")
KINDS = ("get_pages", "commit", "open", "control")
Kind = Literal["get_pages", "commit", "open", "control"]


def _some(value: int) -> int:
    if value <= 0:
        raise refuse("this must be longer than nothing: write for example 50ms")
    return value


_TIMEOUT_TEXT = format_duration(TIMEOUT_DEFAULT_NS)

if TYPE_CHECKING:
    Leg = Literal["request", "reply"]
    Timeout = int
else:
    Leg = Annotated[str, *one_of("way of a message", LEGS)]
    Timeout = Annotated[DurationNs, AfterValidator(_some)]


class NetworkScope(Model):
    """Which links a rule concerns; what is left out is not asked for."""

    kind: Annotated[Kind, *one_of("kind of request", KINDS)] | None = None
    """The kind of request: get_pages, commit, open, or control, which is what the operator sends."""
    instance: Annotated[str, Field(min_length=1)] | None = None
    """Whose requests: instance-2 is the second instance of the run; operator."""

    @property
    def planned(self) -> LinkScope:
        """The scope for the plan."""
        return LinkScope(self.kind or "", self.instance or "")


class _AtMessages(Model):
    """What all rules about single messages have."""

    when: When
    """Which message within the scope: {nth: 2}, or each with {probability: 0.05}."""
    once: Flag = False
    """With a probability: at most once in a run."""
    scope: NetworkScope = NetworkScope()
    """Only these messages are counted."""


class LoseRule(_AtMessages):
    """A message is lost. Without its request the depot does nothing; a reply is lost after the work was done."""

    lose: Leg
    """request or reply."""
    timeout: Timeout = Field(default=TIMEOUT_DEFAULT_NS, json_schema_extra={"default": _TIMEOUT_TEXT})
    """So long after it sent, the sender is told that no reply came."""


class ReorderRule(_AtMessages):
    """A message takes longer, so that later ones may overtake it."""

    reorder: Leg
    """request or reply."""
    by: DurationDistribution
    """How much longer; drawn for each message."""


class DuplicateRule(_AtMessages):
    """A request is sent twice, and both are carried out; the first reply counts. Control requests never are."""

    duplicate: Annotated[Literal["request"], *one_of("way of a message", ("request",))]
    """request."""
    by: DurationDistribution
    """How much later the second one leaves; drawn for each."""


class SlowRule(_AtMessages):
    """The depot's disk is slow for a request."""

    slow: Annotated[Literal["disk"], *one_of("part that is slow", ("disk",))]
    """disk."""
    takes: DurationDistribution
    """The service time of the request is at least this; drawn for each."""


class Span(Model):
    """A time of the run."""

    at: DurationDistribution
    """When it begins: a duration since the start of the run, or a range to draw from."""
    lasts: DurationDistribution
    """How long it lasts."""


class PartitionRule(Model):
    """For a time, every message is lost, in both directions."""

    partition: Span
    """When."""
    timeout: Timeout = Field(default=TIMEOUT_DEFAULT_NS, json_schema_extra={"default": _TIMEOUT_TEXT})
    """So long after it sent, the sender is told that no reply came."""
    scope: NetworkScope = NetworkScope()
    """Only these links are cut."""


class ClogRule(Model):
    """For a time, messages are held, in both directions; they arrive in order when it is over."""

    clog: Span
    """When."""
    scope: NetworkScope = NetworkScope()
    """Only these links are clogged."""


class SwizzleClogRule(Model):
    """Links (each kind of requests of each instance) are clogged one after another, and freed in another order."""

    swizzle_clog: Span
    """When: the links are clogged during the first half of it and freed during the second."""
    scope: NetworkScope = NetworkScope()
    """Only these links are clogged."""


NetworkRuleModel = LoseRule | ReorderRule | DuplicateRule | SlowRule | PartitionRule | ClogRule | SwizzleClogRule

NETWORK_TAGS = ("lose", "reorder", "duplicate", "slow", "partition", "clog", "swizzle_clog")


def _tag(value: object) -> str | None:
    if isinstance(value, BaseModel):
        return next(f"<{tag}>" for tag in NETWORK_TAGS if tag in type(value).model_fields)
    return keyed("network rule", NETWORK_TAGS)(value) if shape(value) == "<mapping>" else None


if TYPE_CHECKING:
    NetworkRules = tuple[NetworkRuleModel, ...]
else:
    NetworkRules = tuple[
        Annotated[
            Annotated[LoseRule, Tag("<lose>")]
            | Annotated[ReorderRule, Tag("<reorder>")]
            | Annotated[DuplicateRule, Tag("<duplicate>")]
            | Annotated[SlowRule, Tag("<slow>")]
            | Annotated[PartitionRule, Tag("<partition>")]
            | Annotated[ClogRule, Tag("<clog>")]
            | Annotated[SwizzleClogRule, Tag("<swizzle_clog>")],
            Discriminator(
                _tag,
                custom_error_type="scenario",
                custom_error_message="expected a network rule, such as {lose: reply, when: {nth: 2}}",
            ),
            refuse_unkeyed("network rule", NETWORK_TAGS),
        ],
        ...,
    ]
