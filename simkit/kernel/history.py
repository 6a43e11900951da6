"""The history: the ordered events of one run, and all that the checks may look at.

Every layer defines the events it can vouch for as a subclass of `Record` and hands them to `Kernel.record`. Nothing in
a record may depend on the process that ran it (no object ids, paths, wall-clock times): DET-1 compares histories of
two runs byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False, tag=True):
    """One event of a run.

    `at` is simulated time in nanoseconds, `task` the name of the task that ran ("" for the model itself).
    """

    at: int
    task: str


_encoder = msgspec.msgpack.Encoder()


def digest(history: Sequence[Record], decisions: Sequence[tuple[str, int, int, str]]) -> str:
    """The fingerprint of one run: 32 hex digits over its events and its decisions, in order."""
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(_encoder.encode(history))
    hasher.update(_encoder.encode(decisions))
    return hasher.hexdigest()
