"""The model of a generated fault matrix, and of `faults`, which takes rules and matrices.

A matrix is the product of points and actions, less the drops where nothing can be dropped. Each run gets one of it: the
seed modulo their number says which, so that as many seeds in a row as it has see all of them (`generate_trouble`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from simkit.depot.distribution import Distribution, uniform
from simkit.depot.fault_points import FAULT_GROUPS, FAULT_POINT_NAMES, FaultPoint
from simkit.kernel.units import MILLISECOND
from simkit.scenario.model_base import (
    CountRange,
    DurationDistribution,
    Flag,
    Model,
    by_shape,
    keyed,
    one_of,
    refuse,
    refuse_unkeyed,
    shape,
)
from simkit.scenario.model_faults import FaultRule, FaultScope, PauseUntil, bounded_delay

ALL = "all"
MATRIX_ACTIONS = ("fail", "delay", "pause", "drop", "crash")
NTH_DEFAULT = (1, 6)


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        if value.count(item) > 1:
            raise refuse(f"{item!r} is given twice: keep one")
    return value


def _all_or_list(what: str, allowed: tuple[str, ...]) -> Any:
    item = Annotated[str, *one_of(what, allowed)]
    return Annotated[
        Annotated[str, *one_of(f"choice of {what}s", (ALL,), ", or a list"), Tag("<text>")]
        | Annotated[tuple[item, ...], Field(min_length=1), AfterValidator(_each_once), Tag("<list>")],
        by_shape(f"all, or a list of {what}s"),
        AfterValidator(lambda value: (ALL,) if value == ALL else value),
    ]


if TYPE_CHECKING:
    Places = tuple[str, ...]
    Actions = tuple[str, ...]
    BoundedDelay = Distribution
else:
    Places = _all_or_list("fault point or group", (*FAULT_GROUPS, *FAULT_POINT_NAMES))
    Actions = _all_or_list("action", MATRIX_ACTIONS)
    BoundedDelay = Annotated[DurationDistribution, AfterValidator(bounded_delay)]


def covered_points(places: tuple[str, ...], compaction: bool) -> tuple[FaultPoint, ...]:
    """The points that `each` names, in code order. Without `compaction`, groups and `all` are without those that are
    passed only with it.
    """
    return tuple(
        point
        for point in FaultPoint
        if point.value in places
        or ((places == (ALL,) or point.group in places) and (compaction or not point.needs_compaction))
    )


def product_of(points: tuple[FaultPoint, ...], actions: tuple[str, ...]) -> tuple[tuple[FaultPoint, str], ...]:
    """Every point with every action that makes sense there.

    All points come before the first of them comes again, with another action, so that few runs reach all points.
    """
    chosen = [action for action in MATRIX_ACTIONS if actions == (ALL,) or action in actions]
    possible = [[action for action in chosen if action != "drop" or point.can_drop] for point in points]
    return tuple(
        (point, at_point[(place + turn) % len(at_point)])
        for turn in range(len(chosen))
        for place, (point, at_point) in enumerate(zip(points, possible, strict=True))
        if turn < len(at_point)
    )


def points_of(entry: Mapping[str, Any], compaction: bool) -> tuple[FaultPoint, ...]:
    """The points that an entry of `faults` names, as it is in the file; none where it is wrong."""
    each = entry.get("each", [entry.get("point")])
    places = (ALL,) if each == ALL else tuple(each) if isinstance(each, list) else ()
    return covered_points(places, compaction)


def actions_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The actions that a matrix names, as it is in the file."""
    actions = entry.get("actions", ALL)
    return tuple(actions) if isinstance(actions, list) else (ALL,)


class FaultMatrix(Model):
    """One fault in each run: seed modulo the number of (point, action) pairs says which."""

    each: Places
    """The points: all, or a list of groups (commit, read, hot, reclaim) and points."""
    actions: Actions = Field(default=(ALL,), json_schema_extra={"default": ALL})
    """What happens there: all, or a list of fail, delay, pause, drop, crash. Drops only where something can be lost."""
    nth: CountRange = Field(default=NTH_DEFAULT, json_schema_extra={"default": list(NTH_DEFAULT)})
    """At which passage of the point: a number, or [low, high] to draw from."""
    delay: BoundedDelay = Field(
        default=uniform(1 * MILLISECOND, 200 * MILLISECOND), json_schema_extra={"default": ["1ms", "200ms"]}
    )
    """How long a delay is; at most 30s."""
    pause: PauseUntil = Field(
        default=PauseUntil.model_validate({"until": "rest", "at_most": "5s"}),
        json_schema_extra={"default": {"until": "rest", "at_most": "5s"}},
    )
    """What a pause waits for."""
    scope: FaultScope = FaultScope()
    """Only these passages are counted."""
    expected: Flag = False
    """Report a run in which its fault did not fire."""

    def pairs(self, compaction: bool) -> tuple[tuple[FaultPoint, str], ...]:
        """Every fault of the matrix, in the order in which seeds take them."""
        return product_of(covered_points(self.each, compaction), self.actions)


_ENTRY_TAGS = ("point", "each")


def _entry_tag(value: object) -> str | None:
    return keyed("fault", _ENTRY_TAGS)(value) if shape(value) == "<mapping>" else None


if TYPE_CHECKING:
    Faults = tuple[FaultRule | FaultMatrix, ...]
else:
    _Entry = Annotated[
        Annotated[FaultRule, Tag("<point>")] | Annotated[FaultMatrix, Tag("<each>")],
        Discriminator(
            _entry_tag,
            custom_error_type="scenario",
            custom_error_message="expected a rule {point, when, action} or a matrix {each: [commit, read]}",
        ),
        refuse_unkeyed("fault", _ENTRY_TAGS),
    ]
    Faults = Annotated[
        Annotated[FaultMatrix, Tag("<mapping>")] | Annotated[tuple[_Entry, ...], Tag("<list>")],
        by_shape("a list of rules {point, when, action} and matrices, or a matrix {each: [commit, read]}"),
        AfterValidator(lambda value: value if isinstance(value, tuple) else (value,)),
    ]
