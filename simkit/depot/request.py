"""One request on its way through the depot, and the reply that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from simkit.kernel import Task

RequestKind = Literal["get_pages", "commit", "open", "control"]

DATABASE_ID = "main"
"""The database that everybody means who names none."""

_NO_PAGES: Mapping[int, bytes] = {}

NO_HEAD = 0
"""The head of a database that was never committed to; the first commit is 1."""


class Request:
    """A request as the depot sees it.

    Attributes:
        expected_head: the txid the client believes to be current, or None when it does not know yet.
        pages: what to write (page number to content), empty for reads.
        numbers: the page numbers that are read or written.
        database: the name of the database.
        command: what a control request asks for, None for the others.
        branch, txid: the number of the branch and the transaction that a commit became, once it is durable.
        ranged: the numbers are consecutive and were asked for as a range.
        expand: overflow pages of what is asked for come along.
        immediate: answered at once, outside the model's latency, queue and faults; for looking at a state, not
            for a system under test.
        result, error: exactly one is set once the request is `done`.
    """

    __slots__ = (
        "branch",
        "command",
        "database",
        "done",
        "error",
        "expand",
        "expected_head",
        "generation",
        "immediate",
        "instance",
        "kind",
        "number",
        "numbers",
        "operation",
        "page_count",
        "pages",
        "ranged",
        "result",
        "task",
        "task_name",
        "txid",
    )

    def __init__(
        self,
        kind: RequestKind,
        number: int,
        task: Task,
        instance: str,
        generation: int,
        expected_head: int | None,
        numbers: tuple[int, ...],
        pages: Mapping[int, bytes],
        page_count: int,
        immediate: bool = False,
        database: str = DATABASE_ID,
        command: object = None,
        ranged: bool = False,
        expand: bool = False,
    ) -> None:
        self.kind = kind
        self.database = database
        self.command = command
        self.ranged = ranged
        self.expand = expand
        self.immediate = immediate
        self.number = number
        self.task: Task | None = task
        self.task_name = task.name
        self.operation = task.operation_number
        self.instance = instance
        self.generation = generation
        self.expected_head = expected_head
        self.numbers = numbers
        self.pages = pages
        self.page_count = page_count
        self.branch = 0
        self.txid = 0
        self.done = False
        self.result: Reply | None = None
        self.error: Exception | None = None

    def __str__(self) -> str:
        shown = ",".join(map(str, self.numbers[:6])) + (",…" if len(self.numbers) > 6 else "")
        kind = "get_range" if self.ranged else self.kind
        return f"{kind} #{self.number} of {self.instance} [{shown}]"

    @property
    def name(self) -> str:
        return f"{self.kind} #{self.number}"


class Reply:
    """A successful answer.

    Attributes:
        head: txid of the database's head, `page_count` its size in pages.
        pages: one entry for each requested page, None beyond the end of the database. Empty for commits.
        overflow: overflow pages that come along, by number.
        value: what a control request was answered with; for an opening its `PreloadHints`, None without any.
    """

    __slots__ = ("head", "overflow", "page_count", "pages", "value")

    def __init__(
        self,
        head: int,
        page_count: int,
        pages: list[bytes | None],
        value: object = None,
        overflow: Mapping[int, bytes] = _NO_PAGES,
    ) -> None:
        self.overflow = overflow
        self.value = value
        self.head = head
        self.page_count = page_count
        self.pages = pages
