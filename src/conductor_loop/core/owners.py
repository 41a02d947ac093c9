"""Files of owners who hand over more than their rate allows: who waits, in which order."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

from conductor_loop.core.rates import Buckets


class OwnerQueues:
    """A queue of names for each owner (a uid) who is over the rate, and whose turn it is.

    Only names are kept, about 150 bytes each for a usual one: a folder with 100,000 files of one
    owner costs 15 MB. Times are steady seconds.
    """

    def __init__(self, rates: Buckets[int]) -> None:
        self._rates = rates
        self._queues: dict[int, deque[bytes]] = {}
        self._moved_in: dict[bytes, bool] = {}
        self._turns: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._moved_in)

    def __contains__(self, name: bytes) -> bool:
        return name in self._moved_in

    def sizes(self) -> Mapping[int, int]:
        """How many names wait, by owner."""
        return {owner: len(queue) for owner, queue in self._queues.items()}

    def must_wait(self, owner: int, now: float) -> bool:
        """Whether a file of this owner has to queue: others are before it, or no token is there."""
        return owner in self._queues or self._rates.ready_at(owner) > now

    def join(self, owner: int, name: bytes, *, moved_in: bool) -> None:
        """Put a name behind all others of its owner; one that is there keeps its place."""
        if name in self._moved_in:
            self.hear(name, moved_in=moved_in)
            return
        if owner not in self._queues:
            self._queues[owner] = deque()
            heappush(self._turns, (self._rates.ready_at(owner), owner))
        self._queues[owner].append(name)
        self._moved_in[name] = moved_in

    def hear(self, name: bytes, *, moved_in: bool) -> None:
        """Note an event of a name that queues: it keeps its place; one moved in is complete."""
        self._moved_in[name] |= moved_in

    def ready_at(self, owner: int) -> float:
        """When a file of this owner may be taken; it may have passed."""
        return self._rates.ready_at(owner)

    def count(self, owner: int, now: float) -> None:
        """A file of this owner was taken."""
        self._rates.take(owner, now)

    def next(self, now: float) -> tuple[bytes, bool, int] | None:
        """Take off the first name of an owner whose turn has come.

        With it comes whether the file was moved in, and the owner.
        """
        while self._turns and self._turns[0][0] <= now:
            _, owner = heappop(self._turns)
            # What was taken since counts: the turn may be later than it was.
            ready_at = self._rates.ready_at(owner)
            if ready_at > now:
                heappush(self._turns, (ready_at, owner))
                continue
            return self._first_of(owner, now)
        return None

    def next_turn(self) -> float | None:
        """When the next name may be taken off."""
        return self._turns[0][0] if self._turns else None

    def _first_of(self, owner: int, now: float) -> tuple[bytes, bool, int]:
        queue = self._queues[owner]
        name = queue.popleft()
        if queue:
            heappush(self._turns, (now, owner))
        else:
            del self._queues[owner]
        return name, self._moved_in.pop(name), owner
