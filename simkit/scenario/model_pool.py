"""The model of `pool`: the settings of the system under test, each a value or a list of values to draw from.

What a setting does is said by `simkit.pool.settings`; its bounds are taken from there. In the model every setting is a
tuple of the values that a run may draw. Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from simkit.kernel.units import format_duration
from simkit.pool.settings import IDLE_TTL_MAX_NS, READERS_MAX, PoolSettings
from simkit.scenario.model_base import Count, DurationNs, Flag, Integer, Model, refuse, value_or_list

READER_SETTINGS = ("read_pool_enabled", "max_readers", "idle_ttl")
"""Settings that mean nothing to a system without reader connections."""

_DEFAULTS = PoolSettings()


def _span(value: int) -> int:
    if value <= 0:
        raise refuse("this must be longer than nothing: write for example 50ms")
    return value


def _idle_ttl(value: int) -> int:
    if value > IDLE_TTL_MAX_NS:
        raise refuse(f"idle_ttl is at most {format_duration(IDLE_TTL_MAX_NS)}")
    return _span(value)


if TYPE_CHECKING:
    Flags = tuple[bool, ...]
    Readers = tuple[int, ...]
    Counts = tuple[int, ...]
    IdleTtls = tuple[int, ...]
    Spans = tuple[int, ...]
else:
    Flags = value_or_list(Flag)
    Readers = value_or_list(Annotated[Integer, Field(ge=0, le=READERS_MAX)])
    Counts = value_or_list(Count)
    IdleTtls = value_or_list(Annotated[DurationNs, AfterValidator(_idle_ttl)])
    Spans = value_or_list(Annotated[DurationNs, AfterValidator(_span)])


def _shown(default: Any) -> dict[str, Any]:
    return {"default": default}


class Pool(Model):
    """Settings of the system under test. Each is a value, or a list of which every run draws one."""

    read_pool_enabled: Flags = Field(
        default=(_DEFAULTS.read_pool_enabled,), json_schema_extra=_shown(_DEFAULTS.read_pool_enabled)
    )
    """Whether there are readers at all; without them everything goes through the writer."""
    max_readers: Readers = Field(default=(_DEFAULTS.max_readers,), json_schema_extra=_shown(_DEFAULTS.max_readers))
    """Read-only connections open at once, 0 to 64; with 0 everything goes through the writer."""
    idle_ttl: IdleTtls = Field(
        default=(_DEFAULTS.idle_ttl_ns,), json_schema_extra=_shown(format_duration(_DEFAULTS.idle_ttl_ns))
    )
    """A reader that nobody used for this long is closed."""
    waiting_max: Counts = Field(default=(_DEFAULTS.waiting_max,), json_schema_extra=_shown(_DEFAULTS.waiting_max))
    """Statements that may wait at once; one more is refused."""
    transaction_deadline: Spans = Field(
        default=(_DEFAULTS.transaction_deadline_ns,),
        json_schema_extra=_shown(format_duration(_DEFAULTS.transaction_deadline_ns)),
    )
    """An open transaction is rolled back after this time."""
    close_timeout: Spans = Field(
        default=(_DEFAULTS.close_timeout_ns,), json_schema_extra=_shown(format_duration(_DEFAULTS.close_timeout_ns))
    )
    """How long a close waits for work that it admitted before."""
