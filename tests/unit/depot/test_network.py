"""The network: what is lost, doubled, late or held, and what the one who sent it then hears."""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from simkit.depot.depot import Depot, DepotImage
from simkit.depot.distribution import constant
from simkit.depot.errors import DepotError, GenerationFenceMismatch, HeadFenceMismatch, TransportFailed
from simkit.depot.events import CommitApplied, NetworkDisturbed
from simkit.depot.latency import LatencyProfile, RequestLatency
from simkit.depot.network import Network
from simkit.depot.network_rules import (
    Clog,
    Duplicate,
    LinkScope,
    Lose,
    NetworkRule,
    Partition,
    Reorder,
    SlowDisk,
    SwizzleClog,
)
from simkit.depot.request import Reply, Request
from simkit.depot.storage import DirectStorage
from simkit.kernel import Decisions, Happening, Kernel
from simkit.kernel.units import MILLISECOND, SECOND

PAGE = bytes(512)
COMMITS = LinkScope(kind="commit")
MS = MILLISECOND
COST = RequestLatency(constant(20 * MS), constant(2 * MS))
LATENCY = LatencyProfile("test", "", COST, COST, COST)
"""A request arrives after 10 ms, is answered 2 ms later, and the reply takes 10 ms."""


class Wire:
    """A depot behind a network with these rules, and one instance that has opened an empty database."""

    def __init__(self, *rules: NetworkRule, seed: int = 0, order: Any = "timed") -> None:
        self.kernel = Kernel(Decisions(seed), order=order)
        self.network = Network(self.kernel, rules)
        image = DepotImage(None, 0, 512)
        self.depot = Depot(self.kernel, LATENCY, image, network=self.network)
        self.storage = self.instance("instance-1")

    def instance(self, name: str) -> DirectStorage:
        return DirectStorage(self.depot, name, self.depot.allocate())

    def run(self, *bodies: Callable[[], Any]) -> list[Any]:
        """What each body returned, or the error it ended with."""
        found: list[Any] = [None] * len(bodies)

        def keep(index: int, body: Callable[[], Any]) -> None:
            try:
                found[index] = body()
            except DepotError as error:
                found[index] = error

        for index, body in enumerate(bodies):
            self.kernel.spawn(keep, index, body, name=f"task-{index}")
        self.kernel.run()
        return found

    def rest(self) -> None:
        """Lets everything under way arrive."""
        self.run(lambda: self.kernel.sleep(100 * SECOND))

    def commit(self, number: int = 1) -> int:
        self.storage.commit({number: PAGE}, number)
        return self.kernel.now

    def opened(self) -> "Wire":
        self.run(self.storage.open)
        return self

    @property
    def disturbed(self) -> list[tuple[str, str]]:
        return [(event.leg, event.what) for event in self.kernel.history if isinstance(event, NetworkDisturbed)]

    @property
    def applied(self) -> int:
        return sum(isinstance(event, CommitApplied) for event in self.kernel.history)


def test_lost_request_is_never_carried_out() -> None:
    wire = Wire(Lose(leg="request", nth=1, scope=COMMITS)).opened()
    (error,) = wire.run(wire.commit)
    wire.rest()
    assert isinstance(error, TransportFailed)
    assert wire.applied == 0


def test_lost_reply_leaves_the_work_done() -> None:
    wire = Wire(Lose(leg="reply", nth=1, scope=COMMITS)).opened()
    (error,) = wire.run(wire.commit)
    assert isinstance(error, TransportFailed)
    assert wire.applied == 1


@pytest.mark.parametrize("leg", ["request", "reply"])
def test_sender_of_what_was_lost_waits_for_the_timeout(leg: Any) -> None:
    wire = Wire(Lose(leg=leg, nth=1, scope=COMMITS, timeout_ns=700 * MS)).opened()
    sent = wire.kernel.now
    wire.run(wire.commit)
    assert wire.kernel.now == sent + 700 * MS


def test_next_request_after_a_lost_reply_meets_the_head_fence() -> None:
    wire = Wire(Lose(leg="reply", nth=1, scope=COMMITS)).opened()
    wire.run(wire.commit)
    (error,) = wire.run(lambda: wire.commit(2))
    assert isinstance(error, HeadFenceMismatch)


