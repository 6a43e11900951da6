"""Decisions: the one source of choice in a run, drawn from named streams, recorded, and replayed strictly.

Upholds DET-1: the same decisions give the same history.

Every stream (`schedule`, `latency/get_pages`, `faults/...`) is its own `random.Random`, derived from the seed and its
name, so that one draw more in one stream moves no other. A decision is a small integer below the number of options
it had; distributions are tables and are drawn by index (`simkit.depot.distribution`). A choice among one is none, and
is not recorded.

The record, not the seed, is what replays: it does not depend on how Python draws or on what a strategy computes, so
a capsule outlives an update of either. `RecordedDecisions` hands out what was recorded and stops with
`ReplayDivergence` where the run asks for something else.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from simkit.kernel.errors import MisuseError, ReplayDivergence

if TYPE_CHECKING:
    from simkit.kernel.strategy import Option, Strategy

#: (stream, number of options, chosen option, what was chosen - "" where the stream already says it)
Decision = tuple[str, int, int, str]
Choose = Callable[[int], int]
Pick = Callable[[Sequence["Option"]], int]

SCHEDULE = "schedule"


def stream_random(seed: int, name: str) -> random.Random:
    """The generator of one stream. Draw only with `random()` and `getrandbits()`: those are stable across Pythons."""
    derived = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(derived, "big"))


class Decisions:
    """Draws the decisions of one run from a seed, and records them.

    `log` holds them in the order in which they were taken.
    """

    __slots__ = ("_choosers", "log", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.log: list[Decision] = []
        self._choosers: dict[str, Choose] = {}

    def stream(self, name: str) -> Choose:
        """A handle on one stream: call it with the number of options, get the index of the chosen one."""
        chooser = self._choosers.get(name)
        if chooser is None:
            chooser = self._choosers[name] = self._open(name)
        return chooser

    def choose(self, name: str, options: int) -> int:
        """One decision among `options` (at least 1) from the stream `name`."""
        return self.stream(name)(options)

    def scheduler(self, strategy: Strategy) -> Pick:
        """How the kernel picks the next step: `strategy` decides, the record remembers."""
        strategy.start(stream_random(self.seed, SCHEDULE).random)
        pick, append = strategy.pick, self.log.append

        def pick_and_record(options: Sequence[Option]) -> int:
            index = pick(options)
            append((SCHEDULE, len(options), index, options[index].name))
            return index

        return pick_and_record

    def finish(self) -> None:
        """The run is over. Nothing to do here; a replay makes sure that its whole record was used."""

    def _open(self, name: str) -> Choose:
        draw = stream_random(self.seed, name).random
        append = self.log.append

        def choose(options: int) -> int:
            if options <= 1:
                return _only_option(name, options)
            value = int(draw() * options)
            append((name, options, value, ""))
            return value

        return choose


class RecordedDecisions(Decisions):
    """Hands out a recorded log, decision by decision, and accepts no other question than the recorded one.

    `divergence` keeps the first difference: the code under test may catch the error, or turn it into another.
    """

    __slots__ = ("_position", "_recorded", "divergence")

    def __init__(self, seed: int, recorded: Sequence[Decision]) -> None:
        super().__init__(seed)
        self.divergence: ReplayDivergence | None = None
        self._recorded = recorded
        self._position = 0

    def scheduler(self, strategy: Strategy) -> Pick:
        """The strategy is not asked: its choices are in the record."""

        def pick(options: Sequence[Option]) -> int:
            index = self._next(SCHEDULE, len(options), lambda: _describe(options))
            recorded_name = self._recorded[self._position - 1][3]
            if options[index].name != recorded_name:
                raise self._divergence(self._position - 1, SCHEDULE, len(options), _describe(options))
            self.log.append((SCHEDULE, len(options), index, recorded_name))
            return index

        return pick

    def finish(self) -> None:
        """Raises the first divergence, or one for decisions that are left over."""
        if self.divergence is not None:
            raise self.divergence
        if self._position < len(self._recorded):
            stream, options, value, what = self._recorded[self._position]
            raise ReplayDivergence(
                f"the replayed run ended after {self._position} of {len(self._recorded)} recorded decisions.\n"
                f"  recorded next: {stream}: option {value} of {options}{_named(what)}\n"
                f"  this run:      ended"
            )

    def _open(self, name: str) -> Choose:
        def choose(options: int) -> int:
            if options <= 1:
                return _only_option(name, options)
            value = self._next(name, options, lambda: "")
            self.log.append((name, options, value, ""))
            return value

        return choose

    def _next(self, name: str, options: int, describe: Callable[[], str]) -> int:
        position = self._position
        if position >= len(self._recorded):
            raise self._divergence(position, name, options, describe())
        stream, recorded_options, value, _ = self._recorded[position]
        if stream != name or recorded_options != options:
            raise self._divergence(position, name, options, describe())
        if not 0 <= value < options:
            raise MisuseError(f"recorded decision {position} is damaged: {stream} chose option {value} of {options}")
        self._position = position + 1
        return value

    def _divergence(self, position: int, name: str, options: int, offered: str) -> ReplayDivergence:
        if position < len(self._recorded):
            stream, recorded_options, value, what = self._recorded[position]
            recorded = f"{stream}: option {value} of {recorded_options}{_named(what)}"
        else:
            recorded = f"nothing: the record ends after {len(self._recorded)} decisions"
        error = ReplayDivergence(
            f"the replayed run differs from its record at decision {position}.\n"
            f"  recorded: {recorded}\n"
            f"  this run: {name}: a choice among {options}{_named(offered)}"
        )
        if self.divergence is None:
            self.divergence = error
        return error


def _only_option(name: str, options: int) -> int:
    if options < 1:
        raise MisuseError(f"a choice among {options} options was asked of stream {name!r}; there must be at least one")
    return 0


def _named(what: str) -> str:
    return f" ({what})" if what else ""


def _describe(options: Sequence[Option]) -> str:
    return ", ".join(f"{option.name}: {option.operation} {option.resource}".rstrip() for option in options)
