"""What the depot costs by itself: commits and page reads a second, and whether a commit stays as cheap in a large
database.

No VFS and no SQLite: one task sends requests through DirectStorage, without latency, so that everything measured is
the model's own work. Pages are half random, as those of a real database compress by about that much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from simkit.bench.figure import Figure, at_most, for_orientation, median_ratio, paired, seconds
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.operator import Operator
from simkit.depot.settings import CompactionSettings, DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND, format_duration

_FLAT = 1.15
_COMMITS = 4_000
_READS = 40_000
_PAGES_A_COMMIT = 4
_COMMITS_AT_ONCE = 50
_PAUSE_NS = 500 * MILLISECOND
_PAGES_OF_A_FILL = 10_000
_SMALL_PAGE = 512
_FOLDING = DepotSettings(compaction=CompactionSettings(enabled=True))
_COMMITS_FOLDED = 1_000


def measure(pages: int = 1_000, rounds: int = 5, count: int = _COMMITS) -> list[Figure]:
    """`count` commits to a database of `pages` pages of 4 KiB, with and without compaction, and reads of it."""
    image = build(pages, 4096)
    commit, compacted, read = paired(
        [
            partial(commits, image, DepotSettings(), count),
            partial(commits, folded(image), _FOLDING, min(count, _COMMITS_FOLDED)),
            partial(_reads, image),
        ],
        rounds,
    )
    note = f"{pages:,} pages of 4 KiB, best of {rounds} rounds"
    return [
        for_orientation(
            "depot alone: commits", 1 / min(commit), "/s", f"{count:,} commits of {_PAGES_A_COMMIT} pages; {note}"
        ),
        for_orientation("depot alone: page reads", 1 / min(read), "/s", f"{_READS:,} requests of one page; {note}"),
        for_orientation(
            "depot alone: commit with compaction / without",
            median_ratio(compacted, commit),
            "times",
            f"default thresholds, {format_duration(_PAUSE_NS)} pass after every {_COMMITS_AT_ONCE} commits, all jobs "
            "included: every commit rewrites its share of the shards that it touches",
        ),
    ]


def measure_growth(
    sizes: tuple[int, ...] = (1_000, 100_000, 1_000_000), rounds: int = 5, count: int = _COMMITS
) -> list[Figure]:
    """Cost of a commit by the size of the database; with compaction for the first two sizes, for orientation."""
    images = [build(size, _SMALL_PAGE) for size in sizes]
    cases: list[Callable[[], float]] = [partial(commits, image, DepotSettings(), count) for image in images]
    results = paired(cases, rounds)
    note = f"{count:,} commits of {_PAGES_A_COMMIT} pages of {_SMALL_PAGE} bytes, median of {rounds} rounds"
    figures = [
        at_most(
            f"depot alone: commit at {size:,} pages / {sizes[0]:,} pages",
            median_ratio(result, results[0]),
            "times",
            _FLAT,
            note,
        )
        for size, result in zip(sizes[1:], results[1:], strict=True)
    ]
    small, large = paired([partial(commits, folded(image), _FOLDING, _COMMITS_FOLDED) for image in images[:2]], 2)
    figures.append(
        for_orientation(
            f"depot alone: commit with compaction at {sizes[1]:,} pages / {sizes[0]:,} pages",
            median_ratio(large, small),
            "times",
            f"{_COMMITS_FOLDED:,} commits of {_PAGES_A_COMMIT} pages anywhere, {_COMMITS_AT_ONCE} at a time: the "
            "larger the database, the more shards they touch, and a shard is folded whole",
        )
    )
    return figures


def build(pages: int, page_size: int) -> DepotImage:
    """A depot with a database of `pages` pages."""
    kernel = Kernel(Decisions(0))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], DepotImage(None, 0, page_size))
    contents = _contents(page_size)

    def fill() -> None:
        storage = DirectStorage(depot, "bench", depot.allocate())
        storage.open()
        for first in range(1, pages + 1, _PAGES_OF_A_FILL):
            last = min(first + _PAGES_OF_A_FILL - 1, pages)
            storage.commit({number: contents[number % len(contents)] for number in range(first, last + 1)}, last)

    kernel.spawn(fill, name="fill")
    kernel.run()
    image = depot.image()
    kernel.close()
    return image


def folded(image: DepotImage) -> DepotImage:
    """The same database with all its commits in shards."""
    kernel = Kernel(Decisions(2))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], image, _FOLDING)

    def fold() -> None:
        depot.allocate()
        Operator(depot).force_compaction()
        while depot.compaction is not None and not depot.compaction.idle:
            kernel.sleep(_PAUSE_NS)

    kernel.spawn(fold, name="operator")
    kernel.run()
    result = depot.image()
    kernel.close()
    return result


def commits(image: DepotImage, settings: DepotSettings, count: int) -> float:
    """Seconds for each of `count` commits that overwrite pages here and there, with what compaction makes of them."""
    contents = _contents(image.page_size)

    def work(storage: DirectStorage) -> None:
        kernel, compaction = storage.kernel, storage.depot.compaction
        page_count = storage.open().page_count
        random = Random(1)
        for number in range(1, count + 1):
            storage.commit(_some_pages(random, page_count, contents), page_count)
            if number % _COMMITS_AT_ONCE == 0:
                kernel.sleep(_PAUSE_NS)  # without latency no time would pass, and compaction acts on time
        while compaction is not None and not compaction.idle:
            kernel.sleep(_PAUSE_NS)

    return _timed(image, settings, work) / count


def _reads(image: DepotImage) -> float:
    def work(storage: DirectStorage) -> None:
        page_count = storage.open().page_count
        number = 1
        for _ in range(_READS):
            number = (number * 7 + 3) % page_count
            storage.get_pages((number + 1,))

    return _timed(image, DepotSettings(), work) / _READS


def _timed(image: DepotImage, settings: DepotSettings, work: Callable[[DirectStorage], None]) -> float:
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["instant"], image, settings)
    kernel.spawn(work, DirectStorage(depot, "bench", depot.allocate()), name="client")
    taken = seconds(kernel.run)
    kernel.close()
    return taken


def _some_pages(random: Random, page_count: int, contents: tuple[bytes, ...]) -> Mapping[int, bytes]:
    numbers = sorted({random.randrange(page_count) + 1 for _ in range(_PAGES_A_COMMIT)})
    return {number: contents[random.randrange(len(contents))] for number in numbers}


def _contents(page_size: int) -> tuple[bytes, ...]:
    random = Random(7)
    half = page_size // 2
    return tuple(random.randbytes(half) + bytes(page_size - half) for _ in range(16))
