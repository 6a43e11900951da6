"""How operations ask the system, what they mean, and when they are given up: each rule fires where it is broken."""

from collections.abc import Callable

import pytest

from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.plan import Close, Effect, Statement, Step, Transaction
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]

SETUP = (
    "setup:\n- CREATE TABLE t(a INTEGER PRIMARY KEY, b)\n"
    "- CREATE TABLE item(position INTEGER PRIMARY KEY AUTOINCREMENT, k, v)"
)


def operation(body: str, system: str = "pool") -> dict[str, str]:
    return {
        "system": f"system: {system}",
        "setup": SETUP,
        "operations": f"operations:\n  it: {body}",
        "clients": "clients: [{name: one, operations: 1, mix: {it: 1}}]",
    }


def first_step(loaded: Load, body: str, seed: int = 1) -> Step:
    return draw_plan(loaded(**operation(body)), seed).clients[0].steps[0]


APPEND = "sql: 'INSERT INTO item(k, v) VALUES(:k, :v)'"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{sql: SELECT 1, via: exicute}", "'exicute' is no way to run a statement; did you mean 'execute'?"),
        ("{sql: SELECT 1, via: transaction}", "'transaction' is no way to run a statement"),
        ("{transaction: [SELECT 1], via: query}", "'query' is no way to run a transaction"),
        ("{transaction: [SELECT 1], leave: stay}", "'stay' is no way to leave a transaction"),
        ("{transaction: [SELECT 1], leave: end, rollback: true}", "is never rolled back by its client"),
        ("{transaction: [SELECT 1], via: transaction, begin: deferred}", "transaction() begins the transaction itself"),
        ("{transaction: [SELECT 1], via: migrate, rollback: true}", "by itself, without rollback"),
        ("{transaction: [SELECT 1], via: migrate, leave: end}", "by itself, without leave"),
        ("{transaction: [SELECT 1], via: migrate, pause: 1ms}", "by itself, without pause"),
        ("{transaction: [SELECT 1], pause: 5}", "write 5ms"),
        ("{sql: SELECT 1, timeout: 5}", "write 5ms"),
        ("{sql: SELECT 1, pause: 5ms}", "unknown key 'pause'"),
        ("{sql: 'DELETE FROM t', via: query}", "query() is for reading, and this writes"),
        ("{sql: 'SELECT 1', via: run}", "run() gives no rows"),
        ("{sql: 'DELETE FROM t RETURNING a', via: run}", "run() gives no rows"),
        ("{sql: 'SELECT :a', params: {a: 1}, via: execute_script}", "execute_script() takes no parameters"),
        ("{close: true, sql: SELECT 1}", "an operation has sql or close, not both"),
        ("{close: false}", "Input should be True"),
        ("{close: true, via: execute}", "unknown key 'via'"),
        ("{cloze: true}", "is no operation; did you mean 'close'?"),
        ("SELECT 1", "expected an operation: a mapping with sql, transaction or close"),
    ],
)
def test_wrong_operation_is_explained(problem: OnlyProblem, body: str, message: str) -> None:
    assert message in str(problem(**operation(body)))


@pytest.mark.parametrize(
    ("system", "body", "message"),
    [
        ("single", "{sql: SELECT 1, via: query}", "the system single has no query(); set `system: pool`"),
        ("single", "{sql: SELECT 1, via: lease}", "the system single has no leases"),
        ("single", "{transaction: [SELECT 1], via: write_mode}", "the system single has no write_mode()"),
        ("single", "{transaction: [SELECT 1], leave: end}", "single has no deadline for a transaction"),
        ("worker", "{sql: SELECT 1, via: dropped_lease}", "the system worker has no leases"),
    ],
)
def test_what_a_system_lacks_is_refused(problem: OnlyProblem, system: str, body: str, message: str) -> None:
    assert message in str(problem(**operation(body, system)))


@pytest.mark.parametrize("system", ["pool", "my.module:factory"])
@pytest.mark.parametrize("via", ["execute", "execute_write", "query", "execute_script", "lease", "dropped_lease"])
def test_other_systems_may_offer_anything(loaded: Load, system: str, via: str) -> None:
    scenario = loaded(**operation(f"{{sql: SELECT 1, via: {via}}}", system))
    step = draw_plan(scenario, 1).clients[0].steps[0]
    assert isinstance(step, Statement)
    assert step.via == via


