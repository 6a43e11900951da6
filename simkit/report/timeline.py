"""A run as a picture: who waited, which connections were open, when SQLite held its locks, what became durable.

One SVG without scripts, drawn from the history alone, so it shows any system. Time runs to the right, one row for the
mode of each instance that tells it, each connection, each client, and what operator and compaction do in the depot.
What takes no simulated time is a thin line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from simkit.check.events import (
    FAILED,
    OK,
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    InstanceOpened,
    OperationEnded,
    OperationInvoked,
    StatementStarted,
)
from simkit.check.verdict import Violation
from simkit.depot.events import CommitApplied
from simkit.kernel import Record
from simkit.kernel.units import format_duration
from simkit.pool.events import ModeChanged
from simkit.report.timeline_axis import Axis
from simkit.report.timeline_depot import DepotRows
from simkit.report.timeline_rows import Bar, Row
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, TransactionEnded

_WIDTH, _LEFT, _RIGHT = 1280, 170, 20
_ROW, _BAR, _TOP = 22, 14, 60
_THIN = 1.5
_COLOURS = {
    "closed": "#d8dce2",
    "read": "#7fb98a",
    "write": "#d9822b",
    "closing": "#4a5160",
    "reader": "#cfe6d4",
    "reader busy": "#3f8f55",
    "writer": "#f6d9b8",
    "writer busy": "#c2621a",
    "waits": "#e3e6eb",
    OK: "#5b84c4",
    FAILED: "#a9a0b8",
    "unknown": "#c9a227",
    "close": "#4a5160",
    "wake": "#8a6fc1",
    "wake lost": "#c0392b",
    "staged": "#d9cdee",
    "installed": "#6a3fb5",
    "reclaimed": "#2a9d8f",
    "job failed": "#c0392b",
    "restore point": "#2f6fde",
    "forked": "#2a9d8f",
    "rolled back": "#c2621a",
}
_LEGEND = (
    ("mode read", "read"),
    ("mode write", "write"),
    ("reader open", "reader"),
    ("reading", "reader busy"),
    ("writer open", "writer"),
    ("in a transaction", "writer busy"),
    ("client waits", "waits"),
    ("acknowledged", OK),
    ("refused", FAILED),
    ("unknown", "unknown"),
    ("close()", "close"),
)
_DEPOT_LEGEND = (
    ("wake", "wake"),
    ("job has staged", "staged"),
    ("installed", "installed"),
    ("reclaimed", "reclaimed"),
    ("failed or lost", "job failed"),
    ("restore point", "restore point"),
    ("fork", "forked"),
    ("rollback", "rolled back"),
)
"""Shown when a row of the depot is."""


def timeline_svg(history: Sequence[Record], title: str, violations: Iterable[Violation] = ()) -> str:
    """The history as an SVG document."""
    picture = _Picture()
    for event in history:
        picture.add(event)
    axis = Axis((event.at for event in history), _LEFT, _WIDTH - _LEFT - _RIGHT)
    end = max((event.at for event in history), default=0)
    return _draw(title, picture, sorted(violations, key=lambda found: found.at), axis, end)


class _Picture:
    """What the history has shown so far."""

    def __init__(self) -> None:
        self.modes: dict[str, Row] = {}
        self.lanes: dict[tuple[str, str], list[Row]] = {}
        self.clients: dict[str, Row] = {}
        self.commits: list[tuple[int, str]] = []
        self.crashes: list[tuple[int, str]] = []
        self.depot = DepotRows()
        #: bars that last, by what they show
        self._lasting: dict[tuple[object, ...], Bar] = {}
        self._handles: dict[tuple[str, int], tuple[Row, str]] = {}
        self._rows_of_operations: dict[int, Row] = {}

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order in which they are drawn."""
        instances = dict.fromkeys(name for name, _ in self.lanes)
        connections = [
            row for name in instances for role in ("reader", "writer") for row in self.lanes.get((name, role), ())
        ]
        callers = [self.clients[name] for name in sorted(self.clients)]
        return [*self.modes.values(), *connections, *callers, *self.depot.rows]

    def add(self, event: Record) -> None:
        """Takes one event."""
        at = event.at
        match event:
            case ModeChanged(instance=instance, after=after):
                self._end("mode", instance, at=at)
                row = self.modes.setdefault(instance, Row(f"{instance} mode"))
                if after != "closed":
                    self._lasting["mode", instance] = row.begin(at, after, f"{after}: {event.reason}")
            case FileOpened() | FileClosed() | TransactionBegan() | TransactionEnded():
                self._add_connection(event)
            case OperationInvoked() | StatementStarted() | OperationEnded():
                self._add_operation(event)
            case CloseInvoked():
                row = self.clients.setdefault(event.task, Row(event.task))
                self._lasting["close", event.task] = row.begin(at, "close", f"close of {event.instance}")
            case CloseReturned():
                self._end("close", event.task, at=at)
            case CommitApplied():
                self.commits.append((at, f"commit {event.txid} of operation {event.operation} is durable"))
            case InstanceOpened():
                self.crashes.append((at, f"{event.instance} opened"))
            case InstanceCrashed(instance=instance):
                self.crashes.append((at, f"{instance} crashed: {event.cause}"))
                for key in [key for key in self._lasting if instance in key]:
                    self._end(*key, at=at)
            case _:
                self.depot.add(event)

    def _end(self, *key: object, at: int) -> Bar | None:
        bar = self._lasting.pop(key, None)
        if bar is not None:
            bar.until = at
        return bar

    def _free_lane(self, instance: str, role: str) -> Row:
        """The first row whose connections are all closed; they come and go, and one row each would be too many."""
        lanes = self.lanes.setdefault((instance, role), [])
        taken = [row for handle, (row, _) in self._handles.items() if ("file", *handle) in self._lasting]
        for row in lanes:
            if not any(row is other for other in taken):
                return row
        lanes.append(Row(f"{instance} {role} {len(lanes) + 1}"))
        return lanes[-1]

    def _add_connection(self, event: FileOpened | FileClosed | TransactionBegan | TransactionEnded) -> None:
        at, name, handle = event.at, event.instance, event.handle
        match event:
            case FileOpened(writable=writable):
                role = "writer" if writable else "reader"
                row = self._free_lane(name, role)
                self._handles[name, handle] = row, role
                self._lasting["file", name, handle] = row.begin(at, role, f"{role} connection {handle} is open")
            case FileClosed():
                self._end("busy", name, handle, at=at)
                self._end("file", name, handle, at=at)
                self._handles.pop((name, handle), None)
            case TransactionBegan() if (name, handle) in self._handles:
                row, role = self._handles[name, handle]
                text = f"operation {event.operation} at version {event.head}"
                self._lasting["busy", name, handle] = row.begin(at, f"{role} busy", text)
            case TransactionEnded():
                self._end("busy", name, handle, at=at)

    def _add_operation(self, event: OperationInvoked | StatementStarted | OperationEnded) -> None:
        at, key = event.at, ("operation", event.operation)
        match event:
            case OperationInvoked():
                row = self.clients.setdefault(event.client, Row(event.client))
                self._rows_of_operations[event.operation] = row
                self._lasting[key] = row.begin(at, "waits", f"{event.operation}: {event.name} waits")
            case StatementStarted() if key in self._lasting and self._lasting[key].colour == "waits":
                waited = self._lasting.pop(key)
                waited.until = at
                row = self._rows_of_operations[event.operation]
                self._lasting[key] = row.begin(at, "unknown", waited.title.removesuffix(" waits"))
            case OperationEnded():
                ended = self._end(*key, at=at)
                if ended is not None:
                    ended.colour = event.outcome
                    ended.title = f"{ended.title}: {event.outcome} {event.error}".strip()


