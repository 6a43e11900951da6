"""Two results, figure by figure: what a change of code or settings did to each workload.

Runs are matched by their scenario and latency, workloads by their name. Everything that a configuration determines
counts as a change, the digest of what was read above all: two settings that answer differently are no optimisation but
a defect. Wall time is no figure here, since it compares machines.
"""

from __future__ import annotations

import math

import msgspec

from simkit.bench.cold.results import COUNTS, Results, Run
from simkit.bench.cold.run import Measurement

FIGURES = (*COUNTS, "simulated_ms")


class FigureChange(msgspec.Struct, frozen=True):
    """One figure that is not the same in both. `ratio` is after by before; None where before is 0."""

    figure: str
    before: float
    after: float
    ratio: float | None

    @property
    def size(self) -> float:
        """How large the change is, the same for doubled and halved; 0 becoming something counts as that many times."""
        return abs(math.log((self.after + 1) / (self.before + 1)))

    def __str__(self) -> str:
        form = "{:,.1f}" if self.figure.endswith("_ms") else "{:,.0f}"
        times = "" if self.ratio is None else f", {self.ratio:.2f} times"
        difference = self.after - self.before
        sign = "+" if difference > 0 else "-"
        return (
            f"{self.figure} {form.format(self.before)} -> {form.format(self.after)} "
            f"({sign}{form.format(abs(difference))}{times})"
        )


class WorkloadChange(msgspec.Struct, frozen=True):
    """A workload of one run that is not the same in both. `remark` is what is no figure: an answer, an error."""

    run: str
    workload: str
    figures: tuple[FigureChange, ...]
    remark: str = ""

    @property
    def size(self) -> float:
        """How much changed: the largest of its figures, before everything a changed answer or a failure."""
        return max([math.inf if self.remark else 0.0, *(figure.size for figure in self.figures)])


class Comparison(msgspec.Struct, frozen=True):
    """`changes`, the largest first; `unmatched` says what only one of the two has; `compared` workloads in all."""

    changes: tuple[WorkloadChange, ...]
    unmatched: tuple[str, ...]
    different_settings: tuple[str, ...]
    compared: int


def compare(before: Results, after: Results) -> Comparison:
    """What is not the same in two results."""
    changes: list[WorkloadChange] = []
    unmatched: list[str] = []
    settings: list[str] = []
    compared = 0
    for label, first, second in _matched(before, after, unmatched):
        settings += [f"{label}: {each}" for each in _settings_changed(first, second)]
        names = dict.fromkeys(each.workload for each in (*first.measurements, *second.measurements))
        for name in names:
            old, new = _measured(first, name), _measured(second, name)
            if old is None or new is None:
                unmatched.append(f"{label}, {name}: only in the {'second' if old is None else 'first'}")
                continue
            compared += 1
            change = _change(label, old, new)
            if change is not None:
                changes.append(change)
    ordered = tuple(sorted(changes, key=lambda change: -change.size))
    return Comparison(ordered, tuple(unmatched), tuple(settings), compared)


def _matched(before: Results, after: Results, unmatched: list[str]) -> list[tuple[str, Run, Run]]:
    """The runs of both. One run in each is a pair whatever it is called: that is how two settings are compared."""
    if len(before.runs) == len(after.runs) == 1:
        (first,), (second,) = before.runs, after.runs
        same = first.label == second.label
        return [(first.label if same else f"{first.label} -> {second.label}", first, second)]
    others = {run.label: run for run in after.runs}
    pairs = []
    for run in before.runs:
        other = others.pop(run.label, None)
        if other is None:
            unmatched.append(f"{run.label}: only in the first")
        else:
            pairs.append((run.label, run, other))
    unmatched.extend(f"{label}: only in the second" for label in others)
    return pairs


def _measured(run: Run, name: str) -> Measurement | None:
    return next((each for each in run.measurements if each.workload == name), None)


def _change(label: str, old: Measurement, new: Measurement) -> WorkloadChange | None:
    if old.error is not None or new.error is not None:
        if old.error is not None and new.error is not None:
            return None if old.error == new.error else WorkloadChange(label, old.workload, (), "failed, and still does")
        remark = f"fails now: {new.error}" if new.error is not None else "failed, and works now"
        return WorkloadChange(label, old.workload, (), remark)
    figures = []
    for name in FIGURES:
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            figures.append(FigureChange(name, was, now, now / was if was else None))
    figures.sort(key=lambda figure: -figure.size)
    remark = "" if old.answer == new.answer else "the rows that were read differ"
    return WorkloadChange(label, old.workload, tuple(figures), remark) if figures or remark else None


def _settings_changed(first: Run, second: Run) -> list[str]:
    """Each setting that differs, as `name before -> after`."""
    old, new = _flat(first), _flat(second)
    names = dict.fromkeys((*old, *new))
    absent = "(not there)"
    return [
        f"{name} {old.get(name, absent)} -> {new.get(name, absent)}"
        for name in names
        if old.get(name, absent) != new.get(name, absent)
    ]


def _flat(run: Run) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(run.settings)
    for group in ("vfs", "pool"):
        inner = plain.pop(group)
        assert isinstance(inner, dict)
        plain.update(inner)
    for word in ("name", "latency_source"):
        del plain[word]
    return plain
