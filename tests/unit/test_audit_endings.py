"""What a verified audit log tells of how intents ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conductor_loop.core.audit.draft import Draft
from conductor_loop.core.audit.endings import Ending, endings, told_by_log
from conductor_loop.core.audit.ledger import Ledger
from conductor_loop.core.audit.verification import Line, verify
from conductor_loop.core.events import (
    Event,
    Failed,
    FailureKind,
    Run,
    Skipped,
    SkipReason,
    Started,
    Tidied,
    TimedOut,
)
from conductor_loop.core.intent import Target
from conductor_loop.core.reconciling import Told
from conductor_loop.core.records import Entry, Unfinished
from conductor_loop.core.states import State
from tests.fakes import BEGINNING, failure_of
from tests.handoff_folder import (
    BODY,
    NAME,
    PUBLISHED,
    admitted,
    duplicated,
    id_of,
    quarantined,
    rejected,
)
from tests.signing import KNOWN, SIGNER

FAILURE = failure_of(FailureKind.PERMANENT, "porch_refused")
RUN = Run(2, 0, BEGINNING, BEGINNING - BEGINNING)
WAITING = Unfinished(id_of(1), 1, b"of the journal", Target("ns", "t"), 5, BEGINNING, State.WAITING)


def written(*events: tuple[int, Event]) -> list[bytes]:
    """The lines of a log of events of numbered intents (0: of the service), signed at its end."""
    draft = Draft(Ledger("a test"))
    draft.note_standing("log.opened", BEGINNING, {})
    draft.tell(
        [
            Entry(seq, BEGINNING, event, id_of(number) if number else None)
            for seq, (number, event) in enumerate(events, 1)
        ]
    )
    return draft.finished(SIGNER.kid, SIGNER.sign).splitlines()


def read(lines: Sequence[bytes]) -> dict[str, Ending]:
    def numbered() -> list[Line]:
        return [Line("log", number, raw) for number, raw in enumerate(lines, 1)]

    return endings(numbered(), verify(numbered(), KNOWN, {}))


def told(*events: tuple[int, Event]) -> Told | None:
    """What is told of the first intent to a journal that does not know it."""
    return told_by_log(read(written(*events)), {}).get(id_of(1))


@pytest.mark.parametrize(
    ("events", "status", "attempts"),
    [
        ([admitted(), Started(1), PUBLISHED], "success", 1),
        ([admitted(), Started(2), Failed(FAILURE, RUN)], "failed", 2),
        ([admitted(), Failed(FAILURE)], "failed", 1),
        ([admitted(), Started(2), TimedOut(RUN, FAILURE)], "timeout", 2),
        ([admitted(), Skipped(SkipReason.CANCELLED, by="ops")], "skipped", 1),
        ([rejected()], "failed", 0),
        ([quarantined()], "failed", 0),
    ],
)
def test_each_end_is_told_as_its_verdict_told_it(
    events: Sequence[Event], status: str, attempts: int
) -> None:
    one = told(*((1, event) for event in events))

    assert one is not None
    assert (one.status, one.attempts, one.receipt.name) == (status, attempts, NAME)


def test_what_was_handed_over_is_known_from_the_claim() -> None:
    one = told((1, admitted()), (1, Started(1)), (1, PUBLISHED))

    assert one is not None
    event = admitted()
    assert one.target == Target(event.namespace, event.target)
    assert (one.receipt.digest, one.receipt.size) == (event.receipt.digest, len(BODY))


def test_a_name_that_is_no_plain_text_comes_back_as_its_bytes() -> None:
    name = b"intent-\xff\n.json"

    one = told((1, admitted(name)), (1, Started(1)), (1, PUBLISHED))

    assert one is not None
    assert one.receipt.name == name


def test_why_it_failed_is_told_by_its_code() -> None:
    one = told((1, admitted()), (1, Started(2)), (1, Failed(FAILURE, RUN)))

    assert one is not None
    assert one.error.code == "porch_refused"
    assert "audit log" in one.error.message


def test_a_duplicate_ended_without_a_verdict_and_is_not_told() -> None:
    assert told((1, duplicated(id_of(9)))) is None


def test_of_an_intent_that_the_journal_has_open_the_journal_knows_the_name() -> None:
    lines = written((1, admitted()), (1, Started(1)), (1, PUBLISHED))

    one = told_by_log(read(lines), {id_of(1): WAITING})[id_of(1)]

    assert (one.receipt.name, one.target, one.status) == (WAITING.name, WAITING.target, "success")


def test_what_retention_removed_is_told_of_open_intents_alone() -> None:
    lines = written((1, admitted()), (1, Started(1)), (1, PUBLISHED), (0, Tidied((id_of(1),))))

    assert told_by_log(read(lines), {}) == {}
    assert told_by_log(read(lines), {id_of(1): WAITING})[id_of(1)].status == "success"
    assert read(lines)[id_of(1)].was_removed


def test_row_26_what_no_signature_covers_is_not_told() -> None:
    signed = written((1, admitted()), (1, Started(1)))
    longer = written((1, admitted()), (1, Started(1)), (1, PUBLISHED))

    assert read(longer).keys() == {id_of(1)}
    assert read(signed) == {}
    # Without the signed line at its end, nothing vouches for the one before.
    assert read([*signed, longer[-2]]) == {}
    assert read(longer[:-1]) == {}


def test_row_26_a_record_behind_the_proved_part_is_not_told_whatever_number_it_bears() -> None:
    lines = written((1, admitted()), (1, Started(1)), (1, PUBLISHED))
    forged = lines[3].replace(b'"intent.published"', b'"intent.skipped"')

    assert read([*lines, forged])[id_of(1)].final.action == "intent.published"
