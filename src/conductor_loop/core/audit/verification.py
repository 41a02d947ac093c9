"""Proving a log: from its oldest kept line to its newest, up to the first that does not hold.

Nothing that a record tells is believed before a signature covers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from conductor_loop.core.audit.ledger import (
    GAP,
    INNOCENT,
    NO_LINE,
    TREE,
    Broken,
    Gap,
    Ledger,
    gap_of,
    ledger_from,
    standing_of,
)
from conductor_loop.core.audit.records import FINALS, REMOVED, AuditRecord, decode_line
from conductor_loop.core.audit.signing import record_fault
from conductor_loop.core.jws import Verifier

PRUNED = "log.pruned"
OPENED = "log.opened"
CLOSED = "log.closed"
FORGED = "unsigned_forged"
"""The code of an unsigned record that no crash explains."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it stands in a file."""

    file: str
    number: int
    raw: bytes
    """Without its line feed."""
    is_whole: bool = True
    """Whether it ends with a line feed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold, at the first record that it concerns."""

    code: str
    message: str
    seq: int = 0
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Final:
    """The record that made an intent final."""

    seq: int
    journal_seq: int
    action: str


@dataclass(frozen=True, slots=True)
class _Heard:
    """A record that waits for the signature that covers it."""

    record: AuditRecord
    line: Line
    journal_seq: int
    """Up to which entry of the journal the log tells with it."""
    broken: Broken | None
    """What it says that cannot be, after the records before it."""


@dataclass(slots=True)
class Verified:
    """What a log proves, and what not. Without faults, nothing in it was changed."""

    faults: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no fault, but not proved either."""
    ledger: Ledger | None = None
    """Where it stands after the newest record that a signature covers."""
    unsigned: list[AuditRecord] = field(default_factory=list)
    """The records behind that one; what they tell is in nothing else here."""
    first_seq: int = 0
    first_journal_seq: int = 0
    """The newest entry of the journal that was told before the oldest record that is kept."""
    signed_seq: int = 0
    """The newest record that a signature covers."""
    signed_journal_seq: int = 0
    checkpoints: int = 0
    gaps: list[Gap] = field(default_factory=list)
    untold: list[range] = field(default_factory=list)
    """Entries of the journal that are not told, for a reason that is no fault."""
    lost: list[range] = field(default_factory=list)
    """Numbers of records that were lost with a state dir, and given out again since."""
    finals: dict[str, Final] = field(default_factory=dict)
    """By intent id."""
    removed: set[str] = field(default_factory=set)
    """Intents whose verdicts the retention took."""
    ended_in_order: bool = False
    """Whether the log ends with a signed `log.closed`, and nothing behind it."""
    is_broken_off: bool = False
    """Whether a record did not hold, so that nothing after it could be proved."""


class _Stop(Exception):
    """What follows cannot be proved any more."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def verify(lines: Iterable[Line], keys: Verifier, anchors: Mapping[int, str]) -> Verified:
    """Verify a log from its lines, oldest first; `anchors` are roots in hex by tree size."""
    walk = _Walk(keys, dict(anchors))
    try:
        for line, following in pairwise(_buffered(lines)):
            assert line is not None
            walk.take(line, following)
    except _Stop as stop:
        walk.verified.faults.append(stop.finding)
        walk.verified.is_broken_off = True
        walk.verified.ended_in_order = False
        walk.verified.notes.append("nothing after that record is proved")
    else:
        walk.finish()
    return walk.verified


def _buffered(lines: Iterable[Line]) -> Iterator[Line | None]:
    yield from lines
    yield None


