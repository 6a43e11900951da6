"""What the commands take as input: scenario files, folders of them, capsules."""

from __future__ import annotations

from pathlib import Path

from simkit.cli.exits import BadInput
from simkit.cli.options import parse_seconds
from simkit.defects import DefectNotFound, find_defect
from simkit.scenario.image import SetupFailed
from simkit.scenario.parts import Parts
from simkit.scenario.problems import Problem, ScenarioError
from simkit.search.capsule import SUFFIX
from simkit.search.subject import Source, Subject, load_source, make_subject

DEFAULT_FOLDER = Path("scenarios")


def plant(defect: str, parts: Parts) -> Parts:
    """The parts with a defect in them. Raises `DefectNotFound`."""
    return find_defect(defect).parts(parts)


def hang_limit(text: str) -> float | None:
    """Seconds of `--hang-after`; None for no limit. Raises `BadInput`."""
    try:
        return parse_seconds(text) or None
    except ValueError as error:
        raise BadInput(f"--hang-after: {error}") from None


def scenario_files(paths: list[Path]) -> list[Path]:
    """Every scenario file among `paths`, folders searched; without paths, those of the folder `scenarios`."""
    if not paths:
        if not DEFAULT_FOLDER.is_dir():
            raise BadInput(
                "there is no folder `scenarios` here. Name scenario files or folders (simkit fuzz FILE), change to the "
                "directory that holds `scenarios`, or write a first scenario: docs/scenario-file.md shows one"
            )
        paths = [DEFAULT_FOLDER]
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix in (".yaml", ".yml") and file.is_file())
            if not found:
                raise BadInput(f"{path}: there is no scenario (*.yaml) in this folder")
            files.extend(found)
        elif path.exists():
            if path.name.endswith(SUFFIX):
                raise BadInput(f"{path} is a capsule, not a scenario; replay it: simkit replay {path}")
            files.append(path)
        else:
            raise BadInput(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(files))


def load_sources(paths: list[Path], defect: str | None = None) -> list[Source]:
    """The scenarios in files and folders. Raises `ScenarioError` with the problems of all of them."""
    problems: list[Problem] = []
    sources = []
    for path in scenario_files(paths):
        try:
            sources.append(load_source(str(path), defect))
        except ScenarioError as error:
            problems.extend(error.errors)
    if problems:
        raise ScenarioError(problems)
    return sources


def make_subjects(sources: list[Source]) -> list[Subject]:
    """The scenarios, ready to run: setups are run, systems imported. Raises `BadInput` that names the file."""
    subjects = []
    for source in sources:
        try:
            subjects.append(make_subject(source, plant))
        except (SetupFailed, DefectNotFound) as error:
            raise BadInput(f"{source.file_name}: {error}") from error
    return subjects


def load_subject(path: Path, defect: str | None = None) -> Subject:
    """One scenario, ready to run."""
    sources = load_sources([path], defect)
    if len(sources) != 1:
        raise BadInput(f"{path} holds {len(sources)} scenarios; name one file")
    return make_subjects(sources)[0]
