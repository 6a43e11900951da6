"""ISO-1 as an insider sees it: every transaction of SQLite was given the pages of one version, and a version in time.

Version v of the database is its content after the v-th commit that became durable; version 0 is what the run began
with. A content hash (`simkit.vfs.observed_file`) tells at which versions a page had that content. A transaction must
have been given pages that all belong to at least one version v

- not older than what was known before its operation began: commits that were acknowledged to anybody, what earlier
  operations had seen when they ended, what a fresh instance found;
- not newer than the newest when it ended;
- and, if it committed, the very version that its commit replaced.

An instance that a later one superseded may go on serving what it had: from that moment on it need not know what came of
later instances.
Nothing is assumed of the content before the first commit of a page, except that it is always the same. It speaks no SQL
and trusts no txid. One pass; silent on histories without `PagesSeen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from simkit.check.events import OperationEnded, OperationInvoked, StateObserved
from simkit.check.verdict import Violation
from simkit.depot.events import CommitAcknowledged, CommitApplied, CommitRequested, InstanceAllocated
from simkit.kernel import Record
from simkit.vfs.events import PagesCommitted, PagesSeen, TransactionBegan, TransactionEnded, VfsRegistered
from simkit.vfs.observed_file import STAMP

CHECK = "page-versions"
_REPORTED_MAX = 10
_DETAILS_MAX = 6

Window = tuple[int, int]
"""The first and the last of a run of versions."""


def check_pages(history: Sequence[Record]) -> list[Violation]:
    """One violation for each transaction of SQLite that was given pages of no allowed version; the first ten only."""
    if not any(event.__class__ is PagesSeen for event in history):
        return []
    found = _Reader(history).read()
    more = len(found) - _REPORTED_MAX
    details = (f"and {more} more transactions with pages of no allowed version",) if more > 0 else ()
    return [_violation(finding, details) for finding in found[:_REPORTED_MAX]]


@dataclass(slots=True)
class _Finding:
    seen: PagesSeen
    sentence: str
    operations: list[int]
    details: list[str]


@dataclass(slots=True)
class _Page:
    """One page through the versions.

    Attributes:
        content: its newest hash; None when it is not known, or from before the first commit.
        since: the version that made it so.
        changes: the versions that changed it, in order.
        earlier: by hash, when it had that content before, from the first commit of the page on.
        base: its hash before that, None as long as nobody saw it.
    """

    content: int | None = None
    since: int = 0
    changes: list[int] = field(default_factory=list)
    earlier: dict[int | None, list[Window]] = field(default_factory=dict)
    base: int | None = None

    def change(self, version: int, content: int | None) -> None:
        if self.changes:
            self.earlier.setdefault(self.content, []).append((self.since, version - 1))
        self.content, self.since = content, version
        self.changes.append(version)

    def windows(self, content: int, oldest: int, newest: int) -> list[Window]:
        """The versions from `oldest` to `newest` at which the page may have had this content, in order."""
        found: list[Window] = []
        if self.changes:
            if self.content in (content, None) and self.since <= newest:
                found.append((max(self.since, oldest), newest))
            for past in (content, None):
                for first, last in reversed(self.earlier.get(past, ())):
                    if last < oldest:
                        break
                    found.append((max(first, oldest), min(last, newest)))
        last_base = self.changes[0] - 1 if self.changes else newest
        if oldest <= last_base and self.base in (content, None):
            found.append((oldest, min(last_base, newest)))
        found.sort()
        return found

    def learn(self, content: int) -> None:
        """Somebody saw this content. If no commit can have brought it, it was there from the beginning."""
        if self.base is None:
            brought = self.content in (content, None) or content in self.earlier or None in self.earlier
            if not self.changes or not brought:
                self.base = content


class _Reader:
    """Goes through a history once, keeping the content of each page and what everybody must know by now."""

    def __init__(self, history: Sequence[Record]) -> None:
        self._history = history
        self._found: list[_Finding] = []
        self._pages: dict[int, _Page] = {}
        #: by version from 1 on: the operation that made it, and who that was
        self._versions: list[tuple[int, str]] = []
        #: the newest version that every operation from now on must know
        self._known = 0
        self._titles: dict[int, str] = {}
        self._known_to_operation: dict[int, int] = {}
        self._known_to_handle: dict[tuple[str, int], int] = {}
        #: by instance that was superseded, in the order of generations: the newest version that it must know
        self._frozen: dict[str, int] = {}
        self._unfrozen: list[str] = []
        #: by operation: its instance, and the oldest version that it can have seen
        self._seen_by: dict[int, tuple[str, int]] = {}
        self._content: dict[str, tuple[tuple[int, int], ...]] = {}
        self._committing: dict[str, PagesSeen] = {}
        self._requests: dict[int, tuple[dict[int, int | None], PagesSeen | None]] = {}
        self._version_of: dict[int, int] = {}

    def read(self) -> list[_Finding]:
        handlers: dict[type[Record], Callable[[Any], None]] = {
            OperationInvoked: self._operation_invoked,
            OperationEnded: self._operation_ended,
            StateObserved: self._state_observed,
            InstanceAllocated: self._allocated,
            VfsRegistered: self._registered,
            TransactionBegan: self._transaction_began,
            TransactionEnded: self._transaction_ended,
            PagesSeen: self._pages_seen,
            PagesCommitted: self._pages_committed,
            CommitRequested: self._commit_requested,
            CommitApplied: self._commit_applied,
            CommitAcknowledged: self._commit_acknowledged,
        }
        for event in self._history:
            handle = handlers.get(event.__class__)
            if handle is not None:
                handle(event)
        return self._found

    # What everybody must know

    def _operation_invoked(self, event: OperationInvoked) -> None:
        self._titles[event.operation] = f"operation {event.operation} ({event.name} of {event.client})"
        self._known_to_operation[event.operation] = self._known_to(event.instance)

    def _operation_ended(self, event: OperationEnded) -> None:
        if event.operation in self._seen_by:
            instance, version = self._seen_by.pop(event.operation)
            self._learn(instance, version)

    def _state_observed(self, event: StateObserved) -> None:
        self._known = len(self._versions)

    def _allocated(self, event: InstanceAllocated) -> None:
        self._frozen.update(dict.fromkeys(self._unfrozen, self._known))
        self._unfrozen.clear()

    def _registered(self, event: VfsRegistered) -> None:
        self._unfrozen.append(event.instance)

    def _transaction_began(self, event: TransactionBegan) -> None:
        self._known_to_handle[event.instance, event.handle] = self._known_to(event.instance)

    def _commit_acknowledged(self, event: CommitAcknowledged) -> None:
        self._learn(event.instance, self._version_of.get(event.request, 0))

    def _learn(self, instance: str, version: int) -> None:
        """From now on everybody must know this version, of superseded instances those that are not older than this."""
        self._known = max(self._known, version)
        if instance in self._frozen:
            for other in reversed(self._frozen):
                self._frozen[other] = max(self._frozen[other], version)
                if other == instance:
                    break

    def _known_to(self, instance: str) -> int:
        return self._frozen.get(instance, self._known)

    # Commits

    def _pages_committed(self, event: PagesCommitted) -> None:
        self._content[event.task] = event.pages

    def _commit_requested(self, event: CommitRequested) -> None:
        told = self._content.pop(event.task, None)
        if told is not None:
            content: dict[int, int | None] = dict(told)
        else:
            content = dict.fromkeys(event.pages)
            if 1 in content:
                content[STAMP] = None
        self._requests[event.request] = content, self._committing.pop(event.task, None)

    def _commit_applied(self, event: CommitApplied) -> None:
        content, basis = self._requests.pop(event.request, ({}, None))
        if basis is not None:
            self._judge_basis(basis)
        title = self._titles.get(event.operation, f"a commit of {event.instance}")
        self._versions.append((event.operation, title))
        version = self._version_of[event.request] = len(self._versions)
        for number, hashed in content.items():
            self._page(number).change(version, hashed)

    def _transaction_ended(self, event: TransactionEnded) -> None:
        # Whatever this task commits next belongs to another transaction.
        self._committing.pop(event.task, None)

    # Transactions

    def _pages_seen(self, event: PagesSeen) -> None:
        oldest, newest = self._oldest(event), len(self._versions)
        windows = [(oldest, newest)]
        for number, hashed in event.pages:
            page = self._page(number)
            page.learn(hashed)
            windows = _common(windows, page.windows(hashed, oldest, newest))
            if not windows:
                self._found.append(self._explain(event, oldest, newest))
                return
        if event.commits:
            self._committing[event.task] = event
        if event.operation >= 0:
            _, before = self._seen_by.get(event.operation, (event.instance, 0))
            self._seen_by[event.operation] = event.instance, max(windows[0][0], before)

    def _oldest(self, event: PagesSeen) -> int:
        """The oldest version that the transaction may have been given."""
        known = self._known_to_operation.get(event.operation)
        return self._known_to_handle.get((event.instance, event.handle), 0) if known is None else known

    def _judge_basis(self, seen: PagesSeen) -> None:
        """The commit of this transaction replaces the present version: that must be the one it was given."""
        newest = len(self._versions)
        for number, hashed in seen.pages:
            page = self._page(number)
            if page.changes and not page.windows(hashed, newest, newest):
                operation, title = self._versions[page.since - 1]
                self._found.append(
                    _Finding(
                        seen,
                        f"{self._who(seen)} committed on top of {title} without having seen it: it was given "
                        f"{_name(number)} from before that",
                        [operation],
                        [],
                    )
                )
                return

    def _page(self, number: int) -> _Page:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = _Page()
        return page

    # Words

    def _who(self, seen: PagesSeen) -> str:
        return self._titles.get(seen.operation, f"a transaction of {seen.instance}")

    def _explain(self, seen: PagesSeen, oldest: int, newest: int) -> _Finding:
        """Names a page that no version has, else one that is too old, else two that no version has together."""
        who = self._who(seen)
        spans = [(number, self._page(number).windows(hashed, 0, newest)) for number, hashed in seen.pages]
        details = [f"{_name(number)}: {_span(windows)}" for number, windows in spans][:_DETAILS_MAX]
        for number, windows in spans:
            if not windows:
                sentence = f"{who} was given {_name(number)} with content that it has at no version up to {newest}"
                return _Finding(seen, sentence, [], details)
        for number, windows in spans:
            if windows[-1][1] < oldest:
                operation, title = self._versions[windows[-1][1]]
                sentence = (
                    f"{who} was given {_name(number)} from before {title}, which was known before "
                    f"{'it' if seen.operation in self._titles else 'the transaction'} began"
                )
                return _Finding(seen, sentence, [operation], details)
        late = max(spans, key=lambda span: span[1][0][0])
        early = min(spans, key=lambda span: span[1][-1][1])
        operations: list[int] = []
        if early[1][-1][1] < newest:
            operations.append(self._versions[early[1][-1][1]][0])
        sentence = (
            f"{who} was given {_name(early[0])} and {_name(late[0])} of different versions: none from {oldest} to "
            f"{newest} has all its pages"
        )
        return _Finding(seen, sentence, operations, details)


def _common(one: list[Window], other: list[Window]) -> list[Window]:
    """The versions in both, in order."""
    if len(one) == 1 and len(other) == 1:
        first, last = max(one[0][0], other[0][0]), min(one[0][1], other[0][1])
        return [(first, last)] if first <= last else []
    return list(_overlaps(one, other))


def _overlaps(one: list[Window], other: list[Window]) -> Iterator[Window]:
    left = right = 0
    while left < len(one) and right < len(other):
        first, last = max(one[left][0], other[right][0]), min(one[left][1], other[right][1])
        if first <= last:
            yield first, last
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1


def _name(number: int) -> str:
    return "the stamp in page 1" if number == STAMP else f"page {number}"


def _span(windows: list[Window]) -> str:
    if not windows:
        return "of no version"
    return "of version " + ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in windows)


def _violation(finding: _Finding, more: tuple[str, ...]) -> Violation:
    seen = finding.seen
    involved = dict.fromkeys(operation for operation in [seen.operation, *finding.operations] if operation >= 0)
    return Violation(
        "ISO-1",
        CHECK,
        finding.sentence,
        seen.at,
        (seen.task,) if seen.task else (),
        tuple(involved),
        (*finding.details, *more),
    )
