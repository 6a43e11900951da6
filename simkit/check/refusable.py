"""Which errors are answers: they follow from the statement and the database, and not from what else goes on.

What a connection refuses can be changed with a PRAGMA, which belongs to the connection and which the oracle does not
know. So this also says which texts may do that, and what a text says about foreign keys.

Looks at texts only, and says yes where it does not know: then nothing is judged.
"""

from __future__ import annotations

import re
from functools import lru_cache

_BY_MEANING = frozenset(
    {
        "AuthError",
        "BindingsError",
        "ConstraintError",
        "MismatchError",
        "RangeError",
        "ReadOnlyError",
        "SQLError",
        "TooBigError",
        "TrailingStatement",
    }
)
"""Errors that follow from a statement and the content of the database, and not from what else goes on."""
_TUNING = re.compile(r"\bpragma\s+(?:\w+\s*\.\s*)?(\w+)\s*[=(]", re.IGNORECASE)
_HARMLESS = frozenset(
    {
        # With an argument, and still of no influence on what is refused. Foreign keys are looked at where they matter.
        "application_id",
        "busy_timeout",
        "cache_size",
        "foreign_key_check",
        "foreign_key_list",
        "foreign_keys",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "journal_mode",
        "locking_mode",
        "mmap_size",
        "optimize",
        "quick_check",
        "synchronous",
        "table_info",
        "table_xinfo",
        "temp_store",
        "threads",
        "user_version",
        "wal_checkpoint",
    }
)


def refused_by_meaning(error: str, several: bool) -> bool:
    """Whether a client that was told `error` was told something about its statement. `several` may stand in a text."""
    name = error.partition(":")[0]
    if name not in _BY_MEANING or (several and name == "TrailingStatement"):
        return False
    return "foreign key" not in error.lower()


@lru_cache(1024)
def tunes(sql: str) -> bool:
    """Whether the text may hold a PRAGMA that changes what its connection refuses."""
    return any(name.lower() not in _HARMLESS for name in _TUNING.findall(sql))


@lru_cache(1024)
def foreign_keys_said(sql: str) -> bool | None:
    """What a `PRAGMA foreign_keys = ...` says; None for anything else."""
    name, _, value = sql.replace("(", "=").partition("=")
    words = name.lower().split()
    if not value or len(words) != 2 or words[0] != "pragma" or words[1].rpartition(".")[2] != "foreign_keys":
        return None
    return value.strip(" ;)\n\t'\"").lower() in ("1", "on", "yes", "true")
