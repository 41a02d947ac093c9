"""Restraint: a flood of one signal must not become a flood of notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Told:
    since: float
    count: int = 0
    held_back: int = 0


class Restraint:
    """Lets so many of each code pass in a span of seconds, and counts the others."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._told: dict[str, _Told] = {}

    def passes(self, code: str, now: float) -> bool:
        """Whether this one may be told; `now` is of a steady clock."""
        told = self._told.setdefault(code, _Told(now))
        if now - told.since >= self._seconds:
            told.since, told.count = now, 0
        if told.count >= self._most:
            told.held_back += 1
            return False
        told.count += 1
        return True

    def take_held_back(self, code: str) -> int:
        """How many were not told since this was asked last."""
        told = self._told.get(code)
        if told is None:
            return 0
        count, told.held_back = told.held_back, 0
        return count
