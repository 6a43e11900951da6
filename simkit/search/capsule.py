"""A capsule: one run in one file, to be replayed anywhere, by any later version.

It carries the scenario's text, the plan, every decision, and what came of it. JSON, so that people can look
inside; the decisions are packed, and a checksum over everything tells a damaged file from a different one.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import platform
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import msgspec

from simkit import __version__
from simkit.check.verdict import Violation
from simkit.kernel import Decision
from simkit.scenario.plan import Plan, plan_from_json, plan_to_json
from simkit.search.execute import Run
from simkit.search.subject import Source

FORMAT = "simkit-capsule"
FORMAT_VERSION = 1
SUFFIX = ".capsule.json"
CAPSULE_BYTES_MAX = 256_000_000
_DECISIONS_BYTES_MAX = 1_000_000_000


class CapsuleError(Exception):
    """The file is not a capsule that can be replayed; the message says why and what to do."""


class Capsule(msgspec.Struct, frozen=True):
    """One run, complete.

    Attributes:
        versions: of simkit, Python and libraries, when the run was recorded.
        digest: the fingerprint that a faithful replay reproduces.
    """

    source: Source
    seed: int
    plan: Plan
    decisions: list[Decision]
    violations: list[Violation]
    digest: str
    versions: dict[str, str]

    @property
    def scenario_name(self) -> str:
        return self.source.scenario().name


def capsule_of(source: Source, run: Run) -> Capsule:
    """The capsule of a run."""
    return Capsule(source, run.seed, run.plan, run.decisions, run.violations, run.digest(), versions())


def versions() -> dict[str, str]:
    """What a run may depend on besides its capsule."""
    found = {name: version(name) for name in ("apsw", "simpy", "greenlet")}
    return {"simkit": __version__, **found, "python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}


def write_capsule(capsule: Capsule, path: Path) -> None:
    """Writes it; a file that stands under `path` is replaced whole or not at all. Raises `OSError`."""
    body = {
        "versions": capsule.versions,
        "source": msgspec.to_builtins(capsule.source),
        "seed": capsule.seed,
        "violations": msgspec.to_builtins(capsule.violations),
        "digest": capsule.digest,
        "plan": msgspec.json.decode(plan_to_json(capsule.plan)),
        "decisions": _pack(capsule.decisions),
    }
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, "checksum": _checksum(body), **body}
    data = msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_capsule(path: Path) -> Capsule:
    """Raises `CapsuleError`."""
    try:
        if path.stat().st_size > CAPSULE_BYTES_MAX:
            raise CapsuleError(f"{path}: {path.stat().st_size} bytes is too large for a capsule")
        data = path.read_bytes()
    except OSError as error:
        raise CapsuleError(f"{path}: cannot read this file: {error.strerror}") from None
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CapsuleError(f"{path}: this is not a capsule, or a damaged one: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CapsuleError(f'{path}: this is not a capsule (a capsule says "format": "{FORMAT}")')
    if document.get("format_version") != FORMAT_VERSION:
        raise CapsuleError(
            f"{path}: capsule format {document.get('format_version')!r}; this simkit reads format {FORMAT_VERSION}. "
            f"It was written by simkit {_written_by(document)}: replay it with that version."
        )
    body = {key: value for key, value in document.items() if key not in ("format", "format_version", "checksum")}
    if document.get("checksum") != _checksum(body):
        raise CapsuleError(
            f"{path}: this capsule is damaged: its checksum does not match its content. "
            "Get it again from where it was recorded."
        )
    try:
        return Capsule(
            source=msgspec.convert(body["source"], Source),
            seed=msgspec.convert(body["seed"], int),
            plan=plan_from_json(msgspec.json.encode(body["plan"])),
            decisions=_unpack(body["decisions"]),
            violations=msgspec.convert(body["violations"], list[Violation]),
            digest=msgspec.convert(body["digest"], str),
            versions=msgspec.convert(body["versions"], dict[str, str]),
        )
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise CapsuleError(f"{path}: this capsule does not hold what a capsule holds: {error!r}") from None


def _written_by(document: dict[str, Any]) -> str:
    found = document.get("versions")
    return str(found.get("simkit", "?")) if isinstance(found, dict) else "?"


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="deterministic"), digest_size=16).hexdigest()


def _pack(decisions: list[Decision]) -> dict[str, Any]:
    """Names in tables, and four numbers a decision, compressed."""
    tables: tuple[dict[str, int], dict[str, int]] = ({}, {})
    numbers: list[int] = []
    for stream, options, value, what in decisions:
        numbers += (
            tables[0].setdefault(stream, len(tables[0])),
            options,
            value,
            tables[1].setdefault(what, len(tables[1])),
        )
    packed = base64.b64encode(zlib.compress(msgspec.json.encode(numbers), 9)).decode("ascii")
    return {"streams": list(tables[0]), "names": list(tables[1]), "count": len(decisions), "packed": packed}


def _unpack(packed: dict[str, Any]) -> list[Decision]:
    streams = msgspec.convert(packed["streams"], list[str])
    names = msgspec.convert(packed["names"], list[str])
    inflater = zlib.decompressobj()
    unpacked = inflater.decompress(base64.b64decode(packed["packed"], validate=True), _DECISIONS_BYTES_MAX)
    if not inflater.eof:
        raise ValueError("the decisions are cut short, or too many")
    numbers = msgspec.json.decode(unpacked, type=list[int])
    if len(numbers) != 4 * packed["count"]:
        raise ValueError(f"{packed['count']} decisions were recorded, {len(numbers) / 4:g} are there")
    decisions = []
    for at in range(0, len(numbers), 4):
        stream, options, value, name = numbers[at : at + 4]
        if not (0 <= stream < len(streams) and 0 <= name < len(names) and 0 <= value < options):
            raise ValueError(f"decision {at // 4} is none: option {value} of {options}")
        decisions.append((streams[stream], options, value, names[name]))
    return decisions
