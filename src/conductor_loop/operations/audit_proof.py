"""The audit log held against everything that knows of it: keys, anchors, verdicts, journal."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.adapters.keys.public import PublicKeys
from conductor_loop.adapters.verdict_files import named_records
from conductor_loop.core.audit.completeness import (
    JournalFacts,
    VerdictSeqs,
    completeness_faults,
    verdict_faults,
)
from conductor_loop.core.audit.ledger import INNOCENT
from conductor_loop.core.audit.note import Checkpoint, proved_checkpoint
from conductor_loop.core.audit.records import AuditRecord, record_of
from conductor_loop.core.audit.verification import (
    FORGED,
    Finding,
    Verified,
    forged_tail,
    verify,
)
from conductor_loop.core.faults import CannotStart, UsageError
from conductor_loop.projections.audit.gaps import open_after, why_untold
from conductor_loop.projections.audit.reading import lines_of, note_of

_AT_ONCE = 1000


def journal_of(state_dir: Path, kek_file: Path | None = None) -> JournalReader | None:
    """The journal beside a log; None when there is none, as beside a copy."""
    try:
        return open_reader(state_dir, kek_file)
    except CannotStart:
        return None


def prove_log(
    handoff: Path,
    state_dir: Path,
    keys: PublicKeys,
    journal: JournalReader | None,
    *,
    anchors: Mapping[int, str],
    is_complete: bool,
) -> Verified:
    """Prove the log, then what stands elsewhere. Raises CannotStart and UsageError."""
    # Read first: what is told later is no fault of the log.
    position = journal.position() if journal else 0
    note = note_of(state_dir)
    checkpoint = _proved(note, keys) if note is not None else None
    own = {checkpoint.size: checkpoint.root.hex()} if checkpoint else {}
    verified = verify(lines_of(state_dir), keys, {**own, **anchors})
    _judge_checkpoint(verified, note, checkpoint)
    if verified.is_broken_off:
        return verified
    verdicts = named_records(os.fsencode(handoff))
    if journal is None:
        verified.notes.append("there is no journal beside the log, so its end is not proved by one")
    else:
        _judge_by_journal(verified, journal, position)
    verified.faults += verdict_faults(verified, verdicts)
    _judge_gaps(verified)
    verified.notes += [
        f"records {lost.start} to {lost[-1]} were lost with a state dir before that: verdicts name"
        " some of them, and other records have these numbers now"
        for lost in verified.lost
        if lost
    ]
    if is_complete:
        verified.faults += _incomplete(verified, verdicts, journal, position)
    return verified


def _judge_by_journal(verified: Verified, journal: JournalReader, position: int) -> None:
    """What the journal says is told, must be told; and what is told, it must have."""
    told, last_seq = verified.signed_journal_seq, journal.last_seq()
    if not any(fault.code == FORGED for fault in verified.faults):
        forged = (each for each in verified.unsigned if not _is_of_journal(each, journal))
        verified.faults += [forged_tail(each) for each in list(forged)[:1]]
    if told > last_seq:
        text = f"the log tells of entry {told}; the journal ends at {last_seq}: it is an old copy"
        verified.faults.append(Finding("journal_rolled_back", text, verified.signed_seq))
    if told >= position:
        return
    why = why_untold(told, position, journal)
    if why.reason in INNOCENT:
        verified.untold.append(range(told + 1, position + 1))
        verified.notes.append(f"entries after {told} of the journal are not told: {why.reason}")
        verified.lost.append(range(verified.signed_seq + 1, why.lost_to + 1))
        return
    verified.faults.append(
        Finding(
            "tail_cut",
            f"the journal says that entries up to {position} are told; the log ends with {told}",
            verified.signed_seq + 1,
        )
    )


def _is_of_journal(record: AuditRecord, journal: JournalReader) -> bool:
    """Whether an unsigned record tells an entry of the journal, as a write under way would.

    What is told by now may be gone from the journal: a write that ended meanwhile, and retention.
    """
    seq = record.journal_seq or 0
    entry = next(iter(journal.after(seq - 1, 1)), None)
    if entry is None or entry.seq != seq:
        return seq <= journal.position()
    told = record_of(entry)
    return (told.event_id, told.action, told.resource) == (
        record.event_id, record.action, record.resource,
    )  # fmt: skip


def _proved(note: bytes, keys: PublicKeys) -> Checkpoint | None:
    try:
        return proved_checkpoint(note, keys.by_kid, keys)
    except ValueError:
        return None


def _judge_checkpoint(
    verified: Verified, note: bytes | None, checkpoint: Checkpoint | None
) -> None:
    """The signed note beside the log is an anchor; one that nobody signed is somebody's doing."""
    if note is None:
        if verified.checkpoints > 1:  # the first daemon of a log may not have written one yet
            text = "there is no checkpoint beside the log, so its end is not proved by one"
            verified.notes.append(text)
    elif checkpoint is None:
        text = "the checkpoint beside the log is not signed by a key of ours"
        verified.faults.append(Finding("checkpoint_wrong", text))
    elif verified.ledger is not None and checkpoint.origin != verified.ledger.origin:
        text = f"the checkpoint beside the log is of another one, {checkpoint.origin}"
        verified.faults.append(Finding("checkpoint_wrong", text))


def _judge_gaps(verified: Verified) -> None:
    for gap in verified.gaps:
        text = f"entries {gap.after + 1} to {gap.to} of the journal are not told: {gap.reason}"
        if gap.to < gap.after:
            text = f"the journal went back from entry {gap.after} to {gap.to}: {gap.reason}"
        if gap.reason in INNOCENT:
            verified.notes.append(text)
        else:
            verified.faults.append(Finding(f"gap_{gap.reason}", text))


def _incomplete(
    verified: Verified, verdicts: VerdictSeqs, journal: JournalReader | None, position: int
) -> Sequence[Finding]:
    if journal is None:
        raise UsageError(
            "there is no journal to compare the log with",
            hint="--complete needs the whole state dir; without it the log alone is proved",
        )
    facts = JournalFacts(
        position,
        frozenset(entry.seq for entry, _ in journal.parked()),
        open_after(verified.signed_journal_seq, journal, journal),
        dict(_finals(journal)),
    )
    return list(completeness_faults(verified, verdicts, facts))


def _finals(journal: JournalReader) -> Iterator[tuple[str, int]]:
    after = 0
    while found := journal.finals_after(after, _AT_ONCE):
        yield from ((intent_id, final) for _, intent_id, final in found)
        after = found[-1][0]


def anchors_from(given: Sequence[str]) -> dict[int, str]:
    """Read `SIZE:ROOT`, the root in hex or base64. Raises UsageError."""
    return dict(map(_anchor, given))


def _anchor(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"([0-9]{1,15}):(\S+)", text)
    if match and re.fullmatch(r"[0-9a-f]{64}", match[2].lower()):
        return int(match[1]), match[2].lower()
    try:
        root = base64.b64decode(match[2], validate=True) if match else b""
    except ValueError:  # no base64, or not even ASCII
        root = b""
    if match is None or len(root) != 32:
        raise UsageError(
            f"{text!r} is no anchor",
            hint="give SIZE:ROOT as the daemon's log says it, or lines 2 and 3 of a checkpoint",
        )
    return int(match[1]), root.hex()
