"""Which of several handoffs serves an intent, and whose turn it is: by target, in order."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

from conductor_loop.core.arrival import Arrival, Content
from conductor_loop.core.reading import legible_target
from conductor_loop.core.strict_json import parse_strict

TICK_SECONDS = 0.01
"""File systems stamp a ctime from a clock that moves on every 1 to 10 ms (CONFIG_HZ, 100 at least);
within one tick a daemon orders by name."""
_MOST_RECENT = 4_096


class Passing(Enum):
    """What came of one try to pass a file on."""

    MOVED = "moved"
    SET_ASIDE = "set aside"
    """It can be neither moved nor copied there, ever."""
    GONE = "gone"
    """Somebody took it away."""
    NAME_TAKEN = "name taken"
    """A file of its name waits there."""
    NOT_NOW = "not now"
    """The world objects."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file on its way: claimed, or in a copy that has not got its name yet."""

    intent_id: str
    name: bytes
    key: bytes
    """Files of one key go to one place, in order."""


def parcel_of(arrival: Arrival) -> Parcel:
    """Address a claimed file: by its name when it was not read."""
    name = arrival.receipt.name
    if isinstance(arrival.content, Content):
        return addressed(arrival.intent_id, name, arrival.content.body)
    return Parcel(arrival.intent_id, name, name)


def addressed(intent_id: str, name: bytes, body: bytes) -> Parcel:
    """Address a file by its target, or by its name when that cannot be read from its bytes."""
    namespace, target, _ = legible_target(parse_strict(body))
    key = key_of(namespace, target) if namespace and target else name
    return Parcel(intent_id, name, key)


def key_of(namespace: str, target: str) -> bytes:
    """The key of a target; no name of a file has a slash in it."""
    return f"{namespace}/{target}".encode()


def ordinal_of(key: bytes, count: int) -> int:
    """Choose one of `count` places, 0 to count - 1, by the highest random weight.

    A further place takes its share of the keys, and no other key moves (Thaler and Ravishankar,
    "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6(1), 1998).
    """
    return max(range(count), key=lambda n: hashlib.sha256(b"%d\0%b" % (n, key)).digest())


class Lines:
    """What waits to be passed on: a line for each key, head first. Times are steady seconds."""

    def __init__(self) -> None:
        self._lines: dict[bytes, deque[Parcel]] = {}
        self._held: dict[bytes, float] = {}  # until when, by key
        self._last: dict[bytes, tuple[bytes, float]] = {}  # the last name passed on, and when

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def are_held(self) -> bool:
        """Whether every line that is left has a head that was tried in vain."""
        return self._lines.keys() <= self._held.keys()

    def add(self, parcel: Parcel) -> None:
        """Put it at the end of its line."""
        self._lines.setdefault(parcel.key, deque()).append(parcel)

    def heads(self, now: float) -> list[Parcel]:
        """The first of each line, where its time has come."""
        return [line[0] for key, line in self._lines.items() if self._due(key) <= now]

    def hold(self, parcel: Parcel, until: float) -> None:
        """Try this one, and so its line, not before then."""
        self._held[parcel.key] = until

    def passed(self, parcel: Parcel, now: float) -> None:
        """The head of its line is on its way."""
        line = self._lines[parcel.key]
        line.popleft()
        if not line:
            del self._lines[parcel.key]
        self._held.pop(parcel.key, None)
        if len(self._last) > _MOST_RECENT:
            self._last = {k: last for k, last in self._last.items() if last[1] + TICK_SECONDS > now}
        self._last[parcel.key] = (parcel.name, now)

    def next_due(self) -> float | None:
        """When the next head may be tried; None when nothing waits."""
        return min(map(self._due, self._lines), default=None)

    def _due(self, key: bytes) -> float:
        last, at = self._last.get(key, (b"", -math.inf))
        would_overtake = self._lines[key][0].name < last
        return max(self._held.get(key, -math.inf), at + TICK_SECONDS * would_overtake)
