"""The JSON Schema of scenario files, for editors.

Generated from the models, whose field texts become descriptions. The committed copy is
`scenarios/scenario.schema.json`; a test keeps it current, and each scenario file names it in its first line so
that an editor completes keys and shows what they mean. The schema is looser than the loader: it knows nothing
of SQL or of rules between keys.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from simkit.scenario.model import Scenario

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Leaves out defaults that are objects of the model; those fields state theirs as text."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        if kind != "non-serializable-default":
            super().emit_warning(kind, detail)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file."""
    schema = Scenario.model_json_schema(schema_generator=_Generator, mode="validation")
    cleaned = _without_titles(schema)
    assert isinstance(cleaned, dict)
    return {"$schema": SCHEMA_DIALECT, "title": "simkit scenario", **cleaned}


def schema_text() -> str:
    """The schema as the committed file has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """The schema without the titles that repeat key names. `names`: the keys of this mapping are property names."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value, names=key in ("properties", "$defs"))
            for key, value in node.items()
            if names or not (key == "title" and isinstance(value, str))
        }
    return [_without_titles(item) for item in node] if isinstance(node, list) else node
