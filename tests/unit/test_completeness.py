"""Completeness: a table of looks at a file, and what holds for every look."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from conductor_loop.core.completeness import (
    Completeness,
    Kind,
    Never,
    Ready,
    Sighting,
    Wait,
    is_complete,
)

DEBOUNCE = timedelta(milliseconds=500)
NOW_NS, NOW = 1_700_000_000_000_000_000, 1_000.0
MS = 1_000_000

QUIET = Sighting(
    name=b"intent-a.json",
    kind=Kind.REGULAR,
    ctime_ns=NOW_NS - 600 * MS,
    links=1,
    first_seen=NOW,
)
FRESH = replace(QUIET, ctime_ns=NOW_NS - 100 * MS)
FUTURE = replace(QUIET, ctime_ns=NOW_NS + 3_600_000 * MS)


def judged(sighting: Sighting, debounce: timedelta = DEBOUNCE) -> Completeness:
    return is_complete(sighting, NOW_NS, NOW, debounce)


@pytest.mark.parametrize(
    ("sighting", "expected"),
    [
        (QUIET, Ready()),
        (FRESH, Wait(0.4)),
        (replace(FRESH, arrived_by_rename=True), Ready()),
        (replace(QUIET, ctime_ns=NOW_NS - 500 * MS), Ready()),
        (replace(QUIET, ctime_ns=0), Ready()),
        # A ctime in the future counts from the first look.
        (FUTURE, Wait(0.5)),
        (replace(FUTURE, first_seen=NOW - 0.2), Wait(0.3)),
        (replace(FUTURE, first_seen=NOW - 0.5), Ready()),
        (replace(FUTURE, arrived_by_rename=True), Ready()),
        # A writer is waited for, however quiet the file is.
        (replace(QUIET, writer_open=True), Wait(0.5)),
        # A second link gets a debounce of its own, then the claim tells.
        (replace(QUIET, links=2), Wait(0.5)),
        (replace(QUIET, links=2, arrived_by_rename=True), Wait(0.5)),
        (replace(QUIET, links=2, first_seen=NOW - 0.5), Ready()),
        (replace(FRESH, links=2, first_seen=NOW - 0.5), Wait(0.4)),
        # What is no file has no contents to wait for.
        (replace(FRESH, kind=Kind.SPECIAL), Ready()),
        (replace(QUIET, kind=Kind.FOLDER), Never()),
    ],
)
def test_each_look_has_its_verdict(sighting: Sighting, expected: Completeness) -> None:
    verdict = judged(sighting)
    if isinstance(expected, Wait):
        assert isinstance(verdict, Wait)
        assert verdict.seconds == pytest.approx(expected.seconds)
    else:
        assert verdict == expected


def test_without_a_debounce_only_an_open_writer_is_waited_for() -> None:
    assert judged(FRESH, timedelta(0)) == Ready()
    assert judged(FUTURE, timedelta(0)) == Ready()
    verdict = judged(replace(FRESH, writer_open=True), timedelta(0))
    assert isinstance(verdict, Wait)
    assert verdict.seconds > 0


sightings = st.builds(
    Sighting,
    name=st.just(b"intent-a.json"),
    kind=st.sampled_from(Kind),
    ctime_ns=st.integers(0, 2 * NOW_NS),
    links=st.integers(1, 3),
    first_seen=st.floats(0, NOW),
    arrived_by_rename=st.booleans(),
    writer_open=st.booleans(),
)
debounces = st.integers(0, 60_000).map(lambda ms: timedelta(milliseconds=ms))


@given(sightings, debounces)
def test_nothing_waits_longer_than_a_debounce_at_a_time(
    sighting: Sighting, debounce: timedelta
) -> None:
    verdict = judged(sighting, debounce)
    if isinstance(verdict, Wait):
        assert 0 < verdict.seconds <= max(debounce.total_seconds(), 0.05)


@given(sightings, debounces)
def test_a_file_that_nobody_touches_is_ready_after_its_wait(
    sighting: Sighting, debounce: timedelta
) -> None:
    verdict = judged(sighting, debounce)
    if not isinstance(verdict, Wait):
        return
    slept = verdict.seconds + 0.001
    later = is_complete(
        replace(sighting, writer_open=False), NOW_NS + int(slept * 1e9), NOW + slept, debounce
    )
    # The wall clock may have passed a ctime that was ahead; then quiet is measured from there.
    has_caught_up = NOW_NS < sighting.ctime_ns <= NOW_NS + int(slept * 1e9)
    assert later == Ready() or has_caught_up


@given(sightings, debounces, st.floats(0, 100))
def test_time_passing_never_makes_a_settled_file_wait(
    sighting: Sighting, debounce: timedelta, seconds: float
) -> None:
    settled = sighting.ctime_ns <= NOW_NS
    if settled and judged(sighting, debounce) == Ready():
        later = is_complete(sighting, NOW_NS + int(seconds * 1e9), NOW + seconds, debounce)
        assert later == Ready()
