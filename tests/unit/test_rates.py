"""Token buckets: how much may come at once and in the long run, and when the next may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_loop.core.rates import Buckets, Episodes, Rate, tell_over_rate

NOW = 1_000.0


def taken(buckets: Buckets[str], now: float, key: str = "a", most: int = 1_000) -> int:
    return next((count for count in range(most) if not buckets.take(key, now)), most)


def test_without_a_rate_nothing_is_limited() -> None:
    buckets: Buckets[str] = Buckets(None, 1)
    assert taken(buckets, NOW) == 1_000
    assert buckets.ready_at("a") == 0.0


def test_a_burst_may_come_at_once_and_then_one_each_interval() -> None:
    buckets: Buckets[str] = Buckets(Rate(2, 1), 3)
    assert taken(buckets, NOW) == 3
    assert buckets.ready_at("a") == NOW + 0.5
    assert taken(buckets, NOW + 0.5) == 1
    assert taken(buckets, NOW + 1.5) == 2
    assert taken(buckets, NOW + 100) == 3


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets: Buckets[str] = Buckets(Rate(1, 60), 2)
    assert taken(buckets, NOW, "a") == 2
    assert taken(buckets, NOW, "b") == 2


def test_how_many_tokens_are_there_and_when_one_more_comes() -> None:
    buckets: Buckets[str] = Buckets(Rate(1, 1), 3)
    assert buckets.next_after("a", NOW) == (3, NOW + 1)
    buckets.take("a", NOW)
    assert buckets.next_after("a", NOW) == (2, NOW + 1)
    taken(buckets, NOW)
    assert buckets.next_after("a", NOW) == (0, NOW + 1)
    assert buckets.next_after("a", NOW + 1) == (1, NOW + 2)


def test_full_buckets_are_forgotten() -> None:
    buckets: Buckets[int] = Buckets(Rate(1, 1), 1)
    for key in range(10_000):
        assert buckets.take(key, NOW + key)
    assert len(buckets._full_at) < 2_000


@given(
    st.integers(1, 1_000),
    st.sampled_from([1, 60, 3600]),
    st.integers(1, 50),
    st.lists(st.floats(0, 10, allow_nan=False), max_size=60),
)
def test_no_stretch_of_time_has_more_than_burst_and_rate_allow(
    count: int, seconds: int, burst: int, pauses: list[float]
) -> None:
    rate = Rate(count, seconds)
    buckets: Buckets[str] = Buckets(rate, burst)
    now, moments = NOW, []
    for pause in pauses:
        now += pause
        moments += [now] * taken(buckets, now, most=5)
    for first, begin in enumerate(moments):
        for last, end in enumerate(moments[first:], 1):
            assert last <= burst + (end - begin) / rate.interval + 1e-6


@given(st.integers(1, 999_999), st.sampled_from([1, 60, 3600]), st.integers(1, 50))
def test_whoever_comes_at_the_moment_told_gets_a_token(
    count: int, seconds: int, burst: int
) -> None:
    buckets: Buckets[str] = Buckets(Rate(count, seconds), burst)
    now = 1_234_567.891
    taken(buckets, now, most=burst)
    for _ in range(20):
        now = max(buckets.ready_at("a"), now)
        assert buckets.take("a", now)


def test_an_episode_is_told_once_until_a_minute_was_quiet() -> None:
    episodes: Episodes[str] = Episodes()
    assert episodes.begins("a", NOW)
    assert not episodes.begins("a", NOW + 59)
    assert episodes.begins("b", NOW + 59)
    assert not episodes.begins("a", NOW + 118)
    assert episodes.begins("a", NOW + 178)


@pytest.mark.parametrize(
    ("is_over", "owners", "namespaces", "told"),
    [
        (False, {}, {}, ""),
        (True, {}, {}, "files wait for -intake-rate"),
        (
            False,
            {"ann": 1, "bob": 9},
            {"edge": 2},
            "9 files of bob wait for -owner-rate, 1 files of ann wait for -owner-rate, "
            "2 intents of edge wait for -namespace-rate",
        ),
    ],
)
def test_who_waits_is_told_in_words(
    is_over: bool, owners: dict[str, int], namespaces: dict[str, int], told: str
) -> None:
    assert tell_over_rate(is_over, owners, namespaces) == told
