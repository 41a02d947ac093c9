"""JSON from strangers: one reading, or a fault that says what and where."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_loop.core.faults import Fault
from conductor_loop.core.strict_json import JsonLimits, JsonValue, parse_strict

REFUSED = [
    # Encodings
    (b"", "json_empty", ""),
    (b" \r\n\t", "json_empty", ""),
    (b'\xef\xbb\xbf{"a":1}', "json_bom", ""),
    ('{"a":1}'.encode("utf-16"), "json_utf16", ""),
    ('{"a":1}'.encode("utf-16-le"), "json_utf16", ""),
    ('{"a":1}'.encode("utf-16-be"), "json_utf16", ""),
    ('{"a":1}'.encode("utf-32"), "json_utf16", ""),
    ('{"a":1}'.encode("utf-32-be"), "json_utf16", ""),
    (b'{"a":"\0"}', "json_nul", ""),
    (b'{"a":1}\0', "json_nul", ""),
    (b'{"a":"\xff"}', "json_not_utf8", ""),
    (b'{"a":"\xc0\xaf"}', "json_not_utf8", ""),
    (b'{"a":"\xed\xa0\x80"}', "json_not_utf8", ""),
    # Syntax
    (b'{"a":1', "json_cut_short", ""),
    (b'{"a":"x', "json_cut_short", ""),
    (b'{"a":', "json_cut_short", ""),
    (b'{"a":1}}', "json_extra_data", ""),
    (b'{"a":1}\n{"a":1}', "json_extra_data", ""),
    (b'{"a" 1}', "json_syntax", ""),
    (b'{"a":1,}', "json_syntax", ""),
    (b"{'a':1}", "json_syntax", ""),
    (b"{a:1}", "json_syntax", ""),
    (b'{"a":01}', "json_syntax", ""),
    (b'{"a":+1}', "json_syntax", ""),
    (b'{"a":"\\x41"}', "json_syntax", ""),
    (b'// why\n{"a":1}', "json_syntax", ""),
    # Keys
    (b'{"a":1,"a":1}', "json_duplicate_key", "/a"),
    (b'{"a":1,"\\u0061":1}', "json_duplicate_key", "/a"),
    (b'{"o":{"k":1,"k":{}}}', "json_duplicate_key", "/o/k"),
    (b'{"replicas":1,"Replicas":9}', "json_case_clash", "/Replicas"),
    ('{"k":1,"\u212a":9}'.encode(), "json_case_clash", "/\u212a"),
    # Numbers
    (b'{"a":[0,NaN]}', "json_not_a_number", "/a/1"),
    (b'{"a":Infinity}', "json_not_a_number", "/a"),
    (b'{"a":-Infinity}', "json_not_a_number", "/a"),
    (b'{"a":1e999}', "json_number_too_great", "/a"),
    (b'{"a":-1e999}', "json_number_too_great", "/a"),
    (b'{"a":9007199254740992}', "json_number_too_great", "/a"),
    (b'{"a":-9007199254740992}', "json_number_too_great", "/a"),
    (b'{"a":' + b"9" * 5000 + b"}", "json_number_too_long", "/a"),
    (b'{"a":0.' + b"1" * 5000 + b"}", "json_number_too_long", "/a"),
    # Characters
    (b'{"a":"x\ny"}', "json_control_character", ""),
    (b'{"a":"x\x1by"}', "json_control_character", ""),
    (b'{"a":"\\u0000"}', "json_control_character", "/a"),
    (b'{"a":"\\u001b[2J"}', "json_control_character", "/a"),
    (b'{"a":"x\\ry"}', "json_control_character", "/a"),
    (b'{"a":"\\b"}', "json_control_character", "/a"),
    (b'{"a":"\x7f"}', "json_control_character", "/a"),
    ('{"a":"\x9b2J"}'.encode(), "json_control_character", "/a"),
    ('{"a":"x\u2028y"}'.encode(), "json_control_character", "/a"),
    (b'{"a":"\\ud800"}', "json_lone_surrogate", "/a"),
    (b'{"a":"\\udc00\\ud800"}', "json_lone_surrogate", "/a"),
    (b'{"a":"x\\u202ey"}', "json_bidi_control", "/a"),
    ('{"a":"x\u202ey"}'.encode(), "json_bidi_control", "/a"),
    ('{"a":["","\u2066"]}'.encode(), "json_bidi_control", "/a/1"),
    ('{"a":"x\u200by"}'.encode(), "json_zero_width", "/a"),
    (b'{"a":"x\\ufeffy"}', "json_zero_width", "/a"),
    ('{"a":"\U000e0041"}'.encode(), "json_tag_character", "/a"),
    (b'{"a":"\\udb40\\udc41"}', "json_tag_character", "/a"),
    (b'{"a/b":{"~":"\\u202e"}}', "json_bidi_control", "/a~1b/~0"),
    # The place of a key that does not show is the object around it.
    (b'{"o":{"\\u202ek":1}}', "json_bidi_control", "/o"),
    # Size
    (b"[" * 257 + b"]" * 257, "json_too_deep", ""),
    (b"[" + b"0," * 20_001 + b"0]", "json_too_many_values", ""),
]

ACCEPTED: list[tuple[bytes, JsonValue]] = [
    (b"{}", {}),
    (b'\r\n\t{"a": 1}\r\n', {"a": 1}),
    (b'{"a":9007199254740991,"b":-9007199254740991}', {"a": 2**53 - 1, "b": 1 - 2**53}),
    (b'{"a":3.0,"b":-0,"c":1e3}', {"a": 3.0, "b": 0, "c": 1000.0}),
    (b'{"a":"x\\ty\\nz\\u0009\\u000a"}', {"a": "x\ty\nz\t\n"}),
    (b'{"a":"\\"\\\\\\/"}', {"a": '"\\/'}),
    (b'{"a":"\\\\u202e"}', {"a": "\\u202e"}),
    (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ('{"a":"Überlast 負載 \u2764\ufe0f"}'.encode(), {"a": "Überlast 負載 \u2764\ufe0f"}),
    (b'{"a":[true,false,null,"",[],{}]}', {"a": [True, False, None, "", [], {}]}),
    (b'{"a":{"k":1},"b":{"k":1}}', {"a": {"k": 1}, "b": {"k": 1}}),
    (b'{"":1}', {"": 1}),
]


def fault_of(body: bytes) -> Fault:
    fault = parse_strict(body)
    assert isinstance(fault, Fault), f"{body[:80]!r} was taken as {fault!r}"
    return fault


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED)
def test_row_15_each_way_to_be_wrong_has_its_code_and_place(
    body: bytes, code: str, pointer: str
) -> None:
    fault = fault_of(body)
    assert (fault.code, fault.pointer) == (code, pointer)
    assert fault.message
    assert fault.hint


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED)
def test_no_fault_carries_what_it_warns_of(body: bytes, code: str, pointer: str) -> None:
    fault = fault_of(body)
    assert (fault.message + fault.hint + fault.pointer).isprintable()
    assert len(fault.message) < 300


@pytest.mark.parametrize(("body", "value"), ACCEPTED)
def test_what_is_in_order_is_read_as_json_says(body: bytes, value: JsonValue) -> None:
    assert parse_strict(body) == value
    assert json.loads(body) == value


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b'{"a": 1,\n "b": 2', "line 2, column 8"),
        (b'{"a":\n "x\ty"}', "line 2, column 4"),
        (b'{"a": 1}\n\n  x', "line 3, column 3"),
        (b'{"a": 1,\n "b": "\xff"}', "line 2"),
        (b'{"a": 1,\n "b": "\0"}', "line 2"),
    ],
)
def test_a_fault_without_a_pointer_names_the_line(body: bytes, where: str) -> None:
    assert where in fault_of(body).message


def test_a_syntax_error_after_a_duplicate_key_is_told_first() -> None:
    assert fault_of(b'{"a":{"k":1,"k":2},"b" 1}').code == "json_syntax"


def test_the_deepest_document_allowed_is_read_and_its_faults_found() -> None:
    assert not isinstance(parse_strict(b"[" * 256 + b"]" * 256), Fault)
    fault = fault_of(b"[" * 256 + b'"\\u202e"' + b"]" * 256)
    assert fault.code == "json_bidi_control"
    assert fault.pointer == "/0" * 256


def test_limits_are_for_the_caller_to_set() -> None:
    assert isinstance(parse_strict(b"[[]]", JsonLimits(openings=1)), Fault)
    assert parse_strict(b"[1,2]", JsonLimits(openings=1, commas=1)) == [1, 2]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[{}," * (10 * 2**20 // 4),
        b'{"a":' + b"1" * (10 * 2**20) + b"}",
        b'{"a":0.' + b"1" * (10 * 2**20) + b"}",
        b"[" + b'"",' * 2**20 + b'""]',
    ],
    ids=["deep arrays", "deep objects", "many objects", "long integer", "long fraction", "commas"],
)
def test_row_16_ten_mebibytes_of_malice_cost_little_time_and_memory(body: bytes) -> None:
    parse_strict(b"{}")
    tracemalloc.start()
    began = time.process_time()
    fault_of(body)
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A few times the size of the text; a tree of objects would be hundreds of MiB.
    assert peak < 64 * 2**20
    # Quadratic behaviour would take minutes; what it takes in truth is measured by the benchmark.
    assert spent < 5


# Letters by their category, yet without width: fillers of the Korean script.
FILLERS = "\u115f\u1160\u3164\uffa0"
LEGIBLE = st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters=FILLERS)
KEYS = st.text(LEGIBLE, max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LEGIBLE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).filter(
            lambda members: len({key.casefold() for key in members}) == len(members)
        )
    ),
    max_leaves=20,
)


@given(st.binary() | st.text().map(str.encode) | VALUES.map(lambda v: json.dumps(v).encode()))
@example(b'{"a":"\\ud800\\udc00"}')
def test_any_bytes_give_a_value_or_a_fault(body: bytes) -> None:
    value = parse_strict(body)
    if isinstance(value, Fault):
        assert value.code.startswith("json_")
        assert value.code != "json_refused"
    else:
        assert json.loads(body) == value


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_what_a_json_library_writes_is_read_back(
    value: JsonValue, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert parse_strict(text.encode()) == value
