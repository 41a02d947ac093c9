"""Pressure: what is nearly used up, told when it begins and when it is over, and not in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Apart, so that a level which trembles around one of them is told once.
BEGINS, ENDS = 0.9, 0.8


_GOES_ON = 0.9


def is_over(used: int, mark: int | None, *, was_over: bool) -> bool:
    """Whether too much is used: from the mark on, until a tenth below it. None: never."""
    if mark is None:
        return False
    return used >= (mark * _GOES_ON if was_over else mark)


@dataclass(frozen=True, slots=True)
class Level:
    """How much of something is used."""

    code: str
    """What to report when it is nearly all."""
    subject: str
    used: float
    """Share, 0 to 1."""


class Pressure:
    """Remembers what was told of each thing."""

    def __init__(self) -> None:
        self._high: set[tuple[str, str]] = set()

    def changes(self, levels: Iterable[Level]) -> Iterator[tuple[str, Level]]:
        """Yield (code, level) where pressure begins, or `pressure_over` where it ends."""
        for level in levels:
            key = level.code, level.subject
            if level.used >= BEGINS and key not in self._high:
                self._high.add(key)
                yield level.code, level
            elif level.used <= ENDS and key in self._high:
                self._high.discard(key)
                yield "pressure_over", level
