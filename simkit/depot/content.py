"""What a request resolves before it does anything: the database's branch, its head, and whether the asker may.

Upholds the fences: a request carries the generation and the head its instance believes in, and one that is
wrong is refused before it reads or writes (DUR-1, ISO-1).
"""

from __future__ import annotations

from simkit.depot.blobs import Readable
from simkit.depot.core import Core
from simkit.depot.errors import DatabaseNotFound, GenerationFenceMismatch, HeadFenceMismatch, MetaMissing
from simkit.depot.keys import BranchKeys, database_pointer_key
from simkit.depot.kv import Transaction
from simkit.depot.records import BranchRecord, Head, decode_generation, decode_head, encode_row
from simkit.depot.request import NO_HEAD, Request


def read_head(readable: Readable, keys: BranchKeys) -> Head | None:
    """The head of a branch; until its first commit a derived branch has that of the commit it began at."""
    raw = readable.get(keys.head)
    if raw is None:
        raw = readable.get(keys.head_at_fork)
    return decode_head(raw) if raw is not None else None


class DatabaseView:
    """Resolves one database. Keeps no state of the database, only decodings of immutable bytes."""

    def __init__(self, database_id: str) -> None:
        self.database_id = database_id
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

    def create(self, transaction: Transaction, core: Core) -> BranchKeys:
        """Gives the database its first branch."""
        keys = BranchKeys(core.new_branch_id())
        record = BranchRecord(branch_id=keys.branch_id, database_id=self.database_id, created_at_ms=core.now_ms)
        transaction.set(keys.record, encode_row(record))
        transaction.set(self.pointer_key, keys.branch_id)
        return keys

    def is_empty(self, readable: Readable) -> bool:
        """Whether nothing was ever committed. A head that is lost does not make a database empty: its commits
        remain.
        """
        keys = self.branch(readable)
        if keys is None:
            return True
        if readable.get(keys.head) is not None or readable.get(keys.head_at_fork) is not None:
            return False
        return not readable.get_range(*keys.commits_range(), limit=1)

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
        """As `read_head`; decodes the bytes of one head once."""
        raw = readable.get(keys.head)
        if raw is None:
            raw = readable.get(keys.head_at_fork)
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
