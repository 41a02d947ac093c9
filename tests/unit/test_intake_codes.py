"""docs/intake.md lists every code that an intent can be refused with, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.claims import _SPECIAL
from conductor_loop.adapters.schema import code_of
from conductor_loop.contracts import schema_of
from conductor_loop.core import admission, hidden, namespaces, reading, strict_json
from conductor_loop.core.strict_json import INTENT_LIMITS
from conductor_loop.settings.model import OPTIONS
from tests.unit.test_strict_json import REFUSED

PAGE = (Path(__file__).parents[2] / "docs" / "intake.md").read_text()
SOURCES = (admission, hidden, namespaces, reading, strict_json)
MADE_FROM_PARTS = {
    "FIELD_invalid",
    "constraint_min_replicas",
    "constraint_max_replicas",
    *(f"special_{kind.lower().replace(' ', '_')}" for kind in _SPECIAL.values()),
}
KEYWORDS = re.compile("type|required|additionalProperties|enum|pattern|format|m(in|ax)[a-zA-Z]*")


def documented() -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


def written_in(source: object) -> Iterator[str]:
    """Texts that are whole codes: first arguments of `Fault`, and those of hidden characters."""
    tree = ast.parse(Path(str(source.__file__)).read_text())  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Fault":
            code = node.args[0]
            if isinstance(code, ast.Constant):
                yield str(code.value)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"json_\w+", str(node.value)):
            yield str(node.value)


def keywords(node: object) -> Iterator[str]:
    """The keywords of a schema, wherever it applies."""
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        if name == "properties":
            for inner in value.values():
                yield from keywords(inner)
        elif KEYWORDS.fullmatch(name):
            yield name
        if name in ("items", "additionalProperties"):
            yield from keywords(value)
        if name in ("anyOf", "oneOf", "allOf"):
            for inner in value:
                yield from keywords(inner)


def test_the_page_lists_exactly_the_codes_of_the_program() -> None:
    codes = {code for source in SOURCES for code in written_in(source)} | MADE_FROM_PARTS
    codes |= {code_of(keyword) for keyword in keywords(dict(schema_of("intent")))}
    assert documented() == codes


def test_every_code_of_the_parser_has_an_example() -> None:
    of_json = {code for code in documented() if code.startswith("json_")}
    assert of_json - {"json_refused"} == {code for _, code, _ in REFUSED}


def test_the_page_names_the_limits_in_force() -> None:
    assert f"at most {INTENT_LIMITS.openings} `{{` and `[`" in PAGE
    assert f"at most {INTENT_LIMITS.commas:,} commas" in PAGE
    assert OPTIONS["max-file-size"].default.replace("M", " M") in PAGE


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`-([a-z][a-z-]+)", PAGE))))
def test_the_page_names_settings_that_exist(name: str) -> None:
    assert name in OPTIONS