@pytest.mark.parametrize("pool", ["max_readers: 0", "max_readers: [0, 1]", "read_pool_enabled: [true, false]"])
def test_lease_may_be_of_a_pool_that_has_no_readers(loaded: Load, pool: str) -> None:
    loaded(**operation("{sql: SELECT 1, via: lease}"), pool=f"pool: {{{pool}}}")


def test_writer_can_be_leased_from_a_pool_without_readers(loaded: Load) -> None:
    scenario = loaded(**operation("{sql: DELETE FROM t, via: lease}"), pool="pool: {max_readers: 0}")
    assert scenario.pool.max_readers == (0,)


def test_worker_offers_scripts_and_scopes(loaded: Load) -> None:
    assert loaded(**operation("{transaction: [SELECT 1], via: migrate}", "worker")).system == "worker"
    assert loaded(**operation("{sql: SELECT 1, via: execute_script}", "worker")).system == "worker"


def test_place_of_a_missing_offer_is_that_of_the_key(problem: OnlyProblem) -> None:
    found = problem(**operation("{sql: SELECT 1, via: query}", "single"))
    assert (found.line, found.column) == (7, 28)


class TestSeveral:
    @pytest.mark.parametrize(
        "text",
        [
            "SELECT 1; SELECT 2",
            "SELECT 1;; -- nothing\n ; SELECT ';' /* ; */",
            "SELECT 1",
            "CREATE TABLE x(y); INSERT INTO x VALUES(1); SELECT y FROM x",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3",
        ],
    )
    def test_text_of_any_number_of_statements_is_accepted(self, loaded: Load, text: str) -> None:
        body = f"\n    several: true\n    sql: {text!r}"
        step = first_step(loaded, body)
        assert isinstance(step, Statement)
        assert step.several

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("SELECT 1; SELEC 2", "syntax error"),
            ("SELECT 1; SELECT random()", "random() depends on chance"),
            ("BEGIN; SELECT 1; COMMIT", "BEGIN is not written as SQL"),
            ("-- nothing", "there is no SQL statement here"),
            (" ; ;", "there is no SQL statement here"),
            ("SELECT 1; SELECT x FROM nowhere", "no such table: nowhere"),
            ("SELECT 1; SELECT :a", "a statement after the first has parameters"),
        ],
    )
    def test_every_statement_is_checked(self, problem: OnlyProblem, text: str, message: str) -> None:
        params = ", params: {a: 1}" if ":a" in text else ""
        assert message in str(problem(**operation(f"{{several: true, sql: {text!r}{params}}}")))

    def test_parameters_belong_to_the_first_statement(self, loaded: Load) -> None:
        step = first_step(loaded, "{several: true, sql: 'SELECT :a; SELECT 2', params: {a: 7}}")
        assert isinstance(step, Statement)
        assert step.params == {"a": 7}

    def test_several_statements_need_the_word(self, problem: OnlyProblem) -> None:
        assert "more than one statement" in problem(**operation("{sql: 'SELECT 1; SELECT 2'}")).message

    def test_script_of_two_writes_is_refused(self, problem: OnlyProblem) -> None:
        text = "DELETE FROM t; DELETE FROM item"
        found = problem(**operation(f"{{several: true, via: execute_script, sql: {text!r}}}"))
        assert "a script commits each statement by itself" in found.message

    def test_script_of_one_write_is_accepted(self, loaded: Load) -> None:
        text = "SELECT 1; DELETE FROM t; SELECT 2"
        step = first_step(loaded, f"{{several: true, via: execute_script, sql: {text!r}}}")
        assert isinstance(step, Statement)

    def test_nothing_of_it_stays_for_the_next_operation(self, problem: OnlyProblem) -> None:
        bodies = "{several: true, sql: 'CREATE TABLE x(y); SELECT 1'}\n  other: {sql: SELECT y FROM x}"
        assert "no such table: x" in problem(**operation(bodies)).message


