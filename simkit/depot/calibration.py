"""From measured round trips to a latency profile, with how far the profile is from what was measured.

For each kind of request two things are fitted. First the cost of a page: the weighted median of the slopes between
the median durations of any two page counts, each slope weighted by how far apart the counts are and by how many
requests stand behind it. Least squares would follow the slowest requests, of which every network has some that have
nothing to do with pages; this estimate (Theil and Sen's, with the weights of rank regression) moves little when a
quarter of the requests is arbitrarily slow. Then what remains of each duration, as a lognormal by its p50 and p99, as
a mixture of two lognormals (expectation maximisation over the logarithms), and as a table of quantiles. The first of
these three within `KS_MAX` and `WASSERSTEIN_SHARE_MAX` is taken, because few numbers can be read and argued about;
when none is, the closest.

Distances compare whole durations, as measured and as the profile draws them for the same page counts. So they show
the error of a cost that is not linear in pages as well. All of it is arithmetic on the samples in their order of size:
the same file gives the same profile, byte for byte.

A measured duration cannot tell network from server. All of it counts as server work, except a round trip that the
caller knows (`rtt_ns`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import msgspec

from simkit.depot.distribution import (
    QUANTILES_MAX,
    Distribution,
    empirical,
    interpolated,
    lognormal,
    mixture,
)
from simkit.depot.latency import LatencyProfile
from simkit.depot.mixture_fit import fit_two_lognormals
from simkit.depot.profile_file import parse_profile
from simkit.depot.round_trips import Measured, RoundTrips
from simkit.kernel.units import MILLISECOND, format_duration

KS_MAX = 0.05
WASSERSTEIN_SHARE_MAX = 0.1
QUANTILES = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))

_TABLE_FRACTIONS = (
    *(0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85),
    *(0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0),
)
_PAGE_GROUPS_MAX = 200
_COMPARED_MAX = 200_000
_FEW_SAMPLES = 100

Masses = list[tuple[int, float]]
"""(nanoseconds, share of the requests), ascending; the shares sum to one."""


class CalibrationRefused(ValueError):
    """The samples contradict what the caller said about them."""


class Candidate(msgspec.Struct, frozen=True):
    """One shape of what remains without the pages: its name, its text in a profile, and how far it is off.

    Attributes:
        ks: Kolmogorov-Smirnov distance, the largest difference between the shares below any duration; 0 to 1.
        wasserstein_ms: first Wasserstein distance, the mean difference between equally ranked durations.
    """

    shape: str
    text: str
    ks: float
    wasserstein_ms: float


class QuantileRow(msgspec.Struct, frozen=True):
    """A quantile of whole durations, measured and as the profile draws it."""

    name: str
    measured_ms: float
    fitted_ms: float


class Fit(msgspec.Struct, frozen=True):
    """What was found for one kind of request."""

    kind: str
    samples: int
    pages_from: str
    per_page_ns: int
    chosen: Candidate
    why: str
    candidates: tuple[Candidate, ...]
    quantiles: tuple[QuantileRow, ...]
    notes: tuple[str, ...]


class Calibration(msgspec.Struct, frozen=True):
    """A profile as text and as what `parse_profile` makes of it, and the fits behind it."""

    text: str
    profile: LatencyProfile
    fits: tuple[Fit, ...]


def calibrate(trips: RoundTrips, *, name: str, file_name: str, base: str, rtt_ns: int = 0) -> Calibration:
    """Fit a profile called `name`. Kinds that were not measured are taken from the profile `base`.

    Raises `CalibrationRefused` when a request took less than `rtt_ns`.
    """
    fits = tuple(_fit(measured, rtt_ns) for measured in trips.measured)
    text = _profile_text(fits, name, file_name, base, rtt_ns)
    return Calibration(text, parse_profile(text, f"{name}.yaml"), fits)


def per_page_cost(durations_ns: Sequence[int], pages: Sequence[int]) -> int:
    """The cost of a page in nanoseconds, never negative; 0 when all requests carried as many pages."""
    groups = _groups(durations_ns, pages)
    slopes: Masses = []
    for index, (left, left_ns, left_count) in enumerate(groups):
        for right, right_ns, right_count in groups[index + 1 :]:
            weight = (right - left) * left_count * right_count
            slopes.append((round((right_ns - left_ns) / (right - left)), weight))
    if not slopes:
        return 0
    slopes.sort()
    half, reached = math.fsum(weight for _, weight in slopes) / 2, 0.0
    for slope, weight in slopes:
        reached += weight
        if reached >= half:
            return max(0, slope)
    return max(0, slopes[-1][0])


def distances(left: Masses, right: Masses) -> tuple[float, float]:
    """The Kolmogorov-Smirnov and the first Wasserstein distance (in nanoseconds) of two distributions."""
    steps = sorted([*left, *((value_ns, -share) for value_ns, share in right)])
    ks = wasserstein_ns = difference = 0.0
    for index, (value_ns, share) in enumerate(steps):
        difference += share
        next_ns = steps[index + 1][0] if index + 1 < len(steps) else value_ns
        if next_ns > value_ns:
            ks = max(ks, abs(difference))
            wasserstein_ns += abs(difference) * (next_ns - value_ns)
    return ks, wasserstein_ns


def _fit(measured: Measured, rtt_ns: int) -> Fit:
    durations_ns, count = measured.durations_ns, len(measured.durations_ns)
    if min(durations_ns) < rtt_ns:
        fastest, claimed = format_duration(min(durations_ns)), format_duration(rtt_ns)
        raise CalibrationRefused(f"a {measured.kind} took {fastest}, less than the round trip of {claimed}")
    pages = measured.pages or (0,) * count
    per_page_ns = _rounded(per_page_cost(durations_ns, pages))
    rests_ns = [
        duration_ns - rtt_ns - carried * per_page_ns for duration_ns, carried in zip(durations_ns, pages, strict=True)
    ]
    # What every request costs at least. Without it, a few requests that were quick for their many pages would put
    # requests into the profile that take no time at all.
    least_ns = max(0, min(durations_ns) - rtt_ns - per_page_ns * min(pages))
    below = sum(rest_ns < least_ns for rest_ns in rests_ns)
    rests_ns = sorted(max(least_ns, rest_ns) for rest_ns in rests_ns)
    notes = []
    if measured.pages is None:
        notes.append("some row does not say how many pages it carried: no cost per page")
    if below:
        notes.append(f"{below} of {count} requests were quicker than their pages allow; taken as the quickest ones")
    if count < _FEW_SAMPLES:
        notes.append(f"{count} samples say little about p99")
    observed = sorted((duration_ns, 1 / count) for duration_ns in durations_ns)
    page_shares = _page_shares(pages)
    tried: list[tuple[Candidate, Masses]] = []
    for shape, text, distribution in _shapes(rests_ns):
        drawn = _drawn(distribution, page_shares, per_page_ns, rtt_ns)
        ks, wasserstein_ns = distances(observed, drawn)
        tried.append((Candidate(shape, text, round(ks, 4), round(wasserstein_ns / MILLISECOND, 4)), drawn))
    at, why = _choose([candidate for candidate, _ in tried], count, sum(durations_ns) / count / MILLISECOND)
    chosen, drawn = tried[at]
    rows = tuple(
        QuantileRow(name, _quantile(observed, fraction) / MILLISECOND, _quantile(drawn, fraction) / MILLISECOND)
        for name, fraction in QUANTILES
    )
    candidates = tuple(candidate for candidate, _ in tried)
    return Fit(measured.kind, count, measured.pages_from, per_page_ns, chosen, why, candidates, rows, tuple(notes))


def _choose(candidates: Sequence[Candidate], samples: int, mean_ms: float) -> tuple[int, str]:
    """Which candidate to take, and why."""
    # Samples of one and the same distribution differ by this much in nineteen of twenty cases.
    ks_max = max(KS_MAX, 1.36 / math.sqrt(samples))
    wasserstein_max_ms = WASSERSTEIN_SHARE_MAX * mean_ms
    bounds = f"KS {ks_max:.3f} and Wasserstein {wasserstein_max_ms:.3f} ms"
    for at, candidate in enumerate(candidates):
        if candidate.ks <= ks_max and candidate.wasserstein_ms <= wasserstein_max_ms:
            return at, f"the simplest shape within {bounds}"
    closest = min(range(len(candidates)), key=lambda at: (candidates[at].wasserstein_ms, candidates[at].ks))
    return closest, f"the closest one; no shape is within {bounds}"


def _shapes(rests_ns: Sequence[int]) -> list[tuple[str, str, Distribution]]:
    """What remains without the pages (ascending) in three shapes, the simplest first: name, text, distribution."""
    shapes: list[tuple[str, str, Distribution]] = []
    p50_ns, p99_ns = _rounded(_at(rests_ns, 0.5)), _rounded(_at(rests_ns, 0.99))
    if p50_ns > 0:
        text = f"{{p50: {format_duration(p50_ns)}, p99: {format_duration(p99_ns)}}}"
        shapes.append(("lognormal", text, lognormal(p50_ns, p99_ns)))
    fitted = fit_two_lognormals(empirical(rests_ns).quantiles)
    if fitted is not None:
        parts = [(part.weight, _rounded(part.p50_ns), _rounded(part.p99_ns)) for part in fitted]
        lines = "".join(
            f"\n      - {{weight: {weight}, p50: {format_duration(p50)}, p99: {format_duration(p99)}}}"
            for weight, p50, p99 in parts
        )
        distribution = mixture([(weight, lognormal(p50, p99)) for weight, p50, p99 in parts])
        shapes.append(("mixture", f"\n    mixture:{lines}", distribution))
    points = [(fraction, _rounded(_at(rests_ns, fraction))) for fraction in _TABLE_FRACTIONS]
    lines = textwrap.fill(
        ", ".join(f"{fraction:g}: {format_duration(duration_ns)}" for fraction, duration_ns in points),
        width=110,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
    )
    shapes.append(("quantiles", f"\n    quantiles: {{\n{lines}\n    }}", interpolated(points)))
    return shapes


def _profile_text(fits: Sequence[Fit], name: str, file_name: str, base: str, rtt_ns: int) -> str:
    missing = [kind for kind in ("get_pages", "commit", "open") if kind not in {fit.kind for fit in fits}]
    counts = ", ".join(f"{fit.samples} {fit.kind}" for fit in fits)
    network = (
        f"a round trip of {format_duration(rtt_ns)} is assumed" if rtt_ns else "network and server were not told apart"
    )
    assumed = f" {', '.join(missing)}: not measured, as in {base}." if missing else ""
    printable = "".join(character if character.isprintable() else "?" for character in file_name)
    source = f"Fitted by simkit calibrate to {printable}: {counts}; {network}.{assumed}"
    lines = [f"name: {name}", "source: >-", textwrap.fill(source, 110, initial_indent="  ", subsequent_indent="  ")]
    if missing:
        lines.append(f"base: {base}")
    for fit in fits:
        space = "" if fit.chosen.text.startswith("\n") else " "
        lines += [
            f"{fit.kind}:",
            f"  rtt: {format_duration(rtt_ns)}",
            f"  server:{space}{fit.chosen.text}",
            f"  per_page: {format_duration(fit.per_page_ns)}",
        ]
    return "\n".join(lines) + "\n"


def _groups(durations_ns: Sequence[int], pages: Sequence[int]) -> list[tuple[float, float, int]]:
    """(pages, median duration, number of requests) by page count; neighbours together when the counts are many."""
    by_pages: dict[int, list[int]] = {}
    for carried, duration_ns in zip(pages, durations_ns, strict=True):
        by_pages.setdefault(carried, []).append(duration_ns)
    counts = sorted(by_pages)
    width = -(-len(counts) // _PAGE_GROUPS_MAX)
    groups: list[tuple[float, float, int]] = []
    for at in range(0, len(counts), width):
        near = counts[at : at + width]
        members_ns = sorted(duration_ns for carried in near for duration_ns in by_pages[carried])
        middle = sum(carried * len(by_pages[carried]) for carried in near) / len(members_ns)
        groups.append((middle, _at(members_ns, 0.5), len(members_ns)))
    return groups


def _page_shares(pages: Sequence[int]) -> list[tuple[int, float]]:
    counts: dict[int, int] = {}
    for carried in pages:
        counts[carried] = counts.get(carried, 0) + 1
    return [(carried, counts[carried] / len(pages)) for carried in sorted(counts)]


def _drawn(
    distribution: Distribution, page_shares: Sequence[tuple[int, float]], per_page_ns: int, rtt_ns: int
) -> Masses:
    """Whole durations as the profile gives them for requests with these shares of page counts."""
    stride = 1 + len(page_shares) * QUANTILES_MAX // _COMPARED_MAX
    table = distribution.quantiles
    kept = table if stride == 1 else (*table[stride // 2 :: stride], table[-1])
    return sorted(
        (rtt_ns + rest_ns + carried * per_page_ns, share / len(kept))
        for carried, share in page_shares
        for rest_ns in kept
    )


def _quantile(masses: Masses, fraction: float) -> int:
    reached = 0.0
    for value_ns, share in masses:
        reached += share
        if reached >= fraction - 1e-9 and fraction < 1.0:
            return value_ns
    return masses[-1][0]


def _at(ordered: Sequence[int], fraction: float) -> int:
    """The quantile of ascending samples, linear between neighbours."""
    place = fraction * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + round((ordered[above] - ordered[below]) * (place - below))


def _rounded(duration_ns: int) -> int:
    """Four significant digits: more would claim a precision that no measurement of a network has."""
    return int(round(duration_ns, 4 - len(str(duration_ns)))) if duration_ns >= 10_000 else duration_ns
