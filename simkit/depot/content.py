"""What a request resolves before it does anything: the database's branch, its head, and whether the asker may.

Upholds the fences: a request carries the generation and the head its instance believes in, and one that is
wrong is refused before it reads or writes (DUR-1, ISO-1).
"""

from __future__ import annotations

from typing import Protocol

from simkit.depot.errors import DatabaseNotFound, GenerationFenceMismatch, HeadFenceMismatch, MetaMissing
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.records import Head, decode_generation, decode_head
from simkit.depot.request import NO_HEAD, Request

_DECODED_PAGES_MAX = 262_144


class Readable(Protocol):
    """A snapshot or a transaction."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_range(self, begin: bytes, end: bytes, *, limit: int | None = None) -> list[tuple[bytes, bytes]]: ...


class DatabaseView:
    """Resolves one database. Keeps no state of the database, only decodings of immutable bytes."""

    def __init__(self, database_id: str) -> None:
        self.pointer_key = database_pointer_key(database_id)
        self._branch_id = b""
        self._keys = BranchKeys(bytes(16))
        self._raw_head = b""
        self._head: Head | None = None
        self._raw_generation: bytes | None = None
        self._generation = 0

    def branch(self, readable: Readable) -> BranchKeys | None:
        """The keys of the database's branch, or None when nothing was ever committed to it."""
        branch_id = readable.get(self.pointer_key)
        if branch_id is None:
            return None
        if branch_id != self._branch_id:
            self._branch_id, self._keys = branch_id, BranchKeys(branch_id)
        return self._keys

    def is_empty(self, readable: Readable) -> bool:
        """Whether nothing was ever committed. A head that is lost does not make a database empty: its commits
        remain.
        """
        keys = self.branch(readable)
        if keys is None:
            return True
        return readable.get(keys.head) is None and not readable.get_range(*keys.commits_range(), limit=1)

    def resolve(self, readable: Readable, request: Request, operation: str) -> tuple[BranchKeys, Head]:
        """The branch and its head, once the request's fences hold."""
        keys = self.branch(readable)
        if keys is None:
            raise DatabaseNotFound("the database does not exist yet")
        self.check_generation(readable, keys, request)
        head = self.head(readable, keys)
        if head is None:
            raise MetaMissing(f"{operation}: the database has no head")
        self.check_head(head.txid, request)
        return keys, head

    def head(self, readable: Readable, keys: BranchKeys) -> Head | None:
        """The head of a branch."""
        raw = readable.get(keys.head)
        if raw is None:
            return None
        if raw is not self._raw_head:
            self._raw_head, self._head = raw, decode_head(raw)
        return self._head

    def check_generation(self, readable: Readable, keys: BranchKeys, request: Request) -> None:
        """Raises GenerationFenceMismatch when a later instance owns the database."""
        raw = readable.get(keys.generation)
        if raw is not self._raw_generation:
            self._raw_generation, self._generation = raw, decode_generation(raw) if raw is not None else 0
        if request.generation != self._generation:
            raise GenerationFenceMismatch(
                f"{request.instance} is generation {request.generation}, the database belongs to {self._generation}"
            )

    def check_head(self, head: int, request: Request) -> None:
        """Raises HeadFenceMismatch when the request was made against another head (`NO_HEAD`: an empty database)."""
        expected = request.expected_head
        if expected is not None and expected != head:
            shown = "no commit" if head == NO_HEAD else f"commit {head}"
            raise HeadFenceMismatch(f"{request.instance} expects head {expected}, the database is at {shown}")


class DecodedDeltas:
    """Decoded deltas by txid, each with the first chunk it came from. Forgets the oldest beyond a number of pages."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[bytes, dict[int, bytes]]] = {}
        self._pages = 0

    def get(self, txid: int, first_chunk: bytes) -> dict[int, bytes] | None:
        """The pages of a delta, if they were decoded from these very bytes."""
        entry = self._entries.get(txid)
        if entry is not None and entry[0] is first_chunk:
            return entry[1]
        return None

    def put(self, txid: int, first_chunk: bytes, pages: dict[int, bytes]) -> None:
        replaced = self._entries.pop(txid, None)
        if replaced is not None:
            self._pages -= len(replaced[1])
        self._entries[txid] = (first_chunk, pages)
        self._pages += len(pages)
        while self._pages > _DECODED_PAGES_MAX and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            self._pages -= len(self._entries.pop(oldest)[1])
