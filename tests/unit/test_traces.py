"""Traces as values: ids that anybody may compute again, spans that follow from events alone."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from conductor_loop.core.events import (
    Event,
    Failed,
    HandedBack,
    Published,
    RetryScheduled,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.traces import Trace, is_sampled, span_id, trace_id, trace_of, traceparent
from tests.fakes_catalog import BEGINNING, CatalogInMemory
from tests.handoff_folder import (
    BAD_EXIT,
    RUN,
    admitted,
    duplicated,
    id_of,
    quarantined,
    rejected,
)

_FORM = r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]"


def trace(*events: Event) -> Trace:
    catalog = CatalogInMemory()
    for event in events:
        catalog.record(id_of(1), event)
    return trace_of(catalog.history(id_of(1)))


def names(told: Trace) -> list[str]:
    return [part.name for part in told.parts]


def test_ids_follow_from_the_intent_and_differ_between_attempts() -> None:
    first, again = traceparent(id_of(1), 1), traceparent(id_of(1), 2)
    assert re.fullmatch(_FORM, first)
    assert first == traceparent(id_of(1), 1)
    assert first[:36] == again[:36]
    assert first != again
    assert trace_id(id_of(1)) != trace_id(id_of(2))


def test_the_place_that_porch_is_told_is_the_span_of_its_attempt() -> None:
    told = trace(admitted(), Started(1), Published(RUN))
    attempt = told.parts[2]
    assert traceparent(id_of(1), 1) == f"00-{told.trace_id}-{attempt.span_id}-01"


def test_an_intent_that_succeeds_was_admitted_waited_ran_and_was_recorded() -> None:
    told = trace(admitted(), Started(1), Published(RUN))
    assert names(told) == ["admit", "wait", "attempt", "record"]
    assert told.root.attributes["conductor.intent.state"] == "published"
    assert told.parts[2].end - told.parts[2].start == RUN.duration
    assert told.root.error is None


def test_each_attempt_is_told_with_what_came_of_it() -> None:
    told = trace(
        admitted(),
        Started(1),
        RetryScheduled(RUN, BAD_EXIT, BEGINNING),
        Started(2),
        HandedBack(2, "daemon_ended"),
        Started(3),
        Failed(BAD_EXIT, RUN),
    )
    attempts = [part for part in told.parts if part.name == "attempt"]
    assert [part.attributes["conductor.attempt"] for part in attempts] == [1, 2, 3]
    assert [part.error is not None for part in attempts] == [True, True, True]
    assert attempts[0].attributes["process.exit.code"] == BAD_EXIT.exit_code
    assert names(told).count("wait") == 3
    assert told.root.error == BAD_EXIT.message


@pytest.mark.parametrize("cause", ["not_run", "shutdown", "paused"])
def test_what_does_not_count_and_is_nobody_s_fault_is_no_error(cause: str) -> None:
    told = trace(admitted(), Started(1), HandedBack(1, cause), Started(2), Published(RUN))
    (first, _) = (part for part in told.parts if part.name == "attempt")
    assert first.attributes["conductor.attempt.cause"] == cause
    assert first.error is None


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (rejected(), "rejected"),
        (quarantined(), "quarantined"),
        (duplicated(id_of(2)), "duplicate"),
    ],
)
def test_what_never_runs_is_a_trace_with_one_part(event: Event, state: str) -> None:
    told = trace(event)
    assert names(told) == ["admit"]
    assert told.root.attributes["conductor.intent.state"] == state
    assert (told.root.error is None) == (state == "duplicate")


def test_skipped_intents_have_waited_and_are_no_errors() -> None:
    assert names(trace(admitted(), Skipped(SkipReason.EXPIRED))) == ["admit", "wait"]
    stopped = trace(admitted(), Started(1), Skipped(SkipReason.CANCELLED, by="ops"))
    assert names(stopped) == ["admit", "wait", "attempt"]
    assert stopped.root.error is None


def test_a_clock_that_was_set_back_makes_no_span_end_before_it_began() -> None:
    early = BEGINNING - timedelta(hours=1)
    run = type(RUN)(1, 0, early, timedelta(seconds=1))
    told = trace(admitted(), Started(1), TimedOut(run, BAD_EXIT))
    assert all(part.start <= part.end for part in (told.root, *told.parts))
    assert all(told.root.start <= part.start for part in told.parts)
    assert all(part.end <= told.root.end for part in told.parts)


def test_no_two_spans_of_a_trace_have_the_same_id() -> None:
    told = trace(admitted(), Started(1), HandedBack(1, "paused"), Started(1), Published(RUN))
    ids = [part.span_id for part in (told.root, *told.parts) if part.name != "attempt"]
    assert len(ids) == len(set(ids))
    assert span_id(id_of(1), "intent") == told.root.span_id


def test_sampling_keeps_the_share_that_was_asked_for() -> None:
    ids = [trace_id(id_of(n)) for n in range(2000)]
    assert not any(is_sampled(each, 0.0) for each in ids)
    assert all(is_sampled(each, 1.0) for each in ids)
    assert 300 < sum(is_sampled(each, 0.2) for each in ids) < 500
    assert traceparent(id_of(1), 1, 0.0).endswith("-00")
