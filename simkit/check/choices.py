"""Looks for the unacknowledged operations that took effect: the choice that explains what was seen (DUR-2, ISO-2).

A try runs the operations of one segment with one choice and says how far it is from what was seen. With few candidates
all choices are tried, those that differ least from the first guess first. With many of them it first descends: it turns
over the one operation that brings the result nearest, as long as one does. Operations that ran apart from each other
are found one by one that way, in a number of tries that is quadratic and not exponential.

`whole` tells whether nothing was left untried that could have been. Where it is not, and nothing fitted, nothing is
known: a choice that explains all may be among the others. The search never reports anything itself. It is bounded in
work, because every report is searched for again when a run is made smaller.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simkit.check.dump import State, encode_rows

_FEW = 8
"""Candidates up to which all choices are tried at once."""
_TRIES_MIN = 16
_WORK_MAX = 50_000
"""Operations run again in search of another choice, beyond `_TRIES_MIN` tries."""

Choice = frozenset[int]
"""The numbers of the candidates that took effect."""
Distance = tuple[int, int]
"""Rows that differ from the observed state, and operations whose answers do not fit. Nothing differs at `NEAREST`."""
NEAREST = (0, 0)


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest choice, and whether the others that could have been were all tried (or none is needed)."""

    choice: Choice
    whole: bool


class ChoiceSearch:
    """One search.

    Parameters:
        measure: runs a choice, and returns how far its result is from what was seen.
        effort: what one try costs, in operations.
    """

    def __init__(self, measure: Callable[[Choice], Distance], effort: int) -> None:
        self._measure = measure
        self._effort = effort
        self._work = 0
        self._tried: dict[Choice, Distance] = {}
        self._best: Choice = frozenset()

    def run(self, candidates: Sequence[int], likely: Sequence[int], first: Choice, distance: Distance) -> Found:
        """Searches from the choice `first`, whose distance is known.

        `likely` are the candidates of which something was committed, or may have been: a choice of others cannot be
        ruled out by the result alone, but no history in which every commit has its operation leads to it.
        """
        self._tried[first] = distance
        self._best = first
        if len(candidates) > _FEW:
            self._descend(candidates, first)
        whole = self._try_all(likely, first & frozenset(likely))
        if not self._done:
            whole = self._try_all(candidates, first) or whole
        return Found(self._best, whole or self._done)

    @property
    def _done(self) -> bool:
        return self._tried[self._best] == NEAREST

    def _descend(self, candidates: Sequence[int], start: Choice) -> None:
        """Turns one candidate over at a time, each time the one that helps most, with half of the work at most."""
        here = start
        while not self._done:
            steps = []
            for number in candidates:
                if 2 * self._work > _WORK_MAX:
                    return
                steps.append(here ^ {number})
                self._try(steps[-1])
            nearest = min(steps, key=lambda choice: self._tried[choice])
            if self._tried[nearest] >= self._tried[here]:
                return
            here = nearest

    def _try_all(self, free: Sequence[int], start: Choice) -> bool:
        """Every choice of `free`, in the order of its difference from `start`. False: the work was used up before."""
        for size in range(len(free) + 1):
            for turned in itertools.combinations(free, size):
                if self._done:
                    return True
                choice = start.symmetric_difference(turned)
                if choice in self._tried:
                    continue
                if len(self._tried) > _TRIES_MIN and self._work > _WORK_MAX:
                    return False
                self._try(choice)
        return True

    def _try(self, choice: Choice) -> None:
        if choice not in self._tried:
            self._work += self._effort
            self._tried[choice] = self._measure(choice)
            if self._tried[choice] < self._tried[self._best]:
                self._best = choice


def rows_apart(expected: State, observed: State) -> int:
    """In how many rows and schema entries two states differ."""
    left, right = _rows(expected), _rows(observed)
    return (left - right).total() + (right - left).total()


def _rows(state: State) -> Counter[tuple[str, bytes]]:
    rows: Counter[tuple[str, bytes]] = Counter()
    for name, sql, content in state:
        rows[name, sql.encode(errors="surrogatepass")] += 1
        rows.update((name, encode_rows((row,))) for row in content)
    return rows
