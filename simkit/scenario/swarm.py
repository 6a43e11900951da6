"""Swarms: each run switches parts of its scenario on and off, so that rare combinations come up.

A run in which every operation may occur hides what needs one of them to be absent: a pool that is written to all the
time never gets old readers. The choice comes from the stream `swarm` alone and removes what was drawn elsewhere; what
it keeps is the same as without it (DET-1). Clients that are alike keep the same entries of their mix.

After Groce et al., "Swarm Testing" (ISSTA 2012): leave out each feature with probability one half.
"""

from __future__ import annotations

from dataclasses import dataclass

from simkit.kernel.decisions import stream_random
from simkit.scenario.model import Scenario
from simkit.scenario.model_faults import EVERY_IO

KEEP = 0.5

Kept = tuple[bool, ...] | None
"""Which entries of a list stay in this run; None: all."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """What stays in one run, in the order of the file. A client without a mix has no entries.

    A fault matrix stays or goes as a whole: the run has its one fault, or none.
    """

    mixes: tuple[tuple[bool, ...], ...]
    crashes: tuple[bool, ...]
    takeovers: tuple[bool, ...]
    faults: tuple[bool, ...]
    network: tuple[bool, ...] = ()


class SwarmGenerator:
    """Draws what stays. Crashes at every I/O are not part of it: the search runs each of them once."""

    def __init__(self, scenario: Scenario) -> None:
        self._mixes = tuple(len(client.mix or ()) for client in scenario.clients)
        self._crashes = sum(1 for crash in scenario.crash if crash.at != EVERY_IO)
        self._takeovers = len(scenario.takeover)
        self._faults = len(scenario.faults)
        self._network = len(scenario.network)

    def draw(self, seed: int) -> Swarm:
        """What stays in the run of `seed`. Of a mix that lost every entry, one stays all the same."""
        uniform = stream_random(seed, "swarm").random

        def coins(count: int) -> tuple[bool, ...]:
            return tuple([uniform() < KEEP for _ in range(count)])

        mixes: list[tuple[bool, ...]] = []
        for count in self._mixes:
            # The spared entry is drawn in any case: whether it is needed moves nothing that follows.
            kept, spared = coins(count), int(uniform() * count)
            mixes.append(kept if any(kept) else tuple([index == spared for index in range(count)]))
        return Swarm(
            tuple(mixes), coins(self._crashes), coins(self._takeovers), coins(self._faults), coins(self._network)
        )
