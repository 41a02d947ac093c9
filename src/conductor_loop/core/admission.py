"""Decision 1: is what arrived taken, refused, set aside or known already?"""

from __future__ import annotations

from collections.abc import Callable

from conductor_loop.core.arrival import Arrival, Content, HardLinked, NotReadable, Special, TooLarge
from conductor_loop.core.events import Admitted, Duplicated, Quarantined, Rejected
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.records import Known
from conductor_loop.core.states import UNSUCCESSFUL, State

IMPORTED = "imported"
"""Stands for the id of an intent that the original program had processed."""

Admission = Admitted | Rejected | Quarantined | Duplicated


def admit(
    arrival: Arrival,
    rules: IntakeRules,
    newest: Callable[[Target], Known | None],
    is_imported: Callable[[bytes, str], bool],
) -> Admission:
    """Judge one arrival; `newest` gives the newest admitted intent of a target."""
    match arrival.content:
        case Content(body):
            reading = read_intent(body, rules)
        case Special(what):
            return Quarantined(arrival.receipt, _special(what))
        case TooLarge(limit):
            reading = Unreadable((_too_large(arrival.receipt.size, limit),))
        case HardLinked(links):
            reading = Unreadable((_hard_linked(links),))
        case NotReadable(user):
            reading = Unreadable((_not_readable(user),))
    if isinstance(reading, Unreadable):
        return Rejected(
            arrival.receipt,
            reading.faults,
            reading.namespace,
            reading.target,
            reading.correlation_id,
        )
    first = _first_of_the_same(arrival, newest(reading.target), is_imported)
    if first is not None:
        return _duplicated(arrival, reading, first)
    return _admitted(arrival, reading)


def _first_of_the_same(
    arrival: Arrival, known: Known | None, is_imported: Callable[[bytes, str], bool]
) -> str | None:
    receipt = arrival.receipt
    if known is None:
        return IMPORTED if is_imported(receipt.name, receipt.digest) else None
    if (known.name, known.digest) != (receipt.name, receipt.digest):
        return None
    # What failed, or was skipped without a result, may be asked for again.
    if known.is_gone or known.state in UNSUCCESSFUL or known.state is State.SKIPPED:
        return None
    return known.intent_id


def _duplicated(arrival: Arrival, intent: Intent, first: str) -> Duplicated:
    target = intent.target
    return Duplicated(arrival.receipt, target.namespace, target.name, first, intent.correlation_id)


def _admitted(arrival: Arrival, intent: Intent) -> Admitted:
    return Admitted(
        arrival.receipt,
        intent.target.namespace,
        intent.target.name,
        intent.priority,
        intent.correlation_id,
        intent.timeout,
    )


def _special(what: str) -> Fault:
    return Fault(
        f"special_{what.lower().replace(' ', '_')}",
        f"not a regular file but a {what}; it was never opened",
        "hand over a regular file: write it under another name, then rename it to intent-*.json",
    )


def _too_large(size: int, limit: int) -> Fault:
    # A stream on standard input ends nobody knows where.
    told = f"{size:,}" if size else "too many"
    return Fault(
        "too_large",
        f"the file has {told} bytes, the limit is {limit:,}; it was not read",
        "make it smaller, or raise CONDUCTOR_MAX_FILE_SIZE",
    )


def _not_readable(user: str) -> Fault:
    return Fault(
        "not_readable",
        f"the file's mode and owner keep {user}, who runs this, from reading it",
        "hand it over readable for that user: chmod a+r, or a group that both are in",
    )


def _hard_linked(links: int) -> Fault:
    return Fault(
        "hard_linked",
        f"the file has {links} names, so somebody else could change it; it was not read",
        "hand over a file of its own (cp), or remove the other links within the debounce",
    )
