"""One intent's whole story, each decision with its evidence, and an intent as JSON shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from conductor_loop.core.durations import format_duration
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Failed,
    Failure,
    HandedBack,
    Noticed,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.naming import shown
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.records import Entry, Pause, Summary
from conductor_loop.core.security_events import meaning_of
from conductor_loop.core.states import UNSUCCESSFUL, State
from conductor_loop.core.wording import discarding


@dataclass(frozen=True, slots=True)
class Step:
    """One event: what was decided, and on what evidence."""

    at: datetime
    seq: int
    headline: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that happened to one intent, oldest first."""

    facts: tuple[tuple[str, str], ...]
    """What is known of it, as label and text."""
    steps: tuple[Step, ...]
    remedy: str
    """What one may do about its end; empty when nothing is to be done."""


def tell(
    summary: Summary, history: Sequence[Entry], retried: Summary | None, address: str = ""
) -> Story:
    """Tell of an intent from its events, and of its newest retry if there is one.

    `address`: the flags by which commands find its daemon.
    """
    return Story(tuple(_facts(summary)), steps(history), _remedy(summary, retried, address))


def steps(history: Sequence[Entry]) -> tuple[Step, ...]:
    """Tell events, one step each."""
    return tuple(Step(e.at, e.seq, _headline(e.event), tuple(_evidence(e.event))) for e in history)


def moment(value: datetime | None) -> str:
    """A moment to the second, UTC; `-` for none."""
    if value is None:
        return "-"
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")


def exact_moment(value: datetime | None) -> str | None:
    """A moment as JSON carries it."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def stands(summary: Summary) -> str:
    """Where it stands: its state, and whether it is damaged, so that nothing becomes of it."""
    return f"{summary.state.value}, damaged" if summary.is_aside else summary.state.value


def summary_json(summary: Summary) -> dict[str, object]:
    """One intent for a script."""
    return {
        "intent_id": summary.intent_id,
        "intent_file": shown(summary.name),
        "state": summary.state.value,
        "damaged": summary.is_aside,
        "target": str(summary.target) if summary.target.name else None,
        "priority": summary.priority,
        "attempts": summary.runs,
        "failures": summary.failures,
        "crashes": summary.crashes,
        "received_at": exact_moment(summary.received_at),
        "not_before": exact_moment(summary.not_before),
        "final_at": exact_moment(summary.final_at),
        "intent_sha256": summary.digest or None,
        "correlation_id": summary.correlation_id or None,
        "submitted_by": summary.submitted_by,
        "retry_of": summary.retry_of,
        "filed": summary.filed,
    }


def pause_json(pause: Pause) -> dict[str, object]:
    """One pause for a script."""
    return {
        "target": pause.target or None,
        "by": pause.by,
        "at": exact_moment(pause.at),
        "why": pause.why,
    }


def entry_json(entry: Entry) -> dict[str, object]:
    """One event for a script."""
    details = msgspec.to_builtins(entry.event)
    # The receipt stands above already, and its name is bytes.
    details.pop("receipt", None)
    kind = details.pop("type")
    return {"seq": entry.seq, "at": exact_moment(entry.at), "event": kind, **details}


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.target.name:
        yield "target", str(summary.target)
    yield "handed over by", summary.submitted_by or "unknown"
    if summary.digest:
        yield "SHA-256", summary.digest
    if summary.correlation_id:
        yield "correlation", summary.correlation_id
    if summary.retry_of:
        yield "retry of", summary.retry_of
    if summary.filed:
        path = filed_path(Place(summary.filed), summary.name, summary.intent_id)
        yield "file", shown(path) if path else "removed, its retention is over"


def _headline(event: Event) -> str:
    match event:
        case Admitted(retry_of=str(first), retried_by=by):
            return f"admitted again as a retry of {first}, asked by {by}"
        case Admitted(priority=priority):
            return f"admitted with priority {priority}"
        case Rejected():
            return "rejected"
        case Quarantined():
            return "quarantined"
        case Duplicated(first=first):
            return f"duplicate of {first}: not run, that verdict stands"
        case Started(attempt):
            return f"attempt {attempt} started"
        case Published(run):
            return f"published by {_run(run)}"
        case RetryScheduled(run, _, not_before):
            return f"failed in {_run(run)}; again not before {moment(not_before)}"
        case HandedBack(attempt, cause):
            return f"attempt {attempt} does not count: {cause}"
        case Failed(run=Run() as run):
            return f"failed in {_run(run)}"
        case Failed():
            return "failed"
        case TimedOut(run):
            return f"timed out in {_run(run)}"
        case Skipped(reason):
            return f"skipped: {reason.value}"
        case Noticed(code=code):
            return f"noticed: {meaning_of(code)}"
        case _:
            return type(event).__name__


def _run(run: Run) -> str:
    return f"attempt {run.attempt}, worker {run.worker}, after {format_duration(run.duration)}"


def _evidence(event: Event) -> Iterator[str]:
    match event:
        case Admitted(retry_why=why):
            yield from [why] if why else []
        case Rejected(faults=faults):
            for fault in faults:
                yield from _fault(fault)
        case Quarantined(fault=fault):
            yield from _fault(fault)
        case Published(_, outputs, unknown, notes):
            yield from (f"{output.path}  {output.sha256}" for output in outputs or ())
            yield from ([f"outputs not listed: {unknown}"] if unknown else [])
            yield from notes
        case RetryScheduled(_, failure) | Failed(failure) | TimedOut(_, failure):
            yield from _failure(failure)
        case HandedBack(failure=Failure() as failure):
            yield from _failure(failure)
        case Skipped(_, by, why, superseded_by):
            yield from (
                w for w in (f"by {superseded_by or by}" if superseded_by or by else "", why) if w
            )
        case Noticed(details=details, by=by):
            yield from ([f"by {by}"] if by else [])
            yield from (f"{name}: {text}" for name, text in details.items())
        case _:
            return


def _fault(fault: Fault) -> Iterator[str]:
    yield f"{fault.code}{f' at {fault.pointer}' if fault.pointer else ''}: {fault.message}"
    if fault.hint:
        yield f"hint: {fault.hint}"


def _failure(failure: Failure) -> Iterator[str]:
    exit_code = "" if failure.exit_code is None else f", exit {failure.exit_code}"
    yield f"{failure.code} ({failure.kind.value}{exit_code}): {failure.message}"
    if failure.hint:
        yield f"hint: {failure.hint}"
    for name, text in (("stdout", failure.stdout), ("stderr", failure.stderr)):
        yield from (f"{name} | {line}" for line in text.splitlines()[-20:])


def _remedy(summary: Summary, retried: Summary | None, address: str) -> str:
    if retried is not None:
        return f"retried as {retried.intent_id} ({retried.state.value})"
    if summary.is_aside:
        return f"it was set aside as damaged; {discarding([summary.intent_id], address)}"
    if summary.state is State.REJECTED:
        return "to have it run: correct the file and hand it over again"
    if summary.state in UNSUCCESSFUL and summary.state is not State.QUARANTINED:
        return f"to run it again: conductor-loop retry{address} {summary.intent_id}"
    return ""
