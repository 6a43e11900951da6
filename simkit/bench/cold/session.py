"""What a workload needs of a database, and what it gives back.

A workload sees a `Session`: statements one after the other, or several at once. Whatever answers it (one connection,
a manager with a read pool, plain SQLite) must give the same `Answer`; the digest is there to notice when it does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Rows = list[tuple[Any, ...]]
T = TypeVar("T")


class Session(Protocol):
    """A database that has just woken."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows."""
        ...

    def together(self, *parts: Callable[[], T]) -> list[T]:
        """Start all parts at once and return their results in the order of the parts."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a workload found: how many rows it dealt with, and a digest of everything it read.

    `rows` counts as the published tables do: rows returned, or behind an aggregate the rows aggregated, or
    the operations done where nothing is read.
    """

    rows: int
    digest: str


def answer(rows: int, *results: object) -> Answer:
    """`rows` with the digest of `results`: lists and tuples of plain values."""
    return Answer(rows, hashlib.sha256(repr(results).encode()).hexdigest()[:16])