def test_next_request_after_a_lost_request_goes_through() -> None:
    wire = Wire(Lose(leg="request", nth=1, scope=COMMITS)).opened()
    wire.run(wire.commit, wire.commit)
    assert wire.applied == 1


def test_rule_counts_only_the_messages_of_its_scope() -> None:
    wire = Wire(Lose(leg="request", nth=1, scope=LinkScope(kind="commit", instance="instance-2"))).opened()
    wire.run(wire.commit)
    assert wire.disturbed == []


def test_rule_with_once_acts_once() -> None:
    rule = Lose(leg="request", probability_ppm=1_000_000, once=True, scope=COMMITS)
    wire = Wire(rule).opened()
    wire.run(wire.commit, wire.commit)
    assert wire.disturbed == [("request", "lost")]


def test_probability_is_drawn_for_each_message() -> None:
    wire = Wire(Reorder(leg="request", by_ns=(1,), probability_ppm=500_000, scope=LinkScope("get_pages"))).opened()
    wire.run(wire.commit)
    wire.run(*[lambda: wire.storage.get_pages((1,))] * 40)
    assert 10 < len(wire.disturbed) < 30


def test_doubled_commit_is_refused_by_the_head_fence() -> None:
    wire = Wire(Duplicate(after_ns=(5 * MS,), nth=1, scope=COMMITS)).opened()
    (answer,) = wire.run(wire.commit)
    wire.rest()
    assert isinstance(answer, int)
    assert wire.applied == 1
    assert wire.disturbed == [("request", "duplicated"), ("reply", "refused")]


@pytest.mark.parametrize("seed", range(20))
def test_doubled_commits_apply_once_in_any_order(seed: int) -> None:
    rule = Duplicate(after_ns=(0,), probability_ppm=1_000_000, scope=COMMITS)
    wire = Wire(rule, seed=seed, order="any").opened()
    wire.run(wire.commit)
    wire.rest()
    assert wire.applied == 1


def test_doubled_commit_after_a_takeover_is_refused_by_the_generation_fence() -> None:
    wire = Wire(Duplicate(after_ns=(SECOND,), nth=1, scope=COMMITS), Lose(leg="request", nth=1, scope=COMMITS)).opened()
    error, _ = wire.run(wire.commit, lambda: wire.instance("instance-2"))
    assert isinstance(error, GenerationFenceMismatch)
    assert wire.applied == 0


def test_copy_of_a_lost_request_is_answered() -> None:
    wire = Wire(Duplicate(after_ns=(5 * MS,), nth=1, scope=COMMITS), Lose(leg="request", nth=1, scope=COMMITS)).opened()
    (answer,) = wire.run(wire.commit)
    assert isinstance(answer, int)
    assert wire.storage.head == 1


def test_first_reply_counts() -> None:
    wire = Wire(Duplicate(after_ns=(0,), nth=1, scope=LinkScope("open")))
    sent = wire.kernel.now
    wire.run(wire.storage.open)
    assert wire.kernel.now == sent + 22 * MS
    assert wire.storage.head == 0


def test_control_requests_are_never_doubled() -> None:
    wire = Wire(Duplicate(after_ns=(0,), probability_ppm=1_000_000))
    served: list[str] = []

    def serve(request: Request, _: int) -> Generator[Happening, Any, Reply]:
        served.append(request.name)
        yield wire.kernel.stage(0, None, "serve", request)
        return Reply(0, 0, [])

    def send() -> None:
        request = Request("control", 1, wire.kernel.require_task("send"), "operator", 1, None, (), {}, 0)
        wire.network.transmit(request, 0, 0, 0, serve)
        wire.kernel.park("control", request)

    wire.run(send)
    assert served == ["control #1"]


def test_reordered_request_is_overtaken() -> None:
    wire = Wire(Reorder(leg="request", by_ns=(100 * MS,), nth=1, scope=COMMITS)).opened()
    late, early = wire.run(wire.commit, wire.commit)
    assert isinstance(late, HeadFenceMismatch)
    assert isinstance(early, int)


def test_reordered_reply_comes_later() -> None:
    wire = Wire(Reorder(leg="reply", by_ns=(100 * MS,), nth=1, scope=COMMITS)).opened()
    sent = wire.kernel.now
    wire.run(wire.commit)
    assert wire.kernel.now == sent + 122 * MS


