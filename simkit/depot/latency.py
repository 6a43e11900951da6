"""What a depot request costs in simulated time, and the profiles that have a name.

One request is one transaction of the store under the depot: T = rtt + server + pages * per_page, where rtt and
server are drawn and the cost of a page is fixed. A profile gives these numbers for each kind of request, with
the source they were taken from, so that a report can say what its times stand for. Upholds DET-1 (profiles are
plain data). Draws nothing itself, and models no queue: how many requests are served at once is the depot's
matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from simkit.depot.distribution import Distribution, constant, lognormal, lognormal_p90, mixture, uniform
from simkit.kernel.units import MICROSECOND, MILLISECOND

REQUEST_KINDS = ("get_pages", "commit", "open")


class RequestLatency(msgspec.Struct, frozen=True, gc=False):
    """The cost of one kind of request: network round trip, fixed server work, and nanoseconds per page carried."""

    rtt: Distribution
    server: Distribution
    per_page_ns: int = 0

    def __post_init__(self) -> None:
        if self.per_page_ns < 0:
            raise ValueError(f"the cost of a page cannot be negative: {self.per_page_ns} ns")


class LatencyProfile(msgspec.Struct, frozen=True, gc=False):
    """A named set of request costs; `source` says where the numbers come from and which of them are assumed."""

    name: str
    source: str
    get_pages: RequestLatency
    commit: RequestLatency
    open: RequestLatency

    def of(self, kind: str) -> RequestLatency:
        """The cost of `kind`, one of `REQUEST_KINDS`."""
        match kind:
            case "get_pages":
                return self.get_pages
            case "commit":
                return self.commit
            case "open":
                return self.open
        raise ValueError(f"no request kind {kind!r}: there are {', '.join(REQUEST_KINDS)}")


def _ms(value: float) -> int:
    return round(value * MILLISECOND)


_ZERO = constant(0)


def _instant() -> LatencyProfile:
    free = RequestLatency(_ZERO, _ZERO, 0)
    source = "No cost at all. For searches over the order of events, where time would only narrow the choice."
    return LatencyProfile("instant", source, free, free, free)


def _local_debug() -> LatencyProfile:
    return LatencyProfile(
        name="local-debug",
        source=(
            "Debug engine on a local RocksDB, no network. get_pages: least-squares fit of the published runs, "
            "3.36 ms a call and 0.246 ms a page (R2 0.97); the spread (p99 twice the median) is assumed. "
            "commit: 18.5 to 19 ms for 16 pages and 379 ms for 1,020 pages, hence 0.359 ms a page. open: 44 to "
            "52 ms measured inside the server."
        ),
        get_pages=RequestLatency(_ZERO, lognormal(_ms(3.36), _ms(6.72)), 246 * MICROSECOND),
        commit=RequestLatency(_ZERO, uniform(_ms(12.76), _ms(13.26)), 359 * MICROSECOND),
        open=RequestLatency(_ZERO, uniform(_ms(44), _ms(52)), 0),
    )


def _loopback() -> LatencyProfile:
    rtt = lognormal_p90(_ms(0.96), _ms(2.33))
    # One lognormal through the measured p50 and p90 would have a tail of seconds; the measured p99 is 40 ms.
    quick, slow = lognormal(_ms(0.35), _ms(2)), lognormal(_ms(11), _ms(60))
    return LatencyProfile(
        name="loopback",
        source=(
            "Released engine 2.3.19 over loopback on two contended cores. get_pages of one page: p50 1.13 ms, "
            "p90 2.5 ms, of which 0.17 ms is engine work; 64 pages 2.5 ms. commit up to two pages: p50 1.6 ms, "
            "p90 11 ms; 146 to 320 pages 6.4 ms. open: requests of 65 to 128 pages, p50 10 ms, p90 34 ms. "
            "Shapes and the split between round trip and server are assumed."
        ),
        get_pages=RequestLatency(rtt, constant(_ms(0.17)), 22 * MICROSECOND),
        commit=RequestLatency(rtt, mixture([(0.85, quick), (0.15, slow)]), 21 * MICROSECOND),
        open=RequestLatency(rtt, lognormal_p90(_ms(9), _ms(31)), 0),
    )


def _network_20ms() -> LatencyProfile:
    rtt = uniform(_ms(20), _ms(25))
    server = uniform(_ms(2), _ms(3.5))
    return LatencyProfile(
        name="network-20ms",
        source=(
            "Round trip that the depot was designed for: 20 ms and up to 5 ms of jitter. Server work 2 to 3.5 "
            "ms a call; 0.02 ms a page is assumed for a release build. open: 44 to 52 ms measured inside the "
            "server."
        ),
        get_pages=RequestLatency(rtt, server, 20 * MICROSECOND),
        commit=RequestLatency(rtt, server, 20 * MICROSECOND),
        open=RequestLatency(rtt, uniform(_ms(44), _ms(52)), 0),
    )


def _object_store_tail() -> LatencyProfile:
    point_read = lognormal(_ms(1), _ms(5))
    object_read = lognormal(_ms(77), _ms(316))
    rtt = constant(_ms(2.9))
    server = uniform(_ms(2), _ms(3.5))
    return LatencyProfile(
        name="object-store-tail",
        source=(
            "One read in twenty falls through to an object store. Object GET p50 30 to 200 ms, p99 200 to 500 "
            "ms (geometric middles 77 and 316 ms); otherwise a FoundationDB point read, p50 1 ms, p99 5 ms. All "
            "assumed in reviews, as is the share of one in twenty (of opens: one in two). Round trip 2.9 ms, "
            "the median of local development."
        ),
        get_pages=RequestLatency(rtt, mixture([(0.95, point_read), (0.05, object_read)]), 20 * MICROSECOND),
        commit=RequestLatency(rtt, server, 20 * MICROSECOND),
        open=RequestLatency(rtt, mixture([(0.5, point_read), (0.5, object_read)]), 0),
    )


_PROFILES = (_instant(), _local_debug(), _loopback(), _network_20ms(), _object_store_tail())

LATENCY_PROFILES: Mapping[str, LatencyProfile] = MappingProxyType({profile.name: profile for profile in _PROFILES})

DEFAULT_LATENCY_PROFILE = "local-debug"
