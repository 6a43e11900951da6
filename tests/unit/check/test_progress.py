"""PROG-2 and PROG-3: how the end of a run is told."""

import pytest

from simkit.check.events import RunEnded, StillWaiting
from simkit.check.progress import check_progress

WITHIN = "the run did not end within 1ns of simulated time"


@pytest.mark.parametrize(
    ("detail", "waiting", "sentence"),
    [
        (
            f"{WITHIN}: nothing can run at 0ns and 1 task(s) still wait:",
            ["one"],
            f"{WITHIN}; 1 task(s) still wait: one",
        ),
        (WITHIN, [], WITHIN),
        ("", [], "the run did not end within its bounds"),
    ],
)
def test_bound_is_told_in_one_sentence(detail: str, waiting: list[str], sentence: str) -> None:
    still = [StillWaiting(1, "", name, "sleep", "clock", (), 0) for name in waiting]
    (violation,) = check_progress([*still, RunEnded(1, "", "bound", detail)])
    assert (violation.invariant, violation.sentence) == ("PROG-3", sentence)