class _Walk:
    def __init__(self, keys: Verifier, anchors: dict[int, str]) -> None:
        self.verified = Verified()
        self._keys = keys
        self._anchors = anchors
        self._ledger: Ledger | None = None
        self._pruned_to = 0
        self._opened = 0
        self._heard: list[_Heard] = []

    def take(self, line: Line, following: Line | None) -> None:
        record = self._record(line, following)
        if record is None:
            return
        if self._ledger is None:
            self._ledger = self._beginning(record, line)
        self._require_next(record, line, following)
        self._check_standing(record, line)
        self._check_signature(record, line)
        self._grow(record, line)
        if record.signature:
            self._believe()
        self._check_anchor(line)

    def finish(self) -> None:
        """Judge the end: what no signature covers was never durable, or somebody cut the log."""
        verified = self.verified
        if self._heard:
            self._judge_unsigned([heard.record for heard in self._heard])
        if verified.first_seq > 1 and self._pruned_to != verified.first_seq - 1:
            verified.faults.append(
                Finding(
                    "beginning_missing",
                    f"the log begins with record {verified.first_seq}, and no log.pruned says that"
                    " those before were removed",
                    verified.first_seq,
                )
            )
        for size in self._anchors:
            self._judge_anchor(size)

    def _judge_unsigned(self, records: list[AuditRecord]) -> None:
        """A crash leaves the beginning of a write, and the end of each write is signed.

        Records about the log itself are the end of theirs, such is the first record of a log, and
        after `log.closed` none is written but a `log.opened`: none of these is ever unsigned.
        """
        verified = self.verified
        verified.unsigned = records
        first = records[0] if verified.ended_in_order or not verified.signed_seq else None
        verified.ended_in_order = False
        forged = first or next((each for each in records if each.journal_seq is None), None)
        if forged is not None:
            verified.faults.append(forged_tail(forged))
            return
        verified.notes.append(
            f"{len(records)} records from {records[0].seq} on are not signed for, and nothing that"
            " they tell is believed: a crash's end, or a write under way; the next start cuts them"
            " off"
        )

    def _judge_anchor(self, size: int) -> None:
        verified = self.verified
        if size < verified.first_seq:
            verified.notes.append(f"the anchor of {size} records is older than what is kept")
            return
        verified.faults.append(
            Finding(
                "tail_cut",
                f"an anchor says that there were {size} records; there are {verified.signed_seq}",
                verified.signed_seq + 1,
            )
        )

    def _record(self, line: Line, following: Line | None) -> AuditRecord | None:
        if not line.is_whole and following is None:
            self.verified.notes.append(
                f"the last line, {line.file}:{line.number}, is not whole: a crash's end, or a write"
                " under way"
            )
            return None
        try:
            return decode_line(line.raw)
        except ValueError as error:
            raise _Stop(self._at(line, self._expected, "not_a_record", str(error))) from None

    def _beginning(self, record: AuditRecord, line: Line) -> Ledger:
        self.verified.first_seq = record.seq
        try:
            ledger = _ledger_before(record)
        except Broken as broken:
            raise _Stop(self._at(line, record.seq, broken.code, broken.message)) from None
        self.verified.first_journal_seq = ledger.journal_seq
        self._compare_anchor(ledger, line, record.seq)
        return ledger

    @property
    def _expected(self) -> int:
        return self._ledger.size + 1 if self._ledger else 1

    def _require_next(self, record: AuditRecord, line: Line, following: Line | None) -> None:
        assert self._ledger is not None
        if record.seq != self._expected:
            raise _Stop(
                self._at(
                    line,
                    self._expected,
                    "not_dense",
                    f"record {self._expected} should stand here, and {record.seq} does",
                )
            )
        if record.prev == self._ledger.prev:
            return
        # One of two was altered. The one after tells which: it names the hash of this one.
        is_this = not _names(following, line.raw)
        seq = record.seq if is_this or record.seq == self.verified.first_seq else record.seq - 1
        raise _Stop(
            self._at(line, seq, "chain_broken", f"record {seq} is not the one that was chained")
        )

    def _check_standing(self, record: AuditRecord, line: Line) -> None:
        assert self._ledger is not None
        try:
            standing = standing_of(record.details)
        except Broken as broken:
            raise _Stop(self._at(line, record.seq, broken.code, broken.message)) from None
        if standing is None:
            return
        if standing != self._ledger.standing():
            raise _Stop(
                self._at(
                    line,
                    record.seq,
                    "standing_wrong",
                    "what it says of the records before it (root, counts, open intents) is not so",
                )
            )

    def _check_signature(self, record: AuditRecord, line: Line) -> None:
        fault = record_fault(record, self._keys) if record.signature else None
        if fault is not None:
            raise _Stop(self._at(line, record.seq, fault.code, fault.message))

    def _grow(self, record: AuditRecord, line: Line) -> None:
        assert self._ledger is not None
        # A signed record is believed with its line; what may not be must not grow what is proved.
        if self._ledger is self.verified.ledger and (not record.signature or record.action == GAP):
            self._ledger = self._ledger.copy()
        try:
            broken = self._ledger.add(record, line.raw)
        except Broken as error:
            raise _Stop(self._at(line, record.seq, error.code, error.message)) from None
        self._heard.append(_Heard(record, line, self._ledger.journal_seq, broken))

    def _believe(self) -> None:
        """The newest record's signature holds, and by the chain it is one of all before it."""
        assert self._ledger is not None
        for heard in self._heard:
            self._note(heard)
        verified, newest = self.verified, self._heard[-1].record
        verified.ledger = self._ledger
        verified.signed_seq = newest.seq
        verified.signed_journal_seq = self._ledger.journal_seq
        verified.ended_in_order = newest.action == CLOSED
        self._heard.clear()

    def _note(self, heard: _Heard) -> None:
        record, verified = heard.record, self.verified
        verified.checkpoints += TREE in record.details
        if record.action == OPENED:
            self._opened = record.seq
        if record.action == GAP:
            self._note_gap(gap_of(record.details))
        if heard.broken is not None:
            self._note_broken(heard, heard.broken)
        elif record.action in FINALS:
            # After a gap it may end once more, and its verdict is the newer.
            final = Final(record.seq, heard.journal_seq, record.action)
            verified.finals[record.intent_id] = final
        if record.action == REMOVED:
            verified.removed.update(_texts(record.details.get("intents")))
        if record.action == PRUNED and isinstance(last := record.details.get("last_seq"), int):
            self._pruned_to = max(self._pruned_to, last)

    def _note_gap(self, gap: Gap) -> None:
        self.verified.gaps.append(gap)
        self.verified.lost.append(range(self._opened, gap.lost_to + 1))
        if gap.reason in INNOCENT:
            self.verified.untold.append(range(gap.after + 1, gap.to + 1))

    def _note_broken(self, heard: _Heard, broken: Broken) -> None:
        record = heard.record
        before = self.verified.finals.get(record.intent_id)
        twice = f"; it was final with record {before.seq}" if before else ""
        code = "final_twice" if before else broken.code
        finding = self._at(heard.line, record.seq, code, broken.message + twice)
        self.verified.faults.append(finding)

    def _check_anchor(self, line: Line) -> None:
        assert self._ledger is not None
        self._compare_anchor(self._ledger, line, self._ledger.size)

    def _compare_anchor(self, ledger: Ledger, line: Line, seq: int) -> None:
        root = self._anchors.pop(ledger.size, None)
        if root is not None and root != ledger.tree.root().hex():
            raise _Stop(
                self._at(
                    line,
                    seq,
                    "anchor_wrong",
                    f"the root over the first {ledger.size} records is another one than the anchor",
                )
            )

    @staticmethod
    def _at(line: Line, seq: int, code: str, message: str) -> Finding:
        return Finding(code, message, seq, line.file, line.number)


def forged_tail(record: AuditRecord) -> Finding:
    """The finding about an unsigned record that no crash and no write under way explains."""
    return Finding(
        FORGED,
        f"record {record.seq}, {record.action}, is not signed, and neither a crash nor a write"
        " under way leaves such a one: somebody put it there",
        record.seq,
    )


def _ledger_before(record: AuditRecord) -> Ledger:
    """Where the log stood before the first record that is kept. Raises Broken."""
    standing = standing_of(record.details)
    if standing is None or standing.size != record.seq - 1:
        raise Broken("beginning_missing", "the first record does not say where the log stood")
    if record.seq == 1 and record.prev != NO_LINE:
        raise Broken("chain_broken", "the first record ever names one before it")
    return ledger_from(standing, record.prev)


def _names(following: Line | None, raw: bytes) -> bool:
    """Whether the line after this one chains to it."""
    if following is None:
        return False
    try:
        return decode_line(following.raw).prev == hashlib.sha256(raw).hexdigest()
    except ValueError:
        return False


def _texts(value: object) -> Sequence[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
