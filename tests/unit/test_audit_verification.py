"""Row 26: whatever somebody does to the lines of the log, the first bad record is named."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conductor_loop.core.audit.completeness import (
    JournalFacts,
    completeness_faults,
    verdict_faults,
)
from conductor_loop.core.audit.draft import Draft
from conductor_loop.core.audit.ledger import Ledger
from conductor_loop.core.audit.verification import Line, Verified, verify
from conductor_loop.core.events import Event, Started, Tidied
from conductor_loop.core.records import Entry
from tests.audit_log import Stage
from tests.fakes import BEGINNING
from tests.handoff_folder import PUBLISHED, admitted, duplicated, id_of
from tests.signing import KNOWN, SIGNER, STRANGER

_RECORDS = 32


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """A log of ten intents in batches of four, opened and closed in order."""
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.work(range(1, 11))
        return stage.files[0].read_bytes().splitlines()


def _verify(lines: list[bytes], anchors: dict[int, str] | None = None) -> Verified:
    return verify((Line("log", n, raw) for n, raw in enumerate(lines, 1)), KNOWN, anchors or {})


def _anchor(lines: list[bytes]) -> dict[int, str]:
    """The root of the whole log, as a checkpoint kept elsewhere has it."""
    ledger = _verify(lines).ledger
    assert ledger is not None
    return {ledger.size: ledger.tree.root().hex()}


def test_row_26_a_log_as_it_was_written_holds(lines: list[bytes]) -> None:
    assert len(lines) == _RECORDS
    verified = _verify(lines, _anchor(lines))
    assert (verified.faults, verified.notes) == ([], [])
    assert (verified.first_seq, verified.signed_seq, verified.ended_in_order) == (1, _RECORDS, True)


@settings(deadline=None, max_examples=150)
@given(index=st.integers(0, _RECORDS - 1), data=st.data())
def test_row_26_an_edited_line_is_named(
    lines: list[bytes], index: int, data: st.DataObject
) -> None:
    line = lines[index]
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(32, 126).filter(lambda b: b != line[at]))
    forged = [*lines]
    forged[index] = line[:at] + bytes([byte]) + line[at + 1 :]
    assert _verify(forged).faults[0].seq == index + 1


@settings(deadline=None, max_examples=60)
@given(start=st.integers(0, _RECORDS - 2), count=st.integers(1, 5))
def test_row_26_removed_lines_are_named(lines: list[bytes], start: int, count: int) -> None:
    forged = lines[:start] + lines[start + count :]
    if start + count >= _RECORDS:
        return  # a tail: see below
    first_bad = 1 if start == 0 else start + 1
    faults = _verify(forged).faults
    assert faults[0].seq == (count + 1 if start == 0 else first_bad)


@settings(deadline=None, max_examples=60)
@given(order=st.permutations(range(8)), start=st.integers(0, _RECORDS - 8))
def test_row_26_reordered_lines_are_named(lines: list[bytes], order: list[int], start: int) -> None:
    forged = [*lines]
    forged[start : start + 8] = [lines[start + i] for i in order]
    moved = next((i for i, j in enumerate(order) if i != j), None)
    if moved is None:
        return
    (fault,) = _verify(forged).faults[:1]
    assert fault.seq == (order[0] + 1 if start + moved == 0 else start + moved + 1)


@pytest.mark.parametrize("kept", range(_RECORDS))
def test_row_26_a_cut_tail_is_noticed_by_an_anchor(lines: list[bytes], kept: int) -> None:
    verified = _verify(lines[:kept], _anchor(lines))
    assert [fault.code for fault in verified.faults][-1:] == ["tail_cut"]
    assert verified.faults[-1].seq == verified.signed_seq + 1 <= kept + 1


def test_row_26_a_line_from_elsewhere_is_named(lines: list[bytes]) -> None:
    forged = [*lines[:9], lines[4], *lines[9:]]
    assert _verify(forged).faults[0].seq == 10


def test_row_26_a_log_made_anew_with_another_key_is_refused(lines: list[bytes]) -> None:
    draft = Draft(Ledger("forged"))
    draft.note_standing("log.opened", BEGINNING, {})
    forged = draft.finished(STRANGER.kid, STRANGER.sign).splitlines()
    (fault,) = _verify(forged).faults
    assert (fault.code, fault.seq) == ("unknown_kid", 1)


def test_an_anchor_with_another_root_is_not_met(lines: list[bytes]) -> None:
    (fault,) = _verify(lines, {7: "00" * 32}).faults
    assert (fault.code, fault.seq) == ("anchor_wrong", 7)


def test_what_no_signature_covers_is_not_proved(lines: list[bytes]) -> None:
    verified = _verify(lines[:3])
    assert verified.faults == []
    assert verified.signed_seq == 1
    assert len(verified.notes) == 1


# Exactly once.


def _log_of(*events: tuple[int, Event]) -> Verified:
    """A log of events of numbered intents, signed, as a daemon that went wrong would write it."""
    draft = Draft(Ledger("a test"))
    draft.note_standing("log.opened", BEGINNING, {})
    entries = [
        Entry(seq, BEGINNING, event, id_of(number) if number else None)
        for seq, (number, event) in enumerate(events, 1)
    ]
    draft.tell(entries)
    return _verify(draft.finished(SIGNER.kid, SIGNER.sign).splitlines())


@pytest.mark.parametrize(
    ("events", "code", "seq"),
    [
        ([(1, admitted()), (1, PUBLISHED), (1, PUBLISHED)], "final_twice", 4),
        ([(2, admitted()), (1, PUBLISHED)], "final_without_claim", 3),
        ([(1, admitted()), (1, admitted())], "claimed_twice", 3),
        ([(1, duplicated(id_of(9))), (1, PUBLISHED)], "final_twice", 3),
    ],
)
def test_what_cannot_happen_to_an_intent_is_named(
    events: list[tuple[int, Event]], code: str, seq: int
) -> None:
    (fault,) = _log_of(*events).faults
    assert (fault.code, fault.seq) == (code, seq)


def _judged(
    verified: Verified, verdicts: dict[str, tuple[str, int | None]], journal: JournalFacts
) -> list[str]:
    faults = [
        *verdict_faults(verified, verdicts),
        *completeness_faults(verified, verdicts, journal),
    ]
    return [fault.code for fault in faults]


_DONE = ((1, admitted()), (1, Started(1)), (1, PUBLISHED))
_IN_LINE = JournalFacts(position=99)


@pytest.mark.parametrize(
    ("verdicts", "codes"),
    [
        ({id_of(1): ("s", 4)}, []),
        ({}, ["verdict_missing"]),
        ({id_of(1): ("s", None)}, ["verdict_unnumbered"]),
        ({id_of(1): ("s", 3)}, ["verdict_without_record"]),
        ({id_of(1): ("s", 40)}, ["tail_cut"]),
        ({id_of(1): ("s", 4), id_of(2): ("t", 4)}, ["verdict_without_record"]),
    ],
)
def test_a_final_intent_has_the_verdict_that_names_its_record(
    verdicts: dict[str, tuple[str, int | None]], codes: list[str]
) -> None:
    assert _judged(_log_of(*_DONE), verdicts, _IN_LINE) == codes


def test_a_verdict_may_be_missing_for_a_reason() -> None:
    assert _judged(_log_of(*_DONE, (0, Tidied((id_of(1),)))), {}, _IN_LINE) == []
    assert _judged(_log_of(*_DONE), {}, JournalFacts(position=2)) == []
    assert _judged(_log_of(*_DONE), {}, JournalFacts(99, frozenset({3}))) == []
    assert _judged(_log_of((1, duplicated(id_of(9)))), {}, _IN_LINE) == []


def test_log_and_journal_agree_on_what_is_open() -> None:
    half = _log_of((1, admitted()), (1, Started(1)))
    assert _judged(half, {}, JournalFacts(99, open=[id_of(1)])) == []
    assert _judged(half, {}, JournalFacts(99)) == ["open_unknown"]
    assert _judged(half, {}, JournalFacts(99, open=[id_of(1), id_of(2)])) == ["claim_lost"]
