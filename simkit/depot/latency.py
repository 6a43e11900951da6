"""What a depot request costs in simulated time, and the profiles that have a name.

One request is one transaction of the store under the depot: T = rtt + server + pages * per_page, where rtt and
server are drawn and the cost of a page is fixed. A profile gives these numbers for each kind of request, with
the source they were taken from, so that a report can say what its times stand for. The named ones are YAML files in
`profiles/`, in the format of profile_file.py, so that they look like what users write; each is read when it is first
asked for, because reading YAML takes milliseconds and most processes need one or two.

Upholds DET-1 (profiles are plain data). Draws nothing itself, and models no queue: how many requests are served at
once is the depot's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from simkit.depot.distribution import Distribution

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


class _Profiles(Mapping[str, LatencyProfile]):
    """The profiles that come with simkit, one YAML file each, read when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = {file.stem: file for file in sorted(folder.glob("*.yaml"), key=lambda file: file.stem)}
        self._read: dict[str, LatencyProfile] = {}

    def __getitem__(self, name: str) -> LatencyProfile:
        profile = self._read.get(name)
        if profile is None:
            from simkit.depot.profile_file import parse_profile

            file = self._files[name]
            profile = self._read[name] = parse_profile(file.read_text(encoding="utf-8"), file.name)
            assert profile.name == name, f"the profile in {file.name} calls itself {profile.name!r}"
        return profile

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


LATENCY_PROFILES: Mapping[str, LatencyProfile] = _Profiles(Path(__file__).with_name("profiles"))

DEFAULT_LATENCY_PROFILE = "local-debug"
