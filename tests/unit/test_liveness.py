"""When a loop counts as stuck."""

from __future__ import annotations

from conductor_loop.core.liveness import EVENT_LOOP, SILENCE_SECONDS, Liveness
from conductor_loop.core.vitals import Loop


def loop(beats: int, *, is_due: bool = True) -> Loop:
    return Loop("relay", beats, is_due, patience=10.0)


def after(*told: tuple[float, Loop], now: float) -> bool:
    """Whether the loop lives at `now`, after it was told of at these moments."""
    liveness = Liveness(0.0)
    for at, said in told:
        liveness.note([said], at)
    return liveness.verdicts(now)["relay"]


def test_a_loop_that_is_due_and_makes_no_progress_is_stuck_when_its_patience_is_over() -> None:
    told = [(float(at), loop(7)) for at in range(1, 13)]
    assert after(*told, now=11.0)
    assert not after(*told, now=11.1)


def test_a_loop_that_comes_round_now_and_then_lives() -> None:
    assert after(*((float(at), loop(at // 9)) for at in range(40)), now=40.0)


def test_a_loop_with_nothing_to_do_lives_however_long_it_rests() -> None:
    assert after(*((float(at), loop(7, is_due=False)) for at in range(100)), now=100.0)


def test_rest_before_work_does_not_count_against_it() -> None:
    assert after((0.0, loop(7, is_due=False)), (50.0, loop(7)), now=59.0)


def test_a_daemon_that_says_nothing_is_stuck_as_a_whole() -> None:
    liveness = Liveness(0.0)
    assert liveness.verdicts(SILENCE_SECONDS) == {EVENT_LOOP: True}
    assert liveness.verdicts(SILENCE_SECONDS + 0.1) == {EVENT_LOOP: False}
