"""Files of owners who hand over more than their rate allows: who waits, in which order."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from conductor_loop.core.rates import Buckets, Rate

_HIGHEST_OWNER = (1 << 32) - 1
_CTIME_SHIFT = 33  # behind the owner, and the bit that tells whether the file was moved in


class Turn(NamedTuple):
    """A name whose owner may hand over again, with what was known of it when it queued."""

    name: bytes
    ctime_ns: int
    moved_in: bool
    owner: int


class OwnerQueues:
    """A queue of names for each owner (a uid) who is over the rate, and whose turn it is.

    Only names are kept, about 200 bytes each for a usual one: a folder with 100,000 files of one
    owner costs 20 MB. Times are steady seconds.
    """

    def __init__(self, rates: Buckets[int]) -> None:
        self._rates = rates
        self._queues: dict[int, deque[bytes]] = {}
        self._places: dict[bytes, int] = {}
        """What is known of each name, packed; a name in a queue that is not its own is void."""
        self._turns: list[tuple[float, int]] = []

    def change_rate(self, rate: Rate | None, burst: int) -> None:
        """Go by another rate from now on: whoever waits has a turn at once."""
        self._rates.change(rate, burst)
        self._turns = sorted((0.0, owner) for _, owner in self._turns)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: bytes) -> bool:
        return name in self._places

    def holds(self, name: bytes, ctime_ns: int) -> bool:
        """Whether this very file queues; one that took its name may be somebody else's."""
        place = self._places.get(name)
        return place is not None and place >> _CTIME_SHIFT == ctime_ns

    def sizes(self) -> Mapping[int, int]:
        """How many names wait, by owner."""
        return {owner: len(queue) for owner, queue in self._queues.items()}

    def must_wait(self, owner: int, now: float) -> bool:
        """Whether a file of this owner has to queue: others are before it, or no token is there."""
        return owner in self._queues or self._rates.ready_at(owner) > now

    def join(self, owner: int, name: bytes, *, ctime_ns: int, moved_in: bool) -> None:
        """Put a name behind all others of its owner; one that is there keeps its place."""
        before = self._places.get(name)
        self._places[name] = ctime_ns << _CTIME_SHIFT | owner << 1 | moved_in
        if before is not None and _owner_of(before) == owner:
            return
        if owner not in self._queues:
            self._queues[owner] = deque()
            heappush(self._turns, (self._rates.ready_at(owner), owner))
        self._queues[owner].append(name)

    def leave(self, name: bytes) -> None:
        """A name need not queue any more: its file was claimed, or belongs to another now."""
        self._places.pop(name, None)

    def ready_at(self, owner: int) -> float:
        """When a file of this owner may be taken; it may have passed."""
        return self._rates.ready_at(owner)

    def count(self, owner: int, now: float) -> None:
        """A file of this owner was taken."""
        self._rates.take(owner, now)

    def next(self, now: float) -> Turn | None:
        """Take off the first name of an owner whose turn has come."""
        while self._turns and self._turns[0][0] <= now:
            _, owner = heappop(self._turns)
            # What was taken since counts: the turn may be later than it was.
            ready_at = self._rates.ready_at(owner)
            if ready_at > now:
                heappush(self._turns, (ready_at, owner))
            elif (first := self._first_of(owner, now)) is not None:
                return first
        return None

    def next_turn(self) -> float | None:
        """When the next name may be taken off."""
        return self._turns[0][0] if self._turns else None

    def _first_of(self, owner: int, now: float) -> Turn | None:
        queue = self._queues[owner]
        first: Turn | None = None
        while queue and first is None:
            name = queue.popleft()
            place = self._places.get(name)
            if place is not None and _owner_of(place) == owner:
                del self._places[name]
                first = Turn(name, place >> _CTIME_SHIFT, bool(place & 1), owner)
        if queue:
            heappush(self._turns, (now, owner))
        else:
            del self._queues[owner]
        return first


def _owner_of(place: int) -> int:
    return place >> 1 & _HIGHEST_OWNER
