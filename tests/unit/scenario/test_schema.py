"""The JSON Schema that editors use."""

import json
from pathlib import Path
from typing import Any

from simkit.scenario.model import Scenario
from simkit.scenario.schema import json_schema, schema_text

SCENARIOS = Path(__file__).parents[3] / "scenarios"


def objects(node: Any) -> list[dict[str, Any]]:
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    found = [each for child in inner for each in objects(child)]
    return [*found, node] if isinstance(node, dict) and "properties" in node and "type" in node else found


def test_committed_schema_is_current() -> None:
    assert (SCENARIOS / "scenario.schema.json").read_text(encoding="utf-8") == schema_text(), (
        "write simkit.scenario.schema.schema_text() to scenarios/scenario.schema.json"
    )


def test_schema_has_every_key() -> None:
    assert list(json_schema()["properties"]) == list(Scenario.model_fields)


def test_schema_describes_every_key() -> None:
    missing = [
        name
        for each in objects(json_schema())
        for name, field in each["properties"].items()
        if "description" not in field
    ]
    assert missing == []


def test_schema_refuses_unknown_keys_everywhere() -> None:
    assert all(each["additionalProperties"] is False for each in objects(json_schema()))


def test_schema_is_plain_json() -> None:
    assert json.loads(schema_text()) == json_schema()


def test_scenario_files_name_the_schema() -> None:
    for file in SCENARIOS.rglob("*.yaml"):
        first = file.read_text(encoding="utf-8").splitlines()[0]
        prefix = "# yaml-language-server: $schema="
        assert first.startswith(prefix), file
        assert (file.parent / first.removeprefix(prefix)).resolve() == (SCENARIOS / "scenario.schema.json").resolve(), (
            file
        )
