"""The YAML writer, read back by PyYAML (YAML 1.1) and, where that says nothing, by its rules."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.packages.yaml import Node, Word, emit, quoted

_SCALARS = st.one_of(st.text(max_size=20), st.integers(), st.booleans())
_KEYS = st.text(max_size=12)
_NODES: st.SearchStrategy[Node] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _NODES, min_size=1, max_size=5))
def test_whatever_is_written_is_read_back_the_same(document: dict[str, Node]) -> None:
    assert yaml.safe_load(emit(document)) == document


@given(st.dictionaries(_KEYS, _NODES, min_size=1, max_size=5))
def test_what_is_written_is_ascii_lines_with_a_newline_at_the_end(
    document: dict[str, Node],
) -> None:
    written = emit(document)
    assert re.fullmatch(rb"([ -~]+\n)+", written)


@pytest.mark.parametrize(
    "name",
    [
        *("1e3", "1.5", "0x10", "0o17", "0b1", "017", "1", "0", "-1", "12e03", "685.230", "1_000"),
        *("true", "false", "yes", "no", "on", "off", "y", "n", "null", "nil", "nan", "inf"),
        *(".inf", ".nan", "~", "", "2024-08-15", "1.2.3.4", "10.0", "60.60", "1.0e-3", "a", "v1"),
    ],
)
def test_a_name_that_some_yaml_reads_as_no_string_stays_a_string(name: str) -> None:
    assert emit({"name": name}) == f'name: "{name}"\n'.encode()
    assert yaml.safe_load(emit({"name": name})) == {"name": name}
    assert yaml.safe_load(emit({name: 1})) == {name: 1}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines\tand a tab", r'"two\nlines\tand a tab"'),
        ("\x00\x07\x1b\x7f", r'"\x00\x07\x1b\x7f"'),
        ("\x85\xa0é", r'"\x85\xa0\xe9"'),
        ("\u2028\u202e\ufeff", r'"\u2028\u202e\ufeff"'),
        ("\U0001f600", r'"\U0001f600"'),
        ("# no comment: [a, *b, &c, !d, %e, @f]", '"# no comment: [a, *b, &c, !d, %e, @f]"'),
    ],
)
def test_nothing_in_a_string_breaks_out_of_its_quotes(text: str, written: str) -> None:
    assert quoted(text) == written
    assert yaml.safe_load(written) == text


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert yaml.safe_load(quoted("a\ud800b")) == "a\ufffdb"


@pytest.mark.parametrize(
    ("document", "written"),
    [
        ({"a": {"b": {"c": 1}}}, "a:\n  b:\n    c: 1\n"),
        ({"a": [{"b": "x", "c": 2}, "y"]}, 'a:\n  - b: "x"\n    c: 2\n  - "y"\n'),
        ({"a": [["x"], []]}, 'a:\n  - - "x"\n  - []\n'),
        ({"a": {}, "b": []}, "a: {}\nb: []\n"),
        ({"a": True, "b": False, "c": 0}, "a: true\nb: false\nc: 0\n"),
        ({"kind": Word("Deployment")}, "kind: Deployment\n"),
        ({"config.kubernetes.io/x": 1}, "config.kubernetes.io/x: 1\n"),
        ({"on": 1, "a b": 2}, '"on": 1\n"a b": 2\n'),
    ],
)
def test_the_layout_is_the_one_people_write(document: dict[str, Node], written: str) -> None:
    assert emit(document).decode() == written
