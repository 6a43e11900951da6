"""Loading: each rule fires with its position and advice, and stays silent on a good file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simkit.depot.distribution import constant
from simkit.depot.latency import LATENCY_PROFILES
from simkit.kernel.units import MILLISECOND
from simkit.scenario.load import load_scenario
from simkit.scenario.model import SYSTEM_NAMES, Scenario
from simkit.scenario.model_checks import CHECK_IDS
from simkit.scenario.parts import SYSTEMS, parts_for
from simkit.scenario.problems import Problem, ScenarioError

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]
Problems = Callable[[str], list[Problem]]
Text = Callable[..., str]


def test_small_scenario_loads_with_defaults(loaded: Load) -> None:
    scenario = loaded()
    assert (scenario.page_size, scenario.checks, scenario.system) == (4096, CHECK_IDS, "single")


def test_loaded_scenario_cannot_change(loaded: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded().page_size = 512  # type: ignore[misc]


def test_loaded_scenario_keeps_its_text(loaded: Load, scenario_text: Text) -> None:
    assert loaded().source_text == scenario_text()


def test_every_error_is_reported_at_once(problems: Problems) -> None:
    found = problems("name: A B\nsytem: x\nclients: [{name: a, think: 5, mix: {b: 0}}]\nname: c\n")
    assert [problem.line for problem in found] == [1, 1, 2, 3, 3, 3, 4]


def test_problems_come_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems("bounds: {steps: 0}\nname: a\nattacks: b\nclients: []\n")
    assert [(problem.line, problem.column) for problem in found] == [(1, 17), (4, 10)]


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("sistem: single", "unknown key 'sistem'", "did you mean 'system'?"),
        ("system: singel", "'singel' is no system", "did you mean 'single'?"),
        ("system: 'my.module:'", "is no system", "package.module:factory"),
        ("page_size: 1000", "1000 is no page size", "allowed: 512, 1024"),
        ("latency: loopbak", "'loopbak' is no latency profile", "did you mean 'loopback'?"),
        ("latency: {base: loopbak}", "'loopbak' is no latency profile", "did you mean 'loopback'?"),
        ("latency: {get_pages: {rtt: 5}}", "the duration 5 has no unit: write 5ms", ""),
        ("latency: 5", "expected the name of a latency profile", ""),
        ("strategy: random-wlk", "'random-wlk' is no strategy", "did you mean 'random-walk'?"),
        ("strategy: {name: pct, order: time}", "'time' is no order", "did you mean 'timed'?"),
        ("system: pol", "'pol' is no system", "did you mean 'pool'?"),
        ("checks: [DUR-1, DUR-7]", "'DUR-7' is no check", "did you mean"),
        ("checks: some", "'some' is no set of checks", "allowed: all"),
        ("checks: {without: [MODE-9]}", "'MODE-9' is no check", "did you mean 'MODE-"),
        ("checks: {without: []}", "this is empty", ""),
        ("checks: {wihout: [MODE-1]}", "unknown key 'wihout'", "did you mean 'without'?"),
        (f"checks: {{without: [{', '.join(CHECK_IDS)}]}}", "no check is left", "leave out fewer"),
        ("checks: 5", "expected 'all', a list of check ids, or a mapping", ""),
        ("sometimes: [mode read->wite]", "'wite' is no mode", "did you mean 'write'?"),
        ("sometimes: [mode write->read]", "no connection manager goes from write to read", "read->write"),
        ("sometimes: [mode read to write]", "is no change of mode", "mode closed->read"),
        ("sometimes: [Lease!]", "'Lease!' is no mark", "lower-case words"),
        ("sometimes: [a b, c, a b]\nsystem: my.module:factory", "the mark 'a b' is given twice", "keep one"),
        ("sometimes: lease dropped", "expected a list", ""),
        ("bounds: {operation: 5}", "write 5ms", ""),
        ("instances: {close_takes: [2ms, 1ms]}", "the range is empty", ""),
        ("swarm: yes", "expected true or false", "YAML 1.2"),
        ("observe_pages: 1", "expected true or false", ""),
        ("checks: []", "this is empty", ""),
        ("expect: violations", "'violations' is no expectation", "did you mean 'violation'?"),
        ("expect: {violation: DUR9}", "'DUR9' is no check", "DUR-"),
        ("defect: Fence Skipped", "is no valid name", "lower-case"),
        ("bounds: {time: 60}", "the duration 60 has no unit: write 60ms", ""),
        ("bounds: {steps: '5'}", "expected a whole number, not '5'", "remove the quotes"),
        ("bounds: {steps: yes}", "expected a whole number, not 'yes'", "write a number"),
        ("depot: {concurrency: 0}", "0 is out of bounds", "at least 1"),
        ("instances: {restart_after: [5ms, 1ms]}", "the range is empty: 5ms is more than 1ms", "write [1ms, 5ms]"),
        ("instances: {restart_after: {p50: 5ms, p99: 1ms}}", "p99 (1ms) is below p50 (5ms)", ""),
        ("instances: {restart_after: {p50: 5ms}}", "the key 'p99' is missing", "add it"),
        ("instances: {restart_after: {mean: 5ms}}", "is no distribution of durations", "p50, p99, mixture"),
        ("instances: {restart_after: {samples: []}}", "this is empty", ""),
        ("instances: {restart_after: {mixture: [{weight: 1}]}}", "a part of a mixture has a weight and one of", ""),
        ("instances: {restart_after: {mixture: [{weight: 0, value: 1ms}]}}", "a weight must be above zero", ""),
        ("instances: {restart_after: {file: nowhere.csv}}", "cannot read the file 'nowhere.csv'", "relative"),
        ("faults: [{point: commit.befor_tx, when: {nth: 1}, action: fail}]", "is no fault point", "'commit.before_tx'"),
        ("faults: [{point: commit.before_tx, when: {nth: 0}, action: fail}]", "0 is out of bounds", "at least 1"),
        ("faults: [{point: commit.before_tx, when: {probability: 0}, action: fail}]", "above 0 and at most 1", ""),
        ("faults: [{point: commit.before_tx, when: always, action: fail}]", "expected a condition", ""),
        ("faults: [{point: commit.before_tx, when: {nth: 1}, action: fial}]", "'fial' is no action", "'fail'"),
        ("faults: [{point: commit.before_tx, when: {nth: 1}, action: {dely: 1ms}}]", "is no action", "'delay'"),
        ("faults: [{point: commit.before_tx, when: {nth: 1}, action: {delay: 31s}}]", "a delay is at most 30s", ""),
        (
            "faults: [{point: commit.before_tx, when: {nth: 1}, action: {pause: {until: resst}}}]",
            "is no end of a pause",
            "'rest'",
        ),
        (
            "faults: [{point: commit.before_tx, when: {nth: 1}, action: fail, expected: true, optional: true}]",
            "two words for one thing",
            "keep one",
        ),
        ("crash: {at: every-io}", "'every-io' is no moment", "did you mean 'every io'?"),
        ("crash: {at: every io}", "exactly one marked step, and there are 0", "marked: true"),
        ("crash: {at: {io: [5, 1]}}", "the range is empty: 5 is more than 1", ""),
        ("crash: {at: {io: 0}}", "0 is out of bounds", "at least 1"),
        ("crash: {at: {tim: 1ms}}", "is no moment", "did you mean 'time'?"),
        ("takeover: {at: {io: 5}}", "unknown key 'io'", "allowed: time"),
        ("holds: [{sql: SELECT count(*) FROM t, equals: 3}]", "SQLite answers 0", ""),
        ("holds: [{sql: DELETE FROM t, equals: 3}]", "this statement writes", "reading"),
    ],
)
def test_wrong_value_is_explained(
    problems: Problems, scenario_text: Text, change: str, message: str, hint: str
) -> None:
    found = [str(problem) for problem in problems(scenario_text(extra=change))]
    assert any(message in text and hint in text for text in found), found


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ("[{name: a}]", "a client needs mix or script"),
        ("[{name: a, mix: {read: 1}, script: [read]}]", "mix or script, not both"),
        ("[{name: a, mix: {raed: 1}}]", "there is no operation 'raed'; did you mean 'read'?"),
        ("[{name: a, script: [raed]}]", "there is no operation 'raed'; did you mean 'read'?"),
        ("[{name: a, script: [{operation: raed}]}]", "there is no operation 'raed'"),
        ("[{name: a, script: [{operaton: read}]}]", "is no step; did you mean 'operation'?"),
        ("[{name: a, script: [5]}]", "expected a step"),
        ("[{name: a, operations: 5, script: [read]}]", "operations says how many to draw from a mix"),
        ("[{name: a, operations: [5, 2], mix: {read: 1}}]", "the range is empty: 5 is more than 2"),
        ("[{name: a, mix: {read: -1}}]", "a weight must be above zero"),
        ("[{name: a, mix: {read: 1}}, {name: a, mix: {read: 1}}]", "the client name 'a' is taken"),
        ("[{name: a-1, mix: {read: 1}}, {name: a, count: 2, mix: {read: 1}}]", "the client name 'a-1' is taken"),
        ("[{name: a, script: [{sleep: 5}]}]", "write 5ms"),
    ],
)
def test_wrong_client_is_explained(problem: OnlyProblem, clients: str, message: str) -> None:
    assert message in str(problem(clients=f"clients: {clients}"))


@pytest.mark.parametrize(
    ("clients", "count"),
    [
        ("[{name: a, script: [{operation: read, marked: true}, {operation: read, marked: true}]}]", 2),
        ("[{name: a, count: 3, script: [{operation: read, marked: true}]}]", 3),
    ],
)
def test_every_io_counts_marked_steps(problem: OnlyProblem, clients: str, count: int) -> None:
    found = problem(clients=f"clients: {clients}", crash="crash: {at: every io}")
    assert f"there are {count}" in found.message


def test_every_io_with_one_marked_step_is_accepted(loaded: Load) -> None:
    clients = "clients: [{name: a, script: [{operation: read, marked: true}]}]"
    assert loaded(clients=clients, crash="crash: [{at: every io}]").enumerates_crashes


def test_every_io_takes_no_probability(problem: OnlyProblem) -> None:
    clients = "clients: [{name: a, script: [{operation: read, marked: true}]}]"
    assert "no probability" in problem(clients=clients, crash="crash: {at: every io, probability: 0.5}").message


def test_unknown_key_deep_in_the_file_names_the_keys_of_its_place(problem: OnlyProblem) -> None:
    found = problem(latency="latency: {commit: {rtt: 1ms, srever: 2ms}}")
    assert (found.message, found.hint) == (
        "unknown key 'srever'",
        "did you mean 'server'? allowed: rtt, server, per_page",
    )


def test_samples_file_is_read_beside_the_scenario(tmp_path: Path, scenario_text: Text) -> None:
    (tmp_path / "samples.csv").write_text("ms,bytes\n2.5,10\n1,20\n")
    file = tmp_path / "a.yaml"
    file.write_text(scenario_text(instances="instances: {restart_after: {file: samples.csv}}"))
    assert load_scenario(file).instances.restart_after.quantiles == (1_000_000, 2_500_000)


def test_bad_samples_file_names_its_line(tmp_path: Path, scenario_text: Text) -> None:
    (tmp_path / "samples.csv").write_text("1\nx\n")
    file = tmp_path / "a.yaml"
    file.write_text(scenario_text(instances="instances: {restart_after: {file: samples.csv}}"))
    with pytest.raises(ScenarioError, match=r"samples.csv:2: 'x' is no number of milliseconds"):
        load_scenario(file)


def test_missing_file_is_a_scenario_error(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot read this file: No such file"):
        load_scenario(tmp_path / "none.yaml")


def test_other_encoding_is_refused_with_its_position(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"name: a\nattacks: \xff\n")
    with pytest.raises(ScenarioError, match=r"a\.yaml:2:10: this is not UTF-8"):
        load_scenario(file)


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "- a\n", "text\n"])
def test_file_that_is_no_mapping_is_refused(problems: Problems, text: str) -> None:
    assert len(problems(text)) == 1


def test_inline_latency_inherits_from_its_base(loaded: Load) -> None:
    latency = loaded(latency="latency: {base: loopback, get_pages: {per_page: 1ms}}").latency
    loopback = LATENCY_PROFILES["loopback"]
    assert (latency.get_pages.per_page_ns, latency.get_pages.rtt, latency.commit) == (
        MILLISECOND,
        loopback.get_pages.rtt,
        loopback.commit,
    )


def test_one_crash_and_a_list_of_one_are_the_same(loaded: Load) -> None:
    assert loaded(crash="crash: {at: {io: 5}}").crash == loaded(crash="crash: [{at: {io: 5}}]").crash


def test_duration_becomes_a_constant_distribution(loaded: Load) -> None:
    assert loaded(instances="instances: {restart_after: 7ms}").instances.restart_after == constant(7 * MILLISECOND)


def test_every_system_that_can_be_named_can_be_made() -> None:
    assert tuple(SYSTEMS) == SYSTEM_NAMES
    assert [parts_for(name).system for name in SYSTEM_NAMES] == list(SYSTEMS.values())


def test_checks_without_some_are_the_others(loaded: Load) -> None:
    wanted = tuple(check for check in CHECK_IDS if check not in ("MODE-1", "DET-1"))
    assert loaded(checks="checks: {without: [DET-1, MODE-1]}").checks == wanted


def test_marks_are_kept_in_order(loaded: Load) -> None:
    marks = ("mode read->write", "lease dropped", "transaction rolled back: deadline", "my_own-mark")
    sometimes = f"sometimes: [{marks[0]}, {marks[1]}, '{marks[2]}', {marks[3]}]"
    assert loaded(system="system: my.module:factory", sometimes=sometimes).sometimes == marks


def test_problem_after_loading_has_its_place(loaded: Load) -> None:
    scenario = loaded(extra="defect: no-such")
    found = scenario.problem("defect", "there is no defect 'no-such'", "see `simkit defects`")
    assert (found.file, found.line, found.column) == ("example.yaml", 8, 9)


def test_holds_compares_rows(loaded: Load) -> None:
    scenario = loaded(holds="holds: [{sql: 'SELECT 1, 2.5', equals: [[1, 2.5]]}]")
    assert scenario.holds[0].equals == ((1, 2.5),)
