"""The state table: every state meets every event."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest

from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Failed,
    FailureKind,
    HandedBack,
    IntentEvent,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.states import (
    FINAL,
    TRANSITIONS,
    UNSUCCESSFUL,
    IllegalTransition,
    State,
    evolve,
)
from tests.fakes import BEGINNING, failure_of, receipt_of

RECEIPT = receipt_of(b"intent-a.json", b"{}")
FAULT = Fault("made_up", "wrong on purpose")
RUN = Run(1, 0, BEGINNING, timedelta(seconds=1))
FAILURE = failure_of(FailureKind.TEMPORARY)
EVENTS: list[IntentEvent] = [
    Admitted(RECEIPT, "ns", "a", 5),
    Rejected(RECEIPT, (FAULT,)),
    Quarantined(RECEIPT, FAULT),
    Duplicated(RECEIPT, "ns", "a", "first"),
    Started(1),
    Published(RUN),
    RetryScheduled(RUN, FAILURE, BEGINNING),
    HandedBack(1, "shutdown"),
    Failed(FAILURE),
    TimedOut(RUN, FAILURE),
    Skipped(SkipReason.CANCELLED),
]
PAIRS = [(state, event) for state in State for event in EVENTS]
LEGAL = [pair for pair in PAIRS if (pair[0], type(pair[1])) in TRANSITIONS]
ILLEGAL = [pair for pair in PAIRS if (pair[0], type(pair[1])) not in TRANSITIONS]


def shown(value: object) -> str:
    return value.value if isinstance(value, State) else type(value).__name__


def test_every_event_of_an_intent_is_tried_here() -> None:
    assert [type(event) for event in EVENTS] == list(get_args(IntentEvent))


@pytest.mark.parametrize(("state", "event"), LEGAL, ids=shown)
def test_a_listed_transition_is_made(state: State, event: IntentEvent) -> None:
    assert evolve(state, event) is TRANSITIONS[state, type(event)]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=shown)
def test_any_other_transition_is_refused_by_name(state: State, event: IntentEvent) -> None:
    with pytest.raises(IllegalTransition, match=f"^{type(event).__name__} cannot follow {state}$"):
        evolve(state, event)


def test_nothing_leaves_a_final_state_and_something_leaves_every_other() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - FINAL


def test_every_state_can_be_reached_from_new() -> None:
    reached, edge = {State.NEW}, {State.NEW}
    while edge:
        edge = {after for (before, _), after in TRANSITIONS.items() if before in edge} - reached
        reached |= edge

    assert reached == set(State)


def test_from_every_state_that_is_not_final_a_final_one_can_be_reached() -> None:
    ending = set(FINAL)
    while (
        more := {before for (before, _), after in TRANSITIONS.items() if after in ending} - ending
    ):
        ending |= more

    assert ending == set(State)


def test_only_what_arrives_leaves_new_and_it_leaves_nothing_else() -> None:
    arriving = {event for state, event in TRANSITIONS if state is State.NEW}

    assert arriving == {Admitted, Rejected, Quarantined, Duplicated}
    assert not any(e in arriving for state, e in TRANSITIONS if state is not State.NEW)


def test_an_intent_can_be_skipped_as_long_as_it_is_not_final() -> None:
    skippable = {state for state, event in TRANSITIONS if event is Skipped}

    assert skippable == set(State) - FINAL - {State.NEW}


def test_unsuccessful_states_are_final() -> None:
    assert UNSUCCESSFUL < FINAL
