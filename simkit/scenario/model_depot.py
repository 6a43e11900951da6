"""The model of `depot`: limits, grain of concurrency, retention and compaction of the page store.

What a setting does is said by `simkit.depot.settings`; the defaults are taken from there. In the model every setting is
a tuple of the values that a run may draw, as in `model_pool`. Names that end in `_ms` are numbers of milliseconds, the
unit in which the store keeps its wall clocks. Nothing is drawn here.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from simkit.depot.kv import DEFAULT_LIMITS
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.kernel.units import MILLISECOND, format_duration
from simkit.scenario.model_base import (
    Count,
    DurationNs,
    Flag,
    Model,
    describe,
    one_of,
    refuse,
    shape,
    value_or_list,
)

GRAINS = ("transaction", "operation")
OPERATION_NS_MAX = 1_000 * MILLISECOND
STAGED_BYTES_MAX = DEFAULT_LIMITS.transaction_bytes * 3 // 4
"""What one transaction of a job may write: keys and conflict ranges need room beside the values."""

_MILLISECONDS_MAX = 1e12
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DEFAULTS = DepotSettings()
_T = TypeVar("_T")
_COMPACTION_DEFAULTS = CompactionSettings()


def _milliseconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(f"{describe(value)} is no number of milliseconds: write for example 500")
    if not (math.isfinite(value) and 0 <= value <= _MILLISECONDS_MAX):
        raise refuse(f"{value} ms is no possible duration; write a number from 0 on")
    return round(value * MILLISECOND)


def _whole_milliseconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MILLISECONDS_MAX:
        raise refuse(f"{describe(value)} is no whole number of milliseconds: write for example 60000")
    return value


def _some(value: int) -> int:
    if value <= 0:
        raise refuse("this must be longer than nothing: write for example 500")
    return value


def _pages_max(value: object) -> object:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise refuse(f"{describe(value)} is no number of pages: write for example 4096, or null for no limit of its own")


def _operation(value: int) -> int:
    if not 0 < value <= OPERATION_NS_MAX:
        raise refuse(f"an operation takes more than nothing and at most 1s, not {format_duration(value)}")
    return value


def size(value: object) -> object:
    """A number of bytes, written as a number or with its unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refuse(f"{describe(value)} is no size: write a number of bytes, or for example 512KiB or 10GiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def size_schema(least: int = 1) -> dict[str, Any]:
    """The JSON Schema of what `size` takes."""
    return {
        "anyOf": [{"type": "integer", "minimum": least}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}],
        "description": "A number of bytes, or one with its unit: B, KiB, MiB or GiB.",
    }


_MILLISECONDS_SCHEMA = {"type": "number", "minimum": 0}
_WHOLE_MILLISECONDS_SCHEMA = {"type": "integer", "minimum": 0}


def _size_up_to(bytes_max: int | None = None) -> Any:
    return Annotated[int, BeforeValidator(size), Field(ge=1, le=bytes_max), WithJsonSchema(size_schema())]


if TYPE_CHECKING:
    Counts = tuple[int, ...]
    CountsOrNone = tuple[int | None, ...]
    Depths = tuple[int, ...]
    Flags = tuple[bool, ...]
    Grains = tuple[Literal["transaction", "operation"], ...]
    Operations = tuple[int, ...]
    Milliseconds = tuple[int, ...]
    Silences = tuple[int, ...]
    WholeMilliseconds = tuple[int, ...]
    Intervals = tuple[int, ...]
    Sizes = tuple[int, ...]
    ChunkSizes = tuple[int, ...]
    StagedSizes = tuple[int, ...]
