"""What the outcome of an attempt means: a table of outcomes, counts and rulings."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.arrival import Abandoned, Delivered
from conductor_loop.core.events import (
    Failed,
    FailureKind,
    HandedBack,
    Output,
    Published,
    RetryScheduled,
    Run,
    TimedOut,
)
from conductor_loop.core.settlement import (
    RetryPolicy,
    Settlement,
    Tally,
    backoff,
    longest_course,
    recover,
    settle,
)
from tests.fakes import BEGINNING, FakeClock, failure_of, undelivered

CLOCK = FakeClock()
POLICY = RetryPolicy(max_attempts=3, backoff=timedelta(seconds=1))
MIDDLE = 0.5
RULED_OWN = False
PERMANENT, TEMPORARY, TIMEOUT, CRASHED, ENVIRONMENT = FailureKind


def settled(
    kind: FailureKind, failures: int = 0, *, environment: bool = False, attempts: int = 3
) -> Settlement:
    policy = RetryPolicy(max_attempts=attempts, backoff=timedelta(seconds=1))
    tally = Tally(attempt=7, failures=failures)
    return settle(tally, undelivered(CLOCK, kind), policy, environment, BEGINNING, MIDDLE)


@pytest.mark.parametrize(
    ("kind", "failures", "environment", "expected"),
    [
        (PERMANENT, 0, False, Failed),
        (PERMANENT, 0, True, Failed),
        (TEMPORARY, 0, False, RetryScheduled),
        (TEMPORARY, 1, False, RetryScheduled),
        (TEMPORARY, 2, False, Failed),
        (TEMPORARY, 2, True, HandedBack),
        (TIMEOUT, 1, False, RetryScheduled),
        (TIMEOUT, 2, False, TimedOut),
        (TIMEOUT, 2, True, HandedBack),
        (CRASHED, 1, False, RetryScheduled),
        (CRASHED, 2, False, Failed),
        (CRASHED, 2, True, HandedBack),
        (ENVIRONMENT, 0, True, HandedBack),
        (ENVIRONMENT, 1, False, RetryScheduled),
        (ENVIRONMENT, 2, False, Failed),
    ],
)
def test_a_failed_attempt_means(
    kind: FailureKind, failures: int, environment: bool, expected: type[Settlement]
) -> None:
    assert type(settled(kind, failures, environment=environment)) is expected


@pytest.mark.parametrize("attempts", [1, 2, 5])
@pytest.mark.parametrize("kind", [TEMPORARY, TIMEOUT, CRASHED])
def test_an_intent_has_exactly_as_many_attempts_as_the_policy_gives(
    kind: FailureKind, attempts: int
) -> None:
    events = [settled(kind, failures, attempts=attempts) for failures in range(attempts)]

    assert [type(e) is RetryScheduled for e in events] == [True] * (attempts - 1) + [False]


def test_success_carries_what_was_written_and_how_the_attempt_went() -> None:
    outputs = (Output("ns/a/scaling-patch.yaml", "ab"),)
    outcome = Delivered(
        4, BEGINNING, timedelta(seconds=2), outputs, "", ("replaced a hand edit",), "cd"
    )

    event = settle(Tally(7, 2), outcome, POLICY, RULED_OWN, BEGINNING, MIDDLE)

    run = Run(7, 4, BEGINNING, timedelta(seconds=2), "cd")
    assert event == Published(run, outputs, "", ("replaced a hand edit",))


def test_an_abandoned_attempt_goes_back_uncounted_with_its_cause() -> None:
    event = settle(Tally(7, 2), Abandoned("shutdown"), POLICY, RULED_OWN, BEGINNING, MIDDLE)

    assert event == HandedBack(7, "shutdown")


def test_what_the_environment_did_is_told_but_not_counted() -> None:
    event = settled(ENVIRONMENT, environment=True)

    assert event == HandedBack(7, "environment", failure_of(ENVIRONMENT))


def test_a_retry_waits_from_now_for_its_backoff() -> None:
    event = settled(TEMPORARY, failures=1)

    assert isinstance(event, RetryScheduled)
    assert event.not_before == BEGINNING + timedelta(seconds=2)
    assert event.run.attempt == 7


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (10_000, 300)]
)
def test_the_backoff_doubles_up_to_the_longest(failures: int, seconds: int) -> None:
    assert backoff(POLICY, failures, MIDDLE) == timedelta(seconds=seconds)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_the_backoff_is_spread_over_a_quarter_either_way(failures: int, jitter: float) -> None:
    middle, spread = backoff(POLICY, failures, MIDDLE), backoff(POLICY, failures, jitter)

    assert middle * 0.75 <= spread <= middle * 1.25


def test_a_policy_without_backoff_retries_at_once() -> None:
    assert backoff(RetryPolicy(backoff=timedelta(0)), 5, MIDDLE) == timedelta(0)


def test_the_longest_course_has_every_deadline_and_the_longest_pauses_in_between() -> None:
    policy = RetryPolicy(max_attempts=3, backoff=timedelta(seconds=1))
    course = longest_course(policy, timedelta(seconds=40))
    assert course == timedelta(seconds=3 * 40 + 1.25 * (1 + 2))


def test_an_intent_survives_as_many_deaths_of_the_daemon_as_the_policy_says() -> None:
    policy = RetryPolicy(max_crashes=2)

    events = [recover(Tally(n, 0, n - 1), "daemon_ended", policy) for n in (1, 2, 3)]

    assert events[:2] == [HandedBack(1, "daemon_ended"), HandedBack(2, "daemon_ended")]
    assert isinstance(events[2], Failed)
    assert events[2].failure.kind is CRASHED
    assert "3 times" in events[2].failure.message


def test_the_death_of_the_spawner_counts_as_one_of_the_daemon() -> None:
    policy, late = RetryPolicy(max_crashes=2), Abandoned("spawner_ended")

    events = [settle(Tally(n, 0, n - 1), late, policy, False, BEGINNING, 0.0) for n in (1, 2, 3)]

    assert events[:2] == [HandedBack(1, "spawner_ended"), HandedBack(2, "spawner_ended")]
    assert isinstance(events[2], Failed)
    assert events[2].failure.code == "crash_loop"


def test_giving_up_after_deaths_of_the_daemon_tells_no_attempt_it_cannot_know() -> None:
    event = recover(Tally(11, 2, 10), "daemon_ended", POLICY)

    assert isinstance(event, Failed)
    assert event.run is None
    assert event.failure.code == "crash_loop"
