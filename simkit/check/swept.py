"""DEPOT-1 to DEPOT-19, COMP-1: what sweeps of the depot found (`simkit.check.sweep`).

A version that must be readable and is not, or that holds something else than what was committed, is compaction's or
reclaim's doing (COMP-1) once one of them has done something in the run. Before that only commits and reads can have
done it, and it counts as a commit that was lost (DUR-1).
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.events import DepotSwept
from simkit.check.verdict import Violation
from simkit.depot.events import HotInstalled, HotStaged, JobFailed, Reclaimed
from simkit.kernel import Record

SCAN = "depot-scan"
READ = "readable-versions"
_REPORTED_MAX = 10
_OF_COMPACTION = (HotStaged, HotInstalled, Reclaimed, JobFailed)


def check_sweeps(history: Sequence[Record]) -> list[Violation]:
    """One violation for each thing that is wrong, when it was seen first; ten of each of the two checks at most."""
    found: dict[tuple[str, str], Violation] = {}
    compacted = False
    for event in history:
        kind = event.__class__
        if kind in _OF_COMPACTION:
            compacted = True
        elif kind is DepotSwept:
            assert isinstance(event, DepotSwept)
            for violation in [*_rows(event), *_versions(event, compacted)]:
                found.setdefault((violation.invariant, violation.sentence), violation)
    violations = list(found.values())
    return [
        *[violation for violation in violations if violation.check == SCAN][:_REPORTED_MAX],
        *[violation for violation in violations if violation.check == READ][:_REPORTED_MAX],
    ]


def _rows(event: DepotSwept) -> list[Violation]:
    return [
        Violation(invariant, SCAN, sentence, event.at, details=(f"seen {event.when}",))
        for invariant, sentence in event.findings
    ]


def _versions(event: DepotSwept, compacted: bool) -> list[Violation]:
    return [
        Violation(
            "COMP-1" if compacted else "DUR-1",
            READ,
            f"commit {version.txid} of branch {version.branch} must be readable ({version.why}): {version.error}",
            event.at,
            details=(f"seen {event.when}",),
        )
        for version in event.versions
        if version.error
    ]
