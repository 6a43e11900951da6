"""YAML 1.2 text as plain values that remember where they stood.

`read_yaml` gives dicts, lists and scalars of the core schema (so `yes` is text and `010` is ten), the
containers carrying the position of each key and value. Every duplicate key is reported, not only the first; the
first value is kept so that the rest of the file can be checked too. Upholds DET-1: nothing but the text decides
the result. It does not know what a scenario is.

Built on the composed node tree of ruamel.yaml rather than on its constructor: the constructor stops at the
first duplicate and resolves some plain words by YAML 1.1 rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simkit.scenario.problems import Problem

# Aliases can make a small text mean a huge tree; no honest scenario comes near this.
NODES_MAX = 100_000
DEPTH_MAX = 40

_TAG = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")

Position = tuple[int, int]
"""Line and column, both from 1."""


class PositionedMapping(dict[str, Any]):
    """A YAML mapping with the positions of its keys and values. `allowed` is set by the model that reads it."""

    __slots__ = ("allowed", "key_positions", "position", "value_positions")

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.key_positions: dict[str, Position] = {}
        self.value_positions: dict[str, Position] = {}
        self.allowed: tuple[str, ...] | None = None


class PositionedList(list[Any]):
    """A YAML sequence with the positions of its items."""

    __slots__ = ("position", "value_positions")

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position
        self.value_positions: list[Position] = []


class Located:
    """Where things are in one file: turns a path of keys and indexes into a position, and a message into a Problem."""

    def __init__(self, file: str, root: Any) -> None:
        self.file = file
        self.root = root

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Position:
        """The position of the value at `path`, or of its key. Parts that name nothing in the file are skipped over."""
        node, position = self.root, (1, 1)
        if isinstance(node, PositionedMapping | PositionedList):
            position = node.position
        for part in path:
            if isinstance(node, PositionedMapping) and isinstance(part, str) and part in node:
                position = (node.key_positions if key else node.value_positions)[part]
                node = node[part]
            elif isinstance(node, PositionedList) and isinstance(part, int) and 0 <= part < len(node):
                position = node.value_positions[part]
                node = node[part]
        return position

    def value(self, path: Sequence[str | int]) -> Any:
        """The value at `path`, with unknown parts skipped."""
        node = self.root
        for part in path:
            if isinstance(node, PositionedMapping):
                node = node.get(str(part), node)
            elif isinstance(node, PositionedList) and isinstance(part, int) and 0 <= part < len(node):
                node = node[part]
        return node

    def problem(self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A Problem at the value at `path`, or at its key."""
        line, column = self.find(path, key=key)
        return Problem(self.file, line, column, message, hint)


def read_yaml(text: str, file_name: str) -> tuple[Any, list[Problem]]:
    """The value of the single YAML document in `text`, with the problems found. After a syntax error: None."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        what = str(error.problem or error.context or "not YAML").strip()
        context = f" ({error.context})" if error.problem and error.context else ""
        return None, [Problem(file_name, line, column, f"not YAML: {what}{context}", _syntax_hint(what))]
    except YAMLError as error:
        line, column = _offset_position(text, getattr(error, "position", 0))
        what = str(error).splitlines()[0]
        return None, [Problem(file_name, line, column, f"not YAML: {what}", "write it as an escape in double quotes")]
    except RecursionError:
        return None, [Problem(file_name, 1, 1, f"nested deeper than {DEPTH_MAX} levels", "flatten the file")]
    builder = _Builder(file_name)
    if root is None:
        return None, [
            Problem(file_name, 1, 1, "the file is empty", "a scenario is a mapping with at least name, attacks")
        ]
    return builder.build(root, 0, ()), builder.problems


def _syntax_hint(what: str) -> str:
    if "mapping values are not allowed" in what:
        return "put text that contains ': ' in quotes"
    if "\\t" in what or "tab" in what:
        return "indent with spaces"
    if "another document" in what:
        return "one file is one scenario: remove the '---'"
    if "expected ',' or '}'" in what or "expected ',' or ']'" in what:
        return "close the bracket, and put SQL that holds commas or brackets in quotes"
    return ""


def _offset_position(text: str, offset: int) -> Position:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


class _Builder:
    """Turns composed nodes into positioned values, collecting problems."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.problems: list[Problem] = []
        self.nodes = 0

    def build(self, node: Node, depth: int, ancestors: tuple[Node, ...]) -> Any:
        self.nodes += 1
        if depth > DEPTH_MAX or self.nodes > NODES_MAX:
            if depth > DEPTH_MAX or self.nodes == NODES_MAX + 1:
                self._add(node, f"more than {NODES_MAX} values or {DEPTH_MAX} levels", "simplify the file")
            return None
        if any(node is ancestor for ancestor in ancestors):
            self._add(node, f"the anchor {node.anchor!r} contains itself", "write the value out")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._add(node, f"the tag {node.tag} is not known", "remove the tag")
        inner = (*ancestors, node)
        if isinstance(node, SequenceNode):
            items = PositionedList(_position(node))
            for child in node.value:
                items.value_positions.append(_position(child))
                items.append(self.build(child, depth + 1, inner))
            return items
        assert isinstance(node, MappingNode)
        return self._mapping(node, depth, inner)

    def _mapping(self, node: MappingNode, depth: int, ancestors: tuple[Node, ...]) -> PositionedMapping:
        mapping = PositionedMapping(_position(node))
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._add(key_node, "a key must be text, not a list or mapping", "quote the key")
                continue
            key = self._text(key_node)
            value = self.build(value_node, depth + 1, ancestors)
            if key in mapping:
                line, column = mapping.key_positions[key]
                self._add(
                    key_node, f"key {key!r} is given twice", f"the first is at line {line}, column {column}: keep one"
                )
                continue
            mapping[key] = value
            mapping.key_positions[key] = _position(key_node)
            mapping.value_positions[key] = _position(value_node)
        return mapping

    def _scalar(self, node: ScalarNode) -> Any:
        text, tag = self._text(node), str(node.tag)
        if not tag.startswith(_TAG) or tag == _TAG + "binary":
            self._add(node, f"the tag {tag.replace(_TAG, '!!')} is not known", "remove the tag")
            return text
        return text if node.style is not None or tag == _TAG + "str" else core_scalar(text)

    def _text(self, node: ScalarNode) -> str:
        """The text of a scalar; what UTF-8 cannot carry is reported and left out."""
        text = str(node.value)
        if _SURROGATE.search(text):
            self._add(node, "half of a surrogate pair is not text", "write the character as \\U and eight digits")
            return _SURROGATE.sub("", text)
        return text

    def _add(self, node: Node, message: str, hint: str) -> None:
        line, column = _position(node)
        self.problems.append(Problem(self.file_name, line, column, message, hint))


def core_scalar(text: str) -> bool | int | float | str | None:
    """A plain scalar by the core schema of YAML 1.2 (chapter 10.3 of its specification)."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
        return int(text[2:], base) if base != 10 else int(text) if len(text) < 4000 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    infinity = _INFINITY.fullmatch(text)
    if infinity:
        return float(f"{infinity[1]}inf")
    return float("nan") if _NAN.fullmatch(text) else text


def _position(node: Node) -> Position:
    mark = node.start_mark
    return mark.line + 1, mark.column + 1
