"""The page of the verdict's fields, from its JSON schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conductor_loop.contracts import schema_of
from docs.printed.tables import code, plain, table

_OPENING = """\
# The verdict

Every field of `status/NAME.status`, for programs that read it. This page is printed from the schema
by `python -m docs.printed`; a test keeps the two equal. The schema itself:
`conductor-loop schema verdict`, or [verdict.schema.json](contracts/verdict.schema.json).

The file is JSON, appears whole and last (what it tells is in place by then), and is replaced when
the same name is handed over again; the older one goes to `status/history/ID.status`. Fields may be
added; readers ignore those they do not know. [Verifying a verdict](verify.md) says what `signature`
proves.

"""
_PARTS = {
    "attempt": "An element of `attempts`",
    "output": "An element of `outputs`",
    "error": "`error`",
    "fault": "An element of `error.faults`",
}
_FORMS = ("id", "sha256", "moment", "duration")
Schema = dict[str, Any]


def page() -> str:
    """Write the whole page."""
    schema: Schema = dict(schema_of("verdict"))
    parts = schema["$defs"]
    sections = [_OPENING + _fields(schema, _conditions(schema))]
    sections += [f"## {title}\n\n{_fields(parts[name], {})}" for name, title in _PARTS.items()]
    forms = ((name, plain(parts[name]["description"]), _pattern(parts[name])) for name in _FORMS)
    return "\n".join([*sections, "## Forms\n", table(("form", "what", "pattern"), forms)])


def _fields(schema: Schema, conditions: dict[str, str]) -> str:
    rows = (
        (code(name), _kind(field), _when(name, schema, conditions), _meaning(field))
        for name, field in schema["properties"].items()
    )
    return table(("field", "type", "there", "meaning"), rows)


def _kind(field: Schema) -> str:
    if "$ref" in field:
        return _linked(field["$ref"])
    if "const" in field:
        return code(str(field["const"]))
    if "enum" in field:
        return " ".join(code(str(value)) for value in field["enum"])
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    inner = field.get("items", {})
    element = f" of {_kind(inner)}" if inner else ""
    return " or ".join(kind + (element if kind == "array" else "") for kind in kinds)


def _linked(reference: str) -> str:
    name = reference.rpartition("/")[2]
    if name in _FORMS:
        return f"[{name}](#forms)"
    anchor = _PARTS[name].lower().replace("`", "").replace(".", "").replace(" ", "-")
    return f"[{name}](#{anchor})"


def _meaning(field: Schema) -> str:
    return plain(field.get("description", "")).replace("docs/verify.md", "[here](verify.md)")


def _pattern(form: Schema) -> str:
    return code(form["pattern"])


def _when(name: str, schema: Schema, conditions: dict[str, str]) -> str:
    return "always" if name in schema["required"] else conditions.get(name, "if known")


def _conditions(schema: Schema) -> dict[str, str]:
    """When each field that is not always there must be, from the schema's conditions."""
    found: dict[str, list[str]] = {}
    for rule in schema["allOf"]:
        for name in rule["then"].get("required", ()):
            found.setdefault(name, []).extend(_said(rule["if"]))
    return {name: " or ".join(dict.fromkeys(when)) for name, when in found.items()}


def _said(condition: Schema) -> Iterator[str]:
    for name, held in condition["properties"].items():
        if held.get("type") == "null":
            yield f"{code(name)} is null"
        for value in held.get("enum", [held["const"]] if "const" in held else []):
            yield f"{code(name)} is {code(value)}"
