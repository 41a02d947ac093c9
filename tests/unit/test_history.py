"""Throughput and latency, from counts that only grow."""

from __future__ import annotations

import pytest

from conductor_loop.core.vitals import PORCH_BOUNDS, PROCESSING_BOUNDS, Counts, Vitals, histogram
from conductor_loop.web.history import History, quantile


def vitals(at: float, published: int = 0, failed: int = 0, *took: float) -> Vitals:
    counts = Counts(histogram(PROCESSING_BOUNDS), histogram(PORCH_BOUNDS))
    counts.ended = {"published": published, "failed": failed}
    for seconds in took:
        counts.processing.add(seconds)
    return Vitals(at, counts, waiting=2, in_folder=3)


def test_a_step_tells_what_ended_a_second_and_how_long_it_took() -> None:
    history = History()
    history.add(vitals(100.0))
    history.add(vitals(103.0, 9))
    history.add(vitals(105.0, 40, 10, *[0.02] * 50))
    (sample,) = history.samples()
    assert (sample.succeeded, sample.failed, sample.queue) == (8.0, 2.0, 5)
    assert sample.p50 is not None
    assert 0.01 < sample.p50 <= 0.025


def test_the_last_minute_remembers_what_a_step_has_forgotten() -> None:
    history = History()
    for at in range(0, 46, 5):
        ended = 47 if at >= 20 else 0
        history.add(now := vitals(float(at), ended, 0, *[0.02] * ended))
    minute = history.last_minute(now)
    assert minute is not None
    assert history.samples()[-1].p95 is None
    assert minute.p95 is not None
    assert 0.01 < minute.p95 <= 0.025
    assert minute.succeeded == 47 / 45


def test_what_ended_before_the_last_minute_is_no_part_of_it() -> None:
    history = History()
    for at in range(0, 121, 5):
        ended = 47 if at >= 20 else 0
        history.add(now := vitals(float(at), ended, 0, *[0.02] * ended))
    minute = history.last_minute(now)
    assert minute is not None
    assert (minute.succeeded, minute.p95) == (0.0, None)


def test_at_the_first_word_there_is_no_minute_yet() -> None:
    history = History()
    assert history.last_minute(vitals(100.0)) is None
    history.add(first := vitals(100.0))
    assert history.last_minute(first) is None


def test_a_clock_that_is_set_back_makes_no_sample_and_no_end_of_it() -> None:
    history = History()
    for at in (100.0, 50.0, 56.0):
        history.add(vitals(at, int(at)))
    assert len(history.samples()) == 1


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1.0), (0.25, 0.5), (1.0, 2.0)])
def test_a_quantile_is_linear_within_its_bucket(share: float, expected: float) -> None:
    assert quantile((1.0, 2.0), [2, 2, 0], share) == expected


def test_of_nothing_there_is_no_quantile_and_of_the_last_bucket_its_bound() -> None:
    assert quantile((1.0, 2.0), [0, 0, 0], 0.5) is None
    assert quantile((1.0, 2.0), [0, 0, 5], 0.5) == 2.0
