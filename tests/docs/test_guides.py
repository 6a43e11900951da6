"""What the guides say works as written: commands and links exist, the code runs, and shown output is real."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simkit.check.verdict import INVARIANTS
from simkit.cli.app import app
from simkit.kernel import Decisions
from simkit.scenario.image import prepare
from simkit.scenario.load import parse_scenario
from simkit.scenario.parts import parts_for
from simkit.search.execute import execute

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^|`|bin/)simkit ([a-z][^`\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HELD = re.compile(r"simkit (run \S+ --seed \d+)`.*?```text\n(.*?)\n  last events:", re.DOTALL)

USES_A_SYSTEM = """\
name: own-system
attacks: A system of the documentation.
system: 'documented_system:make_system'
setup: ['CREATE TABLE t(a INTEGER PRIMARY KEY, b)']
operations:
  pair:
    transaction: ["INSERT INTO t VALUES(:one, 1)", "INSERT INTO t VALUES(:two, 2)"]
    params: {one: {sequence: 1}, two: {sequence: 1000}}
  count: {sql: SELECT count(*) FROM t}
clients: [{name: client, count: 3, operations: 4, think: [0ms, 2ms], mix: {pair: 2, count: 1}}]
crash: {at: {time: [1ms, 60ms]}, probability: 0.7}
holds: [{sql: SELECT count(*) % 2 FROM t, equals: 0}]
"""


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    helps: dict[str, str] = {}
    for line in COMMAND.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        if words[0].startswith(("COMMAND", "schema")) or not words[0].isalpha():
            continue
        if words[0] not in helps:
            shown = CliRunner().invoke(app, [words[0], "--help"])
            assert shown.exit_code == 0, line
            helps[words[0]] = shown.output
        for word in words:
            if word.startswith("--"):
                assert word in helps[words[0]], line


def test_scenario_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"scenarios/[\w/-]+\.yaml", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file(), f"{page}: {name}"


def test_system_of_the_guide_serves_a_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = FENCE.findall((ROOT / "docs" / "own-system.md").read_text(encoding="utf-8"))
    (tmp_path / "documented_system.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    scenario = parse_scenario(USES_A_SYSTEM, "own-system.yaml")
    prepared, parts = prepare(scenario), parts_for(scenario.system)
    for seed in range(30):
        run = execute(prepared, prepared.plans.draw(seed), Decisions(seed), parts)
        assert run.violations == []


def test_violation_that_the_guide_shows_is_the_real_one() -> None:
    ((command, shown),) = HELD.findall((ROOT / "docs" / "violations.md").read_text(encoding="utf-8"))
    words = shlex.split(command)
    words[1] = str(ROOT / words[1])
    assert CliRunner().invoke(app, words).stdout.startswith(shown)


def test_scenario_that_the_readme_shows_is_the_file() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    name, shown = re.findall(r"\[(scenarios/\S+?)\].*?whole:\n\n```yaml\n(.*?)```", page, re.DOTALL)[0]
    header, _, rest = (ROOT / name).read_text(encoding="utf-8").partition("\n")
    assert header.startswith("# yaml-language-server")
    assert shown == rest


def test_output_that_the_readme_shows_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    ((command, shown),) = re.findall(r"```console\n\$ simkit (.*?)\n(.*?)\n```", page, re.DOTALL)
    real = CliRunner().invoke(app, shlex.split(command)).stdout.splitlines()
    for shown_line, real_line in zip(shown.splitlines(), real, strict=True):
        if shown_line.endswith("…"):
            assert real_line.startswith(shown_line[:-1])
        else:
            assert real_line == shown_line


def test_every_invariant_that_is_checked_is_explained() -> None:
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([A-Z]+-\d+) \| (.*?) \|", page, re.MULTILINE))
    assert rows == INVARIANTS


def test_picture_of_a_run_is_the_one_that_its_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "pool.md").read_text(encoding="utf-8")
    drawn = re.search(r"`simkit (run [^`]+ --timeline) docs/pool-run.svg`", page)
    assert drawn is not None
    picture = tmp_path / "run.svg"
    result = CliRunner().invoke(app, [*shlex.split(drawn[1]), str(picture)])
    assert result.exit_code == 0, result.output
    assert picture.read_text(encoding="utf-8") == (ROOT / "docs" / "pool-run.svg").read_text(encoding="utf-8"), (
        "run the command that docs/pool.md names again"
    )
