"""SQLite's five lock levels over the handles of one instance.

The rules are SQLite's own: any number of SHARED; one RESERVED beside them; PENDING keeps new readers out while the old
ones finish, and only a writer waits in it; EXCLUSIVE is alone. Without them a reader takes the writer's journal for a
hot one and rolls it back. Other instances are kept out by the depot's fences, not here.
"""

from __future__ import annotations

import apsw

UNLOCKED = apsw.SQLITE_LOCK_NONE
SHARED = apsw.SQLITE_LOCK_SHARED
RESERVED = apsw.SQLITE_LOCK_RESERVED
PENDING = apsw.SQLITE_LOCK_PENDING
EXCLUSIVE = apsw.SQLITE_LOCK_EXCLUSIVE


class LockTable:
    """Who holds which level. Handles are any objects."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: dict[object, int] = {}

    def level(self, handle: object) -> int:
        return self._levels.get(handle, UNLOCKED)

    def lock(self, handle: object, level: int) -> None:
        """Raises the handle's level, or raises `apsw.BusyError` and leaves what SQLite expects (PENDING may remain)."""
        levels = self._levels
        own = levels.get(handle, UNLOCKED)
        if level <= own:
            return
        others = UNLOCKED
        for holder, held in levels.items():
            if held > others and holder is not handle:
                others = held
        if level == SHARED:
            if others >= PENDING:
                raise apsw.BusyError("a writer is waiting or writing")
        elif level == RESERVED:
            if others >= RESERVED:
                raise apsw.BusyError("another connection is writing")
        else:
            if others >= RESERVED:
                raise apsw.BusyError("another connection is writing or about to")
            if others >= SHARED:
                if own >= RESERVED:
                    levels[handle] = PENDING
                raise apsw.BusyError("readers have not finished")
        levels[handle] = level

    def unlock(self, handle: object, level: int) -> None:
        """Lowers the handle's level to SHARED or to none."""
        if level == UNLOCKED:
            self._levels.pop(handle, None)
        elif self._levels.get(handle, UNLOCKED) > level:
            self._levels[handle] = level

    def reserved(self) -> bool:
        """Whether any handle holds RESERVED or more."""
        return any(held >= RESERVED for held in self._levels.values())
