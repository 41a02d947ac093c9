"""What a journal that lost its last pages is told by verdicts, audit log and claims. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from conductor_loop.core.events import (
    Admitted,
    Event,
    Failed,
    Failure,
    FailureKind,
    IntentEvent,
    Paused,
    Published,
    Receipt,
    Rejected,
    Run,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Target
from conductor_loop.core.proof import Proof
from conductor_loop.core.records import Record, Unfinished
from conductor_loop.core.states import State

_DEFAULT_PRIORITY = 5
_UNKNOWN = "as its verdict tells; the journal that knew more is lost"


@dataclass(frozen=True, slots=True)
class Told:
    """What a verdict says of its intent, or a record of its end, as far as a journal needs it."""

    intent_id: str
    receipt: Receipt
    target: Target
    status: str
    correlation_id: str
    finished_at: datetime
    error: Fault
    skip_reason: str
    attempts: int
    whence: str = _UNKNOWN
    """What stands where the journal knew more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that is claimed: its id, and the target that its bytes name, if they name one."""

    intent_id: str
    target: Target | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written into the journal."""

    settled: tuple[str, ...]
    """Open intents that have a verdict, or whose end the log tells: they get that end."""
    adopted: tuple[str, ...]
    """Intents that the journal does not know, of which a verdict or the log tells the end."""
    held: tuple[str, ...]
    """Intents of which nobody knows whether they ran: their targets are paused."""
    records: tuple[Record, ...]


def told_by(proof: Proof) -> Told | None:
    """Read a verdict; None when it is none that an intent can be known by."""
    fields = proof.document or {}
    namespace, _, name = proof.text("target").partition("/")
    received, finished = moment_in(proof.text("received_at")), moment_in(proof.text("finished_at"))
    if not proof.text("intent_id") or received is None or finished is None:
        return None
    attempts = fields.get("attempts")
    return Told(
        intent_id=proof.text("intent_id"),
        receipt=Receipt(
            proof.intent_name,
            received,
            0,
            proof.text("intent_sha256"),
            proof.text("submitted_by"),
        ),
        target=Target(namespace, name),
        status=proof.text("status"),
        correlation_id=proof.text("correlation_id"),
        finished_at=finished,
        error=_error(fields.get("error")),
        skip_reason=proof.text("skip_reason"),
        attempts=len(attempts) if isinstance(attempts, list) else 0,
    )


def _error(value: object) -> Fault:
    error: Mapping[str, object] = value if isinstance(value, dict) else {}
    texts = {name: str(error.get(name, "")) for name in ("code", "message", "hint")}
    return Fault(texts["code"] or "unknown", texts["message"] or _UNKNOWN, texts["hint"])


def moment_in(text: str) -> datetime | None:
    """The moment that a verdict or a record names, in UTC; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def reconcile(
    unfinished: Sequence[Unfinished],
    known: Collection[str],
    told: Mapping[str, Told],
    claims: Sequence[Claim],
    *,
    by: str,
    has_gap: bool,
) -> Plan:
    """Decide what becomes of each intent that the journal is not sure of.

    Without a gap the journal is the newest there was, and what is open in it is run as usual.
    """
    settled = [item for item in unfinished if item.intent_id in told]
    adopted = [told[i] for i in sorted(told.keys() - set(known))]
    doubtful = [(i.intent_id, i.target) for i in unfinished if i.intent_id not in told]
    doubtful += [(claim.intent_id, claim.target) for claim in claims if claim.target is not None
                 and claim.intent_id not in known and claim.intent_id not in told]  # fmt: skip
    held = doubtful if has_gap else []
    return Plan(
        settled=tuple(item.intent_id for item in settled),
        adopted=tuple(each.intent_id for each in adopted),
        held=tuple(intent_id for intent_id, _ in held),
        records=(
            *(r for item in settled for r in _end(item, told[item.intent_id])),
            *(record for each in adopted for record in _whole_story(each)),
            *_pauses(held, by),
        ),
    )


def _pauses(held: Sequence[tuple[str, Target | None]], by: str) -> list[Record]:
    by_target = {str(target): intent_id for intent_id, target in reversed(held)}
    return [
        Record(None, Paused(by, f"whether {intent_id} has run is not known", target))
        for target, intent_id in by_target.items()
    ]


def _end(item: Unfinished, told: Told) -> list[Record]:
    attempt = max(item.runs, 1) if item.state is State.RUNNING else item.runs + 1
    story: list[Event] = [] if item.state is State.RUNNING else [Started(attempt)]
    if told.status == "skipped":
        story = []
    return [Record(item.intent_id, event) for event in (*story, _ending(told, attempt))]


def _whole_story(told: Told) -> list[Record]:
    if told.status == "failed" and not told.attempts:
        refused = Rejected(told.receipt, (told.error,), *told.target, told.correlation_id)
        return [Record(told.intent_id, refused)]
    admitted = Admitted(told.receipt, *told.target, _DEFAULT_PRIORITY, told.correlation_id)
    attempt = max(told.attempts, 1)
    story: list[Event] = [] if told.status == "skipped" else [Started(attempt)]
    return [Record(told.intent_id, event) for event in (admitted, *story, _ending(told, attempt))]


def _ending(told: Told, attempt: int) -> IntentEvent:
    run = Run(attempt, 0, told.finished_at, timedelta(0))
    error = told.error
    failure = Failure(FailureKind.PERMANENT, error.code, error.message, error.hint)
    match told.status:
        case "success":
            return Published(run, None, told.whence)
        case "timeout":
            return TimedOut(run, failure)
        case "skipped":
            return Skipped(_reason(told.skip_reason), why=told.whence)
        case _:
            return Failed(failure, run)


def _reason(text: str) -> SkipReason:
    return SkipReason(text) if text in set(SkipReason) else SkipReason.CANCELLED
