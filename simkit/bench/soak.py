"""`python -m simkit.bench.soak`: many commits with compaction and reclaim, and what they leave behind.

A depot that runs for long must hold what its readable versions need and nothing else: as many rows after 200,000
commits as after 2,000. Between stretches of commits compaction comes to rest, the whole store is scanned (DEPOT-n),
every page is read (COMP-1), and rows, kept versions and the memory of the process are shown. The memory grows at first,
until the cache of decoded blobs is full. The history is not kept, as no run is that long. Exit code 1 when something is
found.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec

from simkit.check.depot_scan import scan_store
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.operator import Operator
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND, SECOND

PAGE_SIZE = 4096
_RESTORE_POINTS_MAX = 4
_SETTINGS = DepotSettings(
    pitr_interval_ms=10_000, pitr_retention_ms=40_000, compaction=CompactionSettings(enabled=True)
)


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a depot holds after so many commits, with compaction at rest.

    Attributes:
        kept_values: old values that open transactions still need.
        findings: what the scan and a reading of all pages say, (invariant, sentence).
    """

    commits: int
    head: int
    watermark: int
    page_count: int
    rows: int
    bytes: int
    kept_values: int
    resident_mib: int
    findings: tuple[tuple[str, str], ...]


def soak(
    commits: int,
    stretches: int = 20,
    seed: int = 1,
    tell: Callable[[Checkpoint], None] = lambda _: None,
    pages_max: int = 2_000,
) -> list[Checkpoint]:
    """Runs `commits` commits in so many stretches; one checkpoint after each. The database grows up to `pages_max`."""
    kernel = Kernel(Decisions(seed))
    kernel.record = lambda _: None
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, PAGE_SIZE), _SETTINGS)
    checkpoints: list[Checkpoint] = []

    def client() -> None:
        storage = DirectStorage(depot, "soak", depot.allocate())
        operator = Operator(depot)
        writer = _Writer(storage, Random(seed), pages_max)
        restore_points: list[str] = []
        done = 0
        for stretch in range(1, stretches + 1):
            while done < commits * stretch // stretches:
                writer.commit()
                done += 1
                if done % 50 == 0:
                    kernel.sleep(100 * MILLISECOND)
            restore_points.append(operator.make_restore_point().id)
            if len(restore_points) > _RESTORE_POINTS_MAX:
                operator.delete_restore_point(restore_points.pop(0))
            rest()
            checkpoint = _look(depot, done, writer.damaged())
            checkpoints.append(checkpoint)
            tell(checkpoint)
        assert depot.compaction is not None
        depot.compaction.stop()

    def rest() -> None:
        operator = Operator(depot)
        operator.force_compaction()
        assert depot.compaction is not None
        while not depot.compaction.idle:
            kernel.sleep(SECOND)

    kernel.spawn(client, name="client")
    kernel.run(max_steps=1 << 62)
    kernel.close()
    return checkpoints


class _Writer:
    """Commits that overwrite, now and then grow the database, and rarely cut it in half."""

    def __init__(self, storage: DirectStorage, random: Random, pages_max: int) -> None:
        self._storage = storage
        self._pages_max = pages_max
        self._written: dict[int, bytes] = {}
        self._random = random
        self._contents = tuple(random.randbytes(PAGE_SIZE // 2) + bytes(PAGE_SIZE // 2) for _ in range(16))
        self._page_count = storage.open().page_count

    def commit(self) -> None:
        random = self._random
        before = self._page_count
        chance = random.random()
        if before < self._pages_max and (chance < 0.2 or not before):
            after = before + random.randint(1, 8)
        elif chance < 0.2005:
            after = before // 2 + 1
        else:
            after = before
        numbers = {random.randint(1, min(before, after)) for _ in range(3)} if before else set()
        numbers.update(range(before + 1, after + 1))
        pages = {number: random.choice(self._contents) for number in sorted(numbers)}
        self._storage.commit(pages, after)
        self._written.update(pages)
        self._page_count = after

    def damaged(self) -> list[int]:
        """The pages that the depot gives back otherwise than they were last written."""
        numbers = tuple(range(1, self._page_count + 1))
        contents = self._storage.get_pages(numbers)
        return [number for number, page in zip(numbers, contents, strict=True) if page != self._written[number]]


def _look(depot: Depot, commits: int, damaged: list[int]) -> Checkpoint:
    findings = scan_store(depot.store, PAGE_SIZE, depot.core.settings.shard_pages, depot.core.now_ms, at_rest=True)
    if damaged:
        findings.append(("COMP-1", f"page {damaged[0]} (of {len(damaged)}) is not what was last written"))
    snapshot = depot.store.snapshot()
    view = depot.core.view("main")
    keys = view.branch(snapshot)
    assert keys is not None
    head = view.head(snapshot, keys)
    assert head is not None
    rows = snapshot.get_range(b"\x00", b"\xff")
    return Checkpoint(
        commits=commits,
        head=head.txid,
        watermark=depot.core.sources.watermark(snapshot, keys),
        page_count=head.page_count,
        rows=len(rows),
        bytes=sum(len(key) + len(value) for key, value in rows),
        kept_values=depot.store.statistics().kept_values,
        resident_mib=_resident_mib(),
        findings=tuple(findings),
    )


def _resident_mib() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> int:
    """Runs, prints one line for each checkpoint; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simkit.bench.soak", description=__doc__)
    parser.add_argument("--commits", type=int, default=200_000, help="how many (default 200,000)")
    parser.add_argument("--stretches", type=int, default=20, help="how often compaction comes to rest (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.commits < 1 or not 1 <= options.stretches <= options.commits:
        parser.error("give at least one commit, and no more stretches than commits")

    def tell(checkpoint: Checkpoint) -> None:
        print(
            f"{checkpoint.commits:>9,} commits: {checkpoint.page_count:>5,} pages, lag "
            f"{checkpoint.head - checkpoint.watermark}, {checkpoint.rows:>6,} rows, {checkpoint.bytes >> 10:>7,} KiB, "
            f"{checkpoint.kept_values} old values, process {checkpoint.resident_mib} MiB, "
            f"{len(checkpoint.findings)} findings",
            flush=True,
        )
        for invariant, sentence in checkpoint.findings:
            print(f"  {invariant}: {sentence}")

    found = soak(options.commits, options.stretches, options.seed, tell)
    return 1 if any(checkpoint.findings for checkpoint in found) else 0


if __name__ == "__main__":
    sys.exit(main())
