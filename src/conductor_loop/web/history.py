"""Throughput and latency over the last quarter of an hour, from what the daemon counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from conductor_loop.core.states import UNSUCCESSFUL
from conductor_loop.core.vitals import Vitals

STEP_SECONDS = 5.0
_STEPS = 180
_WINDOW_SECONDS = 60.0


class Sample(msgspec.Struct, frozen=True):
    """One step, or the last minute; `p50` and `p95` are seconds, None when nothing ended in it."""

    at: float
    succeeded: float
    """A second, as the next one."""
    failed: float
    p50: float | None
    p95: float | None
    queue: int


class History:
    """Samples of one step each, oldest first, bounded."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_STEPS)
        self._last: Vitals | None = None
        # What each step began with, for as many steps as a minute has, and its own beginning.
        self._begun: deque[Vitals] = deque(maxlen=int(_WINDOW_SECONDS / STEP_SECONDS) + 1)

    def add(self, vitals: Vitals) -> None:
        """Note the newest counts; a sample is made once a step has passed."""
        last = self._last
        if last is None or vitals.counts.ended.keys() < last.counts.ended.keys():
            self._begin(vitals)
            return
        seconds = vitals.at - last.at
        # Also when the clock was set back.
        if 0 <= seconds < STEP_SECONDS:
            return
        self._begin(vitals)
        if seconds > 0:
            self._samples.append(_sample(last, vitals, seconds))

    def last_minute(self, now: Vitals) -> Sample | None:
        """What ended in the minute before `now`, or since the first word; None at that word."""
        for begun in self._begun:
            seconds = now.at - begun.at
            if 0 < seconds <= _WINDOW_SECONDS:
                return _sample(begun, now, seconds)
        return None

    def samples(self) -> Sequence[Sample]:
        """Everything that is kept."""
        return list(self._samples)

    def _begin(self, vitals: Vitals) -> None:
        self._last = vitals
        self._begun.append(vitals)


def _sample(last: Vitals, now: Vitals, seconds: float) -> Sample:
    ended = {
        state: count - last.counts.ended.get(state, 0) for state, count in now.counts.ended.items()
    }
    failed = sum(ended.get(state.value, 0) for state in UNSUCCESSFUL)
    before, after = last.counts.processing, now.counts.processing
    counts = [new - old for old, new in zip(before.counts, after.counts, strict=True)]
    return Sample(
        now.at,
        (sum(ended.values()) - failed) / seconds,
        failed / seconds,
        quantile(after.bounds, counts, 0.5),
        quantile(after.bounds, counts, 0.95),
        now.waiting + now.in_folder,
    )


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Estimate a quantile from a histogram, linear within a bucket as Prometheus does it."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for (low, high), count in zip(pairwise((0.0, *bounds)), counts, strict=False):
        if count and below + count >= wanted:
            return low + (high - low) * (wanted - below) / count
        below += count
    return bounds[-1]
