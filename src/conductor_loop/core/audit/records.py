"""One record of the log: its fields, the one way to write it, and what each journal entry becomes.

Texts of strangers are escaped; messages of programs stay out, their codes tell.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

import msgspec

from conductor_loop.core.events import (
    Admitted,
    BreakerClosed,
    BreakerOpened,
    Duplicated,
    Event,
    Failed,
    Failure,
    HandedBack,
    Noticed,
    Paused,
    Published,
    Quarantined,
    Receipt,
    Rejected,
    Resumed,
    RetryScheduled,
    Run,
    Skipped,
    Started,
    Tidied,
    TimedOut,
)
from conductor_loop.core.identity import ulid
from conductor_loop.core.legible import legible_line
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import Severity
from conductor_loop.core.wording import timestamp

SELF = "conductor-loop"
SERVICE = "service"
_INTENT = "intent/"
_SUCCESS, _FAILURE, _UNDECIDED = "success", "failure", "undecided"
Details = dict[str, object]
"""JSON of the profile in `core.canonical`."""


class AuditRecord(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line. The fields stand in the order of RFC 8785, so no encoder has to sort them."""

    action: str
    """What happened, such as `intent.published`."""
    actor: str
    """Who: the owner of the file, the operator who asked, or `conductor-loop`."""
    correlation_id: str = ""
    """The intent's own, if it has one."""
    details: Details
    """Codes, names, digests, numbers; no output of programs."""
    event_id: str
    """A ULID, unique in the log."""
    journal_seq: int | None = None
    """The entry of the journal that this tells; absent in a record about the log itself."""
    outcome: str
    """`success`, `failure`, or `undecided` while it goes on."""
    prev: str
    """SHA-256, in hex, of the line before without its line feed; 64 zeros before the first."""
    resource: str
    """What it is about: `intent/ID`, `target/NAMESPACE/NAME`, `service`, `audit`, or a name."""
    seq: int
    """1 for the first record ever, then without a gap, through all files."""
    severity: str = ""
    """`info`, `low`, `medium`, `high` or `critical`, where it applies."""
    signature: str = ""
    """Detached JWS over the record without it; the newest record of each write has one."""
    timestamp: str
    """RFC 3339, UTC."""

    @property
    def intent_id(self) -> str:
        """The intent that this is about; empty when it is about none."""
        return self.resource.removeprefix(_INTENT) if self.resource.startswith(_INTENT) else ""


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(AuditRecord)
encode_line: Callable[[AuditRecord], bytes] = _encoder.encode


def decode_line(line: bytes) -> AuditRecord:
    """Read a line. Raises ValueError when it is none, or not written in the one way there is."""
    try:
        record = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no record: {error}") from error
    if encode_line(record) != line:
        raise ValueError("it is not written as records are (RFC 8785)")
    return record


CLAIMS = frozenset(
    {"intent.admitted", "intent.rejected", "intent.quarantined", "intent.duplicated"}
)
"""With these a file begins to be ours."""
FINALS = frozenset(
    {
        "intent.rejected",
        "intent.quarantined",
        "intent.duplicated",
        "intent.published",
        "intent.failed",
        "intent.timed_out",
        "intent.skipped",
    }
)
"""With these an intent is done; for three of them it began just then."""
WITHOUT_VERDICT = frozenset({"intent.duplicated"})
REMOVED = "retention.removed"


def record_of(entry: Entry) -> AuditRecord:
    """Tell one entry of the journal; seq, prev and signature are for the log to add."""
    record = _described(entry.event)
    record.event_id = ulid(_milliseconds(entry.at), entry.seq)
    record.journal_seq = entry.seq
    record.timestamp = timestamp(entry.at)
    if entry.intent_id is not None:
        record.resource = _INTENT + entry.intent_id
    if entry.correlation_id:
        record.correlation_id = legible_line(entry.correlation_id)
    return record


def own_record(
    action: str, seq: int, now: datetime, details: Details, severity: str = ""
) -> AuditRecord:
    """A record about the log itself."""
    record = _record(action, _SUCCESS, details, resource="audit", severity=severity)
    # The top bit but one keeps these ids apart from those of journal entries.
    record.event_id = ulid(_milliseconds(now), 1 << 78 | seq)
    record.timestamp = timestamp(now)
    return record


def _described(event: Event) -> AuditRecord:
    match event:
        case Admitted():
            return _admitted(event)
        case Started():
            return _started(event)
        case Published():
            return _published(event)
        case Rejected():
            return _rejected(event)
        case Quarantined():
            return _quarantined(event)
        case Duplicated():
            return _duplicated(event)
        case RetryScheduled():
            return _failed("intent.retry_scheduled", event)
        case HandedBack():
            return _handed_back(event)
        case Failed():
            return _failed("intent.failed", event)
        case TimedOut():
            return _failed("intent.timed_out", event)
        case Skipped():
            return _skipped(event)
        case Paused():
            return _steered("control.paused", event)
        case Resumed():
            return _steered("control.resumed", event)
        case BreakerOpened():
            return _opened(event)
        case BreakerClosed():
            return _closed(event)
        case Noticed():
            return _noticed(event)
        case Tidied():
            return _record(REMOVED, _SUCCESS, {"intents": list(event.intent_ids)})
        case _ as never:
            assert_never(never)


