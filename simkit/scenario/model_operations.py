"""Models of what clients do: SQL statements, transactions, closes, operations, scripts, clients.

Shapes only. Whether the SQL prepares and whether names exist is checked against the whole file in `cross_check`,
`cross_check_operations` and `sql_check`, where the position of each text is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema

from simkit.depot.distribution import Distribution, constant
from simkit.scenario.model_base import (
    Count,
    CountRange,
    DurationDistribution,
    Flag,
    Model,
    Weight,
    by_shape,
    describe,
    keyed,
    one_of,
    refuse,
    refuse_unkeyed,
    shape,
)
from simkit.scenario.model_effect import OptionalEffect
from simkit.scenario.parameters import Parameter, Value

Sql = Annotated[str, Field(min_length=1, examples=["SELECT sum(cents) FROM account"])]
Params = Mapping[str, Parameter]

BEGIN_KINDS = ("deferred", "immediate", "exclusive")
STATEMENT_VIAS = ("execute", "execute_write", "query", "run", "execute_script", "lease", "dropped_lease")
TRANSACTION_VIAS = ("sql", "transaction", "write_mode", "migrate")
LEAVINGS = ("end", "linger")
REPEAT_MAX = 1_000_000
IN_FLIGHT_MAX = 16


def _takes_time(timeout: Distribution) -> Distribution:
    if not any(timeout.quantiles):
        raise refuse(
            "a timeout of nothing could mean at once or never; write 1ns for at once, or leave it out for never"
        )
    return timeout


if TYPE_CHECKING:
    Leaving = Literal["end", "linger"]
    Timeout = Distribution | None
else:
    Leaving = Annotated[str, *one_of("way to leave a transaction", LEAVINGS)]
    Timeout = Annotated[DurationDistribution, AfterValidator(_takes_time)]


class SetupStatement(Model):
    """A statement of the setup, run `repeat` times with its parameters drawn each time."""

    sql: Sql
    """One SQL statement."""
    repeat: Annotated[Count, Field(le=REPEAT_MAX)] = 1
    """How often it runs."""
    params: Params = Field(default_factory=dict)
    """Parameter name to value or generator."""


def _as_setup(value: Any) -> Any:
    return SetupStatement(sql=value) if isinstance(value, str) else value


SetupItem = Annotated[
    Annotated[Sql, Tag("<text>")] | Annotated[SetupStatement, Tag("<mapping>")],
    by_shape("an SQL statement, or a mapping {sql, repeat, params}"),
    AfterValidator(_as_setup),
]


class StatementOperation(Model):
    """An operation of one statement, in its own transaction."""

    sql: Sql
    """One SQL statement, with parameters written `:name`."""
    params: Params = Field(default_factory=dict)
    """Parameter name to value or generator."""
    via: Annotated[str, *one_of("way to run a statement", STATEMENT_VIAS)] = "execute"
    """How the system is asked: a method of it, a lease, or a lease that is dropped while the statement runs."""
    several: Flag = False
    """The text may hold several statements, which all run or none; parameters belong to the first."""
    timeout: Timeout = Field(default=None)
    """The client gives up after this time. Default: never."""
    effect: OptionalEffect = Field(default=None)
    """What the statement means: {append: [key, value]}, {list: key}, {write: [key, value]} or {read: key}."""


class TransactionOperation(Model):
    """An operation of several statements between BEGIN and COMMIT. Parameters are drawn once for all of them."""

    transaction: Annotated[tuple[Sql, ...], Field(min_length=1)]
    """The statements, without BEGIN and COMMIT."""
    params: Params = Field(default_factory=dict)
    """Parameter name to value or generator."""
    begin: Annotated[str, *one_of("way to begin a transaction", BEGIN_KINDS)] = "immediate"
    """How the transaction begins: deferred, immediate or exclusive."""
    rollback: Flag = False
    """End with ROLLBACK instead of COMMIT."""
    via: Annotated[str, *one_of("way to run a transaction", TRANSACTION_VIAS)] = "sql"
    """How the system is asked: BEGIN and COMMIT as SQL, its transaction() or write_mode(), or its migrate()."""
    pause: DurationDistribution = Field(default=constant(0), json_schema_extra={"default": "0ms"})
    """Pause before each statement and before the end."""
    leave: Leaving | None = Field(default=None)
    """The transaction is never ended: its task ends (end), or lives on (linger)."""
    timeout: Timeout = Field(default=None)
    """The client gives up after this time. Default: never."""
    effects: tuple[OptionalEffect, ...] = ()
    """What each statement means, one effect or null a statement."""


class CloseOperation(Model):
    """An operation that closes the database; an instance opened later serves it again."""

    close: Literal[True]
    """Always true."""
    timeout: Timeout = Field(default=None)
    """The first try is cancelled after this time, and a second one follows. Default: it is not."""


OperationSpec = StatementOperation | TransactionOperation | CloseOperation

_OPERATION_TAGS = ("transaction", "close", "sql")


def _operation_tag(value: object) -> str | None:
    return keyed("operation", _OPERATION_TAGS)(value) if shape(value) == "<mapping>" else None


if TYPE_CHECKING:
    Operation = OperationSpec
else:
    Operation = Annotated[
        Annotated[StatementOperation, Tag("<sql>")]
        | Annotated[TransactionOperation, Tag("<transaction>")]
        | Annotated[CloseOperation, Tag("<close>")],
        Discriminator(
            _operation_tag,
            custom_error_type="scenario",
            custom_error_message="expected an operation: a mapping with sql, transaction or close",
        ),
        refuse_unkeyed("operation", _OPERATION_TAGS),
    ]


class SleepStep(Model):
    """A pause of the script."""

    sleep: DurationDistribution
    """How long."""


class SqlStep(Model):
    """One statement written in the script."""

    sql: Sql
    """One SQL statement."""
    params: Params = Field(default_factory=dict)
    """Parameter name to value or generator."""
    marked: Flag = False
    """This is the statement that `crash: {at: every io}` is about."""


class OperationStep(Model):
    """One run of a named operation."""

    operation: str
    """The name of the operation."""
    marked: Flag = False
    """This is the operation that `crash: {at: every io}` is about."""


_STEP_TAGS = ("operation", "sql", "sleep")


def _step_tag(value: object) -> str | None:
    form = shape(value)
    return keyed("step", _STEP_TAGS)(value) if form == "<mapping>" else form if form == "<text>" else None


Step = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[OperationStep, Tag("<operation>")]
    | Annotated[SqlStep, Tag("<sql>")]
    | Annotated[SleepStep, Tag("<sleep>")],
    Discriminator(
        _step_tag,
        custom_error_type="scenario",
        custom_error_message="expected a step: the name of an operation, or a mapping with operation, sql or sleep",
    ),
    AfterValidator(lambda value: OperationStep(operation=value) if isinstance(value, str) else value),
    refuse_unkeyed("step", _STEP_TAGS),
]

if TYPE_CHECKING:
    Script = tuple[OperationStep | SqlStep | SleepStep, ...]
else:
    Script = Annotated[tuple[Step, ...], Field(min_length=1)]

ClientId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=60)]


class Client(Model):
    """One client, or several alike: draws operations from a mix, or follows a script."""

    name: ClientId
    """Name in reports, in kebab-case. With a count above one the clients are name-1, name-2, ..."""
    count: Annotated[Count, Field(le=1000)] = 1
    """How many such clients there are."""
    operations: CountRange | None = None
    """With `mix`: how many operations each client draws, a number or [low, high]. Default 5."""
    think: DurationDistribution = Field(default=constant(0), json_schema_extra={"default": "0ms"})
    """Pause before each step."""
    in_flight: Annotated[Count, Field(le=IN_FLIGHT_MAX)] = 1
    """How many operations it has under way at most, 1 to 16; they begin in order."""
    mix: Annotated[Mapping[str, Weight], Field(min_length=1)] | None = None
    """Operation name to weight; instead of `script`."""
    script: Script | None = None
    """The steps in order; instead of `mix`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the clients this stands for."""
        return (
            (self.name,) if self.count == 1 else tuple(f"{self.name}-{number}" for number in range(1, self.count + 1))
        )


def _rows(value: Any) -> tuple[tuple[Value, ...], ...]:
    def scalar(item: Any) -> Any:
        if item is None or isinstance(item, int | float | str):
            return int(item) if isinstance(item, bool) else item
        raise refuse(f"{describe(item)} is no SQL value: expected null, a number or text")

    if not isinstance(value, list | tuple):
        return ((scalar(value),),)
    if not all(isinstance(row, list | tuple) for row in value):
        raise refuse("expected a value or a list of rows, each row a list: write [[1, 2], [3, 4]]")
    return tuple(tuple(scalar(item) for item in row) for row in value)


class Holds(Model):
    """A query whose answer is the same in every recovered state."""

    sql: Sql
    """A reading statement without parameters."""
    equals: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "The value of the single row and column, or the list of rows, each a list of values.",
                "type": ["null", "integer", "number", "string", "array"],
                "items": {"type": "array", "items": {"type": ["null", "integer", "number", "string"]}},
            }
        ),
        AfterValidator(_rows),
    ]
    """The answer: one value, or a list of rows. In the model always rows."""
