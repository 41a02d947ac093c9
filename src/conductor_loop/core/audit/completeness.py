"""Every file that was ever claimed has one final verdict, or is open: is it so?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from conductor_loop.core.audit.records import WITHOUT_VERDICT
from conductor_loop.core.audit.verification import Final, Finding, Verified

VerdictSeqs = Mapping[str, tuple[str, int | None]]
"""Intent id to the status file of its verdict, and the `audit_seq` in it."""


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What the journal knows, read before the log."""

    position: int
    """Up to this entry the views are in line."""
    parked: frozenset[int] = frozenset()
    """Entries whose views could not be written."""
    open: Collection[str] = field(default_factory=tuple)
    """Intents that are open after the newest entry that the log tells."""
    finals: Mapping[str, int] = field(default_factory=dict)
    """By intent id, the entry that made it final."""


def verdict_faults(verified: Verified, verdicts: VerdictSeqs) -> Iterator[Finding]:
    """Verdicts that name a record which is not there, or not theirs."""
    for intent_id, (file, seq) in verdicts.items():
        if seq is None or seq < verified.first_seq:
            continue
        final = verified.finals.get(intent_id)
        if final is not None and final.seq == seq:
            continue
        if any(seq in lost for lost in verified.lost):
            continue
        if seq > verified.signed_seq:
            yield Finding(
                "tail_cut",
                f"the verdict of {intent_id} names record {seq}; there are {verified.signed_seq}",
                verified.signed_seq + 1,
                file,
            )
        else:
            yield Finding(
                "verdict_without_record",
                f"the verdict of {intent_id} names record {seq}, which does not make it final",
                seq,
                file,
            )


def completeness_faults(
    verified: Verified, verdicts: VerdictSeqs, journal: JournalFacts
) -> Iterator[Finding]:
    """Finals without their verdict or their record, and disagreement on which intents are open."""
    yield from _untold_finals(verified, journal)
    for intent_id, final in verified.finals.items():
        if final.action not in WITHOUT_VERDICT and not _is_excused(
            intent_id, final, verified, journal
        ):
            yield from _missing_verdict(intent_id, final, verdicts)
    now_open = verified.ledger.open if verified.ledger else {}
    for intent_id in now_open.keys() - set(journal.open):
        yield Finding(
            "open_unknown", f"{intent_id} was claimed and never became final, and the journal does"
            " not have it open: it was lost",
        )  # fmt: skip
    for intent_id in set(journal.open) - now_open.keys():
        yield Finding(
            "claim_lost", f"{intent_id} is open in the journal, and no record tells of its claim"
        )


def _untold_finals(verified: Verified, journal: JournalFacts) -> Iterator[Finding]:
    """Finals of the journal that the log should tell, and does not.

    Those from before the oldest record that is kept are told by none; a gap excuses what it says
    for a reason that is no fault.
    """
    for intent_id, seq in journal.finals.items():
        is_due = verified.first_journal_seq < seq <= journal.position
        if not is_due or intent_id in verified.finals:
            continue
        if not any(seq in untold for untold in verified.untold):
            yield Finding(
                "final_untold",
                f"{intent_id} became final with entry {seq} of the journal, and no record tells it",
            )


def _is_excused(intent_id: str, final: Final, verified: Verified, journal: JournalFacts) -> bool:
    """A duplicate, removed by retention, not shown yet, or known to the journal as not writable."""
    return (
        final.action in WITHOUT_VERDICT
        or intent_id in verified.removed
        or final.journal_seq > journal.position
        or final.journal_seq in journal.parked
    )


def _missing_verdict(intent_id: str, final: Final, verdicts: VerdictSeqs) -> Iterator[Finding]:
    file, seq = verdicts.get(intent_id, ("", None))
    if not file:
        yield Finding(
            "verdict_missing",
            f"{intent_id} became final with record {final.seq}, and has no verdict",
            final.seq,
        )
    elif seq is None:
        yield Finding(
            "verdict_unnumbered",
            f"the verdict of {intent_id} names no record; it became final with {final.seq}",
            final.seq,
            file,
        )
