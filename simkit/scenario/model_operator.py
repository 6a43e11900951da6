"""The model of `operator`: who makes restore points and forks, rolls the database back and asks for compaction.

A step is told apart by its first word. Whether the names that it uses were given before is a rule between keys
(`cross_check`). Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from simkit.depot.distribution import constant
from simkit.depot.request import DATABASE_ID
from simkit.scenario.model_base import (
    CountRange,
    DurationDistribution,
    Model,
    Probability,
    by_shape,
    describe,
    keyed,
    refuse,
    refuse_unkeyed,
    shape,
)

LATEST = "latest"
"""The present state, as a target."""
UNDO = "undo"
"""The state before the last rollback, as a target."""
RESERVED = (LATEST, UNDO)

_NAME_SCHEMA = {"type": "string", "pattern": "^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"}
_NAME = Annotated[str, Field(pattern=_NAME_SCHEMA["pattern"], max_length=60)]


def _new_name(value: str) -> str:
    if value in RESERVED:
        raise refuse(f"{value!r} means a state already; choose another name")
    return value


def _new_database(value: str) -> str:
    if value == DATABASE_ID:
        raise refuse(f"{value!r} is the database that the clients use; choose another name for its fork")
    return _new_name(value)


NewName = Annotated[_NAME, AfterValidator(_new_name)]
NewDatabase = Annotated[_NAME, AfterValidator(_new_database)]


class Before(Model):
    """The state of a while ago, as far as it is kept (`depot.pitr`)."""

    before: DurationDistribution
    """How long ago, at the moment of the step."""


if TYPE_CHECKING:
    Target = str | Before
else:
    Target = Annotated[
        Annotated[_NAME, Tag("<text>")] | Annotated[Before, Tag("<mapping>")],
        by_shape("the name of a restore point, latest, undo, or {before: 50ms}"),
    ]


class _Step(Model):
    """What all steps have."""

    after: DurationDistribution = Field(default=constant(0), json_schema_extra={"default": "0ms"})
    """The pause before it, since the step before or since the clients began."""
    count: CountRange = (1, 1)
    """How often it is done, each time after its pause: a number, or a range."""
    probability: Probability = 1.0
    """In which share of the runs."""


class RestorePointStep(_Step):
    """Gives a state a name, under which it stays readable."""

    restore_point: NewName
    """The name; made again, it means the newest."""
    at: Target = LATEST
    """Which state."""


class ForkStep(_Step):
    """Makes a database of its own from a state of this one."""

    fork: NewDatabase
    """Its name; done more than once, name-1, name-2 and so on."""
    at: Target = LATEST
    """Which state."""


class RollbackStep(_Step):
    """The database goes on from an earlier state. What was after it can be had back by `rollback: undo`."""

    rollback: Target
    """Which state."""


class DeleteStep(_Step):
    """Gives a restore point up."""

    delete: _NAME
    """Its name."""


def _only_true(value: object) -> object:
    if value is not True:
        raise refuse(f"{describe(value)} says nothing here: write compact: true")
    return value


class CompactStep(_Step):
    """Asks for compaction and reclaim, however little there is to do."""

    compact: Annotated[Literal[True], BeforeValidator(_only_true), WithJsonSchema({"const": True})]
    """Always true."""


STEP_WORDS = ("restore_point", "fork", "rollback", "delete", "compact")
_WHAT = "step of the operator"


def _step_tag(value: object) -> str | None:
    if isinstance(value, _Step):
        return next(f"<{word}>" for word in STEP_WORDS if word in type(value).model_fields)
    return keyed(_WHAT, STEP_WORDS)(value) if shape(value) == "<mapping>" else None


Step = RestorePointStep | ForkStep | RollbackStep | DeleteStep | CompactStep

if TYPE_CHECKING:
    OperatorSteps = tuple[Step, ...]
else:
    OperatorSteps = tuple[
        Annotated[
            Annotated[RestorePointStep, Tag("<restore_point>")]
            | Annotated[ForkStep, Tag("<fork>")]
            | Annotated[RollbackStep, Tag("<rollback>")]
            | Annotated[DeleteStep, Tag("<delete>")]
            | Annotated[CompactStep, Tag("<compact>")],
            Discriminator(
                _step_tag,
                custom_error_type="scenario",
                custom_error_message="expected a step of the operator, such as {restore_point: before, after: 5ms}",
            ),
            refuse_unkeyed(_WHAT, STEP_WORDS),
        ],
        ...,
    ]
