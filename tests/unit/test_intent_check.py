"""What keeps the contract is valid by the built-in schema: it need not be held against both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.adapters.intent_check import check_against
from conductor_loop.adapters.schema import compile_schema
from conductor_loop.contracts import schema_of
from conductor_loop.core.contract import (
    CONSTRAINT_RULES,
    INTENT_RULES,
    NEPHIO_RULES,
    REQUIRED,
    Rule,
    keeps_contract,
)

SCHEMA = compile_schema(schema_of("intent"))
LEAST = {"intent_type": "scaling", "target": "amf", "namespace": "oran-sim", "replicas": 3}

WORDS = ["".join(each) for size in range(5) for each in product("a0A.-_\n", repeat=size)]
LONG = [letter * size for letter in "a0é\U0001f600" for size in (62, 63, 64, 65, 252, 253, 254)]
LONGER = ["x" * size for size in (511, 512, 513, 1023, 1024, 1025)]
NAMES = [
    *("scaling", "deployment", "configuration", "Scaling"),
    *("user", "planner", "test", "automation", "low", "normal", "high", "critical"),
    *("pending", "processing", "completed", "failed"),
]
DURATIONS = [
    f"{sign}{number}{unit}{end}"
    for sign in ("", "+", "-")
    for number in ("", "0", "1", ".5", "1.", "1.5", "9999999999", "٣")
    for unit in ("ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "")
    for end in ("", "1m", "\n")
] + ["1s" * 31, "1s" * 32, "1s" * 33]
MOMENTS = [
    f"{date}{between}{time}{fraction}{offset}"
    for date in ("2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2016-12-31")
    for between in ("T", "t", " ")
    for time in ("00:00:00", "23:59:59", "23:59:60", "24:00:00", "22:59:60", "12:60:00")
    for fraction in ("", ".5", ".123456789012", ".")
    for offset in ("Z", "z", "+00:00", "-01:00", "+23:59", "+24:00", "", "+0100", "Z\n")
]
NUMBERS = [-1, 0, 1, 10, 11, 100, 101, 10**30, 3.0, -0.0, 0.5, float("inf"), True, False, None]
ITEMS = ["a", "", "a.b", 1, None]
LISTS = [list(each) for size in range(3) for each in product(ITEMS, repeat=size)]
VALUES: list[object] = [
    *(*WORDS, *LONG, *LONGER, *NAMES, *DURATIONS, *MOMENTS, *NUMBERS, *LISTS),
    *({}, {"a": 1}, {"min_replicas": -1}),
]


def nested(place: str, name: str, value: object) -> Mapping[str, object]:
    return {**LEAST, place: {name: value}} if place else {**LEAST, name: value}


FIELDS = [
    (place, name, rule)
    for place, rules in (
        ("", INTENT_RULES),
        ("constraints", CONSTRAINT_RULES),
        ("nephio_context", NEPHIO_RULES),
    )
    for name, rule in rules.items()
]


@pytest.mark.parametrize(("place", "name", "rule"), FIELDS, ids=[f"{p}/{n}" for p, n, _ in FIELDS])
def test_a_value_that_keeps_its_rule_is_valid_by_the_schema(
    place: str, name: str, rule: Rule
) -> None:
    documents = [nested(place, name, value) for value in VALUES if rule.is_kept_by(value)]
    kept = [document for document in documents if keeps_contract(document)]
    assert kept
    assert [document for document in kept if SCHEMA(document)] == []


@pytest.mark.parametrize(("place", "name", "rule"), FIELDS, ids=[f"{p}/{n}" for p, n, _ in FIELDS])
def test_a_value_that_breaks_its_rule_is_held_against_the_schema(
    place: str, name: str, rule: Rule
) -> None:
    broken = [nested(place, name, value) for value in VALUES if not rule.is_kept_by(value)]
    assert broken
    assert not any(map(keeps_contract, broken))


@given(st.dictionaries(st.sampled_from([*INTENT_RULES, "other"]), st.sampled_from(VALUES)))
def test_whatever_fields_stand_together_what_keeps_the_contract_is_valid(
    changes: dict[str, object],
) -> None:
    document = {**LEAST, **changes}
    assert not (keeps_contract(document) and SCHEMA(document))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        *({name: LEAST[name] for name in REQUIRED if name != gone} for gone in REQUIRED),
        {**LEAST, "other": 1},
        {**LEAST, "constraints": []},
    ],
)
def test_what_the_schema_finds_fault_with_is_told(document: object) -> None:
    assert check_against(None)(document) == SCHEMA(document) != ()


def test_the_schema_knows_no_field_that_the_contract_does_not() -> None:
    schema = json.loads(json.dumps(schema_of("intent")))
    assert schema["properties"].keys() == INTENT_RULES.keys()
    assert schema["required"] == list(REQUIRED)
    for place, rules in (("constraints", CONSTRAINT_RULES), ("nephio_context", NEPHIO_RULES)):
        assert schema["properties"][place]["properties"].keys() == rules.keys()


def test_nothing_is_compiled_before_a_document_breaks_the_contract() -> None:
    told = (
        "import sys\n"
        "from conductor_loop.adapters.intent_check import check_against\n"
        f"assert check_against(None)({LEAST!r}) == ()\n"
        "assert 'jsonschema_rs' not in sys.modules\n"
        "assert check_against(None)({}) != ()\n"
        "assert 'jsonschema_rs' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", told], check=True)
