"""ISO-1 as an outsider sees it: strict serialisability from what clients asked, were told, and when.

An operation's `effects` say what its statements mean: append to a list, read it whole, write a register, read it.
Values tell who saw whom (`value_lists`, `value_registers`), the history tells who was over before whom began; together
they are a graph, and a cycle in it is a set of transactions that no serial order can explain. What contradicts itself
sooner (a value that was undone, lost, or seen twice) is reported as such. After Elle (Kingsbury and Alvaro, 2020), with
real time in the graph.

Sound as long as the effects are true: a list is read in the order of its appends, and nothing else touches a key.
Operations of unknown outcome count once another one saw what they wrote. What a refused, undone or unfinished operation
read is judged like any read. Knows no SQL and nothing of storage.

Linear: time is passed on by one node for each moment at which somebody ended and somebody began afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.value_history import Finding, Transaction, ValueHistory, read_values
from simkit.check.value_lists import ListOrder
from simkit.check.value_order import KeyOrder, Order
from simkit.check.value_registers import RegisterOrder
from simkit.check.verdict import Violation
from simkit.kernel import Record

CHECK = "values"
_REPORTED_MAX = 10
_TITLES_MAX = 4


def check_values(history: Sequence[Record]) -> list[Violation]:
    """One violation for each thing that no serial order explains; the first ten only, in order of time."""
    findings, _ = explain_values(history)
    more = len(findings) - _REPORTED_MAX
    details = (f"and {more} more findings in lists and registers",) if more > 0 else ()
    return [_violation(history, finding, details) for finding in findings[:_REPORTED_MAX]]


def explain_values(history: Sequence[Record]) -> tuple[list[Finding], Order]:
    """What no serial order explains, in order of time, and the graph that was looked at."""
    values = read_values(history)
    order = Order(len(values.transactions))
    keys: list[KeyOrder] = [
        *(ListOrder(key) for key in values.lists.values()),
        *(RegisterOrder(key) for key in values.registers.values()),
    ]
    for key in keys:
        key.observe()
    for key in keys:
        if not key.silent:
            key.connect(order)
    _link_in_time(order, values.transactions)
    findings = [finding for key, finding in values.findings if not key.ambiguous]
    for key in keys:
        findings += key.findings
    findings += _cycles(order, values, findings)
    findings.sort(key=lambda finding: _shown_at(finding, len(history)))
    return findings, order


def _link_in_time(order: Order, transactions: Sequence[Transaction]) -> None:
    """Whoever ended comes before whoever began after that.

    An operation of unknown outcome that took effect may have done so after its client gave up, so its end says nothing.
    """
    moments = [(transaction.invoked_at, True, transaction.node) for transaction in transactions]
    moments += [
        (transaction.ended_at, False, transaction.node)
        for transaction in transactions
        if transaction.ended_at is not None and (transaction.acknowledged or not transaction.counts)
    ]
    moments.sort()
    over: int | None = None
    began_since = True
    for _, begins, node in moments:
        if begins:
            if over is not None:
                order.add_edge(over, node)
            began_since = True
            continue
        if began_since:
            before, over = over, order.add_node()
            if before is not None:
                order.add_edge(before, over)
            began_since = False
        assert over is not None
        order.add_edge(node, over)


def _cycles(order: Order, values: ValueHistory, known: Sequence[Finding]) -> list[Finding]:
    """The shortest cycle of each knot, unless it says what was found already."""
    told = [frozenset(transaction.node for transaction in finding.transactions) for finding in known]
    findings = []
    for knot in order.knots():
        inside = frozenset(knot)
        if any(len(nodes) > 1 and nodes <= inside for nodes in told):
            continue
        steps = order.shortest_cycle(knot)
        transactions = [values.transactions[node] for node, _ in steps]
        following = [*transactions[1:], transactions[0]]
        lines = []
        kinds = []
        for (_, why), first, second in zip(steps, transactions, following, strict=True):
            kinds.append(why.kind if why is not None else "time")
            lines.append(
                why.explain(first, second) if why is not None else f"{first.title} was over before {second.title} began"
            )
        findings.append(
            Finding(
                f"{_listed(transactions)} fit no serial order: each comes before the next and the last before the "
                f"first ({', '.join(kinds)})",
                tuple(transactions),
                tuple(lines),
                cycle=True,
            )
        )
    return findings


def _listed(transactions: Sequence[Transaction]) -> str:
    titles = [transaction.title for transaction in transactions[:_TITLES_MAX]]
    more = len(transactions) - len(titles)
    return ", ".join(titles) + (f" and {more} more" if more else "")


def _shown_at(finding: Finding, end: int) -> int:
    """The index of the event that shows it: the end of the transaction that shows it, or for a cycle of the last."""
    shown = finding.transactions[:1] if not finding.cycle else finding.transactions
    return max(transaction.ended_at if transaction.ended_at is not None else end - 1 for transaction in shown)


def _violation(history: Sequence[Record], finding: Finding, more: tuple[str, ...]) -> Violation:
    involved = {transaction.number: transaction.task for transaction in finding.transactions}
    return Violation(
        "ISO-1",
        CHECK,
        finding.sentence,
        history[_shown_at(finding, len(history))].at,
        tuple(dict.fromkeys(task for task in involved.values() if task)),
        tuple(involved),
        (*finding.details, *more),
    )
