"""Which commits of a branch must stay readable: what compaction has to cover and reclaim must spare (COMP-1)."""

from __future__ import annotations

import msgspec

from simkit.depot.blobs import Readable
from simkit.depot.keys import BranchKeys
from simkit.depot.records import Pin, PitrInterval, decode_row


class ReadableVersion(msgspec.Struct, frozen=True, gc=False, order=True):
    """A commit that is kept readable, and why: "restore_point {id}", "fork {branch}", "interval {start}"."""

    txid: int
    why: str


def readable_versions(readable: Readable, keys: BranchKeys, now_ms: int) -> list[ReadableVersion]:
    """The commits of this branch that pins and unexpired intervals keep, ascending. The head is not among them.

    Reads pins and intervals, so that a transaction that decides by them conflicts with whoever adds one.
    """
    kept = []
    for key, raw in readable.get_range(*keys.pins_range()):
        kind, name = keys.parse_pin(key)
        kept.append(ReadableVersion(decode_row(Pin, raw).txid, f"{kind} {name}"))
    for key, raw in readable.get_range(*keys.pitr_range()):
        interval = decode_row(PitrInterval, raw)
        if interval.expires_at_ms > now_ms:
            kept.append(ReadableVersion(interval.txid, f"interval {keys.parse_pitr(key)}"))
    return sorted(kept)