def _draw(title: str, picture: _Picture, violations: Sequence[Violation], axis: Axis, end: int) -> str:
    rows = picture.rows
    bottom = _TOP + _ROW * len(rows)
    height = bottom + 30 + 16 * len(violations)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="11">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="18" font-size="14" font-weight="600">{escape(title)}</text>',
        *_legend(_LEGEND, 26 if picture.depot.rows else 30),
        *(_legend(_DEPOT_LEGEND, 42) if picture.depot.rows else ()),
        *_time(axis, bottom),
    ]
    for number, row in enumerate(rows):
        top = _TOP + _ROW * number
        parts.append(f'<text x="8" y="{top + 13}" fill="#2b303b">{escape(row.label)}</text>')
        parts.extend(_bar(bar, axis.x, top + (_ROW - _BAR) / 2, end) for bar in row.bars)
    for at, text in picture.commits:
        parts.append(_line(axis.x(at), bottom, "#2f6fde", "", text))
    for at, text in picture.crashes:
        parts.append(_line(axis.x(at), bottom, "#c0392b" if "crashed" in text else "#9aa2b1", "4 3", text))
    for at, text in picture.depot.rollbacks:
        parts.append(_line(axis.x(at), bottom, _COLOURS["rolled back"], "2 2", text, 1.4))
    for number, violation in enumerate(violations):
        parts.append(_line(axis.x(violation.at), bottom, "#c0392b", "", violation.sentence, 2))
        text = escape(f"{violation.invariant} violated: {violation.sentence}"[:190])
        parts.append(f'<text x="8" y="{bottom + 32 + 16 * number}" fill="#c0392b">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _time(axis: Axis, bottom: int) -> Iterable[str]:
    """Lines with their times, and the stretches that are drawn short."""
    ticks = axis.ticks()
    for place, at in ticks:
        yield f'<line x1="{place:.1f}" y1="{_TOP}" x2="{place:.1f}" y2="{bottom}" stroke="#eef0f3"/>'
        anchor = "end" if place > _WIDTH - 2 * _RIGHT else "middle"
        yield (
            f'<text x="{place:.1f}" y="{bottom + 14}" fill="#697080" text-anchor="{anchor}">{_short_time(at)}</text>'
        )
    for begin, end, duration_ns in axis.gaps:
        yield (
            f'<rect x="{begin:.1f}" y="{_TOP}" width="{end - begin:.1f}" height="{bottom - _TOP}" fill="#f4f5f7">'
            f"<title>nothing happens for {format_duration(duration_ns)}</title></rect>"
        )
        yield (
            f'<text x="{(begin + end) / 2:.1f}" y="{bottom + 26}" fill="#a0a6b2" text-anchor="middle">'
            f"+{_short_time(duration_ns)}</text>"
        )


def _bar(bar: Bar, x: Callable[[int], float], top: float, end: int) -> str:
    left = x(bar.since)
    until = bar.until if bar.until is not None else end
    width = max(x(until) - left, _THIN)
    inset = 3 if bar.colour.endswith("busy") else 0
    title = f"{bar.title} ({format_duration(bar.since)} to {format_duration(until)})"
    return (
        f'<rect x="{left:.1f}" y="{top + inset:.1f}" width="{width:.1f}" height="{_BAR - 2 * inset}" '
        f'fill="{_COLOURS[bar.colour]}"><title>{escape(title)}</title></rect>'
    )


def _line(x: float, bottom: float, colour: str, dashes: str, text: str, width: float = 0.7) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x:.1f}" y1="{_TOP - 4}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}" stroke-width="{width}"'
        f"{dashed}><title>{escape(text)}</title></line>"
    )


def _legend(entries: Iterable[tuple[str, str]], top: int) -> Iterable[str]:
    left = 8.0
    for text, colour in entries:
        yield f'<rect x="{left:.0f}" y="{top}" width="10" height="10" fill="{_COLOURS[colour]}"/>'
        yield f'<text x="{left + 14:.0f}" y="{top + 9}" fill="#4a5160">{text}</text>'
        left += 24 + 6.2 * len(text)
    if entries is _LEGEND:
        yield (
            f'<line x1="{left:.0f}" y1="{top - 1}" x2="{left:.0f}" y2="{top + 11}" '
            'stroke="#2f6fde" stroke-width="1.5"/>'
        )
        yield f'<text x="{left + 6:.0f}" y="{top + 9}" fill="#4a5160">durable</text>'


def _short_time(at_ns: int) -> str:
    """Three digits are enough for an axis."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if at_ns >= size:
            return f"{at_ns / size:.3g}{unit}"
    return f"{at_ns}ns"
