"""JSON Schema of ``line.toml``, by which an editor completes and checks it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ..sinks import SINKS
from .config import LineConfig
from .places import LINE

__all__ = ["SCHEMA_FILE", "line_schema"]

SCHEMA_FILE = "line.schema.json"
_DEFINITIONS = "$defs"


def line_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a file with one line, or with tables ``[[line]]``."""
    definitions: dict[str, Any] = {}
    whole = _described(LineConfig, definitions)
    sinks = {kind: _reference(_described(sink.Settings, definitions), definitions) for kind, sink in SINKS.items()}
    named = [
        {"allOf": [reference, {"properties": {"kind": {"const": kind}}, "required": ["kind"]}]}
        for kind, reference in sinks.items()
    ]
    whole["properties"]["sinks"] = {
        "type": "object",
        "description": "Where the results go: a table for each, named by its kind, or by any name with its kind in it.",
        "properties": sinks,
        "additionalProperties": {"oneOf": named},
    }
    # Of several lines each has its own, and what they share stands at the top.
    needed = {
        "required": [key for key in whole.pop("required") if key != "bundle"],
        "anyOf": [{"required": ["bundle"]}, {"required": ["server"]}],
        "properties": {table: {"required": ["uri"]} for table in ("source", "server")},
    }
    for table in ("SourceTable", "ServerSettings"):
        definitions[table].pop("required")
    line = {**whole, "required": ["name"], "title": "One of several lines", "description": "A table [[line]]."}
    definitions["Line"] = line
    tables = {"type": "array", "items": {"$ref": f"#/{_DEFINITIONS}/Line"}, "minItems": 1}
    shared = {**whole["properties"], LINE: {"description": "One of several lines of this process.", **tables}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "line.toml",
        **{key: value for key, value in whole.items() if key not in ("properties", "title")},
        "properties": shared,
        "if": {"required": [LINE]},
        "then": {},
        "else": needed,
        _DEFINITIONS: dict(sorted(definitions.items())),
    }


def _described(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """The model's own schema, its keys with what its docstring says of them; the models in it go to ``definitions``."""
    schema = model.model_json_schema()
    inner = schema.pop(_DEFINITIONS, {})
    for name, one in inner.items():
        found = _model_of(model, name)
        definitions.setdefault(name, one if found is None else _with_words(found, one))
    definitions.pop("SinkSettings", None)
    return _with_words(model, schema)


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of that name among those of the fields, and of their fields."""
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found = kind if kind.__name__ == name else _model_of(kind, name)
                if found is not None:
                    return found
    return None


def _with_words(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    words = {key: text for one in reversed(model.__mro__) for key, text in _attributes(one)}
    properties = {}
    for key, value in schema.get("properties", {}).items():
        plain = {name: inner for name, inner in value.items() if name != "title"}
        # TOML has no null: what may be left out is left out.
        if any(option == {"type": "null"} for option in plain.get("anyOf", ())):
            options = [option for option in plain.pop("anyOf") if option != {"type": "null"}]
            plain = {**plain, **(options[0] if len(options) == 1 else {"anyOf": options})}
        if plain.get("default", 0) is None or isinstance(plain.get("default"), dict):
            del plain["default"]
        properties[key] = {**({"description": words[key].replace("``", "")} if key in words else {}), **plain}
    summary = (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
    return {**schema, "description": summary, "properties": properties}


def _attributes(model: type[Any]) -> Iterator[tuple[str, str]]:
    """What a docstring says of each attribute: name, text."""
    section = (inspect.cleandoc(model.__dict__.get("__doc__") or "")).partition("Attributes:\n")[2]
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.+(?:\n {8,}.+)*)", section, flags=re.MULTILINE):
        for name in names.split(", "):
            yield name, " ".join(text.split())


def _reference(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, str]:
    definitions[schema["title"]] = schema
    return {"$ref": f"#/{_DEFINITIONS}/{schema['title']}"}
