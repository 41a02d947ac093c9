"""One trace per intent, as its events tell it: ids that follow from the intent's own, and spans.

Forms: W3C Trace Context, 2.2 and 2.3 (w3.org/TR/trace-context); sampling: as the SDKs of
OpenTelemetry do it (`TraceIdRatioBased`), so that both ends of a trace decide alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from conductor_loop.core.events import (
    Admitted,
    Event,
    Failed,
    HandedBack,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    Started,
    TimedOut,
)
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry
from conductor_loop.core.states import ENDINGS

TRACEPARENT = "TRACEPARENT"
"""The variable in which a program finds its place in a trace (OpenTelemetry, "Environment
Variables as Context Propagation Carriers")."""
_ROOT = "intent"
_SAMPLED_BITS = 64
_Value = str | int

Attributes = dict[str, _Value]


def trace_id(intent_id: str) -> str:
    """The trace of an intent: 32 hex digits, always the same, evenly spread."""
    return hashlib.sha256(b"conductor-loop trace " + intent_id.encode()).hexdigest()[:32]


def span_id(intent_id: str, part: str) -> str:
    """A part of that trace: 16 hex digits, always the same."""
    return hashlib.sha256(f"conductor-loop span {intent_id} {part}".encode()).hexdigest()[:16]


def root_of(intent_id: str) -> str:
    """The id of the span that stands for the whole intent."""
    return span_id(intent_id, _ROOT)


def is_sampled(trace: str, ratio: float) -> bool:
    """Whether a trace is among the share (0 to 1) that is kept."""
    return int(trace[16:], 16) < round(ratio * (1 << _SAMPLED_BITS))


def traceparent(intent_id: str, attempt: int, ratio: float = 1.0) -> str:
    """What the program of an attempt is told: whatever it does belongs below that attempt."""
    trace = trace_id(intent_id)
    flags = "01" if is_sampled(trace, ratio) else "00"
    return f"00-{trace}-{span_id(intent_id, _attempt_part(attempt))}-{flags}"


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. All parts of one intent have its trace; times are UTC."""

    name: str
    span_id: str
    start: datetime
    end: datetime
    attributes: Attributes = field(default_factory=dict)
    error: str | None = None
    """Why it went wrong; None when it did not."""


@dataclass(frozen=True, slots=True)
class Trace:
    """An intent from hand-over to its final state."""

    trace_id: str
    root: Span
    parts: tuple[Span, ...]
    retry_of: str | None
    """The id of the intent that it is a retry of."""


def trace_of(history: Sequence[Entry]) -> Trace:
    """The trace of an intent that has ended, from all its events, oldest first."""
    first, last = history[0], history[-1]
    assert first.intent_id is not None
    parts = tuple(_parts(first.intent_id, history))
    start = first.at if first.receipt is None else first.receipt.received_at
    # The wall clock may have been set back in between.
    ends = (start, last.at, *(part.end for part in parts))
    root = Span(
        _ROOT,
        root_of(first.intent_id),
        min(start, *(part.start for part in parts)) if parts else start,
        max(ends),
        _facts(first, last.event),
        _error(last.event),
    )
    return Trace(trace_id(first.intent_id), root, parts, first.retry_of)


def _parts(intent_id: str, history: Sequence[Entry]) -> Iterator[Span]:
    """What followed what: admitting, waiting, attempts, and putting their ends on record."""
    since = history[0].receipt.received_at if history[0].receipt else history[0].at
    running: Entry | None = None
    for number, entry in enumerate(history):
        event = entry.event
        if isinstance(event, Started):
            yield _span(intent_id, f"wait {number}", since, entry.at)
            running = entry
        elif running is not None:
            yield from _attempt(intent_id, number, running, entry)
            running = None
        else:
            step = "wait" if isinstance(event, Skipped) else "admit"
            yield _span(intent_id, f"{step} {number}", since, entry.at)
        since = entry.at


def _attempt(intent_id: str, number: int, started: Entry, ended: Entry) -> Iterator[Span]:
    event = ended.event
    assert isinstance(started.event, Started)
    attempt = started.event.attempt
    run = getattr(event, "run", None)
    start, end = started.at, ended.at
    if isinstance(run, Run):
        start, end = run.started_at, run.started_at + run.duration
    part = _attempt_part(attempt)
    facts = {"conductor.attempt": attempt, **_evidence(event)}
    yield Span("attempt", span_id(intent_id, part), start, max(start, end), facts, _error(event))
    if isinstance(run, Run):
        yield _span(intent_id, f"record {number}", end, ended.at)


def _span(intent_id: str, part: str, start: datetime, end: datetime) -> Span:
    name = part.partition(" ")[0]
    return Span(name, span_id(intent_id, part), start, max(start, end))


def _attempt_part(attempt: int) -> str:
    return f"attempt {attempt}"


def _facts(first: Entry, end: Event) -> Attributes:
    facts: dict[str, _Value | None] = {
        "conductor.intent.id": first.intent_id,
        "conductor.intent.target": str(first.target)
        if first.target and first.target.name
        else None,
        "conductor.intent.state": ENDINGS[type(end)].value,
        "conductor.correlation_id": first.correlation_id,
        "conductor.journal.seq": first.seq,
        "conductor.retry_of": first.retry_of,
        "file.name": shown(first.receipt.name) if first.receipt else None,
        "file.size": first.receipt.size if first.receipt else None,
    }
    if isinstance(first.event, Admitted):
        facts["conductor.intent.priority"] = first.event.priority
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _evidence(event: Event) -> Attributes:
    facts: dict[str, _Value | None] = {}
    match event:
        case HandedBack(cause=cause):
            facts["conductor.attempt.cause"] = cause
        case Published(run) | RetryScheduled(run) | TimedOut(run):
            facts["conductor.worker"] = run.worker
            facts["conductor.sandbox"] = run.sandbox
        case Failed(run=Run() as run):
            facts["conductor.worker"] = run.worker
            facts["conductor.sandbox"] = run.sandbox
        case _:
            pass
    failure = getattr(event, "failure", None)
    if failure is not None:
        facts["error.type"] = failure.code
        facts["process.exit.code"] = failure.exit_code
    return {name: value for name, value in facts.items() if value is not None}


def _error(event: Event) -> str | None:
    match event:
        case Failed(failure=failure) | TimedOut(failure=failure) | RetryScheduled(failure=failure):
            return failure.message
        case HandedBack(failure=failure) if failure is not None:
            return failure.message
        case HandedBack(cause=cause) if event.is_crash:
            who = "the daemon" if cause == "daemon_ended" else "the process that starts porch"
            return f"{who} ended during the attempt, which does not count"
        case Rejected(faults=faults):
            return faults[0].message
        case Quarantined(fault=fault):
            return fault.message
        case _:
            return None
