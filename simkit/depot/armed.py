"""Rules that wait for their passage: the one way in which fault rules and network rules count and become ready.

Every rule counts each passage within its scope. The first that is ready acts, once or each time; one that is not never
blocks a later one. Which passages a rule concerns, and what acting means, is its owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

PPM = 1_000_000


class Rule(Protocol):
    """When a rule acts: at the `nth` passage (from 1), or else at each one with a probability."""

    @property
    def nth(self) -> int | None: ...

    @property
    def probability_ppm(self) -> int: ...

    @property
    def once(self) -> bool: ...


_Rule = TypeVar("_Rule", bound=Rule)


@dataclass
class Armed(Generic[_Rule]):
    """A rule and what it has seen and done so far. `number` is its position in the plan."""

    rule: _Rule
    number: int = 0
    passages: int = 0
    fired: int = 0


def fire_first(concerned: Iterable[Armed[_Rule]], draw: Callable[[], int]) -> Armed[_Rule] | None:
    """Counts a passage with all of these rules, and fires the first that is ready.

    `draw` gives a number below `PPM`; it is asked only for rules that leave it to chance.
    """
    ready = None
    for armed in concerned:
        rule = armed.rule
        armed.passages += 1
        if ready is not None or (rule.once and armed.fired):
            continue
        if rule.nth is not None:
            if armed.passages == rule.nth:
                ready = armed
        elif rule.probability_ppm >= PPM or draw() < rule.probability_ppm:
            ready = armed
    if ready is not None:
        ready.fired += 1
    return ready
