"""Whether costs stay flat: from 1 to 1,000 clients, from a 10-page to a 100,000-page database; and what an idle
client weighs.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from simkit.bench.figure import Figure, at_most, for_orientation, median_ratio, paired, seconds
from simkit.bench.page_read import build_image
from simkit.depot.depot import Depot, DepotImage
from simkit.depot.latency import LATENCY_PROFILES
from simkit.depot.settings import DepotSettings
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Kernel
from simkit.kernel.units import MILLISECOND

REQUESTS = 120_000
_FLAT = 1.15


def measure_clients(counts: tuple[int, ...] = (1, 10, 100, 1_000), rounds: int = 5) -> list[Figure]:
    """Cost of a storage request by the number of clients that send them."""
    image = build_image(200)
    cases: list[Callable[[], float]] = [partial(_requests, image, count) for count in counts]
    results = paired(cases, rounds)
    note = f"{REQUESTS:,} requests in all, concurrency as clients, median of {rounds} rounds"
    figures = [for_orientation("storage request, 1 client", min(results[0]) * 1e6, "µs", note)]
    for count, result in zip(counts[1:], results[1:], strict=True):
        figures.append(
            at_most(
                f"storage request with {count:,} clients / 1 client",
                median_ratio(result, results[0]),
                "times",
                _FLAT,
                note,
            )
        )
    return figures


def measure_database_sizes(small: int = 10, large: int = 100_000, rounds: int = 5) -> list[Figure]:
    """Cost of a page read by the size of the database."""
    images = (build_image(small), build_image(large))
    cases: list[Callable[[], float]] = [partial(_requests, image, 10) for image in images]
    results = paired(cases, rounds)
    note = f"{REQUESTS:,} requests of 10 clients, median of {rounds} rounds"
    return [
        at_most(
            f"page read, {large:,} pages / {small:,} pages", median_ratio(results[1], results[0]), "times", _FLAT, note
        )
    ]


def measure_idle_clients(count: int = 2_000) -> list[Figure]:
    """Memory of a client that has read a page and now waits, measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        growth_kib = pool.submit(_growth_by_idle_clients, count).result()
    note = f"growth of a fresh process by {count:,} clients"
    return [at_most("memory of an idle client", growth_kib / count, "KiB", 100, note)]


def _growth_by_idle_clients(count: int) -> int:
    """How much the resident memory of this process grows, in KiB."""
    image = build_image(200)
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["loopback"], image, settings=DepotSettings(concurrency=count))
    storage = DirectStorage(depot, "bench", depot.allocate())
    reached = 0

    def client(number: int) -> None:
        nonlocal reached
        storage.get_pages((number % 200 + 1,))
        reached += 1
        kernel.sleep(3_600_000_000_000)

    def director() -> None:
        storage.open()
        for number in range(count):
            kernel.spawn(client, number, name=f"client-{number}", background=True)
        while reached < count:
            kernel.sleep(MILLISECOND)

    kernel.spawn(director, name="director")
    before_kib = _resident_kib()
    kernel.run()
    growth_kib = _resident_kib() - before_kib
    kernel.close()
    return growth_kib


def _resident_kib() -> int:
    """Memory in use now. Not the peak: a process inherits that from the one that started it."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _requests(image: DepotImage, clients: int) -> float:
    """Seconds for each of many single-page requests, sent by `clients` clients at once."""
    kernel = Kernel(Decisions(1))
    depot = Depot(kernel, LATENCY_PROFILES["local-debug"], image, settings=DepotSettings(concurrency=clients))
    storage = DirectStorage(depot, "bench", depot.allocate())

    def client(first: int, count: int, pages: int) -> None:
        number = first
        for _ in range(count):
            number = (number * 7 + 3) % pages
            storage.get_pages((number + 1,))

    def director() -> None:
        pages = storage.open().page_count
        for number in range(clients):
            kernel.spawn(client, number * 101, REQUESTS // clients, pages, name=f"client-{number}")

    kernel.spawn(director, name="director")
    taken = seconds(kernel.run)
    kernel.close()
    return taken / REQUESTS
