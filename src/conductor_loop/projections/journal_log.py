"""A log line for what happens to each intent, with its id, file and correlation id."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from conductor_loop.core.durations import format_duration
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
    Rejected,
    Resumed,
    RetryScheduled,
    Skipped,
    Started,
    Tidied,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.legible import legible_line
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import Severity, meaning_of

_log = logging.getLogger("conductor_loop.intent")
_INFO, _WARN, _ERROR, _DEBUG = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG


class JournalLog:
    """`ports.Listener`: tells each entry once, when its views are in line."""

    def hear(self, entry: Entry) -> None:
        """See `ports.Listener`."""
        level, describe = _LINES[type(entry.event)]
        if isinstance(entry.event, Noticed):
            level = _NOTICED[entry.event.severity]
        if not _log.isEnabledFor(level):
            return
        facts = entry.facts() | _facts_of_notice(entry.event)
        facts |= _outcome(entry.event)
        if attempt := _attempt(entry.event):
            facts["attempt"] = attempt
        _log.log(level, describe(entry.event), extra=facts)


def _outcome(event: Event) -> dict[str, object]:
    """What happened in a word, and how it went, by the names of ECS."""
    action = event.code if isinstance(event, Noticed) else _ACTIONS[type(event)]
    facts: dict[str, object] = {"event.action": action}
    fault = _fault(event)
    if fault is not None:
        facts |= {"event.outcome": "failure", "error.code": fault.code}
    elif isinstance(event, Published):
        facts["event.outcome"] = "success"
    return facts


def _fault(event: Event) -> Failure | Fault | None:
    match event:
        case Failed(failure=fault) | TimedOut(failure=fault) | RetryScheduled(failure=fault):
            return fault
        case Rejected(faults=(first, *_)):
            return first
        case Quarantined(fault=fault):
            return fault
        case _:
            return None


def _facts_of_notice(event: Event) -> dict[str, object]:
    """A notice is of the service, and may be about an intent all the same."""
    if not isinstance(event, Noticed) or "intent_id" not in event.details:
        return {}
    return {
        "intent.id": event.details["intent_id"],
        "intent.file": event.subject,
        "correlation_id": event.details.get("correlation_id", ""),
    }


def _attempt(event: Event) -> int:
    if isinstance(event, Started | HandedBack):
        return event.attempt
    run = getattr(event, "run", None)
    return run.attempt if run is not None else 0


def _admitted(event: Event) -> str:
    assert isinstance(event, Admitted)
    return f"admitted as a retry of {event.retry_of}" if event.retry_of else "admitted"


def _rejected(event: Event) -> str:
    assert isinstance(event, Rejected)
    more = f" (and {len(event.faults) - 1} more)" if len(event.faults) > 1 else ""
    return f"rejected: {event.faults[0].message}{more}"


def _quarantined(event: Event) -> str:
    assert isinstance(event, Quarantined)
    return f"quarantined: {event.fault.message}"


def _duplicated(event: Event) -> str:
    assert isinstance(event, Duplicated)
    return f"duplicate of {event.first}, whose verdict stands; not run"


def _published(event: Event) -> str:
    assert isinstance(event, Published)
    notes = "".join(f"; {note}" for note in event.notes)
    return f"published in {format_duration(event.run.duration)}{notes}"


def _retried(event: Event) -> str:
    assert isinstance(event, RetryScheduled)
    return f"failed, will be tried again: {event.failure.message}"


def _handed_back(event: Event) -> str:
    assert isinstance(event, HandedBack)
    reason = f": {event.failure.message}" if event.failure else ""
    return f"attempt does not count ({event.cause}){reason}"


def _failed(event: Event) -> str:
    assert isinstance(event, Failed)
    return f"failed: {event.failure.message}"


def _timed_out(event: Event) -> str:
    assert isinstance(event, TimedOut)
    return f"timed out: {event.failure.message}"


def _skipped(event: Event) -> str:
    assert isinstance(event, Skipped)
    by = event.superseded_by or event.by
    return f"skipped, {event.reason.value}{f' by {by}' if by else ''}"


def _paused(event: Event) -> str:
    assert isinstance(event, Paused)
    return f"{event.target or 'everything'} paused by {event.by}: {event.why or 'no reason given'}"


def _resumed(event: Event) -> str:
    assert isinstance(event, Resumed)
    return f"{event.target or 'everything'} resumed by {event.by}"


def _opened(event: Event) -> str:
    assert isinstance(event, BreakerOpened)
    return f"paused, the environment fails and not the intents: {event.failure.message}"


def _closed(event: Event) -> str:
    assert isinstance(event, BreakerClosed)
    return f"porch answers again after {format_duration(event.after)}; going on"


def _noticed(event: Event) -> str:
    assert isinstance(event, Noticed)
    facts = [f"{name}={value}" for name, value in event.details.items()]
    if event.by:
        facts.append(f"by={event.by}")
    subject = f": {event.subject}" if event.subject else ""
    more = f" ({', '.join(facts)})" if facts else ""
    return legible_line(f"{meaning_of(event.code)}{subject}{more}")


def _tidied(event: Event) -> str:
    assert isinstance(event, Tidied)
    return f"{len(event.intent_ids)} intents are past their retention"


def _started(event: Event) -> str:
    assert isinstance(event, Started)
    return "started"


_LINES: dict[type[Event], tuple[int, Callable[[Event], str]]] = {
    Admitted: (_DEBUG, _admitted),
    Rejected: (_WARN, _rejected),
    Quarantined: (_WARN, _quarantined),
    Duplicated: (_INFO, _duplicated),
    Started: (_DEBUG, _started),
    Published: (_INFO, _published),
    RetryScheduled: (_WARN, _retried),
    HandedBack: (_WARN, _handed_back),
    Failed: (_ERROR, _failed),
    TimedOut: (_ERROR, _timed_out),
    Skipped: (_INFO, _skipped),
    Paused: (_WARN, _paused),
    Resumed: (_INFO, _resumed),
    BreakerOpened: (_ERROR, _opened),
    BreakerClosed: (_INFO, _closed),
    Noticed: (_WARN, _noticed),
    Tidied: (_DEBUG, _tidied),
}
# Words with hyphens, as in ECS's own examples of actions.
_ACTIONS = {kind: re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower() for kind in _LINES}
_NOTICED = {
    Severity.INFO: _DEBUG,
    Severity.LOW: _INFO,
    Severity.MEDIUM: _WARN,
    Severity.HIGH: _ERROR,
    Severity.CRITICAL: _ERROR,
}
