"""How intents ended, as a verified audit log tells it: for a journal that lost it. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conductor_loop.core.audit.records import CLAIMS, WITHOUT_VERDICT, AuditRecord, decode_line
from conductor_loop.core.audit.verification import Line, Verified
from conductor_loop.core.events import Receipt
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Target
from conductor_loop.core.reconciling import Told, moment_in
from conductor_loop.core.records import Unfinished

_STATUS = {
    "intent.published": "success",
    "intent.timed_out": "timeout",
    "intent.skipped": "skipped",
}
"""What the verdict said; `failed` for the other finals."""
_WHENCE = "as its record in the audit log tells; the journal that knew more is lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """The record that made an intent final, and the one with which its file was claimed."""

    final: AuditRecord
    claim: AuditRecord | None
    """None: it is older than what is kept of the log."""
    was_removed: bool
    """Whether the retention took its verdict since."""


def endings(lines: Iterable[Line], verified: Verified) -> dict[str, Ending]:
    """Every ending that a signature covers, by intent; `lines` are those that were verified."""
    claims: dict[str, AuditRecord] = {}
    found: dict[str, Ending] = {}
    for record in _signed(lines, verified.signed_seq):
        intent_id = record.intent_id
        if record.action in CLAIMS:
            claims[intent_id] = record
        final = verified.finals.get(intent_id)
        if final is not None and final.seq == record.seq:
            claim = claims.pop(intent_id, None)
            if record.action not in WITHOUT_VERDICT:
                found[intent_id] = Ending(record, claim, intent_id in verified.removed)
    return found


def _signed(lines: Iterable[Line], last: int) -> Iterable[AuditRecord]:
    """The records up to that number. Behind it nothing is proved, whatever number it bears."""
    if not last:
        return
    for line in lines:
        record = decode_line(line.raw)
        yield record
        if record.seq == last:
            return


def told_by_log(
    found: Mapping[str, Ending], unfinished: Mapping[str, Unfinished]
) -> dict[str, Told]:
    """What the endings tell as verdicts would, of intents that the journal has open and of others.

    What the retention removed is told only of `unfinished` ones: nobody asks for the rest.
    """
    told = {}
    for intent_id, ending in found.items():
        item = unfinished.get(intent_id)
        if item is None and (ending.claim is None or ending.was_removed):
            continue
        one = _told(intent_id, ending, item)
        if one is not None:
            told[intent_id] = one
    return told


def _told(intent_id: str, ending: Ending, item: Unfinished | None) -> Told | None:
    final, claim = ending.final, ending.claim or ending.final
    received, finished = moment_in(claim.timestamp), moment_in(final.timestamp)
    if received is None or finished is None:
        return None
    namespace, _, name = _text(claim, "target").partition("/")
    size, attempt = claim.details.get("size"), final.details.get("attempt")
    return Told(
        intent_id=intent_id,
        receipt=Receipt(
            item.name if item else _name(claim),
            received,
            size if isinstance(size, int) else 0,
            _text(claim, "sha256"),
            claim.actor,
        ),
        target=item.target if item else Target(namespace, name),
        status=_STATUS.get(final.action, "failed"),
        correlation_id=final.correlation_id,
        finished_at=finished,
        error=_error(final),
        skip_reason=_text(final, "reason"),
        # None: it was refused. Whatever else failed was admitted, and is told as if it had run.
        attempts=0 if final.action in CLAIMS else attempt if isinstance(attempt, int) else 1,
        whence=_WHENCE,
    )


def _error(final: AuditRecord) -> Fault:
    codes = final.details.get("codes")
    first = str(codes[0]) if isinstance(codes, list) and codes else ""
    return Fault(_text(final, "code") or first, _WHENCE, "")


def _name(claim: AuditRecord) -> bytes:
    try:
        return base64.b64decode(_text(claim, "file_b64")) or _text(claim, "file").encode()
    except binascii.Error:
        return _text(claim, "file").encode()


def _text(record: AuditRecord, name: str) -> str:
    value = record.details.get(name, "")
    return value if isinstance(value, str) else ""
