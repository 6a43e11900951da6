"""What only ever rises in the rows of a branch: watermark, generations. For DEPOT-2 and DEPOT-9, scan after scan.

A generation that goes back lets in whoever it was raised against: an instance that was fenced, a job that was planned
for another state of the branch. Each scan is compared with the one before; a row that vanishes counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from simkit.check.depot_reading import record_of, watermark_of
from simkit.check.depot_rows import BranchRows
from simkit.depot.records import CompactionRoot, RecordCorrupt, decode_generation, decode_row

Finding = tuple[str, str]


class OneWay:
    """The highest values of one branch so far."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def look(self, rows: BranchRows) -> Iterator[Finding]:
        """What has gone back since it was highest."""
        for name, (invariant, value) in _values(rows).items():
            highest = self._highest.get(name, 0)
            if value is None:
                continue
            if value < highest:
                yield invariant, f"branch {rows.number}: the {name} went back from {highest} to {value}"
            self._highest[name] = max(value, highest)


def _values(rows: BranchRows) -> dict[str, tuple[str, int | None]]:
    """By name: the invariant, and the value; None where the row does not decode, which has its own rule."""
    record = record_of(rows)
    return {
        "lifecycle generation": ("DEPOT-2", record.lifecycle_generation if record is not None else None),
        "generation": ("DEPOT-2", _generation(rows)),
        "watermark": ("DEPOT-9", watermark_of(rows)),
        "manifest generation": ("DEPOT-9", _manifest_generation(rows)),
    }


def _generation(rows: BranchRows) -> int | None:
    raw = rows.single.get("generation")
    try:
        return decode_generation(raw) if raw is not None else 0
    except RecordCorrupt:
        return None


def _manifest_generation(rows: BranchRows) -> int | None:
    raw = rows.single.get("root")
    try:
        return decode_row(CompactionRoot, raw).manifest_generation if raw is not None else 0
    except RecordCorrupt:
        return None
