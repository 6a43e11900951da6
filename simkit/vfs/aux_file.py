"""Auxiliary files (rollback journals, temporary files): bytes in the memory of the instance, gone with it.

That a journal does not survive is sound here, because a commit is one depot commit: what a crash leaves behind needs no
rollback.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from simkit.vfs.database import Database


class AuxFile:
    """One handle on an auxiliary file; handles of one name share its content."""

    __slots__ = ("_content", "_database", "_on_close", "_writable")

    def __init__(
        self, database: Database, content: bytearray, on_close: Callable[[], None] | None, writable: bool = True
    ) -> None:
        self._database = database
        self._content = content
        self._on_close = on_close
        self._writable = writable

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        if not self._writable:
            raise _only_to_be_read()
        if self._database.on_io is not None:
            self._database.on_io("journal write")
        content = self._content
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def xTruncate(self, size: int) -> None:
        if not self._writable:
            raise _only_to_be_read()
        if self._database.on_io is not None:
            self._database.on_io("journal truncate")
        content = self._content
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))

    def xSync(self, flags: int) -> None:
        if self._database.on_io is not None:
            self._database.on_io("journal sync")

    def xFileSize(self) -> int:
        return len(self._content)

    def xLock(self, level: int) -> None:
        """Auxiliary files are never contended."""

    def xUnlock(self, level: int) -> None:
        """Nothing was locked."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xClose(self) -> None:
        if self._on_close is not None:
            self._on_close()


def _only_to_be_read() -> apsw.ReadOnlyError:
    return apsw.ReadOnlyError("the file was opened to be read")
