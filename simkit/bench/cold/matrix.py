"""The optimisation matrix: fifteen ways to switch parts of the VFS and the pool off, as in the published benchmark.

Each scenario changes settings of a configuration. The real system has switches for things that this model has not, and
switches that it reads and ignores; a scenario that uses one of them says so, and so does one whose change is what the
configuration has anyway. A row that cannot differ from another for such a reason must not look like a finding.

Two words differ from what they seem to say, because the real system differs: read-ahead "off" still predicts up to 16
pages (`legacy` here; `none` is truly off), and recent-page hints "off" also ends that cache hits train the predictor.

Here every setting works. The merged code acts on the switches of read-ahead, recent-page hints and the pool alone, and
its measured binary cannot open a database without a cache; `in_the_merge` is a scenario as that code takes it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from simkit.bench.cold.overrides import changed, setting_of
from simkit.bench.cold.run import Configuration
from simkit.pool.settings import SETTING_NAMES as POOL_NAMES

MatrixName = Literal["none", "impact", "full-impact"]
DEFAULTS: Final = "defaults"

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_PRELOAD_OFF: Final = {
    "train_on_hits": False,
    "preload_hints": False,
    "hint_hot_pages": False,
    "hint_early_pages": False,
    "hint_scan_ranges": False,
    "hint_flush": False,
    "preload_first_pages": 1,
    "preload_bytes_max": 4096,
}
_READ_AHEAD_OFF: Final = {"read_ahead": "legacy"}
_CACHE_OFF: Final = {"cache_mode": "off", "page_cache_pages": 0, "protected_pages": 0}
_RANGES_OFF: Final = {"range_reads": False}
_POOL_OFF: Final = {"read_pool_enabled": False, "max_readers": 0}

_ACTS_ON: Final = frozenset({"read_ahead", "train_on_hits", *POOL_NAMES})
"""The settings whose switches the merged code acts on."""

_STORAGE_CACHE: Final = ("batched chunk reads", "the cache of decoded blobs")
_VALIDATION: Final = ("the validation of pages that are read from a cache",)


@dataclass(frozen=True)
class MatrixScenario:
    """One column of the matrix.

    `settings` are what it changes, `not_modelled` what the real scenario switches besides, which nothing here
    corresponds to. `in_impact` says whether the short matrix has it.
    """

    name: str
    in_impact: bool
    settings: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    not_modelled: tuple[str, ...] = ()

    @property
    def without_cache(self) -> bool:
        """Whether it leaves the VFS no page cache at all."""
        return self.settings.get("page_cache_pages") == 0


class UnknownScenario(ValueError):
    """The matrix has no scenario of this name."""


SCENARIOS: Final = (
    MatrixScenario(DEFAULTS, True),
    MatrixScenario(
        "all-off",
        True,
        {**_PRELOAD_OFF, **_READ_AHEAD_OFF, **_CACHE_OFF, **_RANGES_OFF, **_POOL_OFF},
        (*_STORAGE_CACHE, *_VALIDATION),
    ),
    MatrixScenario("transport-batching-only", True, {**_PRELOAD_OFF, **_READ_AHEAD_OFF, **_CACHE_OFF, **_POOL_OFF}),
    MatrixScenario(
        "vfs-cache-only", True, {**_PRELOAD_OFF, **_READ_AHEAD_OFF, **_RANGES_OFF, **_POOL_OFF}, _STORAGE_CACHE
    ),
    MatrixScenario("read-ahead-no-cache", True, {**_PRELOAD_OFF, **_CACHE_OFF, **_POOL_OFF}),
    MatrixScenario("cache-read-ahead-no-preload", True, _PRELOAD_OFF),
    MatrixScenario("no-read-ahead", True, _READ_AHEAD_OFF),
    MatrixScenario("bounded-read-ahead", False, {"read_ahead": "bounded"}),
    MatrixScenario("no-vfs-cache", True, _CACHE_OFF),
    MatrixScenario("target-cache-only", False, {"cache_mode": "target"}),
    MatrixScenario("startup-cache-only", False, {"cache_mode": "startup"}),
    MatrixScenario("no-preload", True, _PRELOAD_OFF),
    MatrixScenario("no-range-reads", True, _RANGES_OFF),
    MatrixScenario("no-storage-read-cache", True, {}, _STORAGE_CACHE),
    MatrixScenario("no-read-pool", True, _POOL_OFF),
)
_BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


def scenario_named(name: str) -> MatrixScenario:
    """The scenario of that name. Raises `UnknownScenario`."""
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_BY_NAME)}"
        raise UnknownScenario(f"the matrix has no scenario {name!r}; {hint}")
    return _BY_NAME[name]


def scenarios_of(matrix: MatrixName) -> tuple[MatrixScenario, ...]:
    """The scenarios of a matrix in their order; "none" has the defaults alone."""
    match matrix:
        case "none":
            return (_BY_NAME[DEFAULTS],)
        case "impact":
            return tuple(scenario for scenario in SCENARIOS if scenario.in_impact)
        case "full-impact":
            return SCENARIOS


def applied(scenario: MatrixScenario, configuration: Configuration) -> Configuration:
    """The configuration as the scenario changes it, under the scenario's name."""
    return replace(changed(configuration, scenario.settings), name=scenario.name)


def in_the_merge(scenario: MatrixScenario) -> MatrixScenario:
    """What the merged code makes of the scenario: only the settings that it acts on.

    Without a cache nothing is left out: its binary opens no database then, and a run that has such figures is older.
    """
    if scenario.without_cache:
        return scenario
    return replace(scenario, settings={name: scenario.settings[name] for name in scenario.settings if name in _ACTS_ON})


def real_effect(scenario: MatrixScenario, configuration: Configuration) -> tuple[str, ...]:
    """Where the real system does not do what the scenario does here; one sentence each. Known for the merge alone."""
    if configuration.preset != "merge":
        return ()
    if scenario.without_cache:
        return ("the measured binary fails at open without a cache, so there are no published figures to compare with",)
    ignored = ignored_by_the_merge(scenario, configuration)
    return (f"{', '.join(ignored)}: ignored by the merged code, and not here",) if ignored else ()


def ignored_by_the_merge(scenario: MatrixScenario, configuration: Configuration) -> tuple[str, ...]:
    """The settings that the scenario changes here, and would not in the merged code."""
    kept = in_the_merge(scenario).settings
    changes = (name for name, value in scenario.settings.items() if setting_of(configuration, name) != value)
    return tuple(name for name in changes if name not in kept)


def without_effect(scenario: MatrixScenario, configuration: Configuration) -> tuple[str, ...]:
    """What the scenario switches although nothing can come of it in this configuration; one sentence each."""
    notes = [f"{what}: not modelled, so switching it off has no effect here" for what in scenario.not_modelled]
    same, of_pool = [], []
    for name, value in scenario.settings.items():
        if setting_of(configuration, name) == value:
            same.append(name)
        elif name in POOL_NAMES and configuration.system in ("worker", "single"):
            of_pool.append(name)
    if of_pool:
        notes.append(f"{', '.join(of_pool)}: the system {configuration.system} has no readers, so no effect")
    if same:
        notes.append(f"{', '.join(same)}: as without this scenario, so no effect")
    if scenario.name != DEFAULTS and len(same) + len(of_pool) == len(scenario.settings):
        notes.append("nothing is left of this scenario: its figures are those of the defaults")
    return tuple(notes)
