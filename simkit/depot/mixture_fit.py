"""Two lognormal parts fitted to durations: most requests are quick, some wait for something.

Expectation maximisation over the logarithms, from a fixed start and for a fixed number of rounds, so that the same
durations give the same parts. The start sets the slowest fifth apart. It finds a near maximum of the likelihood, not
always the highest; whoever uses the result measures how far it is from the durations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

ROUNDS = 150
POINTS_MAX = 512
WEIGHT_MIN = 0.005
POINTS_MIN = 8

_Z99 = NormalDist().inv_cdf(0.99)
_SHORTEST_NS = 1_000
_SIGMA_MIN = 0.02


class LognormalPart(msgspec.Struct, frozen=True):
    """A part of a mixture: its share of the draws, its median and 99th percentile in nanoseconds."""

    weight: float
    p50_ns: int
    p99_ns: int


def fit_two_lognormals(durations_ns: Sequence[int]) -> tuple[LognormalPart, LognormalPart] | None:
    """The two parts of ascending durations, the heavier first; None when there are not two, or too few durations."""
    stride = -(-len(durations_ns) // POINTS_MAX)
    logs = [math.log(max(duration_ns, _SHORTEST_NS)) for duration_ns in durations_ns[stride // 2 :: stride]]
    if len(logs) < POINTS_MIN or logs[0] == logs[-1]:
        return None
    cut = len(logs) * 4 // 5
    shares = [0.0] * cut + [1.0] * (len(logs) - cut)
    (slow_weight, slow_mean, slow_sigma), (quick_weight, quick_mean, quick_sigma) = _both(logs, shares)
    for _ in range(ROUNDS):
        if min(slow_weight, quick_weight) < WEIGHT_MIN:
            return None
        slow_scale, quick_scale = slow_weight / slow_sigma, quick_weight / quick_sigma
        for index, log in enumerate(logs):
            slow = ((log - slow_mean) / slow_sigma) ** 2 / 2
            quick = ((log - quick_mean) / quick_sigma) ** 2 / 2
            # Both exponents less their smaller one: far from both means each would vanish.
            least = min(slow, quick)
            slow_density = slow_scale * math.exp(least - slow)
            shares[index] = slow_density / (slow_density + quick_scale * math.exp(least - quick))
        (slow_weight, slow_mean, slow_sigma), (quick_weight, quick_mean, quick_sigma) = _both(logs, shares)
    slow_share = min(max(round(slow_weight, 3), WEIGHT_MIN), 1 - WEIGHT_MIN)
    slow_part = _part(slow_share, slow_mean, slow_sigma)
    quick_part = _part(round(1 - slow_share, 3), quick_mean, quick_sigma)
    return (quick_part, slow_part) if quick_part.weight >= slow_part.weight else (slow_part, quick_part)


_Moments = tuple[float, float, float]


def _both(logs: Sequence[float], shares: Sequence[float]) -> tuple[_Moments, _Moments]:
    return _moments(logs, shares), _moments(logs, [1.0 - share for share in shares])


def _moments(logs: Sequence[float], shares: Sequence[float]) -> _Moments:
    """Weight, mean and standard deviation of the part that has these shares of the points."""
    total = math.fsum(shares)
    if total <= 0.0:
        return 0.0, logs[0], _SIGMA_MIN
    mean = math.fsum(share * log for log, share in zip(logs, shares, strict=True)) / total
    variance = math.fsum(share * (log - mean) ** 2 for log, share in zip(logs, shares, strict=True)) / total
    return total / len(logs), mean, max(math.sqrt(variance), _SIGMA_MIN)


def _part(weight: float, mean: float, sigma: float) -> LognormalPart:
    return LognormalPart(weight, round(math.exp(mean)), round(math.exp(mean + _Z99 * sigma)))
