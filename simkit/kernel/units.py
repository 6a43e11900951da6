"""Durations: integer nanoseconds inside, text with a unit outside.

Simulated time is an `int` of nanoseconds everywhere (so that sums are exact and replays agree); people write
`2.5ms`. A bare number is refused: `5` has meant milliseconds to some readers and seconds to others. Upholds
DET-1 by parsing decimals exactly, never through binary floating point. Knows nothing of clocks.
"""

from __future__ import annotations

import re
from decimal import Decimal

from simkit.kernel.errors import MisuseError

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

UNITS_NS = {"ns": NANOSECOND, "us": MICROSECOND, "µs": MICROSECOND, "ms": MILLISECOND, "s": SECOND, "min": 60 * SECOND}

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?) ?(ns|us|µs|ms|s|min)$"

_DURATION = re.compile(DURATION_PATTERN, re.ASCII)
_UNIT_ADVICE = "units are ns, us, ms, s, min"

# Far beyond any run (about 292 years), and still a signed 64-bit integer for every consumer of a saved plan.
DURATION_NS_MAX = 2**63 - 1


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as `20ms`, `2.5 s` or `0ns`.

    Raises `ValueError` when the unit is missing or unknown, or when the value is not a whole number of nanoseconds.
    """
    match = _DURATION.match(text.strip())
    if match is None:
        advice = (
            f"write {text.strip()}ms" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()) else "write for example 5ms"
        )
        raise ValueError(f"{text!r} is not a duration: {advice} ({_UNIT_ADVICE})")
    nanoseconds = Decimal(match[1]) * UNITS_NS[match[3]]
    if nanoseconds != nanoseconds.to_integral_value():
        raise ValueError(f"{text!r} is finer than a nanosecond, the smallest step of simulated time")
    if nanoseconds > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than simulated time can be ({DURATION_NS_MAX} ns)")
    return int(nanoseconds)


def format_duration(duration_ns: int) -> str:
    """The shortest exact text of a duration; `parse_duration` gives the same nanoseconds back."""
    if duration_ns < 0:
        return f"-{format_duration(-duration_ns)}"
    for unit in ("s", "ms", "us"):
        size_ns = UNITS_NS[unit]
        if duration_ns >= size_ns:
            scaled = (Decimal(duration_ns) / size_ns).normalize()
            return f"{scaled:f}{unit}"
    return f"{duration_ns}ns"


def require_duration(doing: str, duration_ns: object) -> None:
    """Raises `MisuseError` unless it is a whole, non-negative number of nanoseconds."""
    if type(duration_ns) is not int:
        raise MisuseError(f"{doing}({duration_ns!r}): a duration is a whole number of nanoseconds, an int")
    if duration_ns < 0:
        raise MisuseError(f"{doing}({duration_ns}): a duration cannot be negative")