else:
    _NUMBER_OF_MILLISECONDS = Annotated[int, BeforeValidator(_milliseconds), WithJsonSchema(_MILLISECONDS_SCHEMA)]
    _WHOLE = Annotated[int, BeforeValidator(_whole_milliseconds), WithJsonSchema(_WHOLE_MILLISECONDS_SCHEMA)]
    Counts = value_or_list(Count)
    CountsOrNone = value_or_list(
        Annotated[
            int | None,
            BeforeValidator(_pages_max),
            WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}),
        ]
    )
    Depths = value_or_list(Annotated[int, Field(strict=True, ge=0)])
    Flags = value_or_list(Flag)
    Grains = value_or_list(Annotated[str, *one_of("grain", GRAINS)])
    Operations = value_or_list(Annotated[DurationNs, AfterValidator(_operation)])
    Milliseconds = value_or_list(_NUMBER_OF_MILLISECONDS)
    Silences = value_or_list(Annotated[_NUMBER_OF_MILLISECONDS, AfterValidator(_some)])
    WholeMilliseconds = value_or_list(_WHOLE)
    Intervals = value_or_list(Annotated[_WHOLE, AfterValidator(_some)])
    Sizes = value_or_list(_size_up_to())
    ChunkSizes = value_or_list(_size_up_to(DEFAULT_LIMITS.value_bytes))
    StagedSizes = value_or_list(_size_up_to(STAGED_BYTES_MAX))


def _setting(value: Any, shown: Any = None) -> Any:
    """A setting with this default, and how the schema shows it where the file writes it otherwise."""
    return Field(default=(value,), json_schema_extra={"default": value if shown is None else shown})


def _in_ms(value_ns: int) -> Any:
    return _setting(value_ns, value_ns // MILLISECOND)


def _first(values: tuple[_T, ...], /) -> _T:
    return values[0]


class Pick(Protocol):
    """Chooses one of the values of a setting."""

    def __call__(self, values: tuple[_T, ...], /) -> _T: ...


class Compaction(Model):
    """How the depot folds commits into shards and deletes what nobody needs. Each is a value or a list."""

    enabled: Flags = _setting(True)
    """Whether there is compaction at all."""
    lag_threshold: Counts = _setting(_COMPACTION_DEFAULTS.lag_threshold)
    """So many commits above the watermark mark the database dirty and wake the manager."""
    throttle_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.throttle_ns)
    """A dirty database is not signalled again before this time has passed."""
    max_silence_ms: Silences = _in_ms(_COMPACTION_DEFAULTS.max_silence_ns)
    """A manager that hears nothing looks all the same after this time: a lost wake costs no more."""
    hot_after_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.hot_after_ns)
    """From the look that finds commits to fold to the job."""
    reclaim_after_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.reclaim_after_ns)
    """From the look that finds rows to delete to the job."""
    settle_after_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.settle_after_ns)
    """After the last job, when the manager looks once more."""
    batch_keys: Counts = _setting(_COMPACTION_DEFAULTS.batch_keys)
    """Rows that one job folds at most."""
    batch_bytes: Sizes = _setting(_COMPACTION_DEFAULTS.batch_bytes)
    """Bytes that one job folds at most."""
    staged_bytes: StagedSizes = _setting(_COMPACTION_DEFAULTS.staged_bytes)
    """Bytes that one transaction of a job writes at most."""
    job_service_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.job_service_ns)
    """What each transaction of a job takes."""
    restart_after_ms: Milliseconds = _in_ms(_COMPACTION_DEFAULTS.restart_after_ns)
    """A compaction process that crashed starts again after this time."""


class Pitr(Model):
    """Points in time that stay readable without anybody naming them. Each is a value or a list."""

    interval_ms: Intervals = _setting(_DEFAULTS.pitr_interval_ms)
    """One commit of each interval is kept."""
    retention_ms: WholeMilliseconds = _setting(_DEFAULTS.pitr_retention_ms)
    """For how long."""


_OFF = Compaction(enabled=(False,))

if TYPE_CHECKING:
    CompactionField = Compaction
