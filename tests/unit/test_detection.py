"""Bursts: quiet days raise no alarm, floods do, and the page says what was measured."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from conductor_loop.core.detection.bursts import BurstPolicy, Series
from conductor_loop.core.detection.poisson import least_unlikely, log_tail
from conductor_loop.core.detection.restraint import Restraint
from conductor_loop.core.detection.streams import MOST_SUBMITTERS, Streams
from conductor_loop.core.events import Admitted, Receipt, Rejected
from tests import simulated_days as days
from tests.fakes import BEGINNING

POLICY = BurstPolicy()
FLOOD = 200


def exact_tail(count: int, mean: float) -> float:
    """One less the sum from below: right to 1e-12 or so, which is enough for great tails."""
    below = (math.exp(-mean) * mean**k / math.factorial(k) for k in range(count))
    return 1.0 - math.fsum(below)


def minutes_of_flood(series: Series, minute: int) -> bool:
    told = [series.add(minute) for _ in range(FLOOD)]
    return any(told)


@pytest.mark.parametrize("mean", [0.1, 1.0, 7.5, 40.0])
@pytest.mark.parametrize("above", [1, 3, 8])
def test_the_tail_is_what_summing_from_below_gives(mean: float, above: int) -> None:
    count = math.floor(mean) + above

    assert math.exp(log_tail(count, mean)) == pytest.approx(exact_tail(count, mean), abs=1e-11)


def test_a_tail_too_small_for_a_double_is_still_told() -> None:
    # ln(e^-1 / 1000!) and next to nothing: Stirling gives ln 1000! = 5912.128.
    assert log_tail(1_000, 1.0) == pytest.approx(-5_913.127, abs=0.01)


def test_a_tail_far_out_at_a_high_rate_is_finite() -> None:
    assert -math.inf < log_tail(1_100_000, 1_000_000.0) < -1_000


def test_a_count_at_the_mean_is_nothing_special() -> None:
    assert log_tail(5, 5.0) == 0.0


@pytest.mark.parametrize("mean", [1 / 60, 1.0, 20.0, 5_000.0])
def test_the_least_unlikely_count_is_unlikely_and_one_less_is_not(mean: float) -> None:
    count = least_unlikely(mean, POLICY.log_p)

    assert log_tail(count, mean) < POLICY.log_p <= log_tail(count - 1, mean)


@pytest.mark.parametrize("traffic", days.QUIET)
def test_thirty_quiet_days_raise_no_alarm(traffic: str) -> None:
    assert days.alarms(days.QUIET[traffic]) == 0


@pytest.mark.parametrize(("ordinary", "more", "within"), [(0.0, 30.0, 2), (4.0, 30.0, 1)])
def test_every_burst_of_thirty_a_minute_is_found(ordinary: float, more: float, within: int) -> None:
    assert days.detection(ordinary, more) == days.Detection(found=20, within=within)


def test_the_page_tells_what_is_measured() -> None:
    # When this fails: python -m tests.simulated_days
    assert days.table() in days.PAGE.read_text(encoding="utf-8")


def test_nothing_is_remarkable_while_there_is_no_past() -> None:
    series = Series(POLICY, 0)

    assert not any(minutes_of_flood(series, minute) for minute in range(POLICY.warm_up))


def test_a_flood_after_hours_of_silence_is_told() -> None:
    assert minutes_of_flood(Series(POLICY, 0), 10_000)


def test_a_handful_after_hours_of_silence_is_not() -> None:
    series = Series(POLICY, 0)

    assert not any(series.add(10_000) for _ in range(POLICY.least - 1))


def test_a_flood_that_lasts_is_told_once_and_then_is_the_new_ordinary() -> None:
    series = Series(POLICY, 0)
    told = [minute for minute in range(300, 420) if minutes_of_flood(series, minute)]

    assert told == [300]


def test_batches_that_came_twice_are_a_habit() -> None:
    series = Series(POLICY, 0)

    assert [minutes_of_flood(series, 300 + 60 * n) for n in range(4)] == [True, True, False, False]


def test_a_burst_says_what_was_expected() -> None:
    series = Series(POLICY, 0)
    burst = next(b for _ in range(FLOOD) if (b := series.add(10_000)))

    assert burst.details() == {
        "count": "20", "expected": "0.0", "minutes": "1", "log10_p": "-54.0"
    }  # fmt: skip


def arrival(by: str) -> Rejected:
    return Rejected(Receipt(b"intent-x.json", BEGINNING, submitted_by=by), ())


def codes_of_flood(streams: Streams, by: str, minute: int) -> set[tuple[str, str]]:
    return {
        (code, subject)
        for _ in range(FLOOD)
        for code, subject, _ in streams.count(arrival(by), minute)
    }


def test_a_flood_is_told_for_arrivals_for_refusals_and_for_who_handed_it_over() -> None:
    assert codes_of_flood(Streams(0), "mallory", 500) == {
        ("arrivals_unusual", ""), ("rejections_unusual", ""), ("submitter_unusual", "mallory"),
    }  # fmt: skip


def test_what_happened_before_the_start_is_not_counted() -> None:
    assert codes_of_flood(Streams(1_000), "mallory", 500) == set()


def test_an_operators_retry_is_no_arrival() -> None:
    retry = Admitted(
        Receipt(b"intent-x.json", BEGINNING),
        "default",
        "web",
        5,
        timeout=timedelta(1),
        retry_of="X",
    )
    streams = Streams(0)

    assert not [told for _ in range(FLOOD) for told in streams.count(retry, 500)]


def test_the_number_of_submitters_is_bounded_and_who_was_forgotten_has_no_past() -> None:
    streams = Streams(0)
    for number in range(MOST_SUBMITTERS + 1):
        list(streams.count(arrival(f"user-{number}"), 500))

    told = codes_of_flood(streams, "user-0", 501)

    assert ("submitter_unusual", "user-0") not in told


def test_a_flood_of_one_signal_is_held_back_and_counted() -> None:
    restraint = Restraint(most=2, seconds=60.0)

    assert [restraint.passes("symlink_seen", now) for now in (0, 1, 2, 3, 61)] == [
        True, True, False, False, True,
    ]  # fmt: skip
    assert restraint.take_held_back("symlink_seen") == 2
    assert restraint.take_held_back("symlink_seen") == 0
