"""Settings of a configuration, changed by name: `read_ahead=bounded`, `max_readers=0`, `sqlite_cache_kib=8192`.

A name belongs to the VFS, to the pool, or to the benchmark itself, and no name to two of them, so a change says
nothing but the name. The value is read as what the setting is: a switch, a number, a span of simulated time or a word.
What the settings mean, and whether a value is one they can have, is theirs to say (`VfsSettings`, `PoolSettings`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from simkit.bench.cold.run import Configuration
from simkit.kernel.units import parse_duration
from simkit.pool.settings import SETTING_NAMES as POOL_NAMES
from simkit.pool.settings import PoolSettings
from simkit.vfs.settings import SETTING_NAMES as VFS_NAMES
from simkit.vfs.settings import VfsSettings

OWN_NAMES: Final = ("sqlite_cache_kib",)
SETTINGS: Final = (*VFS_NAMES, *POOL_NAMES, *OWN_NAMES)
"""Every name that can be changed."""

_SWITCH: Final = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


class BadOverride(ValueError):
    """A change names no setting, or gives it a value that it cannot have."""


def parse_override(text: str) -> tuple[str, Any]:
    """The name and the value in `name=value`. Raises `BadOverride`."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not value:
        raise BadOverride(f"{text!r} changes nothing: write a name and a value, such as read_ahead=bounded")
    default = _default(name)
    if isinstance(default, bool):
        if value.lower() not in _SWITCH:
            raise BadOverride(f"{name} is a switch, true or false, not {value!r}")
        return name, _SWITCH[value.lower()]
    if isinstance(default, int):
        return name, _number(name, value)
    return name, value


def changed(configuration: Configuration, overrides: Mapping[str, Any]) -> Configuration:
    """The configuration with some settings changed. Raises `BadOverride`."""
    for name in overrides:
        _default(name)
    try:
        return replace(
            configuration,
            vfs=replace(configuration.vfs, **_those_of(VFS_NAMES, overrides)),
            pool=replace(configuration.pool, **_those_of(POOL_NAMES, overrides)),
            **_those_of(OWN_NAMES, overrides),
        )
    except ValueError as error:
        raise BadOverride(str(error)) from None


def setting_of(configuration: Configuration, name: str) -> Any:
    """What a configuration has for a name of `SETTINGS`."""
    for owner, names in ((configuration.vfs, VFS_NAMES), (configuration.pool, POOL_NAMES), (configuration, OWN_NAMES)):
        if name in names:
            return getattr(owner, name)
    raise AssertionError(f"{name} is no setting")


def _those_of(names: tuple[str, ...], overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name in names}


def _default(name: str) -> Any:
    """The default, for its type. Raises `BadOverride` for a name that nobody has."""
    if name in VFS_NAMES:
        return getattr(VfsSettings, name)
    if name in POOL_NAMES:
        return getattr(PoolSettings, name)
    if name in OWN_NAMES:
        return 0
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
    raise BadOverride(f"there is no setting {name!r}; {hint}")


def _number(name: str, value: str) -> int:
    try:
        if name.endswith("_ns"):
            return parse_duration(value)
        return int(value)
    except ValueError as error:
        reason = str(error) if name.endswith("_ns") else "it is a whole number"
        raise BadOverride(f"{name}={value}: {reason}") from None
