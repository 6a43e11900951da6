"""Rows and bars of a run's picture, as data: what is drawn, and not how."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bar:
    """A stretch of a row, in nanoseconds. `until` is None while it lasts; `colour` names what it shows."""

    since: int
    colour: str
    title: str
    until: int | None = None


@dataclass
class Row:
    """One line of the picture."""

    label: str
    bars: list[Bar] = field(default_factory=list)

    def begin(self, at: int, colour: str, title: str) -> Bar:
        """A bar that lasts until it is given its end."""
        bar = Bar(at, colour, title)
        self.bars.append(bar)
        return bar
