"""JSON Schema of probes.yaml and runbook.yaml, for editors that complete and underline while one types.

It is made of the models that read the files. What only the two files together can say (names, cycles, times that
fit) is left to `check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from monitor.core.credentials import kind_of
from monitor.core.keys import NAME, FallbackKeys, HeartbeatKeys, ProbeKeys, ProbesKeys, RunbookKeys
from monitor.core.probe import ProbeType

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_FROM_ENVIRONMENT = {"type": "string", "pattern": r"\$\{[^}]+\}"}
_NOT_TEXT = {"number", "integer", "boolean"}

Schema = dict[str, Any]


def schema(types: Mapping[str, ProbeType]) -> dict[str, Schema]:
    """The schemas of the two files by their usual names: `probes.yaml` and `runbook.yaml`."""
    return {"probes.yaml": _probes_schema(types), "runbook.yaml": _schema_of(RunbookKeys)}


def _probes_schema(types: Mapping[str, ProbeType]) -> Schema:
    whole = _schema_of(ProbesKeys)
    definitions = whole.setdefault("$defs", {})
    for model in (FallbackKeys, HeartbeatKeys):
        definition = definitions[model.__name__]
        required, either = _with_secret_files(model, definition["properties"], definition.pop("required", ()))
        definition |= {"required": required} | ({"allOf": either} if either else {})
    common = _schema_of(ProbeKeys)
    definitions |= common.pop("$defs", {})
    for name, probe_type in sorted(types.items()):
        definitions[f"type {name}"] = _type_schema(probe_type, common, definitions)
    whole["properties"]["probes"] |= {
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": sorted(types)}},
            "allOf": [
                {
                    "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                    "then": {"$ref": f"#/$defs/type {name}"},
                }
                for name in sorted(types)
            ],
        },
    }
    return whole


def _type_schema(probe_type: ProbeType, common: Schema, definitions: Schema) -> Schema:
    """The keys of one probe type beside those of every probe."""
    own = _schema_of(probe_type.options)
    definitions |= own.pop("$defs", {})
    properties = own.get("properties", {})
    required, either = _with_secret_files(probe_type.options, properties, own.get("required", ()))
    return {
        "type": "object",
        "description": probe_type.help,
        "properties": common["properties"] | properties | {"type": {"const": probe_type.name}},
        "required": ["type", *required],
        "additionalProperties": False,
        **({"allOf": either} if either else {}),
    }


def _with_secret_files(
    model: type[BaseModel], properties: Schema, required: Iterable[str]
) -> tuple[list[str], list[Schema]]:
    """Let each secret of the properties come from a file: what is still required, and what one of two ways gives."""
    left, either = set(required), []
    for name in model.model_fields:
        kind = kind_of(model, name)
        if kind is None or f"{name}_file" in properties or properties[name].get("type") == "object":
            continue
        properties[f"{name}_file"] = {"type": "string", "description": f"Path of a file with {name} in it."}
        if kind == "secret":
            properties[name] = _FROM_ENVIRONMENT | {"description": f"${{NAME}}, or {name}_file"}
        if name in left:
            left.discard(name)
            either.append({"oneOf": [{"required": [name]}, {"required": [f"{name}_file"]}]})
    return sorted(left), either


def _schema_of(model: type[BaseModel]) -> Schema:
    made = model.model_json_schema(mode="validation")
    return {"$schema": DIALECT, **_opened(made)} if model in {ProbesKeys, RunbookKeys} else _opened(made)


def _opened(value: Any) -> Any:
    """The schema with `${NAME}` allowed for what is no text, and without what no editor shows."""
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    opened = {
        key: _opened(item) for key, item in value.items() if key not in {"title", "default"} or isinstance(item, dict)
    }
    if isinstance(opened.get("type"), str) and opened["type"] in _NOT_TEXT:
        return {"anyOf": [opened, _FROM_ENVIRONMENT]}
    return opened
