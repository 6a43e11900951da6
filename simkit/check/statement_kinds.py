"""What kind of statement a text is for the oracle, by its first words.

Texts come from scenarios and were prepared by SQLite before, so a look at their beginning is enough here. WITH may
begin a statement of either kind; only SQLite knows.
"""

from __future__ import annotations

import re

_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]+")
_PASSED_OVER = {"ATTACH", "BEGIN", "COMMIT", "DETACH", "END", "VACUUM"}
_READING = {"EXPLAIN", "SELECT", "VALUES"}
PRAGMAS_REPEATED = frozenset(
    [
        "application_id",
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_xinfo",
        "user_version",
    ]
)
"""Pragmas about what the database holds, which the oracle repeats; all others belong to a connection or its files."""


def kind_of(sql: str) -> str:
    """One of "read" (changes nothing), "write", "pass" (not for the oracle) and "with" (read or write)."""
    start = _start(sql)
    words = _WORD.findall(sql[start:])
    first = words[0].upper() if words else ""
    if first in _PASSED_OVER or not first:
        return "pass"
    if first == "ROLLBACK" and not any(word.upper() == "TO" for word in words):
        return "pass"
    if first == "PRAGMA":
        name = re.split(r"[=(;]", sql[start:].partition(words[0])[2], maxsplit=1)[0].strip().rpartition(".")[2]
        if name.lower() not in PRAGMAS_REPEATED:
            return "pass"
        return "write" if name.lower() in ("application_id", "user_version") else "read"
    if first in _READING:
        return "read"
    if first == "WITH":
        return "with"
    return "write"


def _start(sql: str) -> int:
    """Where the statement begins, after blanks and comments."""
    blank = _BLANK.match(sql)
    return blank.end() if blank is not None else 0


def first_word(sql: str) -> str:
    """The first word of the statement, in capitals; "" when there is none."""
    word = _WORD.match(sql, _start(sql))
    return word.group().upper() if word is not None else ""
