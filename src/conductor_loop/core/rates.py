"""Token buckets: how much may come in a time, and when the next may. No clock: `now` is given.

A bucket is one number, the moment at which it will be full again (GCRA, ITU-T I.371 annex A).
One that is full need not be kept at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_KEPT_FULL = 1_024
_EPISODE_SECONDS = 60.0
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: int

    @property
    def interval(self) -> float:
        """Seconds from one to the next."""
        return self.seconds / self.count


class Buckets(Generic[K]):
    """A token bucket for each key; every one begins full. Without a rate nothing is limited."""

    def __init__(self, rate: Rate | None, burst: int) -> None:
        self._interval = 0.0 if rate is None else rate.interval
        self.burst = burst
        self._full_at: dict[K, float] = {}
        self._crowded = _KEPT_FULL

    def change(self, rate: Rate | None, burst: int) -> None:
        """Go by another rate from now on; every bucket begins full again."""
        self._interval = 0.0 if rate is None else rate.interval
        self.burst = burst
        self._full_at.clear()

    def take(self, key: K, now: float) -> bool:
        """Take a token, if there is one."""
        if not self._interval:
            return True
        if self.ready_at(key) > now:
            return False
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._interval
        if len(self._full_at) > self._crowded:
            self._forget_full(now)
        return True

    def ready_at(self, key: K, tokens: int = 1) -> float:
        """When so many tokens are there, if none is taken before; it may have passed."""
        if not self._interval or key not in self._full_at:
            return 0.0
        return self._full_at[key] - (self.burst - tokens) * self._interval

    def next_after(self, key: K, now: float) -> tuple[int, float]:
        """Tell how many tokens are there, and when there may be one more than that."""
        there = 0
        while there < self.burst and self.ready_at(key, there + 1) <= now:
            there += 1
        return there, now + self._interval if there == self.burst else self.ready_at(key, there + 1)

    def _forget_full(self, now: float) -> None:
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        # Looked at again only when it has doubled: no key costs a walk through all others.
        self._crowded = max(_KEPT_FULL, 2 * len(self._full_at))


class Episodes(Generic[K]):
    """Tells the first of many alike: what came again within a minute is the same episode."""

    def __init__(self) -> None:
        self._last: dict[K, float] = {}

    def begins(self, key: K, now: float) -> bool:
        """Note one more; tell whether it is the first for a minute."""
        is_first = now - self._last.get(key, -_EPISODE_SECONDS) >= _EPISODE_SECONDS
        if is_first and len(self._last) >= _KEPT_FULL:
            self._last = {k: at for k, at in self._last.items() if now - at < _EPISODE_SECONDS}
        self._last[key] = now
        return is_first


def tell_over_rate(
    is_over: bool, files_by_owner: Mapping[str, int], intents_by_namespace: Mapping[str, int]
) -> str:
    """Say who waits because of a rate, those with the most first; empty for nobody."""
    told = ["files wait for -intake-rate"] if is_over else []
    told += [
        f"{count} files of {owner} wait for -owner-rate" for owner, count in _most(files_by_owner)
    ]
    told += [
        f"{count} intents of {namespace} wait for -namespace-rate"
        for namespace, count in _most(intents_by_namespace)
    ]
    return ", ".join(told)


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return Counter(counts).most_common(_MOST_TOLD)
