"""The names that wait in the folder, in the order in which they shall be claimed; little else.

A name from a scan costs one bytes object; only a file that was looked at and is not complete yet
costs more, and of those a bounded number is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from conductor_loop.core.owners import OwnerQueues

_STAMP_BYTES = 8
_LATEST_STAMP = (1 << (8 * _STAMP_BYTES)) - 1
# A burst written in place may have more files than this in their debounce: the rest keeps its
# compact form. It also bounds what files that never become complete can cost per debounce.
MOST_UNSETTLED = 4_096
# What events may name while older work drains; beyond it a scan finds them again.
MOST_HEARD = 16_384
# More names than this are not compared with those heard of: it would take milliseconds.
_MOST_COMPARED = 20_000


def sort_key(ctime_ns: int, name: bytes) -> bytes:
    """Pack ctime and name so that bytes sort as (ctime, name); about 90 bytes for a usual name."""
    stamp = min(max(ctime_ns, 0), _LATEST_STAMP)
    return stamp.to_bytes(_STAMP_BYTES, "big") + name


def name_of(key: bytes) -> bytes:
    """Unpack the name of a key."""
    return key[_STAMP_BYTES:]


def ctime_of(key: bytes) -> int:
    """Unpack the ctime of a key, in nanoseconds."""
    return int.from_bytes(key[:_STAMP_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name whose turn has come, with what earlier looks left behind."""

    name: bytes
    arrived_by_rename: bool = False
    first_seen: float | None = None
    """Steady seconds of the first look at this name with this ctime; None before any look."""
    ctime_ns: int | None = None
    turn_of: int | None = None
    """The owner in whose queue it was first; None when it did not have to queue."""


class Waiting:
    """First those whose wait is over, then what the scan listed, then what events named since.

    Names of owners who are over their rate wait in `owners`, whoever else goes on. Times are
    steady seconds.
    """

    def __init__(self, owners: OwnerQueues) -> None:
        self.owners = owners
        self._listed: list[bytes] = []  # keys, oldest last: taking one off the end is cheap
        self._later: list[bytes] = []  # keys of files to look at again when there is room
        self._later_at = 0.0
        self._heard: OrderedDict[bytes, bool] = OrderedDict()
        self._unsettled: dict[bytes, Candidate] = {}
        self._due: list[tuple[float, bytes]] = []  # a heap; entries may be stale

    def __len__(self) -> int:
        from_scans = len(self._listed) + len(self._later)
        return from_scans + len(self._heard) + len(self._unsettled) + len(self.owners)

    def distinct(self) -> int:
        """How many names wait; beyond 20,000 some may count twice, MOST_HEARD at most."""
        elsewhere = self._heard.keys() | self._unsettled.keys()
        scanned = len(self._listed) + len(self._later)
        if scanned <= _MOST_COMPARED:
            elsewhere |= {name_of(key) for key in (*self._listed, *self._later)}
            scanned = 0
        queued = sum(name not in self.owners for name in elsewhere)
        return scanned + queued + len(self.owners)

    def relist(self, keys: list[bytes]) -> None:
        """Take over what a scan found. The list is sorted in place and is ours from then on."""
        keys.sort(reverse=True)
        self._listed, self._later = keys, []

    @property
    def is_listing_done(self) -> bool:
        """Whether everything that the last scan listed has been looked at."""
        return not self._listed

    def hear(self, names: Iterable[tuple[bytes, bool]]) -> bool:
        """Note names that events told of, each with whether it was moved in, in their order.

        Returns False when some had to be dropped, so that only a scan will find them.
        """
        for name, moved_in in names:
            if len(self._heard) >= MOST_HEARD and name not in self._heard:
                return False
            if moved_in or name not in self._unsettled:
                self._heard[name] = moved_in
                self._heard.move_to_end(name)
        return True

    def next(self, now: float) -> Candidate | None:
        """Take the next name off, or None when none is due; what waits for its time is skipped."""
        while self._due and self._due[0][0] <= now:
            waited = self._unsettled.pop(heappop(self._due)[1], None)
            if waited is not None:
                return waited
        first = self.owners.next(now)
        if first is not None:
            name, moved_in, owner = first
            return Candidate(name, arrived_by_rename=moved_in, turn_of=owner)
        self._bring_back(now)
        while self._listed:
            key = self._listed.pop()
            name = name_of(key)
            if name not in self._unsettled and not self.owners.holds(name, ctime_of(key)):
                return Candidate(name)
        return self._next_heard()

    def set_aside(self, candidate: Candidate, due: float) -> None:
        """Look at this name again not before `due`."""
        if len(self._unsettled) < MOST_UNSETTLED:
            self._unsettled[candidate.name] = candidate
            heappush(self._due, (due, candidate.name))
            return
        self._later.append(sort_key(candidate.ctime_ns or 0, candidate.name))
        self._later_at = due

    def rouse(self) -> None:
        """Let everything that was set aside be looked at now, in the order it would have been."""
        latest = max((due for due, _ in self._due), default=0.0)
        self._due = [(due - latest, name) for due, name in self._due]
        self._later_at = 0.0

    def next_due(self) -> float | None:
        """When the next name may be taken off; 0.0 for at once, None when there is no name."""
        if self._listed or self._heard:
            return 0.0
        dues = [self._due[0][0]] if self._due else []
        if self._later:
            dues.append(self._later_at)
        if (turn := self.owners.next_turn()) is not None:
            dues.append(turn)
        return min(dues, default=None)

    def oldest_ctime_ns(self) -> int | None:
        """The oldest ctime known of a waiting name, in nanoseconds."""
        known = [c.ctime_ns for c in self._unsettled.values() if c.ctime_ns is not None]
        known += [ctime_of(key) for key in (self._listed[-1:] + self._later[:1])]
        return min(known, default=None)

    def _bring_back(self, now: float) -> None:
        if self._later and not self._listed and self._later_at <= now:
            self.relist(self._later)

    def _next_heard(self) -> Candidate | None:
        if not self._heard:
            return None
        name, moved_in = self._heard.popitem(last=False)
        if moved_in:
            self._unsettled.pop(name, None)
        return Candidate(name, arrived_by_rename=moved_in)
