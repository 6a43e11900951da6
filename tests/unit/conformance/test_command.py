"""The command line: what it finds, what it says, and how it ends."""

import json
import sys
from pathlib import Path

import pytest

from simkit.conformance.build import Build, build_all, is_source_tree
from simkit.conformance.command import BAD_INPUT, FAILED, INTERNAL_ERROR, NOTHING_FAILED, main
from simkit.conformance.results import Unusable
from simkit.conformance.tcl_suite import ScriptOptions, run_script, scripts_of

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a source tree of SQLite looks like from outside."""
    for name in ("VERSION", "configure", "main.mk", "src/tclsqlite.c", "test/one.test", "test/all.test"):
        file = tmp_path / "sqlite" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("3.99.1\n" if name == "VERSION" else "", encoding="utf-8")
    return tmp_path / "sqlite"


def test_the_sample_runs_over_the_vfs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLE)]) == NOTHING_FAILED
    printed, progress = capsys.readouterr()
    assert "files: 3 passed, 0 failed, 0 skipped" in printed
    assert "the file says halt before" in printed
    assert "3/3 open-transaction.test  passed" in progress


def test_failures_are_shown_and_end_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.test").write_text("query I\nSELECT 1\n----\n2\n", encoding="utf-8")
    assert main([str(tmp_path), "--vfs", "sqlite"]) == FAILED
    assert "  line 1: expected [2], got [1]" in capsys.readouterr().out


def test_results_are_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert main([str(SAMPLE), "--only", "money*", "--json", str(file)]) == NOTHING_FAILED
    data = json.loads(file.read_text(encoding="utf-8"))
    assert (data["schema_version"], data["vfs"], data["failed"]) == (1, "depot", 0)
    assert [(entry["file"], entry["outcome"]) for entry in data["files"]] == [("money.test", "passed")]


def test_what_would_run_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SAMPLE), "--list", "--only", "*n*n*"]) == NOTHING_FAILED
    assert capsys.readouterr().out.split() == ["open-transaction.test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "is no directory"),
        (["."], "no sqllogictest files"),
        ([str(SAMPLE), "--only", "nothing*"], "matches --only nothing*"),
        ([str(SAMPLE), "--timeout", "0"], "--jobs and --timeout are above 0"),
        ([str(SAMPLE), "--json", "missing/result.json"], "cannot be written"),
    ],
)
def test_bad_input_ends_with_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_of_the_format_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "odd.test"
    file.write_text("statement ok\nSELECT 1\n\nwhat\n", encoding="utf-8")
    assert main([str(tmp_path)]) == BAD_INPUT
    assert f"{file}:4: " in capsys.readouterr().err


def test_a_mistake_of_simkits_own_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("simkit.conformance.command.run_logic", broken)
    assert main([str(SAMPLE)]) == INTERNAL_ERROR
    assert "simkit: internal error: KeyError('x')" in capsys.readouterr().err


def test_a_source_tree_is_recognised(tree: Path) -> None:
    assert is_source_tree(tree)
    assert not is_source_tree(SAMPLE)
    assert [script.name for script in scripts_of(tree)] == ["one.test"]


def test_without_apsws_source_the_message_says_what_to_get(tree: Path, tmp_path: Path) -> None:
    library = tmp_path / "build" / "3.99.1" / "lib" / "libtestfixture.so"
    library.parent.mkdir(parents=True)
    library.touch()
    with pytest.raises(Unusable, match=r"apsw-3\.99\.1\.N\.tar\.gz from PyPI"):
        build_all(tree, tmp_path / "build", None)


def test_apsw_of_another_version_is_refused(tree: Path, tmp_path: Path) -> None:
    library = tmp_path / "build" / "3.99.1" / "lib" / "libtestfixture.so"
    library.parent.mkdir(parents=True)
    library.touch()
    source = tmp_path / "apsw"
    (source / "src").mkdir(parents=True)
    (source / "src" / "apsw.c").touch()
    (source / "src" / "apswversion.h").write_text('#define APSW_VERSION "3.98.0.0"\n', encoding="utf-8")
    with pytest.raises(Unusable, match=r"another SQLite than 3\.99\.1"):
        build_all(tree, tmp_path / "build", source)


@pytest.mark.parametrize(
    ("source", "need"),
    [
        ("if {![wal_is_capable]} {finish_test}", "needs a write-ahead log"),
        ("ifcapable !crashtest {", "needs SQLite's simulated crashes of its own file layer"),
    ],
)
def test_scripts_that_say_what_they_need_are_not_started(tree: Path, source: str, need: str) -> None:
    script = tree / "test" / "one.test"
    script.write_text(source, encoding="utf-8")
    build = object()
    result = run_script(build, script, ScriptOptions())  # type: ignore[arg-type] # never asked for
    assert (result.outcome, dict(result.skipped)) == ("skipped", {need: 1})


def test_the_end_of_a_scripts_process_is_judged(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is a stand-in for the one that runs a script; what it prints and how it ends is judged."""
    python, stand_in = sys.executable, tmp_path / "stand_in.py"
    monkeypatch.setattr("simkit.conformance.tcl_suite.sys.executable", str(stand_in))
    build = Build(tmp_path / "none.so", tmp_path, "3.99.1")

    def outcome(body: str, timeout_s: float = 60) -> dict[str, str]:
        stand_in.write_text(f"#!{python}\nimport os, signal\n{body}\n", encoding="utf-8")
        stand_in.chmod(0o755)
        result = run_script(build, tree / "test" / "one.test", ScriptOptions(timeout_s=timeout_s, compare=False))
        return {failure.case: failure.why for failure in result.failures}

    died = outcome("print('one-1.1... Ok', flush=True); os.abort()")
    assert "signal SIGABRT after one-1.1" in died["the script's process"]
    assert "no end within 0.05 s" in outcome("signal.pause()", 0.05)["the script's time"]
    assert outcome("print('one-1.1... Ok'); print('@simkit end {}')") == {}
    wrong = outcome("print('3 errors out of 9 tests'); print('@simkit end {}')")
    assert "testfixture counted 3 errors" in wrong["the script"]
