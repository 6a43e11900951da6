"""Reading pages: resolve the database, check the fences, find each page's newest source, load it.

Upholds ISO-2 (one request sees one version of the key-value store, however long it takes) and refuses to invent data: a
page below the size without a source that is proven to hold it is an error, never zeros. What is proven, and what is
not, is said in `simkit.depot.page_search`.

There are two ways. `read` happens at one instant; it is the hot path of a simulation, where almost every page is found
through its row in the page index. `handle` is for runs with fault rules, with a network that fails or with the grain
"operation": a transaction at a fixed version, in which others come in before each read of the store, and in which a
blob that was loaded may get lost. A test runs both over the same requests and compares.

The page index and the shards are read from the store each time: a cache of them would have to follow every commit of
every instance. What is kept is the simulator's own cost, decoded blobs, and only while the store holds their bytes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simkit.depot.blobs import Pages, Readable
from simkit.depot.core import Core
from simkit.depot.errors import DepotError
from simkit.depot.events import PagesRead
from simkit.depot.fault_points import FaultPoint
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Snapshot, Transaction
from simkit.depot.overflow import OVERFLOW_PAGES_MAX, chains_from, next_in_chain
from simkit.depot.page_search import Question, Search, search
from simkit.depot.records import PreloadHints, RecordCorrupt, decode_hints
from simkit.depot.request import NO_HEAD, Reply, Request
from simkit.kernel import Happening


class PageZero(DepotError):
    """A read asked for page 0."""

    code = "page_zero"


class PageReader:
    """Answers get_pages and open."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._kernel = core.kernel
        self._store = core.store
        self._faults = core.faults
        #: deltas by owner row, found in this snapshot of this branch: while nothing is committed they need no second
        #: look; and what else was asked about it
        self._found: dict[bytes, Pages] = {}
        self._answers: dict[Question, Any] = {}
        self._found_in: Snapshot | None = None
        self._found_of: BranchKeys | None = None
        #: the head of the request that is being read
        self._head_txid = NO_HEAD

    def handle(self, request: Request) -> Generator[Happening, Any, Reply]:
        """Reads the requested pages at one version, over time. Raises the depot's errors."""
        faults = self._faults
        _check_numbers(request)
        if faults is not None:
            yield from faults.at(FaultPoint.READ_BEFORE_SCOPE_RESOLVE, request)
        with self._store.begin() as transaction:
            reply = yield from self._read_at(transaction, request)
        if faults is not None:
            yield from faults.at(FaultPoint.READ_BEFORE_RETURN_PAGES, request)
        return reply

    def _read_at(self, transaction: Transaction, request: Request) -> Generator[Happening, Any, Reply]:
        core, faults, view = self._core, self._faults, self._core.view(request.database)
        if core.fine:
            yield from core.between("resolve", request)
        if request.kind == "open" and view.is_empty(transaction):
            return Reply(NO_HEAD, 0, [None])
        keys, head = view.resolve(transaction, request, request.kind)
        if core.fine:
            yield from core.between("read ancestry", request)
        lineage = core.sources.lineage(transaction, keys, head.txid)
        if faults is not None:
            yield from faults.at(FaultPoint.READ_AFTER_SCOPE_RESOLVE, request)

        # All rows of the page index first: where a search goes on is known only once its first question is answered.
        answers: dict[Question, Any] = {}
        pages: dict[int, bytes] = {}
        searches: dict[int, tuple[Search, Question]] = {}
        for number in request.numbers:
            if number <= head.page_count and number not in searches and number not in pages:
                asking = search(lineage, number, core.settings.shard_pages)
                answer = yield from self._answer(transaction, request, next(asking), number, answers)
                _go_on(asking, answer, number, searches, pages)
        if faults is not None:
            yield from faults.at(FaultPoint.READ_AFTER_PIDX_SCAN, request)
        yield from self._finish(transaction, request, searches, pages, answers)
        overflow: dict[int, bytes] = {}
        found = [pages.get(number) for number in request.numbers]
        further = _chains(request.numbers, found) if request.expand else []
        while numbers := _unknown(further, pages, overflow, head.page_count):
            for number in numbers:
                asking = search(lineage, number, core.settings.shard_pages)
                answer = yield from self._answer(transaction, request, next(asking), number, answers)
                _go_on(asking, answer, number, searches, overflow)
            yield from self._finish(transaction, request, searches, overflow, answers)
            further = [next_in_chain(overflow[number]) for number in numbers]
        self._record(request, head.txid)
        hints = _hints(transaction, keys) if request.kind == "open" else None
        return Reply(head.txid, head.page_count, found, hints, overflow)

    def _finish(
        self,
        transaction: Transaction,
        request: Request,
        searches: dict[int, tuple[Search, Question]],
        pages: dict[int, bytes],
        answers: dict[Question, Any],
    ) -> Generator[Happening, Any, None]:
        """Answers what the searches still ask, until all have found their page."""
        while searches:
            number, (asking, question) = next(iter(searches.items()))
            answer = yield from self._answer(transaction, request, question, number, answers)
            _go_on(asking, answer, number, searches, pages)

    def _answer(
        self,
        transaction: Transaction,
        request: Request,
        question: Question,
        number: int,
        answers: dict[Question, Any],
    ) -> Generator[Happening, Any, Any]:
        """What the store says, or seems to say: what a fault loses is missing for the whole request."""
        if question in answers:
            return answers[question]
        core, faults = self._core, self._faults
        if core.fine:
            yield from core.between(f"read {question.kind}", request)
        answer = core.sources.answer(transaction, question)
        if faults is not None and question.kind == "delta":
            point = FaultPoint.READ_AFTER_DELTA_BLOB_LOAD
            if answer is not None and (yield from faults.at(point, request, _among(request, answer))):
                answer = None
            if answer is None:
                yield from faults.at(FaultPoint.READ_DELTA_BLOB_MISSING, request, (number,))
        elif faults is not None and question.kind == "shard" and answer is not None:
            as_of, pages = answer
            concerned = _among(request, pages or ())
            if (yield from faults.at(FaultPoint.READ_AFTER_SHARD_BLOB_LOAD, request, concerned, question.number)):
                answer = as_of, None
        answers[question] = answer
        return answer

    def read(self, request: Request) -> Reply:
        """The read itself, at one instant."""
        _check_numbers(request)
        snapshot = self._store.snapshot()
        view = self._core.view(request.database)
        if request.kind == "open" and view.is_empty(snapshot):
            return Reply(NO_HEAD, 0, [None])
        keys, head = view.resolve(snapshot, request, request.kind)
        page_count = head.page_count
        self._head_txid = head.txid
        pages: list[bytes | None] = [
            self._page(snapshot, keys, number) if number <= page_count else None for number in request.numbers
        ]
        overflow: dict[int, bytes] = {}
        if request.expand and (further := _chains(request.numbers, pages)):
            asked = {number: page for number, page in zip(request.numbers, pages, strict=True) if page is not None}
            while numbers := _unknown(further, asked, overflow, page_count):
                for number in numbers:
                    overflow[number] = self._page(snapshot, keys, number)
                further = [next_in_chain(overflow[number]) for number in numbers]
        self._record(request, head.txid)
        hints = _hints(snapshot, keys) if request.kind == "open" else None
        return Reply(head.txid, page_count, pages, hints, overflow)

    def _page(self, snapshot: Snapshot, keys: BranchKeys, number: int) -> bytes:
        if snapshot is not self._found_in or keys is not self._found_of:
            self._found_in, self._found_of = snapshot, keys
            self._found.clear()
            self._answers.clear()
        owner = snapshot.get(keys.pidx(number))
        if owner is not None:
            pages = self._found.get(owner)
            if pages is None:
                pages = self._found[owner] = self._delta(snapshot, keys, owner)
            page = pages.get(number)
            if page is not None:
                return page
        return self._core.sources.page(snapshot, keys, number, self._head_txid, self._answers)

    def _delta(self, snapshot: Snapshot, keys: BranchKeys, owner: bytes) -> Pages:
        """The pages of a commit, none when its delta is missing."""
        pages: Pages | None = self._core.sources.answer(snapshot, Question("delta", keys, int.from_bytes(owner, "big")))
        return pages or {}

    def _record(self, request: Request, head_txid: int) -> None:
        kernel = self._kernel
        kernel.record(
            PagesRead(kernel.now, request.task_name, request.instance, request.number, request.numbers, head_txid)
        )