def _milliseconds(moment: datetime) -> int:
    return max(int(moment.timestamp() * 1000), 0)


def _record(
    action: str,
    outcome: str,
    details: Details,
    *,
    actor: str = SELF,
    resource: str = SERVICE,
    severity: str = "",
) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=actor,
        details=details,
        event_id="",
        outcome=outcome,
        prev="",
        resource=resource,
        seq=0,
        severity=severity,
        timestamp="",
    )


def _taken(receipt: Receipt, target: str) -> Details:
    name = shown(receipt.name)
    details: Details = {"file": name, "sha256": receipt.digest, "size": receipt.size}
    if name.encode() != receipt.name:
        details["file_b64"] = base64.b64encode(receipt.name).decode("ascii")
    if target != "/":
        details["target"] = legible_line(target)
    return details


def _by(receipt: Receipt) -> str:
    return legible_line(receipt.submitted_by) or "unknown"


def _admitted(event: Admitted) -> AuditRecord:
    details = _taken(event.receipt, f"{event.namespace}/{event.target}")
    details["priority"] = event.priority
    if event.retry_of:
        details["retry_of"] = event.retry_of
        details = _with_why(details, event.retry_why)
        return _record("intent.admitted", _SUCCESS, details, actor=legible_line(event.retried_by))
    return _record("intent.admitted", _SUCCESS, details, actor=_by(event.receipt))


def _rejected(event: Rejected) -> AuditRecord:
    details = _taken(event.receipt, f"{event.namespace}/{event.target}")
    codes = [fault.code for fault in event.faults]
    return _record(
        "intent.rejected",
        _FAILURE,
        {**details, "codes": codes},
        actor=_by(event.receipt),
        severity=_rejection_severity(codes),
    )


def _rejection_severity(codes: list[str]) -> Severity:
    if any(code in _ATTACKS for code in codes):
        return Severity.HIGH
    return Severity.MEDIUM if any(c.startswith("json_") for c in codes) else Severity.LOW


# Faults that nobody makes by mistake.
_ATTACKS = frozenset({"hard_linked", "json_bidi_control", "json_zero_width", "json_tag_character"})


def _quarantined(event: Quarantined) -> AuditRecord:
    details = _taken(event.receipt, "/")
    details["codes"] = [event.fault.code]
    return _record(
        "intent.quarantined", _FAILURE, details, actor=_by(event.receipt), severity=Severity.HIGH
    )


def _duplicated(event: Duplicated) -> AuditRecord:
    details = _taken(event.receipt, f"{event.namespace}/{event.target}")
    details["first"] = event.first
    return _record("intent.duplicated", _SUCCESS, details, actor=_by(event.receipt))


def _started(event: Started) -> AuditRecord:
    return _record("intent.started", _UNDECIDED, {"attempt": event.attempt})


def _published(event: Published) -> AuditRecord:
    return _record("intent.published", _SUCCESS, _ran(event.run))


def _ran(run: Run | None) -> Details:
    if run is None:
        return {}
    details: Details = {"attempt": run.attempt, "sandbox": run.sandbox}
    if run.porch_sha256:
        details["porch_sha256"] = run.porch_sha256
    return details


def _failed(action: str, event: RetryScheduled | Failed | TimedOut) -> AuditRecord:
    return _record(action, _FAILURE, {**_ran(event.run), **_why(event.failure)})


def _why(failure: Failure | None) -> Details:
    if failure is None:
        return {}
    details: Details = {"code": failure.code, "kind": failure.kind.value}
    if failure.exit_code is not None:
        details["exit_code"] = failure.exit_code
    return details


def _handed_back(event: HandedBack) -> AuditRecord:
    details: Details = {"attempt": event.attempt, "cause": event.cause, **_why(event.failure)}
    return _record("intent.handed_back", _UNDECIDED, details)


def _skipped(event: Skipped) -> AuditRecord:
    details: Details = {"reason": event.reason.value}
    if event.superseded_by:
        details["superseded_by"] = event.superseded_by
    return _record(
        "intent.skipped", _SUCCESS, _with_why(details, event.why), actor=_operator(event.by)
    )


def _steered(action: str, event: Paused | Resumed) -> AuditRecord:
    return _record(
        action,
        _SUCCESS,
        _with_why({}, event.why),
        actor=_operator(event.by),
        resource=f"target/{legible_line(event.target)}" if event.target else SERVICE,
        severity=Severity.LOW,
    )


def _with_why(details: Details, why: str) -> Details:
    return {**details, "why": legible_line(why)} if why else details


def _operator(by: str) -> str:
    return legible_line(by) or SELF


def _opened(event: BreakerOpened) -> AuditRecord:
    details = _why(event.failure)
    return _record("service.breaker_opened", _FAILURE, details, severity=Severity.MEDIUM)


def _closed(event: BreakerClosed) -> AuditRecord:
    seconds = int(event.after.total_seconds())
    return _record("service.breaker_closed", _SUCCESS, {"after_seconds": seconds})


def _noticed(event: Noticed) -> AuditRecord:
    return _record(
        f"security.{event.code}",
        _SUCCESS if event.severity == Severity.INFO else _FAILURE,
        dict(event.details),
        actor=_operator(event.by),
        resource=legible_line(event.subject) or SERVICE,
        severity=event.severity,
    )