else:
    CompactionField = Annotated[
        Annotated[bool, Field(strict=True), Tag("<flag>")] | Annotated[Compaction, Tag("<mapping>")],
        Discriminator(
            lambda value: "<flag>" if isinstance(value, bool) else shape(value),
            custom_error_type="scenario",
            custom_error_message="expected true, false, or a mapping {lag_threshold, throttle_ms, ...}",
        ),
        AfterValidator(lambda value: value if isinstance(value, Compaction) else Compaction(enabled=(value,))),
    ]


class Depot(Model):
    """The page store. Each setting is a value, or a list of which every run draws one."""

    concurrency: Counts = _setting(_DEFAULTS.concurrency)
    """Requests served at once; others wait in order."""
    grain: Grains = _setting(_DEFAULTS.grain)
    """transaction: others come in once within a transaction. operation: before each of its operations."""
    operation: Operations = _setting(_DEFAULTS.operation_ns, format_duration(_DEFAULTS.operation_ns))
    """What one operation of a transaction takes, with `grain: operation`."""
    chunk_bytes: ChunkSizes = _setting(_DEFAULTS.chunk_bytes)
    """Commits and shards are stored in pieces of this size."""
    shard_pages: Counts = _setting(_DEFAULTS.shard_pages)
    """Consecutive pages of one shard."""
    shard_versions_max: Counts = _setting(_DEFAULTS.shard_versions_max)
    """Versions of one shard that restore points and forks may keep."""
    commit_pages_max: CountsOrNone = Field(default=(None,), json_schema_extra={"default": None})
    """Pages of one commit; null: as many as a transaction of the store holds. The setup may commit more."""
    quota: Sizes = _setting(_DEFAULTS.quota_bytes, "10GiB")
    """Bytes that the rows of the database may add up to, those of the setup among them."""
    fork_depth_max: Depths = _setting(_DEFAULTS.fork_depth_max)
    """Ancestors of a branch: forks of forks, and rollbacks."""
    restore_points_max: Counts = _setting(_DEFAULTS.restore_points_max)
    """Restore points of one database."""
    pitr: Pitr = Pitr()
    """Points in time that stay readable without anybody naming them."""
    compaction: CompactionField = Field(default=_OFF, json_schema_extra={"default": False})
    """Whether commits are folded into shards, and how: true, false, or a mapping."""

    def settings(self) -> DepotSettings:
        """The settings of a run that draws the first value of every list."""
        return depot_settings(self, _first)


def depot_settings(depot: Depot, pick: Pick) -> DepotSettings:
    """The settings of one run; `pick` chooses one of a tuple of values, in the order of the keys above."""
    pitr, compaction = depot.pitr, depot.compaction
    return DepotSettings(
        concurrency=pick(depot.concurrency),
        grain=pick(depot.grain),
        operation_ns=pick(depot.operation),
        chunk_bytes=pick(depot.chunk_bytes),
        shard_pages=pick(depot.shard_pages),
        shard_versions_max=pick(depot.shard_versions_max),
        commit_pages_max=pick(depot.commit_pages_max),
        quota_bytes=pick(depot.quota),
        fork_depth_max=pick(depot.fork_depth_max),
        restore_points_max=pick(depot.restore_points_max),
        pitr_interval_ms=pick(pitr.interval_ms),
        pitr_retention_ms=pick(pitr.retention_ms),
        compaction=CompactionSettings(
            enabled=pick(compaction.enabled),
            lag_threshold=pick(compaction.lag_threshold),
            throttle_ns=pick(compaction.throttle_ms),
            max_silence_ns=pick(compaction.max_silence_ms),
            hot_after_ns=pick(compaction.hot_after_ms),
            reclaim_after_ns=pick(compaction.reclaim_after_ms),
            settle_after_ns=pick(compaction.settle_after_ms),
            batch_keys=pick(compaction.batch_keys),
            batch_bytes=pick(compaction.batch_bytes),
            staged_bytes=pick(compaction.staged_bytes),
            job_service_ns=pick(compaction.job_service_ms),
            restart_after_ns=pick(compaction.restart_after_ms),
        ),
    )
