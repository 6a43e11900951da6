"""What clients did to lists and registers, and what they saw of them: the history as `simkit.check.values` needs it.

Every operation whose statements mean something (`OperationInvoked.effects`) becomes one transaction. What a transaction
shows by itself is judged here: it sees its own writes, and nobody else's come in between (ISO-1). What it read before
its own writes is what it saw of the others.

Only values that are appended or written once can be followed. A key that was given a value twice, that showed one
before its writer began, or that kept one although the statement said it changed nothing, is ambiguous: nothing is said
of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simkit.check.events import FAILED, OK, UNKNOWN, OperationEnded, OperationInvoked, StatementReturned
from simkit.kernel import Record

Value = Any
"""A value of SQLite; what is appended or written is an integer or a text."""


@dataclass(eq=False, slots=True)
class Transaction:
    """One operation. `..._at` are indices into the history; `node` is its number among the transactions.

    Attributes:
        ended_at: None while it runs at the end of the history.
        acknowledged: its client was told that it took effect.
        undone: its client was told that nothing of it took effect, or meant to roll it back.
        counts: its writes took effect: it was acknowledged, or another transaction saw one of them.
    """

    node: int
    number: int
    client: str
    task: str
    name: str
    invoked_at: int
    ended_at: int | None = None
    acknowledged: bool = False
    undone: bool = False
    counts: bool = False

    @property
    def title(self) -> str:
        return f"operation {self.number} ({self.name} of {self.client})"

    def was_over_before(self, other: Transaction) -> bool:
        """Its client was told of it before the other began."""
        return self.ended_at is not None and self.ended_at < other.invoked_at


@dataclass(eq=False, slots=True)
class Write:
    """A value that a transaction appended to a list or wrote into a register.

    Attributes:
        index: number of the statement.
        certain: it took effect if the transaction did; not so when the statement said that it changed nothing.
        last: no later statement of the transaction appends to the list, or writes the register.
    """

    transaction: Transaction
    index: int
    value: Value
    certain: bool = True
    last: bool = True


@dataclass(eq=False, slots=True)
class Read:
    """What a transaction saw of the others: a whole list without its own appends (a tuple), or a register."""

    transaction: Transaction
    index: int
    answered_at: int
    found: Value


@dataclass(eq=False, slots=True)
class Key:
    """Everything that happened to one list or register. `ambiguous`: its values cannot be told apart."""

    name: Value
    writes: dict[Value, Write] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that no serial order explains.

    `transactions` begin with the one that shows it; of a cycle, all of them together do.
    """

    sentence: str
    transactions: tuple[Transaction, ...]
    details: tuple[str, ...] = ()
    cycle: bool = False


@dataclass(slots=True)
class ValueHistory:
    """Transactions in the order of their invocation, lists and registers by key, and what each shows by itself."""

    transactions: list[Transaction] = field(default_factory=list)
    lists: dict[Value, Key] = field(default_factory=dict)
    registers: dict[Value, Key] = field(default_factory=dict)
    findings: list[tuple[Key, Finding]] = field(default_factory=list)


@dataclass(slots=True)
class _Asked:
    transaction: Transaction
    effects: tuple[tuple[str, Any, Any] | None, ...]
    several: bool
    answers: dict[int, tuple[int, StatementReturned]] = field(default_factory=dict)


def read_values(history: Sequence[Record]) -> ValueHistory:
    """Reads a history once."""
    asked: dict[int, _Asked] = {}
    for index, event in enumerate(history):
        kind = event.__class__
        if kind is OperationInvoked:
            assert isinstance(event, OperationInvoked)
            if any(effect is not None for effect in event.effects):
                transaction = Transaction(len(asked), event.operation, event.client, event.task, event.name, index)
                transaction.undone = event.rollback
                asked[event.operation] = _Asked(transaction, event.effects, event.several)
        elif kind is StatementReturned:
            assert isinstance(event, StatementReturned)
            # Of several statements in one text nobody knows which of them answered.
            if event.operation in asked and not asked[event.operation].several:
                asked[event.operation].answers[event.index] = index, event
        elif kind is OperationEnded:
            assert isinstance(event, OperationEnded)
            if event.operation in asked:
                _end(asked[event.operation].transaction, event, index)
    values = ValueHistory([entry.transaction for entry in asked.values()])
    for entry in asked.values():
        _Statements(values, entry).go_through()
    return values