def test_slow_disk_is_the_service_of_a_request() -> None:
    wire = Wire(SlowDisk(takes_ns=(300 * MS,), nth=1, scope=COMMITS)).opened()
    sent = wire.kernel.now
    wire.run(wire.commit)
    assert wire.kernel.now == sent + 320 * MS


@pytest.mark.parametrize(("at_ms", "leg"), [(22, "request"), (30, "request"), (40, "reply")])
def test_partition_meets_what_is_sent_and_what_is_under_way(at_ms: int, leg: str) -> None:
    wire = Wire(Partition(at_ns=at_ms * MS, lasts_ns=SECOND, timeout_ns=100 * MS, scope=COMMITS)).opened()
    (error,) = wire.run(wire.commit)
    assert isinstance(error, TransportFailed)
    assert wire.disturbed == [(leg, "lost")]


def test_after_a_partition_messages_arrive() -> None:
    wire = Wire(Partition(at_ns=0, lasts_ns=SECOND, timeout_ns=100 * MS))
    lost, _, answer = wire.run(wire.storage.open, lambda: wire.kernel.sleep(2 * SECOND), lambda: _late(wire))
    assert isinstance(lost, TransportFailed)
    assert answer == 0


def _late(wire: Wire) -> int:
    wire.kernel.sleep(SECOND)
    return wire.storage.open().head


def test_what_a_clog_holds_arrives_in_order_when_it_is_over() -> None:
    wire = Wire(Clog(at_ns=25 * MS, lasts_ns=400 * MS, scope=LinkScope("open", "instance-2")))
    other = wire.instance("instance-2")
    sent: list[int] = []

    def ask(number: int) -> int:
        wire.kernel.sleep((30 - number) * MS)
        sent.append(number)
        other.open()
        return number

    wire.run(*[partial(ask, number) for number in range(5)])
    held = [event.request for event in wire.kernel.history if isinstance(event, NetworkDisturbed)]
    assert sent == [4, 3, 2, 1, 0]
    assert held == sorted(held)
    assert len(held) == 5
    assert wire.kernel.now == 425 * MS + 12 * MS


def test_clog_over_is_over() -> None:
    wire = Wire(Clog(at_ns=0, lasts_ns=1))
    wire.opened().run(wire.commit)
    assert wire.disturbed == []


def test_swizzle_clogs_links_at_times_of_their_own() -> None:
    wire = Wire(SwizzleClog(at_ns=0, lasts_ns=1_000 * MS))
    windows = {wire.network._window(0, wire.network._clogs[0], _message(number)) for number in range(8)}
    assert len(windows) > 6
    assert all(0 <= begin <= 500 * MS < end <= 1_000 * MS for begin, end in windows)
    begins = sorted(windows)
    assert [end for _, end in begins] != sorted(end for _, end in windows)


def _message(number: int) -> Any:
    class Message:
        kind = "commit"
        instance = f"instance-{number}"

    return Message()


def test_swizzled_links_are_free_in_the_end() -> None:
    wire = Wire(SwizzleClog(at_ns=0, lasts_ns=1_000 * MS)).opened()
    (answer,) = wire.run(wire.commit)
    assert isinstance(answer, int)


@pytest.mark.parametrize("order", ["timed", "any"])
@pytest.mark.parametrize(
    "rule",
    [
        Lose(leg="request", probability_ppm=300_000, timeout_ns=50 * MS),
        Lose(leg="reply", probability_ppm=300_000, timeout_ns=50 * MS),
        Duplicate(after_ns=(0, MS), probability_ppm=500_000),
        Reorder(leg="reply", by_ns=(0, MS), probability_ppm=500_000),
        Partition(at_ns=10 * MS, lasts_ns=200 * MS, timeout_ns=50 * MS),
        Clog(at_ns=10 * MS, lasts_ns=200 * MS),
        SwizzleClog(at_ns=10 * MS, lasts_ns=200 * MS),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_everybody_is_answered_in_the_end(rule: NetworkRule, order: Any) -> None:
    wire = Wire(rule, order=order)
    answers = wire.run(*[wire.storage.open] * 12)
    assert None not in answers


def test_network_without_rules_changes_no_time() -> None:
    plain = Kernel(Decisions(0))
    storage = DirectStorage(Depot(plain, LATENCY, DepotImage(None, 0, 512)), "instance-1", 1)
    storage.depot.allocate()
    plain.spawn(storage.open, name="task-0")
    plain.run()
    assert Wire().opened().kernel.now == plain.now
