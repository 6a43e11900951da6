"""Names of tasks: unique in a run, and readable in every message.

Keeps one entry for each name that was asked for, not for each task: a run may start a hundred thousand tasks of one
name, and what they leave behind must not grow with them.
"""

from __future__ import annotations


class Names:
    """Tells the bearers of one name apart: `reader`, `reader-2`, `reader-3`."""

    __slots__ = ("_greatest",)

    def __init__(self) -> None:
        #: each name that was asked for, with the greatest number that was appended to it
        self._greatest: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """`name`, or with the first number appended that makes it new."""
        greatest = self._greatest
        if not self._is_taken(name):
            greatest[name] = 1
            return name
        number = greatest.get(name, 1) + 1
        while f"{name}-{number}" in greatest:
            number += 1
        greatest[name] = number
        return f"{name}-{number}"

    def _is_taken(self, name: str) -> bool:
        greatest = self._greatest
        if name in greatest:
            return True
        base, _, number = name.rpartition("-")
        if base not in greatest or not (number.isascii() and number.isdecimal()) or number.startswith("0"):
            return False
        return 2 <= int(number) <= greatest[base]
