"""Admission: phases of readers, single writers, and readers that turn out to be writers."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.pool.gate import Gate


@dataclass(frozen=True)
class Numbered:
    number: int


class Door:
    """A gate whose grants are noted as r1, w2."""

    def __init__(self, readers_max: int = 2) -> None:
        self.granted: list[str] = []
        self.tickets: dict[int, Numbered] = {}
        self.gate: Gate[Numbered] = Gate(readers_max, self._note("r"), self._note("w"))

    def _note(self, kind: str) -> Callable[[Numbered], None]:
        return lambda ticket: self.granted.append(f"{kind}{ticket.number}")

    def arrive(self, *kinds: str) -> None:
        for kind in kinds:
            ticket = self.tickets[len(self.tickets) + 1] = Numbered(len(self.tickets) + 1)
            (self.gate.enter_reader if kind == "r" else self.gate.enter_writer)(ticket)

    def leave(self, *numbers: int) -> None:
        for number in numbers:
            if self.gate.writer is self.tickets[number]:
                self.gate.writer_left(self.tickets[number])
            else:
                self.gate.reader_left()
            self.gate.dispatch()


@pytest.fixture
def door() -> Door:
    return Door()


def test_readers_share_and_a_writer_is_alone(door: Door) -> None:
    door.arrive("r", "r", "w", "w")
    assert door.granted == ["r1", "r2"]
    door.leave(1)
    assert door.granted == ["r1", "r2"]
    door.leave(2)
    assert door.granted == ["r1", "r2", "w3"]
    door.leave(3)
    assert door.granted == ["r1", "r2", "w3", "w4"]


def test_waiting_writer_stops_readers_that_come_later(door: Door) -> None:
    door.arrive("r", "w", "r")
    assert door.granted == ["r1"]
    door.leave(1)
    assert door.granted == ["r1", "w2"]


def test_readers_that_waited_for_a_slot_before_a_writer_came_go_before_it(door: Door) -> None:
    door.arrive("r", "r", "r", "w")
    door.leave(1)
    assert door.granted == ["r1", "r2", "r3"]


def test_all_readers_that_waited_while_a_writer_ran_go_before_the_next_writer(door: Door) -> None:
    door.arrive("w", "w", "r", "r", "r")
    door.leave(1)
    assert door.granted == ["w1", "r3", "r4"]
    door.arrive("r")
    door.leave(3)
    assert door.granted == ["w1", "r3", "r4", "r5"]
    door.leave(4, 5)
    assert door.granted == ["w1", "r3", "r4", "r5", "w2"]
    door.leave(2)
    assert door.granted[-1] == "r6"


def test_reader_that_turns_into_a_writer_keeps_the_place_of_its_arrival(door: Door) -> None:
    door.arrive("r", "r", "w")
    door.gate.turn_into_writer(door.tickets[1])
    door.leave(2)
    assert door.granted == ["r1", "r2", "w1"]
    door.leave(1)
    assert door.granted == ["r1", "r2", "w1", "w3"]


def test_writer_waits_for_an_older_reader_that_may_turn_into_one(door: Door) -> None:
    door.arrive("r", "w")
    assert door.granted == ["r1"]
    door.gate.turn_into_writer(door.tickets[1])
    assert door.granted == ["r1", "w1"]


def test_writer_that_gives_up_lets_the_readers_behind_it_go(door: Door) -> None:
    door.arrive("r", "w", "r")
    door.gate.forget(door.tickets[2])
    door.gate.dispatch()
    assert door.granted == ["r1", "r3"]


def test_everybody_who_waits_can_be_refused_in_order(door: Door) -> None:
    door.arrive("w", "r", "w", "r")
    assert [ticket.number for ticket in door.gate.refuse_all()] == [2, 3, 4]
    door.leave(1)
    assert door.granted == ["w1"]


def test_without_reader_slots_writers_follow_each_other() -> None:
    door = Door(readers_max=0)
    door.arrive("w", "w")
    door.leave(1)
    assert door.granted == ["w1", "w2"]


@given(st.lists(st.tuples(st.sampled_from(["r", "w", "u", "leave", "turn", "forget"]), st.integers(0, 9)), max_size=60))
def test_promises_of_phases(steps: list[tuple[str, int]]) -> None:
    """Whatever happens: a waiting reader sees at most one writer pass, writers are served in the order of arrival among
    those that were known to be writers, and at rest nobody waits.
    """
    passed: dict[int, int] = {}
    waiting: set[int] = set()
    running: dict[int, str] = {}
    unknown: set[int] = set()

    def reader(ticket: Numbered) -> None:
        waiting.discard(ticket.number)
        assert passed.get(ticket.number, 0) <= 1
        assert "w" not in running.values()
        running[ticket.number] = "r"

    def writer(ticket: Numbered) -> None:
        waiting.discard(ticket.number)
        assert not running
        older = {number for number in waiting if number < ticket.number}
        assert not older & writers, "an older writer waits"
        assert not older & unknown, "an older ticket may still turn out to be a writer"
        running[ticket.number] = "w"
        for number in waiting - writers:
            passed[number] = passed.get(number, 0) + 1

    gate: Gate[Numbered] = Gate(2, reader, writer)
    writers: set[int] = set()
    tickets: dict[int, Numbered] = {}

    def leave(number: int) -> None:
        if running.pop(number) == "w":
            gate.writer_left(tickets[number])
        else:
            gate.reader_left()
        unknown.discard(number)
        gate.dispatch()

    for step, which in steps:
        if step in ("r", "w", "u"):
            number = len(tickets) + 1
            tickets[number] = Numbered(number)
            waiting.add(number)
            if step == "w":
                writers.add(number)
                gate.enter_writer(tickets[number])
            else:
                if step == "u":
                    unknown.add(number)
                gate.enter_reader(tickets[number])
        elif step == "leave" and running:
            leave(sorted(running)[which % len(running)])
        elif step == "turn":
            turnable = sorted(number for number in unknown if running.get(number) == "r")
            if turnable:
                number = turnable[which % len(turnable)]
                del running[number]
                unknown.discard(number)
                writers.add(number)
                waiting.add(number)
                gate.turn_into_writer(tickets[number])
        elif step == "forget" and waiting:
            number = sorted(waiting)[which % len(waiting)]
            waiting.discard(number)
            gate.forget(tickets[number])
            gate.dispatch()
    while running:
        leave(min(running))
    assert not waiting
    assert not gate.waiting
