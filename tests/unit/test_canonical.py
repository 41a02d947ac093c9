"""Canonical JSON: the same bytes as RFC 8785, for every document of the profile."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.canonical import canonical, off_profile

SAFE = 2**53 - 1
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
KEYS = st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES)


@given(DOCUMENTS)
def test_the_bytes_are_those_of_rfc_8785(document: dict[str, object]) -> None:
    assert off_profile(document) is None
    assert canonical(document) == rfc8785.dumps(document)  # type: ignore[arg-type]


@given(DOCUMENTS)
def test_the_order_of_fields_makes_no_difference(document: dict[str, object]) -> None:
    assert canonical(dict(reversed(document.items()))) == canonical(document)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": 1.5}', "profile_fraction"),
        ('{"a": [{"b": 1e3}]}', "profile_fraction"),
        ('{"a": 9007199254740992}', "profile_number"),
        ('{"a": -9007199254740992}', "profile_number"),
        ('{"größe": 1}', "profile_key"),
        ('{"a\\u007f": 1}', "profile_key"),
        ('{"a": "\\u007f"}', "profile_character"),
        ('{"a": ["\\n"]}', "profile_character"),
        ('{"a": "\\ud800"}', "profile_character"),
    ],
)
def test_what_programs_write_differently_is_off_the_profile(text: str, code: str) -> None:
    fault = off_profile(json.loads(text))
    assert fault is not None
    assert fault.code == code


def test_a_fault_says_where_it_is() -> None:
    fault = off_profile({"attempts": [{"number": 1}, {"number": 0.5}]})
    assert fault is not None
    assert fault.pointer == "/attempts/1/number"
