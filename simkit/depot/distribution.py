"""Distributions of durations as tables of quantiles.

A `Distribution` is at most 1,024 equally likely durations in ascending order. To draw is to choose an index,
one decision: the log of a run then holds small integers, index 0 is the fastest reply (which is what shrinking
moves towards), and a replay does not depend on anybody's logarithm.

Upholds DET-1: the builders use only Python's own arithmetic, and every entry is rounded half-to-even to a whole
nanosecond. A C library whose `exp` differs in the last bit moves a value by less than 1e-6 ns, so tables agree
between platforms except for an entry that lies that close to half a nanosecond; a saved run stores the table
itself and is exact everywhere.

A table cannot show a tail rarer than one in 1,024. Model such an event as a fault, which can be asked for on
purpose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import msgspec

from simkit.kernel.units import format_duration

QUANTILES_MAX = 1024

_Z99 = NormalDist().inv_cdf(0.99)
_Z90 = NormalDist().inv_cdf(0.90)


class Distribution(msgspec.Struct, frozen=True, gc=False):
    """Equally likely durations in nanoseconds, ascending; a constant has one entry."""

    quantiles: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(self.quantiles)
        if not 1 <= count <= QUANTILES_MAX:
            raise ValueError(f"a distribution has 1 to {QUANTILES_MAX} quantiles, not {count}")
        if self.quantiles[0] < 0:
            raise ValueError(f"a duration cannot be negative: {self.quantiles[0]} ns")
        if any(left > right for left, right in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise ValueError("quantiles must ascend: sort the table before building a Distribution")

    def __repr__(self) -> str:
        first, last = format_duration(self.quantiles[0]), format_duration(self.quantiles[-1])
        return f"Distribution({first}..{last}, {len(self.quantiles)} quantiles)"

    def draw(self, choose: Callable[[int], int]) -> int:
        """One duration in nanoseconds; `choose(n)` gives the index in [0, n). A constant asks for no choice."""
        quantiles = self.quantiles
        count = len(quantiles)
        return quantiles[0] if count == 1 else quantiles[choose(count)]

    def quantile(self, fraction: float) -> int:
        """The entry in nanoseconds below which about `fraction` of the draws fall; `fraction` is in [0, 1]."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"a quantile is asked for by a fraction in [0, 1], not {fraction}")
        return self.quantiles[min(len(self.quantiles) - 1, int(fraction * len(self.quantiles)))]


def constant(duration_ns: int) -> Distribution:
    """Always `duration_ns`."""
    return Distribution((duration_ns,))


def uniform(low_ns: int, high_ns: int) -> Distribution:
    """Equally spaced durations from `low_ns` to `high_ns`, both included."""
    if low_ns > high_ns:
        raise ValueError(f"the range is empty: {format_duration(low_ns)} is more than {format_duration(high_ns)}")
    width_ns = high_ns - low_ns
    count = min(QUANTILES_MAX, width_ns + 1)
    if count == 1:
        return constant(low_ns)
    return Distribution(tuple(low_ns + index * width_ns // (count - 1) for index in range(count)))


def lognormal(p50_ns: int, p99_ns: int) -> Distribution:
    """The lognormal distribution with this median and 99th percentile, at the middles of 1,024 equal slices."""
    if p50_ns <= 0:
        raise ValueError(f"p50 must be above zero, not {p50_ns} ns: a lognormal duration is never zero")
    if p99_ns < p50_ns:
        raise ValueError(f"p99 ({format_duration(p99_ns)}) is below p50 ({format_duration(p50_ns)})")
    if p99_ns == p50_ns:
        return constant(p50_ns)
    middle = math.log(p50_ns)
    sigma = (math.log(p99_ns) - middle) / _Z99
    inverse = NormalDist().inv_cdf
    fractions = ((index + 0.5) / QUANTILES_MAX for index in range(QUANTILES_MAX))
    return Distribution(tuple(round(math.exp(middle + sigma * inverse(fraction))) for fraction in fractions))


def lognormal_p90(p50_ns: int, p90_ns: int) -> Distribution:
    """The lognormal distribution with this median and 90th percentile, for sources that publish no p99."""
    if not 0 < p50_ns <= p90_ns:
        raise ValueError(f"need 0 < p50 <= p90, not {p50_ns} ns and {p90_ns} ns")
    return lognormal(p50_ns, round(p50_ns * (p90_ns / p50_ns) ** (_Z99 / _Z90)))


def mixture(parts: Sequence[tuple[float, Distribution]]) -> Distribution:
    """Draws from part k with probability weight_k / sum of the weights."""
    if not parts:
        raise ValueError("a mixture needs at least one part")
    if any(not (weight > 0 and math.isfinite(weight)) for weight, _ in parts):
        raise ValueError("every weight of a mixture must be above zero and finite")
    if len(parts) == 1:
        return parts[0][1]
    total = math.fsum(weight for weight, _ in parts)
    masses = sorted(
        (value_ns, weight / total / len(part.quantiles)) for weight, part in parts for value_ns in part.quantiles
    )
    table: list[int] = []
    reached = 0.0
    for value_ns, mass in masses:
        reached += mass
        while len(table) < QUANTILES_MAX and (len(table) + 0.5) / QUANTILES_MAX <= reached:
            table.append(value_ns)
    table.extend([masses[-1][0]] * (QUANTILES_MAX - len(table)))  # the masses may sum to a hair below one
    return Distribution(tuple(table))


def empirical(samples_ns: Sequence[int]) -> Distribution:
    """The measured durations themselves, thinned evenly to 1,024 when there are more."""
    if not samples_ns:
        raise ValueError("an empirical distribution needs at least one sample")
    ordered = sorted(samples_ns)
    count = len(ordered)
    if count > QUANTILES_MAX:
        ordered = [ordered[(2 * index + 1) * count // (2 * QUANTILES_MAX)] for index in range(QUANTILES_MAX)]
    return Distribution(tuple(ordered))


def interpolated(points: Sequence[tuple[float, int]]) -> Distribution:
    """The distribution whose quantile at each fraction is given, in nanoseconds, and linear between them.

    `points` are (fraction, duration) pairs, ascending in both; the fractions begin with 0 and end with 1.
    """
    fractions = [fraction for fraction, _ in points]
    if len(points) < 2 or fractions[0] != 0.0 or fractions[-1] != 1.0:
        raise ValueError("quantiles begin with the fraction 0 and end with 1: give the shortest and longest duration")
    for (left, left_ns), (right, right_ns) in itertools.pairwise(points):
        if not left < right or left_ns > right_ns:
            raise ValueError(f"quantiles must ascend, and those at {left} and {right} do not")
    table: list[int] = []
    segment = 0
    for index in range(QUANTILES_MAX):
        fraction = (index + 0.5) / QUANTILES_MAX
        while fractions[segment + 1] < fraction:
            segment += 1
        (left, left_ns), (right, right_ns) = points[segment], points[segment + 1]
        table.append(left_ns + round((right_ns - left_ns) * (fraction - left) / (right - left)))
    return Distribution(tuple(table))
