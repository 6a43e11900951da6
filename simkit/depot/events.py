"""What the depot and its clients put into the history.

`instance` is the name of the instance that asked, `request` a number unique in the run, `operation` the client
operation that the asking task worked for (-1 when it worked for none).
"""

from __future__ import annotations

from simkit.kernel import Record


class PagesRead(Record, frozen=True, gc=False, tag=True):
    """The depot read `pages` (page numbers) at the version `head` (a txid); the reply is on its way."""

    instance: str
    request: int
    pages: tuple[int, ...]
    head: int


class CommitRequested(Record, frozen=True, gc=False, tag=True):
    """An instance sent a commit of `pages` that makes the database `page_count` pages long."""

    instance: str
    operation: int
    request: int
    pages: tuple[int, ...]
    page_count: int
    expected_head: int


class CommitApplied(Record, frozen=True, gc=False, tag=True):
    """The key-value transaction of a commit is durable. The client does not know yet."""

    instance: str
    operation: int
    request: int
    txid: int


class CommitAcknowledged(Record, frozen=True, gc=False, tag=True):
    """The reply to a commit reached the task that waited for it."""

    instance: str
    operation: int
    request: int
    txid: int


class RequestFailed(Record, frozen=True, gc=False, tag=True):
    """The reply to a request reached its task, and it is an error."""

    instance: str
    operation: int
    request: int
    kind: str
    error: str
    message: str


class FaultFired(Record, frozen=True, gc=False, tag=True):
    """A fault rule acted on a request. `rule` is its position in the plan."""

    instance: str
    request: int
    rule: int
    point: str
    action: str


class InstanceAllocated(Record, frozen=True, gc=False, tag=True):
    """The depot handed the database to a new generation; requests of earlier ones are refused from now on."""

    generation: int
