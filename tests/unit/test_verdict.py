"""From an intent's history to the document that says how it ended."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.events import (
    Admitted,
    Event,
    Failed,
    Failure,
    FailureKind,
    HandedBack,
    Output,
    Published,
    Quarantined,
    Receipt,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.records import Entry
from conductor_loop.core.verdict import (
    Document,
    Service,
    build_verdict,
    encode_verdict,
    signed_verdict,
)
from conductor_loop.core.wording import duration_text, rejection_message, timestamp
from tests.fakes_catalog import CatalogInMemory
from tests.handoff_folder import (
    ABOUT,
    BAD_EXIT,
    BODY,
    CANCELLED,
    FAILED,
    FAULTS,
    LATE,
    PUBLISHED,
    RUN,
    TIMED_OUT,
    TO_BE_RETRIED,
    admitted,
    duplicated,
    id_of,
    quarantined,
    rejected,
)
from tests.signing import SIGNER

SUPERSEDED = Skipped(SkipReason.SUPERSEDED, superseded_by=id_of(9))
EXPIRED = Skipped(SkipReason.EXPIRED)
CRASHED = Failed(Failure(FailureKind.CRASHED, "crashed_too_often", "the daemon died three times"))
UNKNOWN_OUTPUT = Published(RUN, None, "an external porch writes a shared folder")
ENDINGS: dict[str, Sequence[Event]] = {
    "success": [admitted(), Started(1), PUBLISHED],
    "success with notes": [admitted(), Started(1), Published(RUN, (), notes=("replaced",))],
    "success, output unknown": [admitted(), Started(1), UNKNOWN_OUTPUT],
    "success after a retry": [admitted(), Started(1), TO_BE_RETRIED, Started(2), PUBLISHED],
    "failed": [admitted(), Started(1), FAILED],
    "failed without a run": [admitted(), Started(1), CRASHED],
    "timeout": [admitted(), Started(1), TIMED_OUT],
    "rejected": [rejected()],
    "rejected, nothing legible": [Rejected(Receipt(b"intent-x.json", RUN.started_at), FAULTS)],
    "quarantined": [quarantined()],
    "superseded": [admitted(), SUPERSEDED],
    "expired": [admitted(), EXPIRED],
    "cancelled": [admitted(), CANCELLED],
    "cancelled by nobody known": [admitted(), Skipped(SkipReason.CANCELLED)],
    "cancelled while running": [admitted(), Started(1), CANCELLED],
    "a retry": [admitted(retry_of=id_of(2)), Started(1), PUBLISHED],
    "an odd name": [admitted(b"intent-\xff\n.json"), Started(1), PUBLISHED],
}


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Draft202012Validator:
    text = (resources.files("conductor_loop.contracts") / "verdict.schema.json").read_text("utf-8")
    return jsonschema_rs.Draft202012Validator(json.loads(text), validate_formats=True)


def _history(*events: Event) -> Sequence[Entry]:
    catalog = CatalogInMemory()
    for event in events:
        catalog.record(id_of(1), event)
    return catalog.entries


def _verdict(*events: Event) -> Document:
    document = build_verdict(_history(*events), ABOUT)
    assert document is not None
    return document


def _error(*events: Event) -> Document:
    error = _verdict(*events)["error"]
    assert isinstance(error, dict)
    return error


def _attempts(*events: Event) -> list[Document]:
    attempts = _verdict(*events)["attempts"]
    assert isinstance(attempts, list)
    return [attempt for attempt in attempts if isinstance(attempt, dict)]


@pytest.mark.parametrize("case", ENDINGS)
def test_every_verdict_keeps_its_schema(
    case: str, schema: jsonschema_rs.Draft202012Validator
) -> None:
    signed = signed_verdict(_verdict(*ENDINGS[case]), SIGNER.kid, SIGNER.sign)
    document = json.loads(encode_verdict(signed))
    assert [error.message for error in schema.iter_errors(document)] == []


def test_the_originals_fields_come_first_as_the_original_writes_them() -> None:
    document = _verdict(admitted(b"intent-scale-up-001.json"), Started(1), PUBLISHED)
    assert list(document.items())[:7] == [
        ("intent_file", "intent-scale-up-001.json"),
        ("status", "success"),
        ("message", "Processed by worker 0 in 2.5s"),
        ("timestamp", "2026-03-01T10:30:03Z"),
        ("processed_by", "conductor-loop"),
        ("mode", "direct"),
        ("porch_path", "porch"),
    ]


def test_a_success_tells_everything_that_is_known() -> None:
    document = _verdict(*ENDINGS["success"])
    assert dict(list(document.items())[7:]) == {
        "schema_version": 1,
        "conductor_version": "0.1.0",
        "intent_id": id_of(1),
        "intent_sha256": hashlib.sha256(BODY).hexdigest(),
        "correlation_id": "scale-2024-001",
        "target": "oran-sim/cnf-simulator",
        "submitted_by": "planner",
        "received_at": "2026-03-01T10:30:00Z",
        "started_at": "2026-03-01T10:30:00Z",
        "finished_at": "2026-03-01T10:30:03Z",
        "processing_duration": "2.5s",
        "worker_id": 0,
        "attempts": [
            {
                "number": 1,
                "outcome": "success",
                "started_at": "2026-03-01T10:30:00Z",
                "duration": "2.5s",
            }
        ],
        "config_sha256": "c" * 64,
        "porch_sha256": "b" * 64,
        "sandbox": "none",
        "outputs": [{"path": "oran-sim/cnf-simulator/scaling-patch.yaml", "sha256": "a" * 64}],
    }


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("success", "success"),
        ("failed", "failed"),
        ("rejected", "failed"),
        ("quarantined", "failed"),
        ("timeout", "timeout"),
        ("superseded", "skipped"),
        ("expired", "skipped"),
        ("cancelled", "skipped"),
    ],
)
def test_each_final_state_has_one_of_the_four_statuses(case: str, status: str) -> None:
    assert _verdict(*ENDINGS[case])["status"] == status


@pytest.mark.parametrize(
    "events",
    [
        [duplicated(id_of(2))],
        [admitted()],
        [admitted(), Started(1)],
        [admitted(), Started(1), TO_BE_RETRIED],
        [admitted(), Started(1), HandedBack(1, "shutdown")],
    ],
    ids=lambda events: type(events[-1]).__name__,
)
def test_what_is_a_duplicate_or_not_final_has_none(events: Sequence[Event]) -> None:
    assert build_verdict(_history(*events), ABOUT) is None


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("failed", "porch exited with 2"),
        ("timeout", "porch ran longer than 30s"),
        ("rejected", "rejected: must be from 0 to 100 (/replicas), and 1 more fault"),
        ("quarantined", "quarantined: is a symlink"),
        ("superseded", "skipped: a newer intent of the same target took its place"),
        ("expired", "skipped: waited longer than allowed"),
        ("cancelled", "skipped: cancelled by alice: wrong window"),
        ("cancelled by nobody known", "skipped: cancelled"),
    ],
)
def test_the_message_says_why(case: str, message: str) -> None:
    assert _verdict(*ENDINGS[case])["message"] == message


def test_a_failure_tells_what_happened_and_what_to_do() -> None:
    assert _error(*ENDINGS["failed"]) == {
        "code": "porch_exit",
        "message": "porch exited with 2",
        "hint": "the target does not exist",
        "retryable": False,
        "exit_code": 2,
        "stderr": "no such target\\n",
    }


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [(kind, kind is not FailureKind.PERMANENT) for kind in FailureKind],
)
def test_only_a_permanent_failure_is_not_worth_a_retry(kind: FailureKind, retryable: bool) -> None:
    error = _error(admitted(), Started(1), Failed(Failure(kind, "code", "message"), RUN))
    assert error["retryable"] is retryable


def test_a_failure_without_words_still_has_a_message() -> None:
    document = _verdict(admitted(), Started(1), Failed(Failure(LATE.kind, "deadline", ""), RUN))
    assert document["message"] == "deadline"


def test_a_rejection_lists_every_fault_with_its_pointer() -> None:
    error = _error(rejected())
    assert error["code"] == "replicas_out_of_range"
    assert error["hint"] == "lower it"
    assert error["faults"] == [
        {
            "code": "replicas_out_of_range",
            "message": "must be from 0 to 100",
            "pointer": "/replicas",
            "hint": "lower it",
        },
        {"code": "unknown_field", "message": "is not part of the contract", "pointer": "/colour"},
    ]


@pytest.mark.parametrize(
    ("more", "text"), [(0, "a (/p)"), (1, "and 1 more fault"), (2, "2 more faults")]
)
def test_a_rejection_is_summed_up_by_its_first_fault(more: int, text: str) -> None:
    assert text in rejection_message([Fault("c", "a", pointer="/p")] * (1 + more))


def test_unknown_output_is_null_with_a_reason() -> None:
    document = _verdict(*ENDINGS["success, output unknown"])
    assert document["outputs"] is None
    assert document["outputs_unknown"] == "an external porch writes a shared folder"


def test_attempts_are_told_in_order_with_what_came_of_each() -> None:
    crash = Failure(FailureKind.CRASHED, "signal", "killed by SIGSEGV", signal=11)
    busy = Failure(FailureKind.TEMPORARY, "porch_exit", "porch exited with 4", exit_code=4)
    gone = Failure(FailureKind.ENVIRONMENT, "porch_missing", "gone", exit_code=127)
    later = RUN.started_at + timedelta(seconds=60)
    attempts = _attempts(
        admitted(),
        *(Started(1), HandedBack(1, "not_run")),
        *(Started(2), RetryScheduled(_run(2), busy, later)),
        *(Started(3), RetryScheduled(_run(3), crash, later)),
        *(Started(4), HandedBack(4, "environment", gone)),
        *(Started(5), RetryScheduled(_run(5), LATE, later)),
        *(Started(6), Published(_run(6), ())),
    )
    assert [(a["number"], a["outcome"], a.get("exit_code")) for a in attempts] == [
        (1, "handed_back", None),
        (2, "failed", 4),
        (3, "crashed", None),
        (4, "handed_back", 127),
        (5, "timeout", 124),
        (6, "success", None),
    ]
    assert [a.get("cause") for a in attempts if "cause" in a] == ["not_run", "environment"]
    assert attempts[1]["duration"] == "2.5s"
    assert "duration" not in attempts[0]


def _run(attempt: int) -> Run:
    return Run(attempt, 0, RUN.started_at, RUN.duration)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [("failed without a run", "crashed"), ("cancelled while running", "stopped")],
)
def test_an_attempt_that_was_cut_short_is_told_without_a_duration(case: str, outcome: str) -> None:
    assert _attempts(*ENDINGS[case]) == [{"number": 1, "outcome": outcome}]


def test_what_never_ran_has_no_worker_and_no_duration() -> None:
    for case in ("rejected", "quarantined", "expired", "superseded", "failed without a run"):
        document = _verdict(*ENDINGS[case])
        for field in ("started_at", "processing_duration", "worker_id", "sandbox", "outputs"):
            assert field not in document, case


def test_a_name_that_had_to_be_escaped_comes_with_its_bytes() -> None:
    document = _verdict(*ENDINGS["an odd name"])
    assert document["intent_file"] == "intent-\\xff\\x0a.json"
    assert b64decode(str(document["intent_file_b64"])) == b"intent-\xff\n.json"
    assert "intent_file_b64" not in _verdict(*ENDINGS["success"])


def test_a_retry_names_what_it_repeats() -> None:
    assert _verdict(*ENDINGS["a retry"])["retry_of"] == id_of(2)


def test_the_reason_of_a_skip_is_a_code_too() -> None:
    assert _verdict(*ENDINGS["expired"])["skip_reason"] == "expired"
    assert _verdict(*ENDINGS["superseded"])["superseded_by"] == id_of(9)
    assert _verdict(*ENDINGS["cancelled"])["cancelled_by"] == "alice"
    assert "cancelled_by" not in _verdict(*ENDINGS["superseded"])


def test_the_encoding_is_indented_utf8_with_a_final_newline() -> None:
    data = encode_verdict({"intent_file": "intent-ü.json", "attempts": [], "n": {"a": 1}})
    assert data.decode() == (
        '{\n  "intent_file": "intent-ü.json",\n  "attempts": [],\n  "n": {\n    "a": 1\n  }\n}\n'
    )


@pytest.mark.parametrize("case", ENDINGS)
def test_the_same_history_gives_the_same_bytes(case: str) -> None:
    one, two = (encode_verdict(_verdict(*ENDINGS[case])) for _ in range(2))
    assert one == two
    assert list(json.loads(one)) == list(_verdict(*ENDINGS[case]))


_Texts = st.text(max_size=40)


@given(_Texts, _Texts, _Texts, st.binary(min_size=1, max_size=60).filter(lambda b: b"/" not in b))
def test_no_foreign_text_brings_in_a_control_character(
    one: str, two: str, three: str, name: bytes
) -> None:
    failure = Failure(FailureKind.TEMPORARY, "code", one, two, stdout=three, stderr=one)
    about = Service("1", "direct", three, "c" * 64)
    events: list[list[Event]] = [
        [Admitted(Receipt(name, RUN.started_at, 1, "", one), one, two, 5), Failed(failure, RUN)],
        [Rejected(Receipt(name, RUN.started_at), (Fault("code", one, two, three),), two, three)],
        [Quarantined(Receipt(name, RUN.started_at), Fault("code", one, two, three))],
    ]
    events[0].insert(1, Started(1))
    for case in events:
        document = build_verdict(_history(*case), about)
        assert document is not None
        assert json.loads(encode_verdict(document)) == document
        for text in _strings(document):
            assert text == "" or text.isprintable()


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            assert all(str(key).isascii() for key in value)
            for item in value.values():
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
        case _:
            assert value is None or isinstance(value, int)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 8, 15, 10, 30, tzinfo=UTC), "2024-08-15T10:30:00Z"),
        (datetime(2024, 8, 15, 10, 30, 0, 999, UTC), "2024-08-15T10:30:00Z"),
        (datetime(2024, 8, 15, 10, 30, 0, 7_000, UTC), "2024-08-15T10:30:00.007Z"),
        (
            datetime(2024, 8, 15, 12, 30, tzinfo=timezone(timedelta(hours=2))),
            "2024-08-15T10:30:00Z",
        ),
    ],
)
def test_moments_are_utc_to_the_millisecond(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0s"), (850, "850µs"), (1_000, "1ms"), (2_499_600, "2.5s"), (12_345_678, "12.346s")],
)
def test_durations_beyond_a_millisecond_are_rounded_to_it(microseconds: int, text: str) -> None:
    assert duration_text(timedelta(microseconds=microseconds)) == text


def test_outputs_are_listed_as_they_were_reported() -> None:
    outputs = (Output("b", "1" * 64), Output("a", "2" * 64))
    document = _verdict(admitted(), Started(1), Published(RUN, outputs))
    assert document["outputs"] == [
        {"path": "b", "sha256": "1" * 64},
        {"path": "a", "sha256": "2" * 64},
    ]


def test_a_timeout_keeps_the_last_output_of_the_child() -> None:
    failure = Failure(LATE.kind, LATE.code, LATE.message, stdout="half\tway\n")
    assert _error(admitted(), Started(1), TimedOut(RUN, failure))["stdout"] == "half\\tway\\n"


def test_bad_exits_and_their_hints_are_not_repeated_at_top_level() -> None:
    document = _verdict(*ENDINGS["failed"])
    assert "hint" not in document
    assert BAD_EXIT.hint not in str(document["message"])
