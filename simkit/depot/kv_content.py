"""The committed content of a store: newest values over an image, and older values that readers need.

Upholds ISO-1 (a commit that is applied read nothing that changed since its read version) and DET-1 (no order
here depends on hashing: every iteration is over insertion-ordered dicts or sorted keys).

Newest values live in two dicts: the image's rows, never written, and the *overlay* of everything changed
since, where None is a tombstone over an image row. A cleared key that the image lacks leaves the overlay
altogether, so tombstones are bounded by the image. Sorted overlay keys are built at the first range scan and
maintained from then on.

Older values hang on *read points*. Each version at which some transaction reads has one; they form a list in
version order. A commit saves the value it replaces on the newest point only, and only the first time after
that point, because every older reader that does not find a key on its own point continues to the newer ones.
When the last transaction of a point ends, its values move to the next older point, which keeps its own where
both have one; without an older point they are dropped. Hence at most one value per key and distinct read
version is ever kept, with no readers nothing is kept, and no pruning pass exists. A log of commits by version
would serve too, but grows with every commit while one slow reader is active.

The same points answer the conflict question exactly: a key was written after version v while v was being read
if and only if the point of v, or a newer one, holds it. Cleared ranges are kept beside the values, as ranges,
because they conflict also with reads of keys that did not exist.

Not here: a transaction's own writes, limits and its life (kv_transaction.py), time, retry, any I/O.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from sortedcontainers import SortedList

from simkit.depot.kv_errors import Conflict, StaleSnapshot
from simkit.depot.kv_image import KeyValueImage, Patch, Row, merge_rows

Range = tuple[bytes, bytes]

_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")


def check_range(begin: bytes, end: bytes, limit: int | None) -> None:
    """Raise ValueError when a range is inverted or a limit negative."""
    if begin > end:
        raise ValueError(f"range begin {begin!r} lies after its end {end!r}; swap them")
    if limit is not None and limit < 0:
        raise ValueError(f"range limit is {limit}; give a number of rows of at least 0, or None for all")


class ReadPoint:
    """One version at which transactions read, and what later commits replaced since."""

    __slots__ = ("cleared", "holders", "newer", "older", "replaced", "version")

    def __init__(self, version: int, older: "ReadPoint | None") -> None:
        self.version = version
        self.holders = 1
        self.older = older
        self.newer: ReadPoint | None = None
        self.replaced: dict[bytes, tuple[bytes | None, int]] = {}
        self.cleared: dict[Range, int] = {}


class _StaleOverlay(dict[bytes, bytes | None]):
    """Replaces the overlay of a snapshot that outlived its instant, so that a valid one pays for no check."""

    __slots__ = ("error",)

    def __init__(self, error: StaleSnapshot) -> None:
        super().__init__()
        self.error = error

    def __contains__(self, key: object) -> bool:
        raise self.error


class Snapshot:
    """A read-only look at one instant of a store, for a request that reads and is done without yielding.

    It registers nowhere and costs the store nothing. The first commit after it was taken ends it: any later
    read raises StaleSnapshot. To read across a yield, begin a transaction.
    """

    __slots__ = ("_base", "_content", "_overlay", "version")

    def __init__(self, content: "CommittedContent") -> None:
        self.version = content.version
        self._content = content
        self._base = content.base
        self._overlay = content.overlay

    def get(self, key: bytes) -> bytes | None:
        """Return the value at ``key``, or None. Raises StaleSnapshot after a later commit."""
        if key in self._overlay:
            return self._overlay[key]
        return self._base.get(key)

    def get_range(self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False) -> list[Row]:
        """Return up to ``limit`` rows of [begin, end) in key order, or from the end when ``reverse``.

        Raises StaleSnapshot after a later commit, ValueError for an inverted range or a negative limit.
        """
        if self.version != self._content.version:
            raise StaleSnapshot(self.version, self._content.version)
        check_range(begin, end, limit)
        return self._content.current_rows(begin, end, limit, reverse)

    def expire(self, store_version: int) -> None:
        """Make every later read raise StaleSnapshot. Called by the store when it commits."""
        self._overlay = _StaleOverlay(StaleSnapshot(self.version, store_version))


class CommittedContent:
    """Newest values, the versions readers need, and the one place where a commit is applied."""

    __slots__ = ("_index", "_snapshot", "base", "image", "newest", "overlay", "version")

    def __init__(self, image: KeyValueImage) -> None:
        self.image = image
        self.base: Mapping[bytes, bytes] = image.content()
        self.overlay: dict[bytes, bytes | None] = {}
        self.version = image.version
        self.newest: ReadPoint | None = None
        self._index: SortedList | None = None
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Return the snapshot of this instant; all callers between two commits share one."""
        if self._snapshot is None:
            self._snapshot = Snapshot(self)
        return self._snapshot

    def enter(self) -> ReadPoint:
        """Register a reader at the present version. Every enter needs one ``leave``."""
        newest = self.newest
        if newest is not None and newest.version == self.version:
            newest.holders += 1
            return newest
        point = ReadPoint(self.version, newest)
        if newest is not None:
            newest.newer = point
        self.newest = point
        return point

    def leave(self, point: ReadPoint) -> None:
        """End one reader; the last one of a point hands its values to the next older point, or drops them."""
        assert point.holders > 0, "ISO-1: a read point was left more often than entered"
        point.holders -= 1
        if point.holders:
            return
        older, newer = point.older, point.newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        if older is not None:
            older.newer = newer
            older.replaced = _joined(older.replaced, point.replaced)
            older.cleared = _joined(older.cleared, point.cleared)

    def current(self, key: bytes) -> bytes | None:
        """Return the newest value at ``key``."""
        if key in self.overlay:
            return self.overlay[key]
        return self.base.get(key)

    def value_at(self, point: ReadPoint, key: bytes) -> bytes | None:
        """Return the value ``key`` had at the version of ``point``."""
        later: ReadPoint | None = point
        while later is not None:
            if key in later.replaced:
                return later.replaced[key][0]
            later = later.newer
        if key in self.overlay:
            return self.overlay[key]
        return self.base.get(key)

    def current_rows(self, begin: bytes, end: bytes, limit: int | None, reverse: bool) -> list[Row]:
        """Return the newest rows of [begin, end)."""
        return merge_rows(self.image, begin, end, self._current_patch(begin, end, reverse), limit, reverse)

    def patch_at(self, point: ReadPoint, begin: bytes, end: bytes, reverse: bool) -> Patch:
        """Return the changed keys of [begin, end) over the image as of ``point``, in scan order."""
        patch = self._current_patch(begin, end, reverse)
        if point.version == self.version:
            return patch
        past = dict(patch)
        for later in reversed(list(_from(point))):
            past.update((key, old) for key, (old, _) in later.replaced.items() if begin <= key < end)
        return sorted(past.items(), key=_key_of, reverse=reverse)

    def _current_patch(self, begin: bytes, end: bytes, reverse: bool) -> Patch:
        overlay = self.overlay
        if not overlay or begin >= end:
            return ()
        if self._index is None:
            self._index = SortedList(overlay)
        return ((key, overlay[key]) for key in self._index.irange(begin, end, (True, False), reverse))

    def find_conflict(self, point: ReadPoint, keys: Iterable[bytes], ranges: Iterable[Range]) -> Conflict | None:
        """Return why a transaction that read these ``keys`` and ``ranges`` must not commit, or None."""
        if point.version == self.version:
            return None
        for later in _from(point):
            for key in keys:
                if key in later.replaced:
                    return Conflict(key, None, point.version, later.replaced[key][1])
                for (begin, end), written in later.cleared.items():
                    if begin <= key < end:
                        return Conflict(key, None, point.version, written)
            for read_begin, read_end in ranges:
                for key, (_, written) in later.replaced.items():
                    if read_begin <= key < read_end:
                        return Conflict(read_begin, read_end, point.version, written)
                for (begin, end), written in later.cleared.items():
                    if begin < read_end and read_begin < end:
                        return Conflict(read_begin, read_end, point.version, written)
        return None

    def apply(self, changes: dict[bytes, bytes | None], cleared: Iterable[Range]) -> int:
        """Make ``changes`` the newest values as one commit and return its version. Cannot fail half-way.

        ``cleared`` are the cleared ranges, whose existing keys are already among ``changes``.
        """
        version = self.version + 1
        if self.newest is not None:
            self._save_replaced(self.newest, changes, cleared, version)
        overlay, base, index = self.overlay, self.base, self._index
        for key, value in changes.items():
            if value is not None or key in base:
                if index is not None and key not in overlay:
                    index.add(key)
                overlay[key] = value
            elif key in overlay:
                del overlay[key]
                if index is not None:
                    index.remove(key)
        self.version = version
        if self._snapshot is not None:
            self._snapshot.expire(version)
            self._snapshot = None
        return version

    def _save_replaced(
        self, point: ReadPoint, changes: dict[bytes, bytes | None], cleared: Iterable[Range], version: int
    ) -> None:
        replaced = point.replaced
        for key in changes:
            if key not in replaced:
                replaced[key] = (self.current(key), version)
        for cleared_range in cleared:
            point.cleared.setdefault(cleared_range, version)

    def freeze(self) -> KeyValueImage:
        """Return the newest content as an image; the present image itself when nothing changed since."""
        if self.version == self.image.version:
            return self.image
        merged = {**self.base, **self.overlay}
        return KeyValueImage({key: value for key, value in merged.items() if value is not None}, self.version)

    def read_points(self) -> list[ReadPoint]:
        """Return the active read points, newest first."""
        points = []
        point = self.newest
        while point is not None:
            points.append(point)
            point = point.older
        return points


def _from(point: ReadPoint) -> Iterable[ReadPoint]:
    """Yield ``point`` and every newer one, in version order."""
    later: ReadPoint | None = point
    while later is not None:
        yield later
        later = later.newer


def _joined(earlier: dict[_Key, _Entry], later: dict[_Key, _Entry]) -> dict[_Key, _Entry]:
    """Join two mappings into the larger one of them; an earlier entry wins, its commit came first."""
    if len(earlier) < len(later):
        later.update(earlier)
        return later
    for key, entry in later.items():
        earlier.setdefault(key, entry)
    return earlier


def _key_of(row: tuple[bytes, bytes | None]) -> bytes:
    return row[0]
