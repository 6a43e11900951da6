"""What a defect is: a name for a mistake, where it happened, what must find it, and how to plant it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simkit.scenario.parts import Parts


@dataclass(frozen=True)
class Defect:
    """One deliberate breakage.

    Attributes:
        breaks: what is wrong with the system that has it, in one sentence.
        happened_in: where a mistake of this kind was made.
        scenario: the file that provokes it, below `scenarios/`.
        invariant: the id of the invariant that must be found violated.
        parts: puts the broken classes into sound parts.
    """

    id: str
    breaks: str
    happened_in: str
    scenario: str
    invariant: str
    parts: Callable[[Parts], Parts]
