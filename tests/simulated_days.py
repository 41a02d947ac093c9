"""Days of traffic made up from a seed, and what the detector says of them; docs/detection.md."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conductor_loop.core.detection.bursts import BurstPolicy, Series

DAY = 1440
PAGE = Path(__file__).parents[1] / "docs" / "detection.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"

Rate = Callable[[int], float]
"""Events expected in a minute."""

DAYS = 30
QUIET: dict[str, Rate] = {
    "one in five minutes": lambda _: 0.2,
    "four a minute": lambda _: 4.0,
    "by daylight: 1 to 9 a minute, and back, each day": lambda minute: (
        5.0 - 4.0 * math.cos(2 * math.pi * minute / DAY)
    ),
}
BURSTY: dict[str, Rate] = {
    "40 at the full hour, else one in five minutes": lambda minute: 0.2 if minute % 60 else 40.0,
    "200 once a day, else one in five minutes": lambda minute: 0.2 if minute % DAY else 200.0,
}
BURSTS = ((0.0, 10.0), (0.0, 30.0), (0.2, 30.0), (4.0, 10.0), (4.0, 30.0), (4.0, 100.0))
"""Ordinary and additional events a minute."""
_TRIES = 20
_ONSET, _LASTING = 300, 30


@dataclass(frozen=True, slots=True)
class Detection:
    """How bursts of one size were found, of `_TRIES` that lasted half an hour each."""

    found: int
    within: int
    """Minutes, the slowest."""


@cache
def alarms(rate: Rate) -> int:
    """How often the detector cries in `DAYS` days."""
    chance, series = random.Random(1), Series(BurstPolicy(), 0)
    return sum(
        series.add(minute) is not None
        for minute in range(DAYS * DAY)
        for _ in range(_poisson(chance, rate(minute)))
    )


@cache
def detection(ordinary: float, more: float) -> Detection:
    """Let a burst begin after five ordinary hours, again and again."""
    minutes = [found for seed in range(_TRIES) if (found := _found(ordinary, more, seed))]
    return Detection(len(minutes), max(minutes, default=0))


def table() -> str:
    """What docs/detection.md tells as measured."""
    return BEGIN + "\n".join(_lines()) + "\n" + END


def _lines() -> Iterator[str]:
    yield f"| traffic by chance | alarms in {DAYS} days |"
    yield "|---|---|"
    for name, rate in (QUIET | BURSTY).items():
        yield f"| {name} | {alarms(rate)} |"
    yield ""
    yield f"| ordinary a minute | burst: more a minute | found, of {_TRIES} | within |"
    yield "|---|---|---|---|"
    for ordinary, more in BURSTS:
        told = detection(ordinary, more)
        yield f"| {ordinary:g} | {more:g} | {told.found} | {told.within} min |"


def _found(ordinary: float, more: float, seed: int) -> int:
    """In which minute of the burst it is told; 0 when it is not."""
    chance, series = random.Random(seed), Series(BurstPolicy(), 0)
    for minute in range(_ONSET + _LASTING):
        begun = minute >= _ONSET
        for _ in range(_poisson(chance, ordinary + more * begun)):
            if series.add(minute) is not None and begun:
                return minute - _ONSET + 1
    return 0


def _poisson(chance: random.Random, mean: float) -> int:
    """Count exponential gaps within one minute."""
    count, passed = 0, chance.expovariate(mean) if mean else math.inf
    while passed < 1.0:
        count += 1
        passed += chance.expovariate(mean)
    return count


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, after = page[: page.index(BEGIN)], page[page.index(END) + len(END) :]
    PAGE.write_text(before + table() + after, encoding="utf-8")
