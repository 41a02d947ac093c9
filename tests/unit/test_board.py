"""What the process that answers HTTP says of a daemon, and of one that says nothing any more."""

from __future__ import annotations

from conductor_loop.core.control import Check
from conductor_loop.core.vitals import PORCH_BOUNDS, PROCESSING_BOUNDS, Counts, Vitals, histogram
from conductor_loop.web.board import Board


def board(*checks: Check, oldest_at: float | None = None) -> Board:
    """One to which a daemon has spoken a moment ago, when its clock said 100."""
    told = Board()
    counts = Counts(histogram(PROCESSING_BOUNDS), histogram(PORCH_BOUNDS))
    told.post(Vitals(100.0, counts, checks, oldest_at=oldest_at))
    return told


def test_nothing_is_ready_before_the_daemon_has_spoken() -> None:
    assert not Board().is_ready()
    assert board(Check("intake", ok=True)).is_ready()
    assert not board(Check("intake", ok=True), Check("disk", ok=False)).is_ready()


def test_the_oldest_ages_also_between_two_words_of_the_daemon() -> None:
    told = board(oldest_at=40.0)
    first = told.oldest_seconds()
    assert first >= 60.0
    assert told.oldest_seconds() > first


def test_where_nothing_waits_nothing_ages_while_the_daemon_speaks() -> None:
    assert board().oldest_seconds() == 0.0
