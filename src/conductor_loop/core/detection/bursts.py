"""Bursts: counts in a window that chance would bring less than once in ten million looks.

A Poisson tail over a trimmed baseline. "Three times the mean" would cry wolf on quiet traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from conductor_loop.core.detection.poisson import least_unlikely, log_tail

# Means are rounded up to multiples of 1/16, so that few different tails have to be summed.
_GRID = 16


@dataclass(frozen=True, slots=True)
class BurstPolicy:
    """What counts as a burst; times in minutes. docs/detection.md has what these numbers do."""

    baseline: int = 240
    recent: int = 30
    """Traffic that rose by daylight is ordinary after so long: the greater of both means counts."""
    warm_up: int = 30
    """With a shorter past than this nothing is remarkable."""
    windows: tuple[int, ...] = (1, 5)
    log_p: float = math.log(1e-7)
    cooldown: int = 30
    trimmed: float = 0.1
    """Share of minutes left out at each end, so that earlier bursts do not hide the next."""
    least: int = 20
    """Fewer than this in a window are never a burst: somebody hands over a handful."""
    least_ratio: float = 1.5
    """At thousands a minute every ripple is improbable; so much more than expected is a burst."""
    habit: int = 2
    """What came so often within the baseline is a habit, batches by the hour for example: only
    `least_ratio` times that is news."""
    floor: float = 1 / 60
    """Expected a minute at least: also after hours of silence one event is nothing."""


@dataclass(frozen=True, slots=True)
class Burst:
    """A window in which there was too much."""

    count: int
    expected: float
    window: int
    """Minutes."""
    log_p: float

    def details(self) -> dict[str, str]:
        """In words for a notice."""
        return {
            "count": str(self.count),
            "expected": f"{self.expected:.1f}",
            "minutes": str(self.window),
            "log10_p": f"{self.log_p / math.log(10):.1f}",
        }


class Series:
    """One stream of events, counted by the minute; cheap but for the first event of a minute.

    `begun` is the minute since which nothing was missed, on a clock that never steps back.
    """

    def __init__(self, policy: BurstPolicy, begun: int) -> None:
        self._policy = policy
        self._widest = max(policy.windows)
        self._minute = begun
        self._counts = [0]
        """By minute, the current one last; no longer than anything looks back."""
        self._silent_until = begun + policy.warm_up
        self._mean = policy.floor
        self._sums: list[int] = []
        """Counted in each window, and below what it is held to."""
        self._limits: list[float] = []
        self._set_limits()

    def add(self, minute: int) -> Burst | None:
        """Count an event; tell when it makes a burst, once per cooldown."""
        if minute > self._minute:
            self._advance(minute)
        self._counts[-1] += 1
        self._sums = [total + 1 for total in self._sums]
        if self._minute < self._silent_until:
            return None
        for window, total, limit in zip(
            self._policy.windows, self._sums, self._limits, strict=True
        ):
            if total >= limit:
                self._silent_until = self._minute + self._policy.cooldown
                expected = self._mean * window
                return Burst(total, expected, window, log_tail(total, expected))
        return None

    def _advance(self, minute: int) -> None:
        kept = self._policy.baseline + self._widest
        self._counts += [0] * min(minute - self._minute, kept)
        del self._counts[:-kept]
        self._minute = minute
        self._set_limits()

    def _set_limits(self) -> None:
        """What this minute is held to, from the minutes before the widest window."""
        policy = self._policy
        self._sums = [sum(self._counts[-window:]) for window in policy.windows]
        past = self._counts[: -self._widest]
        means = (_trimmed_mean(counts, policy.trimmed) for counts in (past, past[-policy.recent :]))
        self._mean = max(policy.floor, *means)
        self._limits = [self._limit(window, past) for window in policy.windows]

    def _limit(self, window: int, past: list[int]) -> float:
        policy, expected = self._policy, self._mean * window
        unlikely = least_unlikely(math.ceil(expected * _GRID) / _GRID, policy.log_p)
        ordinary = max(expected, _highest(past, window, policy.habit))
        return max(policy.least, unlikely, ordinary * policy.least_ratio)


def _highest(counts: list[int], window: int, rank: int) -> int:
    """The count that takes a rank, 1 is the highest, among windows side by side; else 0."""
    sums = counts
    if window > 1:
        sums = [sum(counts[start : start + window]) for start in range(0, len(counts), window)]
    return sorted(sums, reverse=True)[rank - 1] if len(sums) >= rank else 0


def _trimmed_mean(counts: list[int], share: float) -> float:
    """The mean of what is left without the highest and the lowest."""
    cut = int(len(counts) * share)
    kept = sorted(counts)[cut : len(counts) - cut]
    return sum(kept) / len(kept) if kept else 0.0
