"""From bytes to an intent, or to every fault at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conductor_loop.adapters.intent_check import check_against
from conductor_loop.core.contract import SYSTEM_NAMESPACES
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Constraints, Intent, IntentType, NephioContext, Target
from conductor_loop.core.reading import (
    IntakeRules,
    Unreadable,
    legible_target,
    read_intent,
    reread_intent,
)

SAMPLES = Path(__file__).parents[2] / "examples" / "handoff"
SEED = {
    "intent_type": "scaling",
    "target": "cnf-simulator",
    "namespace": "oran-sim",
    "replicas": 3,
    "reason": "High load detected",
    "source": "planner",
    "correlation_id": "scale-2024-001",
}
CHECK = check_against(None)
RULES = IntakeRules(CHECK)
# An operator's schema that asks for nothing: the core stands alone.
LAX = IntakeRules(lambda _: ())


def with_changes(**changes: object) -> bytes:
    return json.dumps({**SEED, **changes}).encode()


def intent_of(body: bytes, rules: IntakeRules = RULES) -> Intent:
    intent = read_intent(body, rules)
    assert isinstance(intent, Intent), intent
    return intent


def refusal_of(body: bytes, rules: IntakeRules = RULES) -> Unreadable:
    refusal = read_intent(body, rules)
    assert isinstance(refusal, Unreadable), f"{body[:200]!r} was taken"
    assert refusal.faults
    return refusal


def found(refusal: Unreadable) -> set[tuple[str, str]]:
    return {(fault.code, fault.pointer) for fault in refusal.faults}


def test_the_seeds_example_is_read() -> None:
    assert intent_of(json.dumps(SEED).encode()) == Intent(
        intent_type=IntentType.SCALING,
        target=Target("oran-sim", "cnf-simulator"),
        replicas=3,
        priority=5,
        reason="High load detected",
        source="planner",
        correlation_id="scale-2024-001",
    )


def test_every_field_of_an_intent_arrives() -> None:
    body = with_changes(
        intent_type="deployment",
        priority="critical",
        timeout="1m30s",
        description="why",
        constraints={
            "min_replicas": 1,
            "max_replicas": 3,
            "allowed_namespaces": ["oran-sim"],
            "kpt_package_name": "simulator.v1",
            "porch_repository": "edge",
            "other": [1],
        },
        nephio_context={
            "package_revision": "v1",
            "workload_cluster": "edge-1",
            "blueprint_name": "sim",
            "other": 1,
        },
        target_resources=["deployment/cnf-simulator"],
        metadata={"free": {"a": [1, None]}},
        created_at="2024-08-15T10:30:00Z",
        updated_at="2024-08-15T10:30:00.5+02:00",
        status="pending",
    )
    assert intent_of(body) == Intent(
        intent_type=IntentType.DEPLOYMENT,
        target=Target("oran-sim", "cnf-simulator"),
        replicas=3,
        priority=10,
        timeout=timedelta(seconds=90),
        reason="High load detected",
        source="planner",
        correlation_id="scale-2024-001",
        description="why",
        constraints=Constraints("simulator.v1", "edge"),
        nephio_context=NephioContext("v1", "edge-1", "sim"),
        metadata={"free": {"a": [1, None]}},
    )


@pytest.mark.parametrize(
    ("priority", "number"),
    [("low", 2), ("normal", 5), ("high", 8), ("critical", 10), (0, 0), (10, 10)],
)
def test_a_priority_has_a_number_or_a_name(priority: object, number: int) -> None:
    assert intent_of(with_changes(priority=priority)).priority == number


# What no schema can say, or what holds under any schema.
BROKEN: list[tuple[dict[str, object], str]] = [
    ({"intent_type": "scale"}, "intent_type"),
    ({"intent_type": ["scaling"]}, "intent_type"),
    ({"target": ""}, "target"),
    ({"target": "../../etc"}, "target"),
    ({"target": ".."}, "target"),
    ({"target": "a/b"}, "target"),
    ({"target": "a..b"}, "target"),
    ({"target": "-a"}, "target"),
    ({"target": "a\n"}, "target"),
    ({"target": "$(reboot)"}, "target"),
    ({"target": "--flag"}, "target"),
    ({"target": "a" * 254}, "target"),
    ({"target": "ａ"}, "target"),
    ({"target": {"name": "a"}}, "target"),
    ({"namespace": "a.b"}, "namespace"),
    ({"namespace": "Oran"}, "namespace"),
    ({"namespace": "a" * 64}, "namespace"),
    ({"namespace": "."}, "namespace"),
    ({"namespace": None}, "namespace"),
    ({"replicas": 3.0}, "replicas"),
    ({"replicas": True}, "replicas"),
    ({"replicas": "3"}, "replicas"),
    ({"replicas": -1}, "replicas"),
    ({"replicas": 101}, "replicas"),
    ({"reason": "x" * 513}, "reason"),
    ({"reason": 5}, "reason"),
    ({"source": "robot"}, "source"),
    ({"correlation_id": "../x"}, "correlation_id"),
    ({"correlation_id": ".."}, "correlation_id"),
    ({"correlation_id": "x" * 65}, "correlation_id"),
    ({"correlation_id": "é"}, "correlation_id"),
    ({"priority": 5.0}, "priority"),
    ({"priority": True}, "priority"),
    ({"priority": 11}, "priority"),
    ({"priority": "urgent"}, "priority"),
    ({"priority": [5]}, "priority"),
    ({"timeout": "0s"}, "timeout"),
    ({"timeout": "1ns"}, "timeout"),
    ({"timeout": "-5s"}, "timeout"),
    ({"timeout": "5 min"}, "timeout"),
    ({"timeout": 30}, "timeout"),
    ({"timeout": "9999999h"}, "timeout"),
    ({"constraints": None}, "constraints"),
    ({"nephio_context": []}, "nephio_context"),
    ({"target_resources": "deployment/x"}, "target_resources"),
    ({"description": "x" * 1025}, "description"),
    ({"metadata": "x"}, "metadata"),
    ({"created_at": "2024-02-30T00:00:00Z"}, "created_at"),
    ({"created_at": "2024-08-15"}, "created_at"),
    ({"created_at": "2024-08-15 10:30:00Z"}, "created_at"),
    ({"created_at": "2024-08-15T10:30:00"}, "created_at"),
    ({"created_at": "2024-08-15T24:00:00Z"}, "created_at"),
    ({"created_at": "2024-08-15T12:00:60Z"}, "created_at"),
    ({"created_at": 1723717800}, "created_at"),
    ({"updated_at": "2023-02-29T00:00:00+01:00"}, "updated_at"),
    ({"status": "done"}, "status"),
    ({"constraints": {"min_replicas": 1.0}}, "constraints/min_replicas"),
    ({"constraints": {"max_replicas": "9"}}, "constraints/max_replicas"),
    ({"constraints": {"allowed_namespaces": "oran-sim"}}, "constraints/allowed_namespaces"),
    ({"constraints": {"kpt_package_name": ""}}, "constraints/kpt_package_name"),
    ({"constraints": {"kpt_package_name": "../x"}}, "constraints/kpt_package_name"),
    ({"constraints": {"porch_repository": 1}}, "constraints/porch_repository"),
    ({"nephio_context": {"blueprint_name": 1}}, "nephio_context/blueprint_name"),
    ({"nephio_context": {"workload_cluster": "x" * 254}}, "nephio_context/workload_cluster"),
]


@pytest.mark.parametrize(("change", "place"), BROKEN)
def test_a_broken_rule_is_found_at_its_place_with_the_built_in_schema(
    change: dict[str, object], place: str
) -> None:
    (fault,) = refusal_of(with_changes(**change)).faults
    assert fault.pointer == f"/{place}"
    assert fault.message
    assert fault.hint


@pytest.mark.parametrize(("change", "place"), BROKEN)
def test_the_same_rule_holds_under_a_schema_that_asks_for_nothing(
    change: dict[str, object], place: str
) -> None:
    (fault,) = refusal_of(with_changes(**change), LAX).faults
    assert (fault.code, fault.pointer) == (f"{place.rpartition('/')[2]}_invalid", f"/{place}")


def test_missing_fields_are_found_with_and_without_a_schema() -> None:
    places = {"/intent_type", "/target", "/namespace", "/replicas"}
    assert {fault.pointer for fault in refusal_of(b"{}").faults} == places
    assert found(refusal_of(b"{}", LAX)) == {("field_missing", place) for place in places}


def test_faults_of_schema_and_core_are_reported_together_and_once_each() -> None:
    body = with_changes(
        zone="x", replicas=3.0, target="../x", timeout="0s", constraints={"min_replicas": -1}
    )
    assert found(refusal_of(body)) == {
        ("schema_additional_property", "/zone"),
        ("replicas_invalid", "/replicas"),
        ("schema_pattern", "/target"),
        ("timeout_invalid", "/timeout"),
        ("schema_minimum", "/constraints/min_replicas"),
    }


def test_a_message_shows_what_was_found_cut_and_escaped() -> None:
    for rules in (RULES, LAX):
        (fault,) = refusal_of(with_changes(target="x\n" * 100), rules).faults
        assert '"x\\nx\\n' in fault.message
        assert fault.message.isprintable()
        assert len(fault.message) < 250


@pytest.mark.parametrize(
    ("constraints", "faults"),
    [
        ({"min_replicas": 3, "max_replicas": 3}, set()),
        ({"min_replicas": 4}, {("constraint_min_replicas", "/replicas")}),
        ({"max_replicas": 2}, {("constraint_max_replicas", "/replicas")}),
        ({"max_replicas": 500}, set()),
        (
            {"min_replicas": 4, "max_replicas": 2},
            {("constraint_min_replicas", "/replicas"), ("constraint_max_replicas", "/replicas")},
        ),
        ({"allowed_namespaces": ["oran-sim", "other"]}, set()),
        ({"allowed_namespaces": ["other"]}, {("constraint_allowed_namespaces", "/namespace")}),
        ({"allowed_namespaces": []}, {("constraint_allowed_namespaces", "/namespace")}),
    ],
)
def test_an_intent_is_held_to_its_own_constraints(
    constraints: dict[str, object], faults: set[tuple[str, str]]
) -> None:
    reading = read_intent(with_changes(constraints=constraints), RULES)
    assert (found(reading) if isinstance(reading, Unreadable) else set()) == faults


def test_a_broken_constraint_message_names_both_numbers() -> None:
    (fault,) = refusal_of(with_changes(constraints={"max_replicas": 2})).faults
    assert fault.message == "3 replicas, at most 2 are allowed by constraints.max_replicas"


@pytest.mark.parametrize("namespace", sorted(SYSTEM_NAMESPACES))
def test_a_system_namespace_is_refused_unless_allowed(namespace: str) -> None:
    body = with_changes(namespace=namespace)
    assert found(refusal_of(body)) == {("system_namespace", "/namespace")}
    allowing = IntakeRules(CHECK, frozenset({namespace}))
    assert intent_of(body, allowing).target.namespace == namespace


def test_allowing_one_system_namespace_does_not_allow_another() -> None:
    refusal_of(
        with_changes(namespace="kube-system"), IntakeRules(CHECK, frozenset({"kube-public"}))
    )


def test_a_kubernetes_style_document_is_told_that_it_is_not_supported_yet() -> None:
    body = b'{"apiVersion":"nephoran.com/v1","kind":"NetworkIntent","spec":{"replicas":"x"}}'
    (fault,) = refusal_of(body).faults
    assert fault.code == "kubernetes_style_unsupported"
    assert "not supported yet" in fault.message
    assert "NetworkIntent" in fault.message


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"{}"', b"true"])
def test_a_document_that_is_no_object_is_refused(body: bytes) -> None:
    assert found(refusal_of(body)) == {("not_an_object", "")}


def test_what_is_no_json_has_the_fault_of_the_parser_alone() -> None:
    assert found(refusal_of(b'{"target":"a","target":"b"}')) == {("json_duplicate_key", "/target")}


@pytest.mark.parametrize(
    ("document", "legible"),
    [
        (SEED, ("oran-sim", "cnf-simulator", "scale-2024-001")),
        ({"namespace": "kube-system", "target": "dns"}, ("kube-system", "dns", "")),
        ({"namespace": "../x", "target": "a"}, ("", "a", "")),
        ({"namespace": "a", "target": 5, "correlation_id": "a b"}, ("a", "", "")),
        ({"correlation_id": ".."}, ("", "", "")),
        ([], ("", "", "")),
        (None, ("", "", "")),
    ],
)
def test_only_what_keeps_the_rules_is_read_of_a_rejected_document(
    document: object, legible: tuple[str, str, str]
) -> None:
    assert legible_target(document) == legible


def test_a_refusal_says_whose_it_is_as_far_as_that_is_legible() -> None:
    refusal = refusal_of(with_changes(replicas="3", namespace="../x"))
    assert (refusal.namespace, refusal.target) == ("", "cnf-simulator")
    assert refusal.correlation_id == "scale-2024-001"


def test_the_number_of_faults_is_bounded_and_the_rest_counted() -> None:
    refusal = refusal_of(with_changes(**{f"unknown_{n}": n for n in range(10_000)}))
    assert len(refusal.faults) == 51
    assert refusal.faults[-1].code == "more_faults"


def test_moments_may_have_leap_seconds_where_there_can_be_some() -> None:
    intent_of(with_changes(created_at="2016-12-31T23:59:60Z"))
    intent_of(with_changes(created_at="2016-12-31T15:59:60.25-08:00"))


GOOD_SAMPLES = {
    "intent-scale-up-001.json": SEED,
    "intent-scale-up-002.json": {"target": "cnf-simulator", "namespace": "oran-sim"},
    "intent-urgent-003.json": {"priority": "critical"},
    "intent-bounded-004.json": {"timeout": "1m30s"},
    "intent-scale-to-zero-005.json": {"replicas": 0},
    "intent-deploy-upf-006.json": {"intent_type": "deployment"},
}
BAD_SAMPLES = {
    "intent-bad-type-007.json": {
        ("schema_type", "/replicas"),
        ("schema_additional_property", "/reson"),
    },
    "intent-bad-duplicate-key-008.json": {("json_duplicate_key", "/replicas")},
}


def test_every_sample_is_known_here() -> None:
    names = {path.name for path in SAMPLES.glob("intent-*.json")}
    assert names == GOOD_SAMPLES.keys() | BAD_SAMPLES.keys()


@pytest.mark.parametrize(("name", "part"), GOOD_SAMPLES.items())
def test_good_samples_are_intents(name: str, part: Mapping[str, object]) -> None:
    body = (SAMPLES / name).read_bytes()
    intent_of(body)
    assert part.items() <= json.loads(body).items()


@pytest.mark.parametrize(("name", "faults"), BAD_SAMPLES.items())
def test_bad_samples_teach_what_they_are_for(name: str, faults: set[tuple[str, str]]) -> None:
    assert found(refusal_of((SAMPLES / name).read_bytes())) == faults


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
# Letters by their category, yet without width: fillers of the Korean script.
FILLERS = "\u115f\u1160\u3164\uffa0"
TEXTS = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters=FILLERS), max_size=40
)
INTENTS = st.fixed_dictionaries(
    {
        "intent_type": st.sampled_from([str(kind) for kind in IntentType]),
        "target": st.lists(LABELS, min_size=1, max_size=3).map(".".join),
        "namespace": LABELS,
        "replicas": st.integers(0, 100),
    },
    optional={
        "reason": TEXTS,
        "source": st.sampled_from(["user", "planner", "test", "automation", ""]),
        "correlation_id": st.from_regex(r"[A-Za-z0-9_.-]{0,40}[A-Za-z0-9]", fullmatch=True),
        "priority": st.integers(0, 10) | st.sampled_from(["low", "normal", "high", "critical"]),
        "timeout": st.sampled_from(["30s", "5m", "1h", "1.5s", "250ms"]),
        "constraints": st.fixed_dictionaries(
            {}, optional={"max_replicas": st.integers(100, 200), "kpt_package_name": LABELS}
        ),
        "metadata": st.dictionaries(LABELS, st.integers(-5, 5) | LABELS, max_size=3),
        "created_at": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    },
)
# Right and wrong values for any field, so that every pair of field and value is tried.
ODD_VALUES: list[object] = [
    *(None, True, 3, 3.0, -1, 10**15, "", "..", "../x", "kube-system", "30s", "critical"),
    *([], {}, ["a"], ["*"], [1], "x" * 1025, "2024-02-30T00:00:00Z", "2024-08-15T10:30:00Z"),
]
ODDITIES = st.sampled_from(ODD_VALUES)
FIELDS = st.sampled_from(sorted({*SEED, "priority", "timeout", "constraints", "nephio_context"}))
MORE_FIELDS = st.sampled_from(["target_resources", "metadata", "created_at", "status", "zone"])


@given(INTENTS, st.booleans())
def test_a_valid_intent_survives_a_round_trip(
    document: dict[str, object], ascii_only: bool
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    intent = intent_of(body)
    assert intent_of(json.dumps(json.loads(body)).encode()) == intent
    assert str(intent.target) == f"{document['namespace']}/{document['target']}"
    assert intent.replicas == document["replicas"]


@given(INTENTS, st.randoms(), st.sampled_from([None, 0, 7, "\t", "\r\n"]))
def test_neither_order_nor_white_space_matters(
    document: dict[str, object], random: Random, indent: int | str | None
) -> None:
    names = list(document)
    random.shuffle(names)
    shuffled = {name: document[name] for name in names}
    plain = intent_of(json.dumps(document).encode())
    assert intent_of(json.dumps(shuffled, indent=indent).encode()) == plain


@given(st.dictionaries(FIELDS | MORE_FIELDS, ODDITIES, max_size=4))
@example({"constraints": {"allowed_namespaces": [["a"], {}]}})
@example({"constraints": {"min_replicas": True, "max_replicas": None}})
def test_what_the_core_takes_alone_the_schema_takes_too(changes: dict[str, object]) -> None:
    document = {**SEED, **changes}
    body = json.dumps(document).encode()
    if isinstance(read_intent(body, LAX), Intent):
        assert {fault.pointer for fault in CHECK(document)} <= {"/zone"}
    else:
        refusal_of(body, RULES)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.dictionaries(FIELDS | MORE_FIELDS | TEXTS, ODDITIES | TEXTS).map(
        lambda document: json.dumps(document).encode()
    )
)
def test_any_bytes_are_an_intent_or_at_least_one_fault(body: bytes) -> None:
    for rules in (RULES, LAX):
        reading = read_intent(body, rules)
        if isinstance(reading, Unreadable):
            assert reading.faults
            assert all(f.code and f.message and f.message.isprintable() for f in reading.faults)
            assert all(f.pointer == "" or f.pointer.startswith("/") for f in reading.faults)
        else:
            assert isinstance(reading, Intent)


# Read again to be published.


def test_what_was_admitted_is_read_again_as_it_was() -> None:
    body = with_changes(constraints={"max_replicas": 5}, priority="high", metadata={"a": 1})
    assert reread_intent(body) == intent_of(body)


def test_rules_that_came_later_do_not_judge_what_was_admitted() -> None:
    body = with_changes(namespace="kube-system", constraints={"max_replicas": 1})
    read = reread_intent(body)
    assert isinstance(read, Intent)
    assert read.target.namespace == "kube-system"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"target": 1}', with_changes(timeout="soon")]
)
def test_bytes_that_are_no_intent_are_a_fault_when_read_again(body: bytes) -> None:
    assert isinstance(reread_intent(body), Fault)
