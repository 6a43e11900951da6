"""Running many seeds of one scenario in one process, slice by slice.

One run in twenty is run a second time from its own record and compared byte for byte (DET-1). A run that breaks simkit
itself, or the system under test, is reported with its traceback and does not stop the others.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from simkit.check.verdict import Violation
from simkit.search.capsule import SUFFIX, capsule_of, write_capsule
from simkit.search.cases import Case, further_cases, run_case
from simkit.search.coverage import count_coverage, marks_of
from simkit.search.execute import Run
from simkit.search.explain import last_events
from simkit.search.replay import check_determinism
from simkit.search.subject import Subject
from simkit.search.tally import FAILING_NAMED_MAX, FAILURES_KEPT_MAX, Broken, Failure, Tally
from simkit.search.watchdog import Unwatched, Watch

RUN_TWICE_EVERY = 20
"""One run in this many, chosen by its seed, is run twice."""

_DIGEST_DIGITS = 6


class Assignment(msgspec.Struct, frozen=True):
    """Which seeds of a scenario to run next.

    Attributes:
        seconds_max: after this much time no further seed is begun; what is left is given back.
        deadline: the instant of `time.monotonic()`, one clock for all processes, after which no further run is begun.
        stop_at: end at the first run that violates this invariant, or any if it is ""; None: go on.
        capsules_max: how many failing runs to keep, and to write into `capsule_dir` unless that is None.
    """

    first_seed: int
    seeds: int
    seconds_max: float
    deadline: float | None = None
    stop_at: str | None = None
    capsules_max: int = FAILURES_KEPT_MAX
    capsule_dir: Path | None = None


@dataclass
class Slice(Tally):
    """What came of an assignment, whose first seed it names.

    Attributes:
        reference: with the first slice of a process, the digest of a run that every process does; else "".
    """

    first_seed: int
    reference: str = ""


def tune_garbage_collection() -> None:
    """A run makes many short-lived objects and few cycles: collect rarely, and never look at what start-up left."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def reference_digest(subject: Subject, seed: int) -> str:
    """The digest of one run, to be compared across processes, which hash differently; "" when it tells nothing."""
    if "DET-1" not in subject.scenario.checks:
        return ""
    try:
        return run_case(subject, Case(seed)).digest()
    except (Exception, SystemExit):  # noqa: BLE001 - a run that breaks is reported when its turn comes
        return ""


def run_slice(
    subject: Subject,
    assignment: Assignment,
    interrupted: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> Slice:
    """Runs the seeds in order. At least one run, whatever the time is; none once `interrupted`."""
    watch = watch or Unwatched()
    try:
        return _Slicer(subject, assignment, interrupted, watch).run()
    finally:
        watch.rest()


class _Slicer:
    def __init__(self, subject: Subject, assignment: Assignment, interrupted: Callable[[], bool], watch: Watch) -> None:
        self._subject = subject
        self._assignment = assignment
        self._interrupted = interrupted
        self._watch = watch
        self._result = Slice(assignment.first_seed)

    def run(self) -> Slice:
        result, assignment = self._result, self._assignment
        begun = time.monotonic()
        for seed in range(assignment.first_seed, assignment.first_seed + assignment.seeds):
            if self._over() or not self._run_seed(seed):
                break
            result.seeds += 1
            if result.found or time.monotonic() - begun >= assignment.seconds_max:
                break
        result.wall_s = time.monotonic() - begun
        return result

    def _over(self) -> bool:
        if self._interrupted():
            return True
        deadline, result = self._assignment.deadline, self._result
        return deadline is not None and bool(result.runs or result.broken_runs) and time.monotonic() >= deadline

    def _run_seed(self, seed: int) -> bool:
        """Runs every case of a seed; False when it was cut short."""
        first = self._run_case(Case(seed))
        points = 0
        if first is not None:
            for case in further_cases(self._subject, first):
                if self._result.found:
                    break
                if self._over():
                    return False
                points += self._run_case(case) is not None
        self._result.crash_points += points
        return True

    def _run_case(self, case: Case) -> Run | None:
        """The run; None when it broke."""
        result = self._result
        self._watch.begin(case.seed, case.io)
        try:
            run = run_case(self._subject, case)
            self._take(case, run)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken run must not take the search with it
            result.broken_runs += 1
            if len(result.broken) < FAILURES_KEPT_MAX:
                result.broken.append(Broken(case.seed, case.io, _last_line(error), traceback.format_exc()))
            return None
        return run

    def _take(self, case: Case, run: Run) -> None:
        subject, result = self._subject, self._result
        violations = list(run.violations)
        if (case.seed + (case.io or 0)) % RUN_TWICE_EVERY == 0 and "DET-1" in subject.scenario.checks:
            result.run_twice += 1
            difference = check_determinism(subject, run)
            if difference is not None:
                violations.append(difference)
        result.runs += 1
        result.requests += run.requests
        result.steps += run.steps
        result.simulated_ns += run.simulated_ns
        if run.unfired:
            result.unfired += 1
            if len(result.unfired_at) < FAILING_NAMED_MAX:
                result.unfired_at.append((case.seed, case.io))
        count_coverage(run.history, result.coverage)
        result.marks.update(marks_of(run.history))
        if violations:
            self._take_violations(case, run, violations)

    def _take_violations(self, case: Case, run: Run, violations: list[Violation]) -> None:
        result, assignment = self._result, self._assignment
        result.violating_runs += 1
        invariants = {violation.invariant: None for violation in violations}
        result.violated.update(invariants.keys())
        if len(result.failing) < FAILING_NAMED_MAX:
            result.failing.append((case.seed, case.io))
        if len(result.failures) < assignment.capsules_max:
            result.failures.append(_failure(self._subject, case, run, violations, assignment.capsule_dir))
        if assignment.stop_at is not None and (not assignment.stop_at or assignment.stop_at in invariants):
            result.found = True


def _failure(subject: Subject, case: Case, run: Run, violations: list[Violation], capsule_dir: Path | None) -> Failure:
    path, problem = None, ""
    if capsule_dir is not None:
        path = capsule_dir / capsule_name(subject, case, run)
        try:
            write_capsule(msgspec.structs.replace(capsule_of(subject.source, run), violations=violations), path)
        except OSError as error:
            path, problem = None, f"cannot write {path}: {error.strerror}"
    return Failure(
        case.seed,
        case.io,
        tuple(violations),
        tuple(last_events(run.history, violations[0])),
        str(path) if path is not None else None,
        problem,
    )


def capsule_name(subject: Subject, case: Case, run: Run) -> str:
    """The file name of a run's capsule. Its last part is of the run's digest: other runs get other names."""
    operation = f"-io-{case.io}" if case.io is not None else ""
    return f"{subject.scenario.name}-seed-{case.seed}{operation}-{run.digest()[:_DIGEST_DIGITS]}{SUFFIX}"


def _last_line(error: BaseException) -> str:
    """The error in a line; what was noted of it, such as a violation that came before, stands behind it."""
    notes: list[str] = getattr(error, "__notes__", [])
    text = "".join(traceback.format_exception_only(error)).strip()
    for note in reversed(notes):
        text = text.removesuffix(note).rstrip()
    return "; ".join([text.splitlines()[-1], *notes])
