"""A transaction of the depot with one hole: what a defect keeps back of the rows that sound code writes.

Defects that forget a row, or write it in another transaction, hand this to the sound code in place of the transaction.
Everything else passes through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simkit.depot.kv import Transaction

Chooses = Callable[[bytes], bool]


def within(begin: bytes, end: bytes) -> Chooses:
    """Chooses the keys of [begin, end)."""
    return lambda key: begin <= key < end


class HoldingBack:
    """Keeps the writes and clears of chosen keys for itself; `kept` has the writes, in their order."""

    def __init__(self, transaction: Transaction, chooses: Chooses) -> None:
        self._transaction = transaction
        self._chooses = chooses
        self.kept: list[tuple[bytes, bytes]] = []

    def set(self, key: bytes, value: bytes) -> None:
        if self._chooses(key):
            self.kept.append((key, value))
        else:
            self._transaction.set(key, value)

    def clear(self, key: bytes) -> None:
        if not self._chooses(key):
            self._transaction.clear(key)

    def add(self, key: bytes, delta: int) -> None:
        if not self._chooses(key):
            self._transaction.add(key, delta)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)
