"""The client operations of a history, put together from their events.

`position` orders the operations that took effect: where the depot made its commit durable, or, when it made none, where the client heard the
answer. Positions are indices into the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simkit.check.events import OK, UNKNOWN, OperationEnded, OperationInvoked, StatementReturned
from simkit.depot.events import CommitApplied
from simkit.kernel import Record


@dataclass
class Operation:
    """One operation. `ended_at` is the index of its end, or None while it runs at the end of the history."""

    number: int
    client: str
    instance: str
    name: str
    kind: str
    statements: tuple[tuple[str, dict[str, Any]], ...]
    rollback: bool
    invoked_at: int
    outcome: str = UNKNOWN
    error: str = ""
    ended_at: int | None = None
    committed_at: int | None = None
    answers: dict[int, StatementReturned] = field(default_factory=dict)

    @property
    def acknowledged(self) -> bool:
        """Its client was told that it took effect."""
        return self.outcome == OK and not self.rollback

    @property
    def may_have_effect(self) -> bool:
        """It took effect, or nobody can say that it did not."""
        return self.outcome in (OK, UNKNOWN) and not self.rollback

    @property
    def title(self) -> str:
        return f"operation {self.number} ({self.name} of {self.client})"

    def position(self, end: int) -> int:
        """Where it stands among the others; `end` for one that is still running."""
        if self.committed_at is not None:
            return self.committed_at
        return self.ended_at if self.ended_at is not None else end


def operations_of(history: Sequence[Record]) -> list[Operation]:
    """All operations in the order of their invocation."""
    operations: dict[int, Operation] = {}
    for index, event in enumerate(history):
        if isinstance(event, OperationInvoked):
            operations[event.operation] = Operation(
                event.operation,
                event.client,
                event.instance,
                event.name,
                event.kind,
                event.statements,
                event.rollback,
                index,
            )
        elif isinstance(event, StatementReturned):
            operations[event.operation].answers[event.index] = event
        elif isinstance(event, OperationEnded):
            operation = operations[event.operation]
            operation.outcome, operation.error, operation.ended_at = event.outcome, event.error, index
        elif isinstance(event, CommitApplied) and event.operation in operations:
            operation = operations[event.operation]
            if operation.committed_at is None:
                operation.committed_at = index
    return list(operations.values())
