"""The model of `vfs`: what the VFS of an instance does, as a profile and settings that replace those of the profile.

What a setting does is said by `simkit.vfs.settings`. The names are those of `VfsSettings`, without the unit where the
file writes it with the value (`staging` for `staging_ns`). In the model each is a tuple of the values that a run may
draw, as in `model_pool`; an empty one leaves what the profile says. `observe_pages` is a key of the file, since it
concerns the checks and not what the VFS does. Nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from simkit.kernel.units import format_duration
from simkit.scenario.model_base import DurationNs, Flag, Model, one_of, refuse, value_or_list
from simkit.scenario.model_depot import size, size_schema
from simkit.vfs.settings import (
    PRELOAD_BYTES_MAX,
    PRELOAD_PAGES_MAX,
    PROFILES,
    SETTING_NAMES,
    STAGING_MAX_NS,
    CacheMode,
    ReadAheadMode,
    VfsSettings,
    profile,
)

_T = TypeVar("_T")


def file_name(setting: str) -> str:
    """The key of a setting of `VfsSettings` in a scenario file."""
    return setting.removesuffix("_ns")


def _staging(value: int) -> int:
    if value > STAGING_MAX_NS:
        raise refuse(f"staging is at most {format_duration(STAGING_MAX_NS)}")
    return value


if TYPE_CHECKING:
    Profiles = tuple[str, ...]
    Pages = tuple[int, ...]
    FirstPages = tuple[int, ...]
    Sizes = tuple[int, ...]
    Times = tuple[int, ...]
    Flags = tuple[bool, ...]
    CacheModes = tuple[CacheMode, ...]
    ReadAheadModes = tuple[ReadAheadMode, ...]
else:
    Profiles = value_or_list(Annotated[str, *one_of("VFS profile", tuple(PROFILES))])
    Pages = value_or_list(Annotated[int, Field(strict=True, ge=0)])
    FirstPages = value_or_list(Annotated[int, Field(strict=True, ge=1, le=PRELOAD_PAGES_MAX)])
    Sizes = value_or_list(
        Annotated[int, BeforeValidator(size), Field(ge=0, le=PRELOAD_BYTES_MAX), WithJsonSchema(size_schema(0))]
    )
    Times = value_or_list(Annotated[DurationNs, AfterValidator(_staging)])
    Flags = value_or_list(Flag)
    CacheModes = value_or_list(Annotated[str, *one_of("cache mode", get_args(CacheMode))])
    ReadAheadModes = value_or_list(Annotated[str, *one_of("way of reading ahead", get_args(ReadAheadMode))])


def _hide_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _of_profile() -> Any:
    """A setting that is left to the profile where the file does not say it."""
    return Field(default=(), json_schema_extra=_hide_default)


class Vfs(Model):
    """What the VFS of an instance does. Each setting is a value, or a list of which every run draws one."""

    profile: Profiles = Field(default=("default",), json_schema_extra={"default": "default"})
    """The named settings that the others replace: default (all optimisations on), merge or released."""
    page_cache_pages: Pages = _of_profile()
    """Pages that the VFS of an instance keeps; 0: none."""
    cache_mode: CacheModes = _of_profile()
    """Which pages may be kept: those that SQLite asked for (target), those loaded at open (startup), those read ahead
    (prefetch), all, or off: none. Committed pages always may."""
    retain_targets: Flags = _of_profile()
    """What SQLite asked for is kept; if not, SQLite's own cache is relied on for it."""
    protected_pages: Pages = _of_profile()
    """Pages up to this number never leave the cache."""
    stage_pages: Flags = _of_profile()
    """A page that was read ahead or loaded at open waits to be asked for before it counts as cached."""
    staging: Times = _of_profile()
    """For how long it waits, at most 300s; 0s forgets it at once."""
    read_ahead: ReadAheadModes = _of_profile()
    """adaptive recognises scans, bounded predicts up to 64 pages, legacy up to 16, none predicts nothing."""
    train_on_hits: Flags = _of_profile()
    """The predictor learns from pages that were in the cache too; what recognises scans always does."""
    page_classes: Flags = _of_profile()
    """B-tree pages and overflow pages are predicted each by themselves."""
    skip_cached: Flags = _of_profile()
    """A predicted page that is in the cache is not fetched again."""
    backward_scan: Flags = _of_profile()
    """A descending scan is recognised, and read ahead downwards."""
    range_reads: Flags = _of_profile()
    """A scan asks for a range of pages, and not for a list."""
    overflow_expansion: Flags = _of_profile()
    """The depot sends overflow pages along with the pages that they belong to."""
    single_flight: Flags = _of_profile()
    """A page that is being fetched is not fetched a second time."""
    preload_first_pages: FirstPages = _of_profile()
    """Pages from 1 on that are loaded at open."""
    preload_bytes_max: Sizes = _of_profile()
    """Bytes that are loaded at open altogether, but for page 1."""
    preload_hints: Flags = _of_profile()
    """Pages that earlier instances found worth it are loaded at open."""
    hint_hot_pages: Flags = _of_profile()
    """The pages asked for most are worth it."""
    hint_early_pages: Flags = _of_profile()
    """The pages asked for first after opening are worth it."""
    hint_scan_ranges: Flags = _of_profile()
    """Runs of pages that were read in order are worth it."""
    hint_flush: Flags = _of_profile()
    """The pages worth loading are told to the depot, now and then and at the end."""
    batch_atomic: Flags = _of_profile()
    """Commits use SQLite's batch-atomic writes where SQLite was built with them."""
    probe_at_open: Flags = _of_profile()
    """The writer's first connection commits a small transaction, to see how commits are made."""


def vfs_settings(vfs: Vfs, observe_pages: bool, pick: Callable[[tuple[_T, ...]], _T]) -> VfsSettings:
    """The settings of one run; `pick` chooses one of a tuple of values, in the order of the keys above."""
    pick_any: Callable[[Any], Any] = pick
    name = pick_any(vfs.profile)
    overrides: dict[str, Any] = {"observe_pages": observe_pages}
    for setting in SETTING_NAMES:
        values = getattr(vfs, file_name(setting), ())
        if values:
            overrides[setting] = pick_any(values)
    return profile(name, overrides)
