"""The state machine of an intent: one table, looked up by one function."""

from __future__ import annotations

from enum import StrEnum

from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Failed,
    HandedBack,
    IntentEvent,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Skipped,
    Started,
    TimedOut,
)


class State(StrEnum):
    """Where an intent stands. `NEW` is before the journal knows it."""

    NEW = "new"
    WAITING = "waiting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    PUBLISHED = "published"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"


FINAL = frozenset(
    {
        State.PUBLISHED,
        State.FAILED,
        State.TIMED_OUT,
        State.REJECTED,
        State.QUARANTINED,
        State.DUPLICATE,
        State.SKIPPED,
    }
)
UNSUCCESSFUL = frozenset({State.FAILED, State.TIMED_OUT, State.REJECTED, State.QUARANTINED})
RETRIABLE = UNSUCCESSFUL | {State.SKIPPED}
"""Ended without a result: an operator may have it run again, so its bytes are kept."""

TRANSITIONS: dict[tuple[State, type[IntentEvent]], State] = {
    (State.NEW, Admitted): State.WAITING,
    (State.NEW, Rejected): State.REJECTED,
    (State.NEW, Quarantined): State.QUARANTINED,
    (State.NEW, Duplicated): State.DUPLICATE,
    (State.WAITING, Started): State.RUNNING,
    (State.BACKING_OFF, Started): State.RUNNING,
    (State.RUNNING, Published): State.PUBLISHED,
    (State.RUNNING, RetryScheduled): State.BACKING_OFF,
    (State.RUNNING, HandedBack): State.WAITING,
    (State.RUNNING, Failed): State.FAILED,
    (State.RUNNING, TimedOut): State.TIMED_OUT,
    (State.WAITING, Skipped): State.SKIPPED,
    (State.BACKING_OFF, Skipped): State.SKIPPED,
    (State.RUNNING, Skipped): State.SKIPPED,
}

ENDINGS: dict[type[Event], State] = {
    event: state for (_, event), state in TRANSITIONS.items() if state in FINAL
}
"""The final state that each final event leads to, wherever it comes from."""


class IllegalTransition(Exception):
    """An event that cannot happen in this state: a defect, never an operator's mistake."""


def evolve(state: State, event: IntentEvent) -> State:
    """Look up the next state. Raises IllegalTransition on a miss, and nothing has changed."""
    try:
        return TRANSITIONS[state, type(event)]
    except KeyError:
        raise IllegalTransition(f"{type(event).__name__} cannot follow {state.value}") from None