class TestEffects:
    def test_effect_carries_the_drawn_values(self, loaded: Load) -> None:
        body = f"{{{APPEND}, params: {{k: {{int: [3, 3]}}, v: {{sequence: 9}}}}, effect: {{append: [k, v]}}}}"
        step = first_step(loaded, body)
        assert isinstance(step, Statement)
        assert step.effect == Effect(kind="append", key=3, value=9)

    @pytest.mark.parametrize(("key", "wanted"), [("7", 7), ("'7'", "7"), ("log", "log")])
    def test_key_that_is_no_parameter_stands_for_itself(self, loaded: Load, key: str, wanted: object) -> None:
        step = first_step(loaded, f"{{sql: SELECT v FROM item, effect: {{list: {key}}}}}")
        assert isinstance(step, Statement)
        assert step.effect == Effect(kind="list", key=wanted)  # type: ignore[arg-type]

    def test_transaction_has_one_a_statement(self, loaded: Load) -> None:
        body = (
            "\n    transaction: ['SELECT b FROM t WHERE a = :k', 'REPLACE INTO t VALUES(:k, :v)', 'SELECT 1']"
            "\n    params: {k: 2, v: {unique: v}}\n    effects: [{read: k}, {write: [k, v]}, null]"
        )
        step = first_step(loaded, body)
        assert isinstance(step, Transaction)
        assert [statement.effect for statement in step.statements] == [
            Effect(kind="read", key=2),
            Effect(kind="write", key=2, value="v-one-1"),
            None,
        ]

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (
                f"{{{APPEND}, params: {{k: 1, v: {{int: [1, 9]}}}}, effect: {{append: [k, v]}}}}",
                "the values of 'v' may repeat",
            ),
            (
                f"{{{APPEND}, params: {{k: 1, v: {{sequence: 1}}}}, effect: {{append: [k, w]}}}}",
                "there is no parameter 'w'",
            ),
            (
                f"{{{APPEND}, params: {{k: 1, v: {{sequence: 1}}}}, effect: {{append: [k]}}}}",
                "expected [key, value], the names of two parameters",
            ),
            (
                f"{{{APPEND}, params: {{k: {{real: [0.0, 1.0]}}, v: {{sequence: 1}}}}, effect: {{append: [k, v]}}}}",
                "the parameter 'k' may be no integer and no text",
            ),
            (
                f"{{{APPEND}, params: {{k: {{choice: [1, null]}}, v: {{sequence: 1}}}}, effect: {{append: [k, v]}}}}",
                "the parameter 'k' may be no integer and no text",
            ),
            (
                f"{{{APPEND}, params: {{k: 1, v: {{sequence: 1}}}}, effect: {{list: k}}}}",
                "the statement writes, so list",
            ),
            ("{sql: SELECT v FROM item, effect: {append: [1, v]}, params: {}}", "no parameter 'v'"),
            ("{sql: SELECT v FROM item, effect: {lst: 1}}", "is no effect; did you mean 'list'?"),
            ("{sql: SELECT v FROM item, effect: {list: 1, read: 1}}", "unknown key 'read'"),
            ("{sql: SELECT v FROM item, effect: list}", "expected an effect: {append: [key, value]}"),
            ("{sql: SELECT v FROM item, effect: {list: 1.5}}", "1.5 is no key"),
            ("{sql: SELECT v FROM item, effects: [null]}", "unknown key 'effects'; did you mean 'effect'?"),
            ("{transaction: [SELECT 1, SELECT 2], effects: [null]}", "1 effects for 2 statements"),
            (
                "{sql: 'SELECT v FROM item WHERE k = :key', params: {key: 1}, effect: {list: kye}}",
                "there is no parameter 'kye'; did you mean 'key'?",
            ),
            (
                "{transaction: ['SELECT :k', 'SELECT v FROM item'], params: {k: 1}, effects: [null, {list: k}]}",
                "the statement does not use the parameter 'k'",
            ),
            (
                (
                    "\n    transaction: ['REPLACE INTO t VALUES(1, :v)', 'REPLACE INTO t VALUES(2, :v)']"
                    "\n    params: {v: {sequence: 1}}\n    effects: [{write: [1, v]}, {write: [2, v]}]"
                ),
                "'v' is written twice by this operation",
            ),
            (
                (
                    "\n    transaction: ['REPLACE INTO t VALUES(1, :v)', 'REPLACE INTO t VALUES(2, :w)']"
                    "\n    params: {v: {sequence: 1}, w: {sequence: 5}}"
                    "\n    effects: [{write: [1, v]}, {write: [2, w]}]"
                ),
                "this sequence starts at 5 and that of line 10 at 1: they may meet",
            ),
        ],
    )
    def test_wrong_effect_is_explained(
        self, problems: Callable[[str], list[Problem]], scenario_text: Callable[..., str], body: str, message: str
    ) -> None:
        found = [str(problem) for problem in problems(scenario_text(**operation(body)))]
        assert any(message in text for text in found), found

    def test_effect_that_is_no_key_of_its_statement_is_placed(self, problem: OnlyProblem) -> None:
        body = "{transaction: ['SELECT :k', 'SELECT v FROM item'], params: {k: 1}, effects: [null, {list: k}]}"
        found = problem(**operation(body))
        assert (found.line, found.column) == (7, len("  it: ") + body.index("k}]") + 1)


