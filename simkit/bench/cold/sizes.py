"""How large the database of a workload is: six classes, each with its bytes in two profiles.

The standard profile has the sizes that the published benchmark was designed for; smoke has small ones that keep
what a class is about (several transactions, trees of more than two levels) and take seconds. `CACHE_OVERFLOW` lies just
above 50,000 pages of 4 KiB, the capacity of the page cache, in the standard profile only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

ROW_BYTES: Final = 2_048
"""Bytes of the padded column of one row, where a seed does not say otherwise."""

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20


class SizeClass(StrEnum):
    """How much a seed writes, by what it is meant to show."""

    NONE = "none"
    SMALL = "small"
    MEDIUM = "medium"
    CACHE_FIT = "cache-fit"
    CACHE_OVERFLOW = "cache-overflow"
    LARGE = "large"


class Profile(StrEnum):
    """Which set of sizes a run uses."""

    SMOKE = "smoke"
    STANDARD = "standard"


_TARGET_BYTES: Final = {
    Profile.SMOKE: {
        SizeClass.NONE: 0,
        SizeClass.SMALL: 256 * _KIB,
        SizeClass.MEDIUM: 1 * _MIB,
        SizeClass.CACHE_FIT: 1 * _MIB,
        SizeClass.CACHE_OVERFLOW: 2 * _MIB,
        SizeClass.LARGE: 2 * _MIB,
    },
    Profile.STANDARD: {
        SizeClass.NONE: 0,
        SizeClass.SMALL: 4 * _MIB,
        SizeClass.MEDIUM: 64 * _MIB,
        SizeClass.CACHE_FIT: 128 * _MIB,
        SizeClass.CACHE_OVERFLOW: 201 * _MIB,
        SizeClass.LARGE: 256 * _MIB,
    },
}


def target_bytes(size: SizeClass, profile: Profile) -> int:
    """The bytes of padded columns that a seed of this class writes."""
    return _TARGET_BYTES[profile][size]
