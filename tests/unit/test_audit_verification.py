"""Row 26: whatever somebody does to the lines of the log, the first bad record is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conductor_loop.adapters.journal.first_look import discarded_notice, set_aside_notice
from conductor_loop.adapters.journal.opening import Damage
from conductor_loop.core.audit.completeness import (
    JournalFacts,
    completeness_faults,
    verdict_faults,
)
from conductor_loop.core.audit.draft import Draft
from conductor_loop.core.audit.ledger import Gap, Ledger
from conductor_loop.core.audit.records import AuditRecord, Details, decode_line, encode_line
from conductor_loop.core.audit.verification import Line, Verified, verify
from conductor_loop.core.events import Event, Started, Tidied
from conductor_loop.core.records import Entry
from tests.audit_log import POLICY, Stage
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


# Lines that somebody without the key appended.


def _unsigned(
    lines: list[bytes], action: str, details: Details, journal_seq: int | None = None
) -> list[bytes]:
    """The log, and behind it a record that is chained, and signed by nobody."""
    last = decode_line(lines[-1])
    record = AuditRecord(
        action=action, actor="conductor-loop", details=details, event_id="X",
        journal_seq=journal_seq, outcome="success", prev=hashlib.sha256(lines[-1]).hexdigest(),
        resource="audit", seq=last.seq + 1, timestamp=last.timestamp,
    )  # fmt: skip
    return [*lines, encode_line(record)]


def test_row_26_an_unsigned_removal_excuses_no_missing_verdict(lines: list[bytes]) -> None:
    forged = _unsigned(lines[:-1], "retention.removed", {"intents": [id_of(1)]}, journal_seq=99)
    verified = _verify(forged)
    assert verified.removed == set()
    assert "verdict_missing" in _judged(verified, {}, _IN_LINE)


def test_row_26_an_unsigned_pruning_excuses_no_missing_beginning(tmp_path: Path) -> None:
    stage = Stage(tmp_path, policy=replace(POLICY, file_bytes=4 << 10))
    stage.work(range(1, 40), batch=5)
    rest = [line for path in stage.files[2:] for line in path.read_bytes().splitlines()]
    first = decode_line(rest[0]).seq
    faults = _verify(_unsigned(rest, "log.pruned", {"last_seq": first - 1})).faults
    assert [fault.code for fault in faults] == ["unsigned_forged", "beginning_missing"]


def test_row_26_an_unsigned_gap_excuses_no_cut_tail(lines: list[bytes]) -> None:
    gap = Gap(4, (), "restored", 30, lost_to=500)
    verified = _verify(_unsigned(lines[:9], "log.gap", msgspec.to_builtins(gap)))
    assert (verified.gaps, verified.lost) == ([], [])
    assert [f.code for f in verdict_faults(verified, {id_of(9): ("s", 30)})] == ["tail_cut"]


def test_row_26_what_is_proved_ends_with_the_newest_signed_record(lines: list[bytes]) -> None:
    good, forged = _verify(lines[:-1]), _verify(_unsigned(lines[:-1], "intent.started", {}, 99))
    assert good.ledger is not None
    assert forged.ledger is not None
    assert forged.ledger.size == good.ledger.size == forged.signed_seq
    assert forged.ledger.standing() == good.ledger.standing()


@pytest.mark.parametrize(
    ("kept", "action", "journal_seq"),
    [(_RECORDS, "intent.started", 99), (_RECORDS - 1, "log.checkpoint", None)],
    ids=["behind an end in order", "about the log itself"],
)
def test_row_26_an_unsigned_record_that_no_crash_leaves_is_forged(
    lines: list[bytes], kept: int, action: str, journal_seq: int | None
) -> None:
    (fault,) = _verify(_unsigned(lines[:kept], action, {}, journal_seq)).faults
    assert (fault.code, fault.seq) == ("unsigned_forged", kept + 1)


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


def _open_in(verified: Verified) -> tuple[int, int, list[str]]:
    assert verified.ledger is not None
    return verified.ledger.claimed, verified.ledger.ended, list(verified.ledger.open)


def test_an_intent_that_was_discarded_may_be_claimed_and_become_final_anew() -> None:
    discarded = (0, discarded_notice(Damage(1, id_of(1), "altered", 0), "ops"))
    dropped = _log_of((1, admitted()), discarded)
    assert (_open_in(dropped), _judged(dropped, {}, JournalFacts(99))) == ((1, 1, []), [])
    again = _log_of((1, admitted()), discarded, *_DONE)
    assert (again.faults, _open_in(again)) == ([], (2, 2, []))


def test_a_discarded_intent_that_was_final_ends_no_claim() -> None:
    discarded = (0, discarded_notice(Damage(1, id_of(1), "altered", 0), "ops"))
    assert _open_in(_log_of(*_DONE, discarded)) == (1, 1, [])


def test_a_discard_as_older_versions_told_it_leaves_the_intent_open() -> None:
    told = msgspec.structs.replace(set_aside_notice(id_of(1), "altered"), code="row_discarded")
    assert _open_in(_log_of((1, admitted()), (0, told))) == (1, 0, [id_of(1)])


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


def test_each_final_of_the_journal_has_a_record_or_a_reason() -> None:
    verified = _log_of(*_DONE)
    verdicts: dict[str, tuple[str, int | None]] = {id_of(1): ("s", 4)}
    assert _judged(verified, verdicts, JournalFacts(99, finals={id_of(1): 3})) == []
    journal = JournalFacts(99, finals={id_of(1): 3, id_of(2): 7})
    assert _judged(verified, verdicts, journal) == ["final_untold"]
    assert _judged(verified, verdicts, replace(journal, position=6)) == []


@pytest.mark.parametrize(
    ("reason", "codes"),
    [("switched_off", []), ("restored", []), ("begun", []), ("unexplained", ["final_untold"])],
)
def test_only_a_gap_with_a_reason_excuses_a_final_that_is_not_told(
    reason: str, codes: list[str]
) -> None:
    draft = Draft(Ledger("a test"))
    draft.note_standing("log.opened", BEGINNING, {})
    draft.note("log.gap", BEGINNING, msgspec.to_builtins(Gap(0, (), reason, 7)))
    verified = _verify(draft.finished(SIGNER.kid, SIGNER.sign).splitlines())
    assert _judged(verified, {}, JournalFacts(7, finals={id_of(1): 7})) == codes
