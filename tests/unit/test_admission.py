"""What becomes of an arrival: taken, refused, set aside, or known already."""

from __future__ import annotations

import pytest

from conductor_loop.core.admission import IMPORTED, Admission, admit
from conductor_loop.core.arrival import Arrival, Content, HardLinked, Special, TooLarge
from conductor_loop.core.events import Admitted, Duplicated, Quarantined, Receipt, Rejected
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Target
from conductor_loop.core.reading import IntakeRules
from conductor_loop.core.records import Known
from conductor_loop.core.states import FINAL, State
from tests.fakes import BEGINNING, intent_bytes, number_id, receipt_of

TARGET = Target("ns", "a")
NAME = b"intent-a.json"
BODY = intent_bytes(TARGET, 3)
RULES = IntakeRules(check_schema=lambda _: ())
SAME = Known(number_id(1), NAME, receipt_of(NAME, BODY).digest, State.WAITING)


def arrived(body: bytes = BODY, name: bytes = NAME) -> Arrival:
    return Arrival(number_id(9), receipt_of(name, body), Content(body))


def judged(arrival: Arrival, known: Known | None = None, *, imported: bool = False) -> Admission:
    def newest(target: Target) -> Known | None:
        return known if target == TARGET else None

    return admit(arrival, RULES, newest, lambda _name, _digest: imported)


def test_an_intent_is_admitted_with_what_ordering_and_views_need() -> None:
    body = (
        b'{"intent_type":"scaling","target":"a","namespace":"ns","replicas":3,'
        b'"priority":"high","timeout":"90s","correlation_id":"c-1"}'
    )

    event = judged(arrived(body))

    assert isinstance(event, Admitted)
    assert (event.namespace, event.target, event.priority) == ("ns", "a", 8)
    assert event.timeout is not None
    assert event.timeout.total_seconds() == 90
    assert (event.correlation_id, event.retry_of) == ("c-1", None)
    assert event.receipt == receipt_of(NAME, body)


def test_what_is_no_intent_is_rejected_with_every_fault_and_what_was_legible() -> None:
    body = (
        b'{"intent_type":"scaling","target":"a","namespace":"ns","replicas":-1,'
        b'"reason":7,"correlation_id":"c-1"}'
    )

    event = judged(arrived(body))

    assert isinstance(event, Rejected)
    assert {fault.pointer for fault in event.faults} == {"/replicas", "/reason"}
    assert (event.namespace, event.target, event.correlation_id) == ("ns", "a", "c-1")


def test_the_schema_speaks_too() -> None:
    fault = Fault("no_mondays", "not on a Monday", "wait until Tuesday")
    rules = IntakeRules(check_schema=lambda _: [fault])

    event = admit(arrived(), rules, lambda _: None, lambda _name, _digest: False)

    assert isinstance(event, Rejected)
    assert event.faults == (fault,)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"a":1,"a":1}'])
def test_bytes_that_are_no_document_are_rejected(body: bytes) -> None:
    event = judged(arrived(body))

    assert isinstance(event, Rejected)
    assert event.faults
    assert (event.namespace, event.target) == ("", "")


@pytest.mark.parametrize("what", ["symlink", "fifo", "socket", "device"])
def test_what_is_no_regular_file_is_quarantined(what: str) -> None:
    receipt = Receipt(NAME, BEGINNING)

    event = judged(Arrival(number_id(9), receipt, Special(what)))

    assert isinstance(event, Quarantined)
    assert event.receipt == receipt
    assert event.fault.code == f"special_{what}"
    assert what in event.fault.message


def test_a_file_over_the_limit_is_rejected_and_both_sizes_are_told() -> None:
    receipt = Receipt(NAME, BEGINNING, size=2_000_000)

    event = judged(Arrival(number_id(9), receipt, TooLarge(limit=1_048_576)))

    assert isinstance(event, Rejected)
    assert [fault.code for fault in event.faults] == ["too_large"]
    assert "2,000,000" in event.faults[0].message
    assert "1,048,576" in event.faults[0].message


def test_a_file_with_a_second_name_is_rejected_with_a_remedy() -> None:
    event = judged(Arrival(number_id(9), Receipt(NAME, BEGINNING), HardLinked(2)))

    assert isinstance(event, Rejected)
    assert [fault.code for fault in event.faults] == ["hard_linked"]
    assert event.faults[0].hint


# Known already?

RUNS_AGAIN = {State.FAILED, State.TIMED_OUT, State.SKIPPED}
ADMITTED_ONES = set(State) - {State.NEW, State.REJECTED, State.QUARANTINED, State.DUPLICATE}


@pytest.mark.parametrize("state", sorted(ADMITTED_ONES - RUNS_AGAIN))
def test_the_very_file_of_an_unfinished_or_successful_intent_is_a_duplicate(state: State) -> None:
    known = Known(SAME.intent_id, SAME.name, SAME.digest, state)

    event = judged(arrived(), known)

    assert event == Duplicated(receipt_of(NAME, BODY), "ns", "a", first=number_id(1))


@pytest.mark.parametrize("state", sorted(RUNS_AGAIN))
def test_what_ended_without_a_result_runs_again_when_handed_over_again(state: State) -> None:
    assert state in FINAL

    event = judged(arrived(), Known(SAME.intent_id, SAME.name, SAME.digest, state))

    assert isinstance(event, Admitted)


@pytest.mark.parametrize(
    "known",
    [
        Known(SAME.intent_id, b"intent-other.json", SAME.digest, State.PUBLISHED),
        Known(SAME.intent_id, NAME, "0" * 64, State.PUBLISHED),
    ],
    ids=["another name", "other bytes"],
)
def test_another_name_or_other_bytes_are_another_intent(known: Known) -> None:
    assert isinstance(judged(arrived(), known), Admitted)


def test_scaling_to_three_to_five_and_back_to_three_is_three_intents() -> None:
    three, five = (intent_bytes(TARGET, replicas) for replicas in (3, 5))
    known: Known | None = None
    for body in (three, five, three):
        event = judged(arrived(body), known)
        assert isinstance(event, Admitted)
        known = Known(number_id(1), NAME, event.receipt.digest, State.PUBLISHED)


def test_what_the_original_program_processed_is_a_duplicate() -> None:
    event = judged(arrived(), imported=True)

    assert isinstance(event, Duplicated)
    assert event.first == IMPORTED


def test_what_was_imported_counts_only_until_the_target_has_an_intent_of_ours() -> None:
    newer = Known(number_id(1), NAME, "0" * 64, State.PUBLISHED)

    assert isinstance(judged(arrived(), newer, imported=True), Admitted)


def test_a_duplicate_keeps_its_own_correlation_id() -> None:
    body = BODY[:-1] + b',"correlation_id":"c-2"}'
    known = Known(number_id(1), NAME, receipt_of(NAME, body).digest, State.RUNNING)

    event = judged(arrived(body), known)

    assert isinstance(event, Duplicated)
    assert event.correlation_id == "c-2"


def test_a_file_whose_first_verdict_is_past_its_retention_is_taken_again() -> None:
    gone = Known(SAME.intent_id, SAME.name, SAME.digest, State.PUBLISHED, is_gone=True)

    assert isinstance(judged(arrived(), gone), Admitted)
