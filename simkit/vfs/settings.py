"""What an instance's VFS can be told, and named sets of settings.

No setting is advisory: a test shows for each that it changes what happens. A name that is not one of these is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from simkit.kernel.units import SECOND

PAGE_CACHE_PAGES = 50_000
PROTECTED_PAGES = 512
STAGING_NS = 30 * SECOND
STAGING_MAX_NS = 300 * SECOND
PRELOAD_PAGES_MAX = 16_384
PRELOAD_BYTES_MAX = 64 * 1024 * 1024

ReadAheadMode = Literal["none", "legacy", "bounded", "adaptive"]
CacheMode = Literal["off", "target", "startup", "prefetch", "all"]

_MODES: dict[str, tuple[str, ...]] = {"read_ahead": get_args(ReadAheadMode), "cache_mode": get_args(CacheMode)}
_PAGES_MAX = {"preload_first_pages": PRELOAD_PAGES_MAX, "preload_bytes_max": PRELOAD_BYTES_MAX}


@dataclass(frozen=True)
class VfsSettings:
    """What one instance's VFS does. Every optimisation is on unless it is switched off.

    Attributes:
        page_cache_pages: the capacity of the page cache; 0 keeps nothing.
        cache_mode: which pages that were read may enter the cache: what SQLite asked for ("target"), what was loaded at
            open ("startup"), what was read ahead ("prefetch"), all of them, or none. Committed pages always may.
        retain_targets: what SQLite asked for enters the cache; if not, SQLite's own cache is relied on for it.
        protected_pages: pages up to this number never leave the cache, whatever its capacity (unless that is 0).
        stage_pages: a page that was read ahead or loaded at open, other than page 1, waits to be asked for before it
            counts as cached; if not, it is cached at once.
        staging_ns: for how long it waits, at most 300 s; 0 forgets it at once.
        read_ahead: "adaptive" recognises scans, "bounded" predicts up to 64 pages, "legacy" up to 16 (what the real
            system does when told to switch it off), "none" predicts nothing.
        train_on_hits: the predictor learns from pages found in the cache too; what recognises scans always does.
        page_classes: b-tree pages and overflow pages are predicted each by themselves.
        skip_cached: a predicted page that is in the cache is not fetched again.
        backward_scan: a descending scan is recognised, and read ahead downwards.
        range_reads: a scan asks for a range of pages, not for a list.
        overflow_expansion: the depot sends overflow pages along with the pages that they belong to.
        single_flight: a page that is being fetched is not fetched a second time.
        preload_first_pages: pages from 1 on that are loaded at open, at least 1.
        preload_bytes_max: bytes that are loaded at open altogether; page 1 is loaded whatever this says.
        preload_hints: pages that earlier instances found worth it are loaded at open.
        hint_hot_pages, hint_early_pages, hint_scan_ranges: what counts as worth it: pages asked for most, those asked
            for first after opening, and runs of pages read in order.
        hint_flush: the pages worth loading are told to the depot, now and then and at the end.
        batch_atomic: commits use SQLite's batch-atomic writes where SQLite was built with them.
        probe_at_open: the writer's first connection commits a small transaction, to see how commits are made.
        observe_pages: tell the history which pages SQLite was given and which were committed, by their hashes. Costs
            time, and changes nothing that SQLite or a client could notice.
    """

    page_cache_pages: int = PAGE_CACHE_PAGES
    cache_mode: CacheMode = "all"
    retain_targets: bool = True
    protected_pages: int = PROTECTED_PAGES
    stage_pages: bool = True
    staging_ns: int = STAGING_NS
    read_ahead: ReadAheadMode = "adaptive"
    train_on_hits: bool = True
    page_classes: bool = True
    skip_cached: bool = True
    backward_scan: bool = True
    range_reads: bool = True
    overflow_expansion: bool = True
    single_flight: bool = True
    preload_first_pages: int = 1
    preload_bytes_max: int = 1024 * 1024
    preload_hints: bool = True
    hint_hot_pages: bool = True
    hint_early_pages: bool = True
    hint_scan_ranges: bool = True
    hint_flush: bool = True
    batch_atomic: bool = True
    probe_at_open: bool = False
    observe_pages: bool = False

    def __post_init__(self) -> None:
        for name, known in _MODES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}")
        for name in ("page_cache_pages", "protected_pages", "preload_bytes_max"):
            if getattr(self, name) < 0:
                unit = "bytes" if name.endswith("bytes_max") else "pages"
                raise ValueError(f"{name} is {getattr(self, name)}; it is a number of {unit}, at least 0")
        if self.preload_first_pages < 1:
            raise ValueError(f"preload_first_pages is {self.preload_first_pages}; at least 1, page 1 is always loaded")
        for name, most in _PAGES_MAX.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; at most {most:,}")
        if not 0 <= self.staging_ns <= STAGING_MAX_NS:
            raise ValueError(f"staging_ns is {self.staging_ns}; it is simulated time, at most {STAGING_MAX_NS:,}")

    def keeps(self, source: Literal["target", "startup", "prefetch"]) -> bool:
        """Whether pages that came this way may enter the cache."""
        allowed = self.page_cache_pages > 0 and self.cache_mode in ("all", source)
        return allowed and (source != "target" or self.retain_targets)


SETTING_NAMES = tuple(field.name for field in fields(VfsSettings))

_NO_HINTS: dict[str, Any] = {
    "preload_hints": False,
    "hint_hot_pages": False,
    "hint_early_pages": False,
    "hint_scan_ranges": False,
    "hint_flush": False,
}

PROFILES: dict[str, VfsSettings] = {
    "default": VfsSettings(),
    # The design of the pull request, with the backward scan of the prototype that made the published figures.
    "merge": VfsSettings(
        protected_pages=0,
        stage_pages=False,
        page_classes=False,
        skip_cached=False,
        overflow_expansion=False,
        single_flight=False,
        probe_at_open=True,
        **_NO_HINTS,
    ),
    # The released engine 2.3.19 as it was measured.
    "released": VfsSettings(
        retain_targets=False,
        backward_scan=False,
        range_reads=False,
        single_flight=False,
        preload_first_pages=128,
        preload_bytes_max=2 * 1024 * 1024,
        **_NO_HINTS,
    ),
}
"""Named sets of settings: "default" (everything on), "merge" and "released" (two states of the real system)."""


class UnknownSetting(ValueError):
    """A profile or a setting by this name does not exist."""


def profile(name: str, overrides: Mapping[str, Any] | None = None) -> VfsSettings:
    """The settings of a profile, some of them replaced. Raises `UnknownSetting`, and `ValueError` for a bad value."""
    if name not in PROFILES:
        raise UnknownSetting(f"there is no VFS profile {name!r}; there are {', '.join(PROFILES)}")
    overrides = overrides or {}
    for setting in overrides:
        if setting not in SETTING_NAMES:
            near = difflib.get_close_matches(setting, SETTING_NAMES, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(SETTING_NAMES)}"
            raise UnknownSetting(f"the VFS has no setting {setting!r}{hint}")
    return replace(PROFILES[name], **overrides)