def _end(transaction: Transaction, event: OperationEnded, index: int) -> None:
    assert event.outcome in (OK, FAILED, UNKNOWN)
    transaction.ended_at = index
    transaction.undone = transaction.undone or event.outcome == FAILED
    transaction.acknowledged = transaction.counts = event.outcome == OK and not transaction.undone


class _Statements:
    """The statements of one transaction, in order."""

    def __init__(self, values: ValueHistory, asked: _Asked) -> None:
        self._values = values
        self._transaction = asked.transaction
        self._asked = asked
        self._own: dict[tuple[str, Value], list[Write]] = {}
        self._seen: dict[tuple[str, Value], Value] = {}

    def go_through(self) -> None:
        for index, effect in enumerate(self._asked.effects):
            if effect is None:
                continue
            kind, name, value = effect
            answered_at, answer = self._asked.answers.get(index, (-1, None))
            if kind == "append":
                self._write(_key(self._values.lists, name), "list", index, value, answer)
            elif kind == "write":
                self._write(_key(self._values.registers, name), "register", index, value, answer)
            elif answer is not None:
                assert kind in ("list", "read"), f"no effect is called {kind}"
                if kind == "list":
                    self._read_list(_key(self._values.lists, name), index, answered_at, answer)
                else:
                    self._read_register(_key(self._values.registers, name), index, answered_at, answer)

    def _write(self, key: Key, what: str, index: int, value: Value, answer: StatementReturned | None) -> None:
        write = Write(self._transaction, index, value, certain=answer is None or answer.changes != 0)
        if key.writes.setdefault(value, write) is not write:
            key.ambiguous = True
            return
        own = self._own.setdefault((what, key.name), [])
        if write.certain:
            for earlier in own:
                earlier.last = False
        own.append(write)

    def _read_list(self, key: Key, index: int, answered_at: int, answer: StatementReturned) -> None:
        own = self._own.get(("list", key.name), [])
        if not all(write.certain for write in own) or not all(answer.rows):
            return
        found = tuple(row[0] for row in answer.rows)
        others = len(found) - len(own)
        if others < 0 or any(write.value != value for write, value in zip(own, found[others:], strict=False)):
            missing = ", ".join(repr(write.value) for write in own)
            self._report(
                key,
                f"read list {key.name!r} without its own appends at the end: it had appended {missing} and found "
                f"{shown(found)}",
            )
            return
        self._note(key, "list", Read(self._transaction, index, answered_at, found[:others]))

    def _read_register(self, key: Key, index: int, answered_at: int, answer: StatementReturned) -> None:
        own = self._own.get(("register", key.name), [])
        found = answer.rows[0][0] if answer.rows and answer.rows[0] else None
        if not own:
            self._note(key, "register", Read(self._transaction, index, answered_at, found))
        elif all(write.certain for write in own) and found != own[-1].value:
            self._report(key, f"read {found!r} from register {key.name!r}, where it had written {own[-1].value!r}")

    def _note(self, key: Key, what: str, read: Read) -> None:
        """The first look at a key counts; later ones must have seen the same."""
        if (what, key.name) not in self._seen:
            self._seen[what, key.name] = read.found
            key.reads.append(read)
            return
        before = self._seen[what, key.name]
        if before != read.found:
            self._report(
                key,
                f"saw {what} {key.name!r} change under it: first it was {shown(before)}, later {shown(read.found)}",
            )

    def _report(self, key: Key, what: str) -> None:
        self._values.findings.append((key, Finding(f"{self._transaction.title} {what}", (self._transaction,))))


def _key(keys: dict[Value, Key], name: Value) -> Key:
    key = keys.get(name)
    if key is None:
        key = keys[name] = Key(name)
    return key


def shown(value: Value) -> str:
    """A value for a message; of a long list its end."""
    if not isinstance(value, tuple):
        return repr(value)
    tail = ", ".join(map(repr, value[-8:]))
    return f"[{'..., ' if len(value) > 8 else ''}{tail}]"
