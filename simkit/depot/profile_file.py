"""Latency profiles as YAML: a text becomes a checked `LatencyProfile`, or every problem in it at once.

    name: my-depot
    source: where the numbers come from, and which of them are assumed
    base: network-20ms                    # optional: gives what is left out
    get_pages: {rtt: 20ms, server: {p50: 2ms, p99: 9ms}, per_page: 20us}

A duration is drawn from a constant `5ms`, a range `[1ms, 5ms]` (or `{uniform: [1ms, 5ms]}`), a lognormal by
`{p50, p99}` or `{p50, p90}`, a `mixture` of weighted parts of these, measured `samples`, or `quantiles` by fraction,
between which it is linear.

Upholds DET-1: nothing but the text decides the result; a profile names no further file, so that a saved run needs its
text only. Reads the composed node tree of ruamel.yaml, where every value has its line and is still the text that was
written: `5` without a unit can be told from `5ms`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simkit.depot.distribution import (
    Distribution,
    constant,
    empirical,
    interpolated,
    lognormal,
    lognormal_p90,
    mixture,
    uniform,
)
from simkit.depot.latency import LATENCY_PROFILES, REQUEST_KINDS, LatencyProfile, RequestLatency
from simkit.kernel.units import parse_duration

TEXT_CHARACTERS_MAX = 1_000_000

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_COST_KEYS = ("rtt", "server", "per_page")
_SHAPES = (("uniform",), ("p50", "p99"), ("p50", "p90"), ("mixture",), ("samples",), ("quantiles",))
_PART_SHAPES = (("value",), ("range",), ("uniform",), ("p50", "p99"), ("p50", "p90"))
_EXPECTED = "a duration is 5ms, [1ms, 5ms], {p50, p99}, {p50, p90}, {mixture}, {samples} or {quantiles}"
_EXPECTED_PART = "a part has a weight and one of: value; range; p50 and p99; p50 and p90"


class ProfileProblem(msgspec.Struct, frozen=True, order=True):
    """One thing wrong in a profile. Line and column count from 1; `hint` says what to do and may be empty."""

    line: int
    column: int
    message: str
    hint: str = ""


class ProfileInvalid(ValueError):
    """A text is no latency profile. `problems` has all that was found, in the order of the text."""

    def __init__(self, file_name: str, problems: list[ProfileProblem]) -> None:
        super().__init__(file_name, problems)
        assert problems, "a ProfileInvalid without a problem says nothing"
        self.file_name = file_name
        self.problems = problems

    def __str__(self) -> str:
        lines = (
            f"{self.file_name}:{problem.line}:{problem.column}: {problem.message}"
            + (f"; {problem.hint}" if problem.hint else "")
            for problem in self.problems
        )
        return "\n".join(lines)


def parse_profile(text: str, file_name: str) -> LatencyProfile:
    """The profile in `text`; `file_name` is used in messages only. Raises `ProfileInvalid`."""
    reader = _Reader()
    root = _compose(text, file_name)
    profile = reader.profile(root)
    if reader.problems or profile is None:
        raise ProfileInvalid(file_name, sorted(reader.problems))
    return profile


def _compose(text: str, file_name: str) -> Node:
    problem = ProfileProblem(1, 1, "the file is empty", "a profile is a mapping with name, source and costs")
    if len(text) > TEXT_CHARACTERS_MAX:
        message = f"{len(text)} characters are too many for a profile (at most {TEXT_CHARACTERS_MAX})"
        raise ProfileInvalid(file_name, [ProfileProblem(1, 1, message, "give quantiles instead of samples")])
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        what = str(error.problem or error.context or "it cannot be read").strip()
        problem = ProfileProblem(line, column, f"not YAML: {what}")
    except (YAMLError, RecursionError) as error:
        problem = ProfileProblem(1, 1, f"not YAML: {str(error).splitlines()[0] if str(error) else 'unreadable'}")
    else:
        if isinstance(root, Node):
            return root
    raise ProfileInvalid(file_name, [problem])


class _Reader:
    """Turns nodes into values. What is wrong is noted, and gives None."""

    def __init__(self) -> None:
        self.problems: list[ProfileProblem] = []

    def profile(self, root: Node) -> LatencyProfile | None:
        keys = self._mapping(root, ("name", "source", "base", *REQUEST_KINDS))
        if keys is None:
            return None
        name = self._required_text(root, keys, "name")
        if name is not None and not _NAME.fullmatch(name):
            self._wrong(keys["name"], f"{name!r} is no name of a profile", "use lower-case letters, digits, hyphens")
        source = self._required_text(root, keys, "source")
        base = self._base(keys.get("base"))
        costs: dict[str, RequestLatency] = {}
        for kind in REQUEST_KINDS:
            inherited = base.of(kind) if base is not None else None
            if kind in keys:
                cost = self._cost(keys[kind], inherited, missing_is_wrong="base" not in keys)
                if cost is not None:
                    costs[kind] = cost
            elif inherited is not None:
                costs[kind] = inherited
            elif "base" not in keys:
                self._wrong(root, f"the cost of {kind} is missing", "add it, or a base to take it from")
        if name is None or source is None or len(costs) < len(REQUEST_KINDS):
            return None
        return LatencyProfile(name, source, costs["get_pages"], costs["commit"], costs["open"])

    def _base(self, node: Node | None) -> LatencyProfile | None:
        name = None if node is None else self._text(node)
        if node is None or name is None:
            return None
        if name not in LATENCY_PROFILES:
            self._wrong(node, f"{name!r} is no latency profile", _closest(name, LATENCY_PROFILES))
            return None
        return LATENCY_PROFILES[name]

    def _cost(self, node: Node, base: RequestLatency | None, missing_is_wrong: bool) -> RequestLatency | None:
        keys = self._mapping(node, _COST_KEYS)
        if keys is None:
            return None
        missing = [key for key in _COST_KEYS if key not in keys]
        if missing_is_wrong and missing:
            self._wrong(node, f"the cost lacks {', '.join(missing)}", "add it, or a base to take it from")
        rtt = base.rtt if base is not None else None
        server = base.server if base is not None else None
        per_page_ns = base.per_page_ns if base is not None else None
        if "rtt" in keys:
            rtt = self._distribution(keys["rtt"])
        if "server" in keys:
            server = self._distribution(keys["server"])
        if "per_page" in keys:
            per_page_ns = self._duration(keys["per_page"])
        if rtt is None or server is None or per_page_ns is None:
            return None
        return RequestLatency(rtt, server, per_page_ns)

    def _distribution(self, node: Node) -> Distribution | None:
        if isinstance(node, ScalarNode):
            duration_ns = self._duration(node)
            return None if duration_ns is None else constant(duration_ns)
        if isinstance(node, SequenceNode):
            return self._uniform(node)
        keys = self._mapping(node, tuple(dict.fromkeys(key for shape in _SHAPES for key in shape)))
        if keys is None:
            return None
        if tuple(sorted(keys)) not in {tuple(sorted(shape)) for shape in _SHAPES}:
            self._wrong(node, f"{_listed(keys)} make no distribution", _EXPECTED)
            return None
        if "mixture" in keys:
            return self._mixture(keys["mixture"])
        if "samples" in keys:
            samples_ns = self._durations(keys["samples"], 1)
            return None if samples_ns is None else empirical(samples_ns)
        if "quantiles" in keys:
            return self._quantiles(keys["quantiles"])
        return self._simple(node, keys)

    def _simple(self, node: Node, keys: Mapping[str, Node]) -> Distribution | None:
        """A constant, a range or a lognormal, by its keys."""
        if "value" in keys:
            duration_ns = self._duration(keys["value"])
            return None if duration_ns is None else constant(duration_ns)
        for key in ("uniform", "range"):
            if key in keys:
                return self._uniform(keys[key])
        percentile, build = ("p99", lognormal) if "p99" in keys else ("p90", lognormal_p90)
        p50_ns, high_ns = self._duration(keys["p50"]), self._duration(keys[percentile])
        if p50_ns is None or high_ns is None:
            return None
        try:
            return build(p50_ns, high_ns)
        except ValueError as error:
            self._wrong(node, str(error))
            return None

    def _uniform(self, node: Node) -> Distribution | None:
        bounds_ns = self._durations(node, 2, 2)
        if bounds_ns is None:
            return None
        try:
            return uniform(*bounds_ns)
        except ValueError as error:
            self._wrong(node, str(error), "write the shorter one first")
            return None

    def _mixture(self, node: Node) -> Distribution | None:
        if not isinstance(node, SequenceNode) or not node.value:
            self._wrong(node, "a mixture is a list of parts", _EXPECTED_PART)
            return None
        parts = [self._part(child) for child in node.value]
        known = [part for part in parts if part is not None]
        return mixture(known) if len(known) == len(parts) else None

    def _part(self, node: Node) -> tuple[float, Distribution] | None:
        allowed = ("weight", *dict.fromkeys(key for shape in _PART_SHAPES for key in shape))
        keys = self._mapping(node, allowed)
        if keys is None:
            return None
        shape = tuple(sorted(key for key in keys if key != "weight"))
        if "weight" not in keys or shape not in {tuple(sorted(known)) for known in _PART_SHAPES}:
            self._wrong(node, f"{_listed(keys)} make no part of a mixture", _EXPECTED_PART)
            return None
        weight = self._number(keys["weight"])
        if weight is not None and weight <= 0:
            self._wrong(keys["weight"], "a weight is above zero", "leave out what must never be drawn")
            weight = None
        part = self._simple(node, keys)
        return None if weight is None or part is None else (weight, part)

    def _quantiles(self, node: Node) -> Distribution | None:
        if not isinstance(node, MappingNode):
            self._wrong(node, "quantiles are a mapping", "write {0: 1ms, 0.5: 2ms, 0.99: 9ms, 1: 20ms}")
            return None
        points: list[tuple[float, int]] = []
        good = True
        for key, value in node.value:
            fraction, duration_ns = self._number(key), self._duration(value)
            if fraction is None or duration_ns is None:
                good = False
            else:
                points.append((fraction, duration_ns))
        try:
            return interpolated(points) if good else None
        except ValueError as error:
            self._wrong(node, str(error))
            return None

    def _durations(self, node: Node, least: int, most: int | None = None) -> list[int] | None:
        if not isinstance(node, SequenceNode) or not least <= len(node.value) <= (most or len(node.value)):
            expected = "[1ms, 5ms]" if most == 2 else "a list of durations, such as [1ms, 1.2ms]"
            self._wrong(node, "this is no such list of durations", f"write {expected}")
            return None
        durations = [self._duration(child) for child in node.value]
        known = [duration for duration in durations if duration is not None]
        return known if len(known) == len(durations) else None

    def _duration(self, node: Node) -> int | None:
        text = self._text(node)
        if text is None:
            return None
        try:
            return parse_duration(text)
        except ValueError as error:
            message, _, hint = str(error).partition(": ")
            self._wrong(node, message, hint)
            return None

    def _number(self, node: Node) -> float | None:
        text = self._text(node)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._wrong(node, f"{text!r} is no number", "write for example 0.95")
            return None
        return value

    def _required_text(self, owner: Node, keys: Mapping[str, Node], key: str) -> str | None:
        if key not in keys:
            self._wrong(owner, f"the key {key} is missing", "add it")
            return None
        text = self._text(keys[key])
        if text is not None and not text.strip():
            self._wrong(keys[key], f"{key} is empty", "write it")
            return None
        return text

    def _text(self, node: Node) -> str | None:
        if not isinstance(node, ScalarNode):
            self._wrong(node, "expected one value, not a list or mapping")
            return None
        return str(node.value)

    def _mapping(self, node: Node, allowed: tuple[str, ...]) -> dict[str, Node] | None:
        if not isinstance(node, MappingNode):
            self._wrong(node, "expected a mapping", f"its keys are {', '.join(allowed)}")
            return None
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = self._text(key_node)
            if key is None:
                continue
            if key in found:
                self._wrong(key_node, f"key {key!r} is given twice", "keep one")
            elif key not in allowed:
                self._wrong(key_node, f"unknown key {key!r}", _closest(key, allowed))
            else:
                found[key] = value_node
        return found

    def _wrong(self, node: Node, message: str, hint: str = "") -> None:
        mark = node.start_mark
        problem = ProfileProblem(mark.line + 1, mark.column + 1, message, hint)
        if problem not in self.problems:
            self.problems.append(problem)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(keys) or "no keys"


def _closest(word: str, allowed: Iterable[str]) -> str:
    choices = list(allowed)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? allowed: {', '.join(choices)}" if close else f"allowed: {', '.join(choices)}"
