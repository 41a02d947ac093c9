"""An outage is told from an intent that fails on its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conductor_loop.core.arrival import Delivered, Undelivered
from conductor_loop.core.breaker import Breaker, BreakerPolicy
from conductor_loop.core.events import FailureKind
from conductor_loop.core.intent import Target
from tests.fakes import FakeClock, delivered, undelivered

A, B, C = (Target("ns", name) for name in "abc")
CLOCK = FakeClock()
DELIVERED = delivered(CLOCK)
PERMANENT, TEMPORARY, TIMEOUT, CRASHED, ENVIRONMENT = (undelivered(CLOCK, k) for k in FailureKind)
POLICY = BreakerPolicy(patience=60, first_probe=1, slowest_probe=30)
NOW = 1_000.0
UNANSWERED = [TEMPORARY, TIMEOUT]


def opened_breaker(by: str = "x", target: Target = A) -> Breaker:
    breaker = Breaker(POLICY)
    assert breaker.rules_environment(by, target, ENVIRONMENT, NOW)
    return breaker


def names(outcome: Delivered | Undelivered) -> str:
    return "delivered" if isinstance(outcome, Delivered) else outcome.failure.kind.value


# Opening.


@pytest.mark.parametrize("outcome", [DELIVERED, PERMANENT, *UNANSWERED], ids=names)
def test_one_outcome_of_one_target_is_its_own(outcome: Delivered | Undelivered) -> None:
    breaker = Breaker(POLICY)

    assert not breaker.rules_environment("x", A, outcome, NOW)
    assert not breaker.is_open
    assert breaker.opened_at is None


def test_a_publisher_that_cannot_be_started_opens_it_at_once() -> None:
    breaker = opened_breaker()

    assert breaker.is_open
    assert breaker.opened_at == NOW
    assert breaker.tried == {A}


@pytest.mark.parametrize("first", UNANSWERED, ids=names)
@pytest.mark.parametrize("second", UNANSWERED, ids=names)
def test_two_targets_in_a_row_without_an_answer_open_it(
    first: Undelivered, second: Undelivered
) -> None:
    breaker = Breaker(POLICY)

    assert not breaker.rules_environment("x", A, first, NOW)
    assert breaker.rules_environment("y", B, second, NOW + 1)
    assert breaker.opened_at == NOW + 1


@pytest.mark.parametrize("answer", [DELIVERED, PERMANENT], ids=names)
def test_an_answer_in_between_starts_the_row_anew(answer: Delivered | Undelivered) -> None:
    breaker = Breaker(POLICY)
    breaker.rules_environment("x", A, TEMPORARY, NOW)
    breaker.rules_environment("z", C, answer, NOW)

    assert not breaker.rules_environment("y", B, TEMPORARY, NOW)


def test_one_target_failing_again_and_again_opens_it_when_patience_ends() -> None:
    breaker = Breaker(POLICY)

    rulings = [
        breaker.rules_environment("x", A, TIMEOUT, NOW + seconds) for seconds in (0, 31, 59.9, 60)
    ]

    assert rulings == [False, False, False, True]
    assert breaker.is_open


def test_deadlines_of_one_target_open_it_only_after_all_attempts_of_an_intent() -> None:
    breaker = Breaker(BreakerPolicy(patience=60, deadlines=130))
    for seconds in (0, 35, 75, 129):
        assert not breaker.rules_environment("x", A, TIMEOUT, NOW + seconds)
    assert breaker.rules_environment("x", A, TIMEOUT, NOW + 130)


@pytest.mark.parametrize("gap", [130, 130.1])
def test_another_target_counts_until_all_attempts_of_an_intent_could_have_been_since(
    gap: float,
) -> None:
    breaker = Breaker(BreakerPolicy(patience=60, deadlines=130))
    breaker.rules_environment("x", A, TEMPORARY, NOW)
    assert breaker.rules_environment("y", B, TIMEOUT, NOW + gap) is (gap <= 130)


def test_a_target_that_fails_anew_after_a_long_silence_begins_a_new_series() -> None:
    breaker = Breaker(POLICY)
    assert not breaker.rules_environment("x", A, TEMPORARY, NOW)
    assert not breaker.rules_environment("y", A, TEMPORARY, NOW + 61)
    assert not breaker.rules_environment("y", A, TEMPORARY, NOW + 120)
    assert breaker.rules_environment("y", A, TEMPORARY, NOW + 121)


def test_other_failures_of_one_target_do_not_wait_for_that() -> None:
    breaker = Breaker(BreakerPolicy(patience=60, deadlines=130))
    assert not breaker.rules_environment("x", A, TIMEOUT, NOW)
    assert breaker.rules_environment("x", A, TEMPORARY, NOW + 60)


# Open.


@pytest.mark.parametrize("outcome", [*UNANSWERED, ENVIRONMENT], ids=names)
def test_while_it_is_open_no_failure_without_an_answer_is_an_intents_own(
    outcome: Undelivered,
) -> None:
    assert opened_breaker().rules_environment("y", B, outcome, NOW)


def test_each_round_of_probes_has_a_pause_twice_as_long_up_to_the_slowest() -> None:
    breaker, now, pauses = opened_breaker(), NOW, []
    for _ in range(7):
        assert not breaker.may_probe(breaker.probe_at - 0.001)
        assert breaker.may_probe(breaker.probe_at)
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker.start_probe("p", A)
        assert breaker.rules_environment("p", A, TEMPORARY, now)

    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_targets_not_tried_yet_are_probed_without_a_longer_pause() -> None:
    breaker, now, pauses = opened_breaker(target=A), NOW, []
    for target in (B, C, Target("ns", "d")):
        pauses.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker.start_probe("p", target)
        breaker.rules_environment("p", target, ENVIRONMENT, now)

    assert pauses == [1, 1, 1]


def test_there_is_one_probe_at_a_time() -> None:
    breaker = opened_breaker()
    breaker.start_probe("p", B)

    assert not breaker.may_probe(NOW + 3_600)


def test_a_probe_that_is_hastened_need_not_wait_and_is_still_one_at_a_time() -> None:
    breaker = opened_breaker()
    assert not breaker.may_probe(NOW + 0.5)

    breaker.hasten(NOW + 0.5)

    assert breaker.may_probe(NOW + 0.5)
    breaker.start_probe("p", B)
    assert not breaker.may_probe(NOW + 0.5)


def test_an_open_breaker_names_the_newest_failure_that_holds_it() -> None:
    breaker = opened_breaker(target=A)
    breaker.start_probe("p", B)
    breaker.rules_environment("p", B, TEMPORARY, NOW + 1)

    assert breaker.because == TEMPORARY.failure


def test_a_closed_breaker_needs_no_probe() -> None:
    assert not Breaker(POLICY).may_probe(NOW)


def test_every_target_that_got_no_answer_is_avoided_next() -> None:
    breaker = opened_breaker(target=A)
    breaker.start_probe("p", B)

    breaker.rules_environment("p", B, ENVIRONMENT, NOW + 1)

    assert breaker.tried == {A, B}


def test_a_target_tried_again_begins_a_new_round() -> None:
    breaker = opened_breaker(target=A)
    breaker.start_probe("p", B)
    breaker.rules_environment("p", B, ENVIRONMENT, NOW + 1)

    breaker.start_probe("x", A)
    breaker.rules_environment("x", A, ENVIRONMENT, NOW + 2)

    assert breaker.tried == {A}


def test_failures_that_were_in_flight_neither_delay_the_probe_nor_end_it() -> None:
    breaker = opened_breaker()
    breaker.start_probe("p", B)
    before = breaker.probe_at

    breaker.rules_environment("y", B, ENVIRONMENT, NOW + 0.5)

    assert (breaker.probe_at, breaker.tried) == (before, {A})
    assert not breaker.may_probe(NOW + 1)


@pytest.mark.parametrize("end", [Breaker.abandon_probe, Breaker.forget], ids=["stopped", "final"])
def test_a_probe_that_ends_without_an_outcome_makes_way_for_the_next(
    end: Callable[[Breaker, str], None],
) -> None:
    breaker = opened_breaker()
    breaker.start_probe("p", B)
    end(breaker, "another")
    assert not breaker.may_probe(NOW + 1)

    end(breaker, "p")

    assert breaker.may_probe(NOW + 1)


# Closing.


@pytest.mark.parametrize("answer", [DELIVERED, PERMANENT], ids=names)
@pytest.mark.parametrize("by", ["the probe", "another"])
def test_any_answer_closes_it(answer: Delivered | Undelivered, by: str) -> None:
    breaker = opened_breaker()
    breaker.start_probe("the probe", B)

    assert not breaker.rules_environment(by, B, answer, NOW + 1)
    assert not breaker.is_open
    assert breaker.opened_at is None


def test_after_closing_the_row_and_the_pauses_start_anew() -> None:
    breaker = opened_breaker()
    breaker.start_probe("p", B)
    breaker.rules_environment("p", B, TEMPORARY, NOW + 1)
    breaker.rules_environment("p", B, DELIVERED, NOW + 3)

    assert not breaker.rules_environment("q", C, TEMPORARY, NOW + 4)
    assert breaker.rules_environment("r", B, TEMPORARY, NOW + 5)
    assert breaker.probe_at == NOW + 6
    assert breaker.may_probe(NOW + 6)


# An intent's own failure.


def struck(breaker: Breaker, by: str = "x", target: Target = A) -> Breaker:
    """Another had an answer, and then an intent had none."""
    breaker.rules_environment("y", B, DELIVERED, NOW)
    breaker.rules_environment(by, target, ENVIRONMENT, NOW)
    return breaker


@pytest.mark.parametrize("again", [*UNANSWERED, ENVIRONMENT], ids=names)
def test_who_had_none_after_others_had_answers_twice_fails_on_its_own(again: Undelivered) -> None:
    breaker = struck(struck(Breaker(POLICY)))
    breaker.rules_environment("y", B, DELIVERED, NOW + 1)

    for attempt in range(3):
        assert not breaker.rules_environment("x", A, again, NOW + 2 + 60 * attempt)
        assert not breaker.is_open


def test_one_outage_is_not_held_against_those_it_met() -> None:
    breaker = struck(Breaker(POLICY))

    for seconds in range(1, 100):
        assert breaker.rules_environment("x", A, ENVIRONMENT, NOW + seconds)


def test_an_outage_from_the_very_start_is_held_against_nobody() -> None:
    breaker = opened_breaker(by="x", target=A)

    assert breaker.rules_environment("x", A, ENVIRONMENT, NOW + 1)
    assert struck(breaker).is_open


def test_who_fails_on_its_own_does_so_while_it_is_open_too() -> None:
    breaker = struck(struck(Breaker(POLICY)))
    breaker.rules_environment("z", C, ENVIRONMENT, NOW + 2)
    breaker.start_probe("x", A)

    assert not breaker.rules_environment("x", A, ENVIRONMENT, NOW + 3)
    assert breaker.is_open
    assert breaker.may_probe(NOW + 4)


def test_death_by_a_signal_opens_nothing() -> None:
    breaker = Breaker(POLICY)

    assert not breaker.rules_environment("x", A, CRASHED, NOW)
    assert not breaker.rules_environment("y", B, CRASHED, NOW + 100)
    assert not breaker.is_open


def test_a_deadline_that_only_the_intent_asked_for_opens_nothing() -> None:
    breaker = Breaker(POLICY)

    for name, target in (("x", A), ("y", B)):
        late = breaker.rules_environment(name, target, TIMEOUT, NOW, has_own_deadline=True)
        assert not late
    assert not breaker.is_open


def test_a_deadline_that_only_the_intent_asked_for_is_held_against_nobody_in_an_outage() -> None:
    breaker = opened_breaker()

    assert breaker.rules_environment("y", B, TIMEOUT, NOW, has_own_deadline=True)


def test_who_had_no_failure_before_still_opens_it() -> None:
    breaker = opened_breaker(by="x", target=A)
    breaker.rules_environment("y", B, DELIVERED, NOW + 1)

    assert breaker.rules_environment("z", C, ENVIRONMENT, NOW + 2)


@pytest.mark.parametrize("answer", [DELIVERED, PERMANENT], ids=names)
def test_an_answer_of_its_own_clears_an_intent(answer: Delivered | Undelivered) -> None:
    breaker = struck(struck(Breaker(POLICY)))
    breaker.rules_environment("x", A, answer, NOW + 1)

    assert breaker.rules_environment("x", A, ENVIRONMENT, NOW + 2)


def test_what_is_final_is_held_against_nobody() -> None:
    breaker = opened_breaker(by="x", target=A)
    breaker.forget("x")
    breaker.rules_environment("y", B, DELIVERED, NOW + 1)

    assert breaker.rules_environment("x", A, ENVIRONMENT, NOW + 2)
