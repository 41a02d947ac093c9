"""Schemas: what they accept, the faults they give, and which schema files are refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from conductor_loop.adapters.schema import compile_schema, load_schema
from conductor_loop.contracts import Contract, schema_of, schema_text
from conductor_loop.core.contract import CONSTRAINT_RULES, INTENT_RULES, NEPHIO_RULES, REQUIRED
from conductor_loop.core.faults import CannotStart, Fault

REPOSITORY = Path(__file__).parents[2]
SEED = {"intent_type": "scaling", "target": "cnf-simulator", "namespace": "oran-sim", "replicas": 3}


def faults_of(document: object) -> list[tuple[str, str]]:
    return [(f.code, f.pointer) for f in compile_schema(schema_of("intent"))(document)]


def only_fault(schema: dict[str, object], document: object) -> Fault:
    (fault,) = compile_schema(schema)(document)
    return fault


@pytest.mark.parametrize("contract", ["intent", "verdict"])
def test_the_copy_in_the_documents_is_the_schema_in_use(contract: Contract) -> None:
    copy = REPOSITORY / "docs" / "contracts" / f"{contract}.schema.json"
    assert copy.read_text("utf-8") == schema_text(contract)


@pytest.mark.parametrize("contract", ["intent", "verdict"])
def test_the_shipped_schemas_are_valid_and_say_which_draft_they_are(contract: Contract) -> None:
    schema = schema_of(contract)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    compile_schema(schema)


def test_the_examples_in_the_schema_are_intents() -> None:
    examples = schema_of("intent")["examples"]
    assert isinstance(examples, list)
    assert [faults_of(example) for example in examples] == [[]]


def test_schema_and_core_know_the_same_fields() -> None:
    properties = schema_of("intent")["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == set(INTENT_RULES)
    assert set(properties["constraints"]["properties"]) == set(CONSTRAINT_RULES)
    assert set(properties["nephio_context"]["properties"]) == set(NEPHIO_RULES)
    assert schema_of("intent")["required"] == list(REQUIRED)


def test_every_field_of_an_intent_has_words_for_a_hint() -> None:
    def bare(node: object, place: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        inner = {**node.get("properties", {}), "items": node.get("items")}
        missing = [] if {"title", "description"} <= node.keys() else [place]
        return missing + [p for name, n in inner.items() for p in bare(n, f"{place}/{name}")]

    assert bare(schema_of("intent"), "") == []


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"intent_type": "scale"}, "schema_enum", "/intent_type"),
        ({"target": "CNF"}, "schema_pattern", "/target"),
        ({"target": "a" * 254}, "schema_max_length", "/target"),
        ({"target": "cnf\n"}, "schema_pattern", "/target"),
        ({"namespace": "a.b"}, "schema_pattern", "/namespace"),
        ({"replicas": "3"}, "schema_type", "/replicas"),
        ({"replicas": True}, "schema_type", "/replicas"),
        ({"replicas": 3.5}, "schema_type", "/replicas"),
        ({"replicas": -1}, "schema_minimum", "/replicas"),
        ({"replicas": 101}, "schema_maximum", "/replicas"),
        ({"reason": "x" * 513}, "schema_max_length", "/reason"),
        ({"reason": None}, "schema_type", "/reason"),
        ({"source": "robot"}, "schema_enum", "/source"),
        ({"correlation_id": "a b"}, "schema_pattern", "/correlation_id"),
        ({"priority": 11}, "schema_enum", "/priority"),
        ({"priority": "urgent"}, "schema_enum", "/priority"),
        ({"timeout": 30}, "schema_type", "/timeout"),
        ({"timeout": "30"}, "schema_pattern", "/timeout"),
        ({"constraints": {"min_replicas": -1}}, "schema_minimum", "/constraints/min_replicas"),
        (
            {"constraints": {"allowed_namespaces": ["a", "*"]}},
            "schema_pattern",
            "/constraints/allowed_namespaces/1",
        ),
        (
            {"constraints": {"kpt_package_name": "../p"}},
            "schema_pattern",
            "/constraints/kpt_package_name",
        ),
        ({"nephio_context": "here"}, "schema_type", "/nephio_context"),
        ({"target_resources": [""]}, "schema_min_length", "/target_resources/0"),
        ({"metadata": []}, "schema_type", "/metadata"),
        ({"created_at": "yesterday"}, "schema_format", "/created_at"),
        ({"updated_at": "2023-02-29T00:00:00Z"}, "schema_format", "/updated_at"),
        ({"status": "done"}, "schema_enum", "/status"),
        ({"a/b~c": 1}, "schema_additional_property", "/a~1b~0c"),
    ],
)
def test_one_fault_in_an_intent_is_one_fault_with_code_place_and_hint(
    change: dict[str, object], code: str, pointer: str
) -> None:
    (fault,) = compile_schema(schema_of("intent"))({**SEED, **change})
    assert (fault.code, fault.pointer) == (code, pointer)
    assert fault.message
    assert fault.hint


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 0},
        {"replicas": 100},
        {"source": ""},
        {"priority": 0},
        {"priority": "critical"},
        {"timeout": "1h2m3.5s"},
        {"constraints": {"anything": ["else"]}},
        {"nephio_context": {"anything": "else"}},
        {"metadata": {"free": {"as": ["the", "wind"]}}},
        {"created_at": "2024-02-29T10:30:00.123+08:00"},
        {"target": "a.b-c.d"},
    ],
)
def test_what_the_contract_allows_is_accepted(change: dict[str, object]) -> None:
    assert faults_of({**SEED, **change}) == []


def test_all_faults_are_reported_at_once_in_the_order_of_their_places() -> None:
    document = {"target": "../x", "replicas": "3", "zone": 1, "reason": 5}
    assert faults_of(document) == [
        ("schema_required", "/intent_type"),
        ("schema_required", "/namespace"),
        ("schema_type", "/reason"),
        ("schema_type", "/replicas"),
        ("schema_pattern", "/target"),
        ("schema_additional_property", "/zone"),
    ]


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"replcas": 3}, 'did you mean "replicas"?'),
        ({"Namespace": "x"}, 'did you mean "namespace"?'),
        ({"intent_type": "Scaling"}, 'did you mean "scaling"?'),
        ({"replicas": "3"}, "write it without quotes: 3"),
    ],
)
def test_a_hint_names_what_was_probably_meant(change: dict[str, object], hint: str) -> None:
    (fault,) = compile_schema(schema_of("intent"))({**SEED, **change})
    assert fault.hint == hint


def test_an_unknown_field_with_no_likeness_gets_the_list_of_fields() -> None:
    (fault,) = compile_schema(schema_of("intent"))({**SEED, "zzz": 1})
    assert "intent_type, target, namespace, replicas" in fault.hint


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"const": 1}, "schema_const"),
        ({"anyOf": [{"type": "null"}, {"type": "array"}]}, "schema_any_of"),
        ({"not": {"type": "string"}}, "schema_not"),
        ({"type": ["integer", "null"]}, "schema_type"),
        ({"format": "ipv4"}, "schema_format"),
        (False, "schema_false_schema"),
    ],
)
def test_faults_of_an_operators_schema_show_nothing_raw(schema: object, code: str) -> None:
    fault = only_fault({"properties": {"x": schema}}, {"x": "\x1b[2J\u202e"})
    assert (fault.code, fault.pointer) == (code, "/x")
    assert (fault.message + fault.hint).isprintable()


def test_a_pattern_without_a_description_is_quoted() -> None:
    fault = only_fault({"properties": {"x": {"pattern": "^a+$"}}}, {"x": "b"})
    assert fault.hint == "it must match ^a+$"


def test_the_description_behind_a_reference_becomes_the_hint() -> None:
    schema: dict[str, object] = {
        "properties": {"site": {"$ref": "#/$defs/site"}},
        "$defs": {"site": {"type": "string", "description": "Code of a site, such as ber-1."}},
    }
    assert only_fault(schema, {"site": 1}).hint == "Code of a site, such as ber-1."


def test_fields_left_over_by_a_composed_schema_are_named() -> None:
    schema: dict[str, object] = {"properties": {"a": True}, "unevaluatedProperties": False}
    fault = only_fault(schema, {"a": 1, "b": 2})
    assert (fault.code, fault.pointer) == ("schema_unevaluated_property", "/b")


def test_the_number_of_faults_is_bounded() -> None:
    check = compile_schema({"items": {"type": "string"}, "type": "array"})
    assert len(check(list(range(20_000)))) == 100


def test_a_schema_file_replaces_the_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"properties": {"site": {"type": "string"}}}')
    check = compile_schema(load_schema(str(path)))
    assert check({"site": "ber-1"}) == ()
    assert [f.code for f in check({"site": 1})] == ["schema_type"]


def test_a_schema_of_an_older_draft_is_read_by_its_own_rules() -> None:
    schema: dict[str, object] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"x": {"items": [{"type": "integer"}]}},
    }
    assert only_fault(schema, {"x": ["a"]}).pointer == "/x/0"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "schema_invalid"),
        (b"{", "schema_invalid"),
        (b"\xff\xfe{", "schema_invalid"),
        (b"[" * 100_000, "schema_invalid"),
        (b"[]", "schema_invalid"),
        (b"true", "schema_invalid"),
        (b'{"type": "objekt"}', "schema_invalid"),
        (b'{"pattern": "(["}', "schema_invalid"),
        (b'{"$ref": "#/$defs/nowhere"}', "schema_invalid"),
        (b'{"$schema": "https://example.com/own"}', "schema_invalid"),
    ],
)
def test_a_file_that_is_no_schema_is_refused_with_a_hint(
    tmp_path: Path, text: bytes, code: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(CannotStart) as raised:
        compile_schema(load_schema(str(path)))
    assert raised.value.code == code
    assert raised.value.hint
    assert raised.value.message.isprintable()


def test_a_schema_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    for name in ("gone.json", "folder.json"):
        with pytest.raises(CannotStart, match=f"{name} cannot be read") as raised:
            load_schema(str(tmp_path / name))
        assert raised.value.code == "schema_unreadable"


def test_a_reference_elsewhere_is_refused_and_never_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(CannotStart, match="nothing is fetched"):
            compile_schema({"$ref": url})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_schemas_are_plain_json_without_duplicate_keys() -> None:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    for contract in ("intent", "verdict"):
        json.loads(schema_text(contract), object_pairs_hook=unique)


ID = "01ARYZ6S41TSV4RRFFQ69G5FAV"
SHA = "0" * 64
MOMENT = "2024-08-15T10:30:00Z"
SUCCESS: dict[str, object] = {
    "intent_file": "intent-scale-up-001.json",
    "status": "success",
    "message": "Processed by worker 0 in 2.5s",
    "timestamp": MOMENT,
    "processed_by": "conductor-loop",
    "mode": "direct",
    "porch_path": "porch",
    "schema_version": 1,
    "conductor_version": "0.1.0",
    "intent_id": ID,
    "intent_sha256": SHA,
    "correlation_id": "scale-2024-001",
    "target": "oran-sim/cnf-simulator",
    "submitted_by": "planner",
    "received_at": MOMENT,
    "started_at": MOMENT,
    "finished_at": "2024-08-15T10:30:02.5Z",
    "processing_duration": "2.5s",
    "worker_id": 0,
    "attempts": [{"number": 1, "outcome": "success", "duration": "2.5s", "started_at": MOMENT}],
    "config_sha256": SHA,
    "signature": "e30.." + "A" * 86,
    "porch_sha256": SHA,
    "sandbox": "none",
    "outputs": [{"path": "oran-sim/cnf-simulator/scaling-patch.yaml", "sha256": SHA}],
}
ERROR = {"code": "porch_exit", "message": "exit 1", "retryable": False, "exit_code": 1}
RAN = {"started_at", "processing_duration", "worker_id", "sandbox", "porch_sha256", "outputs"}
NEVER_RAN = {name: value for name, value in SUCCESS.items() if name not in RAN}
FAILED = {**NEVER_RAN, "status": "failed", "message": "exit 1", "error": ERROR, "attempts": []}
SKIPPED = {**NEVER_RAN, "status": "skipped", "message": "skipped", "attempts": []}


@pytest.mark.parametrize(
    "verdict",
    [
        SUCCESS,
        {**SUCCESS, "outputs": None, "outputs_unknown": "an external porch shares the folder"},
        {**SUCCESS, "audit_seq": 7, "notes": ["a hand edit was lost"]},
        FAILED,
        {**SUCCESS, "status": "timeout", "error": ERROR},
        {**SKIPPED, "skip_reason": "expired"},
        {**SKIPPED, "skip_reason": "superseded", "superseded_by": ID},
        {**SKIPPED, "skip_reason": "cancelled", "cancelled_by": "uid:1000"},
        {**SUCCESS, "a_later_field": "is ignored"},
    ],
    ids=lambda verdict: verdict["status"],
)
def test_a_verdict_that_tells_all_is_valid(verdict: dict[str, object]) -> None:
    assert compile_schema(schema_of("verdict"))(verdict) == ()


@pytest.mark.parametrize(
    ("verdict", "pointer"),
    [
        *(
            ({k: v for k, v in SUCCESS.items() if k != name}, f"/{name}")
            for name in (
                "intent_file",
                "intent_id",
                "attempts",
                "config_sha256",
                "outputs",
                "signature",
            )
        ),
        ({**SUCCESS, "outputs": None}, "/outputs_unknown"),
        ({**SUCCESS, "outputs_unknown": "why"}, "/outputs_unknown"),
        ({**SUCCESS, "error": ERROR}, "/error"),
        ({**SUCCESS, "status": "done"}, "/status"),
        ({**SUCCESS, "timestamp": "2024-08-15T10:30:00+02:00"}, "/timestamp"),
        ({**SUCCESS, "intent_id": "1"}, "/intent_id"),
        ({**SUCCESS, "worker_id": 0.5}, "/worker_id"),
        ({**SUCCESS, "signature": "a.b.c"}, "/signature"),
        ({k: v for k, v in FAILED.items() if k != "error"}, "/error"),
        ({**FAILED, "error": {**ERROR, "code": "Exit 1"}}, "/error/code"),
        ({**FAILED, "skip_reason": "expired"}, "/skip_reason"),
        (SKIPPED, "/skip_reason"),
        ({**SKIPPED, "skip_reason": "superseded"}, "/superseded_by"),
        ({**SKIPPED, "skip_reason": "cancelled"}, "/cancelled_by"),
        ({**SKIPPED, "skip_reason": "expired", "superseded_by": ID}, "/superseded_by"),
    ],
)
def test_a_verdict_that_hides_or_contradicts_something_is_not(
    verdict: dict[str, object], pointer: str
) -> None:
    assert pointer in [fault.pointer for fault in compile_schema(schema_of("verdict"))(verdict)]
