"""Anomalies: which signals are seen in the journal, and what is told of them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from conductor_loop.core.detection.signals import MOST_DIGESTS, Signals
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Noticed,
    Published,
    Quarantined,
    Receipt,
    Rejected,
    Run,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import KINDS, Severity, describe_alerts
from conductor_loop.projections.anomalies import Anomalies
from tests.fakes import BEGINNING, FakeClock
from tests.fakes_notices import Notice, NoticesInMemory

NAME = b"intent-x.json"
RULES = IntakeRules(lambda _: ())


def receipt(name: bytes = NAME, digest: str = "d1", by: str = "alice") -> Receipt:
    return Receipt(name, BEGINNING, 10, digest, by)


def codes(*events: Event) -> list[str]:
    signals = Signals()
    return [code for event in events for code, _ in signals.of(event)]


def rejected(body: bytes) -> Rejected:
    reading = read_intent(body, RULES)
    assert isinstance(reading, Unreadable)
    return Rejected(receipt(), reading.faults)


def quarantined(what: str) -> Quarantined:
    return Quarantined(receipt(), Fault(f"special_{what}", "not a regular file"))


def admitted(name: bytes, digest: str, retry_of: str | None = None) -> Admitted:
    return Admitted(receipt(name, digest), "default", "web", 5, retry_of=retry_of)


def published(layer: str) -> Published:
    return Published(Run(1, 1, BEGINNING, timedelta(1), sandbox=layer))


def body(**fields: str) -> bytes:
    return json.dumps(
        {"intent_type": "scaling", "target": "web", "namespace": "default", "replicas": 1} | fields
    ).encode()


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("symlink", "symlink_seen"),
        ("fifo", "special_file_seen"),
        ("socket", "special_file_seen"),
        ("character_device", "special_file_seen"),
        ("block_device", "special_file_seen"),
    ],
)
def test_rows_1_and_3_what_is_no_regular_file_is_told(what: str, code: str) -> None:
    assert codes(quarantined(what)) == [code]


def test_row_2_a_hard_link_is_told() -> None:
    assert codes(Rejected(receipt(), (Fault("hard_linked", "2 names"),))) == ["hard_link_seen"]


@pytest.mark.parametrize("field", ["target", "namespace", "correlation_id"])
@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "..\\windows"])
def test_row_13_a_path_where_a_name_belongs_is_told(field: str, value: str) -> None:
    assert codes(rejected(body(**{field: value}))) == ["traversal_seen"]


def test_a_name_that_is_merely_wrong_is_not_told() -> None:
    assert codes(rejected(body(target="Web_1"))) == []


def test_row_15_a_duplicate_key_is_told() -> None:
    assert codes(rejected(b'{"target": "a", "target": "b"}')) == ["duplicate_key_seen"]


def test_text_that_misleads_its_reader_is_told() -> None:
    assert codes(rejected(body(reason="a\u202eb"))) == ["hidden_text_seen"]


def test_row_22_the_same_file_again_is_told() -> None:
    duplicate = Duplicated(receipt(), "default", "web", "01FIRST")

    assert codes(admitted(NAME, "d1"), duplicate) == ["replayed_bytes"]


def test_row_22_the_same_bytes_under_another_name_are_told_with_the_earlier_name() -> None:
    signals = Signals()
    list(signals.of(admitted(b"intent-a.json", "d1")))

    told = list(signals.of(admitted(b"intent-b.json", "d1")))

    assert told == [("replayed_bytes", {"earlier_name": "intent-a.json", "sha256": "d1"})]


def test_a_retry_by_an_operator_replays_nothing() -> None:
    assert codes(admitted(b"intent-a.json", "d1"), admitted(b"intent-b.json", "d1", "01X")) == []


def test_only_so_many_digests_are_remembered() -> None:
    others = [admitted(b"intent-%d.json" % n, f"d{n}") for n in range(2, MOST_DIGESTS + 2)]

    assert codes(admitted(b"intent-a.json", "d1"), *others, admitted(b"intent-b.json", "d1")) == []


def test_porch_running_unconfined_after_it_was_confined_is_told() -> None:
    assert codes(published("landlock:7"), published("none")) == ["hardening_lost"]


def test_porch_that_never_was_confined_is_not_told_again_and_again() -> None:
    assert codes(published("none"), published("none")) == []


class Heard:
    """Anomalies over a clock that the test moves, wall and steady apart."""

    def __init__(self) -> None:
        self.clock, self.notices = FakeClock(), NoticesInMemory()
        self.anomalies = Anomalies(self.notices, self.clock)

    def hear(self, event: Event, intent_id: str | None = "01X") -> None:
        entry = Entry(1, self.clock.now(), event, intent_id, getattr(event, "receipt", None))
        self.anomalies.hear(entry)


def test_a_notice_names_the_file_and_who_handed_it_over() -> None:
    heard = Heard()
    heard.hear(quarantined("symlink"), "01X")

    details = {"intent_id": "01X", "fault": "special_symlink", "pointer": ""}
    assert heard.notices.told == [Notice("symlink_seen", "intent-x.json", "alice", details)]


def test_a_thousand_symlinks_make_few_notices_and_the_next_tells_how_many_were_left_out() -> None:
    heard = Heard()
    for _ in range(1_000):
        heard.hear(quarantined("symlink"))
    told = heard.notices.codes.count("symlink_seen")
    heard.clock.advance(3_600)
    heard.hear(quarantined("symlink"))

    assert told == 20
    assert heard.notices.told[-1].details["not_told_before"] == "980"


def test_a_flood_is_told_with_its_count() -> None:
    heard = Heard()
    heard.clock.advance(4 * 3_600)
    for number in range(30):
        heard.hear(admitted(b"intent-%d.json" % number, f"d{number}"))

    assert heard.notices.codes == ["arrivals_unusual", "submitter_unusual"]


def test_what_was_journalled_before_the_start_is_no_flood() -> None:
    clock, notices = FakeClock(), NoticesInMemory()
    clock.advance(4 * 3_600)
    anomalies = Anomalies(notices, clock)
    for number in range(100):
        event = admitted(b"intent-%d.json" % number, f"d{number}")
        anomalies.hear(Entry(number, BEGINNING, event, "01X", event.receipt))

    assert notices.codes == []


@pytest.mark.parametrize("seconds", [-86_400, 10 * 365 * 86_400])
def test_row_24_a_step_of_the_clock_is_told_once(seconds: int) -> None:
    heard = Heard()
    heard.clock.step(seconds)
    heard.hear(admitted(NAME, "d1"))
    heard.hear(admitted(NAME, "d1"))

    assert heard.notices.told == [Notice("clock_stepped", "", "", {"seconds": f"{seconds:+.1f}"})]


def test_its_own_notices_are_not_taken_for_traffic() -> None:
    heard = Heard()
    heard.clock.advance(4 * 3_600)
    for _ in range(100):
        heard.hear(Noticed("symlink_seen", Severity.HIGH), None)

    assert heard.notices.codes == []


def test_every_signal_has_its_place_in_the_table_with_a_sentence() -> None:
    assert all(meaning and severity in Severity for severity, meaning in KINDS.values())


def test_alerts_are_told_gravest_first_and_notes_are_left_out() -> None:
    counts = {"replayed_bytes": 1, "symlink_seen": 2, "daemon_started": 1, "of_a_later_version": 1}

    assert describe_alerts(counts) == "2 high: symlink_seen; 1 low: replayed_bytes"