def _chains(numbers: tuple[int, ...], pages: list[bytes | None]) -> list[int]:
    """Where the overflow chains of these pages begin."""
    begins: list[int] = []
    for position, page in enumerate(pages):
        if page is not None and (found := chains_from(page, numbers[position] == 1)):
            begins.extend(found)
    return begins


def _unknown(further: list[int], asked: dict[int, bytes], overflow: dict[int, bytes], page_count: int) -> list[int]:
    """The overflow pages to get next, as many as may come along: chains lead on through pages that were asked for."""
    wanted: dict[int, None] = {}
    for start in further:
        number, passed = start, set[int]()
        while number in asked and number not in passed:
            passed.add(number)
            number = next_in_chain(asked[number])
        if 0 < number <= page_count and number not in overflow and number not in passed:
            wanted[number] = None
    return list(wanted)[: OVERFLOW_PAGES_MAX - len(overflow)]


def _hints(readable: Readable, keys: BranchKeys) -> PreloadHints | None:
    """What is advised to load at opening. Advice that cannot be read is none: nobody fails for it."""
    raw = readable.get(keys.hints)
    if raw is None:
        return None
    try:
        return decode_hints(raw)
    except RecordCorrupt:
        return None


def _go_on(
    asking: Search, answer: object, number: int, searches: dict[int, tuple[Search, Question]], pages: dict[int, bytes]
) -> None:
    """Hands a search its answer: either it has another question, or it has found the page."""
    try:
        searches[number] = asking, asking.send(answer)
    except StopIteration as found:
        searches.pop(number, None)
        pages[number] = found.value


def _among(request: Request, pages: Any) -> tuple[int, ...]:
    return tuple(number for number in request.numbers if number in pages)


def _check_numbers(request: Request) -> None:
    if 0 in request.numbers:
        raise PageZero("there is no page 0: pages are numbered from 1")