def test_timeout_is_drawn_for_each_use(loaded: Load) -> None:
    generator = PlanGenerator(loaded(**operation("{sql: SELECT 1, timeout: [1ms, 9ms]}")))
    steps = [generator.draw(seed).clients[0].steps[0] for seed in range(20)]
    times = [step.timeout_ns for step in steps if isinstance(step, Statement)]
    assert len(set(times)) > 5
    assert all(1_000_000 <= time <= 9_000_000 for time in times)


@pytest.mark.parametrize("timeout", ["0ms", "[0ms, 0s]", "{samples: [0ms]}"])
@pytest.mark.parametrize("what", ["sql: SELECT 1", "close: true", "transaction: [SELECT 1]"])
def test_timeout_that_is_always_nothing_is_refused(problem: OnlyProblem, what: str, timeout: str) -> None:
    found = problem(**operation(f"{{{what}, timeout: {timeout}}}"))
    assert found.message == "a timeout of nothing could mean at once or never"
    assert "write 1ns for at once" in found.hint


def test_timeout_that_is_drawn_as_nothing_is_at_once_and_not_never(loaded: Load) -> None:
    generator = PlanGenerator(loaded(**operation("{sql: SELECT 1, timeout: {samples: [0ms, 5ms]}}")))
    steps = [generator.draw(seed).clients[0].steps[0] for seed in range(20)]
    assert {step.timeout_ns for step in steps if isinstance(step, Statement)} == {1, 5_000_000}


def test_pauses_stand_before_each_statement_and_the_end(loaded: Load) -> None:
    step = first_step(loaded, "{transaction: [SELECT 1, SELECT 2], pause: [1ms, 9ms], leave: end}")
    assert isinstance(step, Transaction)
    assert (len(step.pauses_ns), len(set(step.pauses_ns)), step.leave) == (3, 3, "end")


def test_transaction_without_pause_has_none(loaded: Load) -> None:
    step = first_step(loaded, "{transaction: [SELECT 1], via: write_mode}")
    assert step == Transaction(operation="it", begin="immediate", statements=step.statements, via="write_mode")  # type: ignore[union-attr]


def test_close_is_planned_with_its_timeout(loaded: Load) -> None:
    assert first_step(loaded, "{close: true, timeout: 3ms}") == Close(timeout_ns=3_000_000)


def test_close_without_timeout_is_not_cancelled(loaded: Load) -> None:
    assert first_step(loaded, "{close: true}") == Close()


def test_close_may_stand_in_a_script(loaded: Load) -> None:
    parts = operation("{close: true}") | {
        "clients": "clients: [{name: one, think: 1ms, script: [it, {operation: it}]}]"
    }
    assert draw_plan(loaded(**parts), 1).clients[0].steps == (Close(think_ns=1_000_000), Close(think_ns=1_000_000))


def test_close_cannot_be_marked(problem: OnlyProblem) -> None:
    parts = operation("{close: true}") | {
        "clients": "clients: [{name: one, script: [{operation: it, marked: true}]}]",
    }
    assert "a close cannot be the marked step" in problem(**parts).message


def test_client_has_several_operations_in_flight(loaded: Load) -> None:
    scenario = loaded(clients="clients: [{name: a, in_flight: 3, mix: {read: 1}}, {name: b, mix: {read: 1}}]")
    assert [client.in_flight for client in draw_plan(scenario, 1).clients] == [3, 1]


@pytest.mark.parametrize(("count", "hint"), [("0", "at least 1"), ("17", "at most 16")])
def test_operations_in_flight_are_bounded(problem: OnlyProblem, count: str, hint: str) -> None:
    found = problem(clients=f"clients: [{{name: a, in_flight: {count}, mix: {{read: 1}}}}]")
    assert found.hint == hint
