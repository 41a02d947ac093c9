"""The names that wait in the folder, in the order in which they shall be claimed; little else.

A name from a scan costs one bytes object; only a file that was looked at and is being written
costs more, and of those a bounded number is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    """A name whose turn has come, with what is known of it."""

    name: bytes
    arrived_by_rename: bool = False
    first_seen: float | None = None
    """Steady seconds of the first look at this name with this ctime; None before any look."""
    ctime_ns: int | None = None
    turn_of: int | None = None
    """The owner in whose queue it was first; None when it did not have to queue."""
    is_unannounced: bool = False
    """Only a scan told of it, and it has not changed since: it may be as complete as any."""


class Waiting:
    """The names in the order in which they were handed over, as far as anybody can know it.

    A scan orders all that stood there when it began, by (ctime, name). What events name since
    then comes after it, in their order. Where events may have been lost (`has_gap`), the next scan
    comes first.

    A file that only a scan told of may have been renamed into place while nobody listened. It
    waits for its debounce like one that is being written, but all that came later waits with it:
    none of these overtakes it. A file that is known to be written holds up nobody.

    Names of owners who are over their rate wait in `owners`, whoever else goes on. Times are
    steady seconds.
    """

    def __init__(self, owners: OwnerQueues) -> None:
        self.owners = owners
        self.has_gap = True
        """Files may be there that neither the last scan nor an event since told of."""
        self._listed: list[bytes] = []  # keys, oldest last: taking one off the end is cheap
        self._listed_since = 0.0
        self._listed_due = 0.0  # of the oldest
        self._told: OrderedDict[bytes, bool] = OrderedDict()  # what events had said of the listed
        self._are_written = False  # the listed are not from a scan
        self._heard: OrderedDict[bytes, bool] = OrderedDict()
        self._unsettled: dict[bytes, Candidate] = {}
        # Both heaps may have stale entries: what counts is in `_unsettled`.
        self._settling: list[tuple[bytes, float]] = []  # keys, each with when it is due
        self._due: list[tuple[float, bytes]] = []  # the same, by when they are due
        self._later: list[bytes] = []  # keys of unsettled files to look at when there is room
        self._later_due = 0.0

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

    def relist(self, keys: list[bytes], now: float) -> None:
        """Take over what a scan found, which began after the last call of `hear`.

        The list is sorted in place and is ours from then on.
        """
        self._list(keys, now)
        # Whatever had been announced stood there already, so its place is in the listing. After a
        # gap, what stands there may be another file of that name.
        self._told = OrderedDict() if self.has_gap else self._heard
        self._heard = OrderedDict()
        self.has_gap = self._are_written = False
        if self._told:
            self._follow_events()

    def leave_to_next_scan(self, since_ns: int, until_ns: int) -> None:
        """Forget what the listing has with a ctime in this time, in nanoseconds.

        A walk sees some of the files that come meanwhile and misses others. Events tell their
        order; where events were lost as well, only another walk can.
        """
        start, end = sort_key(since_ns, b""), sort_key(until_ns, b"")
        self._listed = [key for key in self._listed if not start <= key < end]

    @property
    def is_listing_done(self) -> bool:
        """Whether everything that the last scan listed has been looked at."""
        return not self._listed

    def hear(self, names: Iterable[tuple[bytes, bool]]) -> None:
        """Note names that events told of, each with whether it was moved in, in their order.

        There is a gap when some had to be dropped, so that only a scan will find them.
        """
        for name, moved_in in names:
            if not moved_in and name in self._unsettled and name not in self._heard:
                continue
            if len(self._heard) >= MOST_HEARD and name not in self._heard:
                self.has_gap = True
                continue
            self._heard[name] = moved_in
            self._heard.move_to_end(name)

    def next(self, now: float) -> Candidate | None:
        """Take the next name off, or None when none is due."""
        if (again := self._next_again(now)) is not None:
            return again
        if (first := self.owners.next(now)) is not None:
            return Candidate(
                first.name,
                arrived_by_rename=first.moved_in,
                ctime_ns=first.ctime_ns,
                turn_of=first.owner,
            )
        if self._later and not self._listed and self._later_due <= now:
            self._list(self._later, now)
            self._are_written = True
        self._skip_known()
        if (settled := self._next_settled(now)) is not None:
            return settled
        if self._listed:
            return self._next_listed() if self._listed_due <= now else None
        return None if self.has_gap else self._next_heard()

    def let_settle(self, candidate: Candidate, due: float) -> None:
        """It is complete at `due` if it does not change: look then, the oldest ctime first."""
        key = _key_of(candidate)
        if candidate.is_unannounced:
            self._listed.append(key)
            self._listed_due = due
        elif self._keep(candidate, due):
            heappush(self._settling, (key, due))

    def set_aside(self, candidate: Candidate, due: float) -> None:
        """Look at this name again not before `due`; nobody waits for it."""
        if self._keep(candidate, due):
            heappush(self._due, (due, _key_of(candidate)))

    def rouse(self) -> None:
        """Let everything that was set aside be looked at now, in the order it would have been."""
        latest = max((due for due, _ in self._due), default=0.0)
        self._due = [(due - latest, key) for due, key in self._due]
        self._settling = [(key, 0.0) for key, _ in self._settling]
        self._listed_due = self._later_due = 0.0

    def next_due(self) -> float | None:
        """When the next name may be taken off; 0.0 for at once, None when there is no name."""
        self._skip_known()
        dues = [] if (again := self._first_again()) is None else [again]
        if (settling := self._first_settling()) is not None:
            dues.append(settling[1])
        if self._listed:
            dues.append(self._listed_due)
        elif self._later:
            dues.append(self._later_due)
        if self._heard and not self._listed and not self.has_gap:
            dues.append(0.0)
        if (turn := self.owners.next_turn()) is not None:
            dues.append(turn)
        return min(dues, default=None)

    def oldest_ctime_ns(self) -> int | None:
        """The oldest ctime known of a waiting name, in nanoseconds."""
        known = [c.ctime_ns for c in self._unsettled.values() if c.ctime_ns is not None]
        known += [ctime_of(key) for key in (self._listed[-1:] + self._later[:1])]
        return min(known, default=None)

    def _list(self, keys: list[bytes], now: float) -> None:
        keys.sort(reverse=True)
        self._listed, self._later = keys, []
        self._listed_since, self._listed_due = now, 0.0

    def _follow_events(self) -> None:
        """Files of one tick have one ctime: where events told of them, these know the order."""
        places = [at for at, key in enumerate(self._listed) if name_of(key) in self._told]
        keys = {name_of(self._listed[at]): self._listed[at] for at in places}
        in_order = (keys[name] for name in self._told if name in keys)
        # A walk may return a name twice, so that there are more places than names.
        for at, key in zip(reversed(places), in_order, strict=False):
            self._listed[at] = key

    def _keep(self, candidate: Candidate, due: float) -> bool:
        """Keep what is known of it; False when only its key could be kept, until `due`."""
        if len(self._unsettled) < MOST_UNSETTLED:
            self._unsettled[candidate.name] = replace(candidate, is_unannounced=False)
            return True
        self._later.append(_key_of(candidate))
        self._later_due = due
        return False

    def _skip_known(self) -> None:
        """Pass over the oldest of the listing while it waits elsewhere, or was heard of since."""
        while self._listed:
            name = name_of(self._listed[-1])
            is_heard = name in self._heard or name in self._unsettled
            if not is_heard and not self.owners.holds(name, ctime_of(self._listed[-1])):
                return
            self._listed.pop()
            self._listed_due = 0.0

    def _first_settling(self) -> tuple[bytes, float] | None:
        """The oldest that settles, and when it is due; None while the listing has an older one."""
        while self._settling:
            key, due = self._settling[0]
            kept = self._unsettled.get(name_of(key))
            if kept is not None and _key_of(kept) == key:
                is_first = not self._listed or key < self._listed[-1]
                return (key, due) if is_first else None
            heappop(self._settling)
        return None

    def _first_again(self) -> float | None:
        """When the first of those that were set aside is due."""
        while self._due and name_of(self._due[0][1]) not in self._unsettled:
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def _next_again(self, now: float) -> Candidate | None:
        due = self._first_again()
        if due is None or due > now:
            return None
        return self._unsettled.pop(name_of(heappop(self._due)[1]))

    def _next_settled(self, now: float) -> Candidate | None:
        first = self._first_settling()
        if first is None or first[1] > now:
            return None
        return self._unsettled.pop(name_of(heappop(self._settling)[0]))

    def _next_listed(self) -> Candidate:
        key = self._listed.pop()
        self._listed_due = 0.0
        name = name_of(key)
        moved_in = self._told.pop(name, None)
        return Candidate(
            name,
            arrived_by_rename=bool(moved_in),
            first_seen=self._listed_since,
            ctime_ns=ctime_of(key),
            is_unannounced=moved_in is None and not self._are_written,
        )

    def _next_heard(self) -> Candidate | None:
        if not self._heard:
            return None
        name, moved_in = self._heard.popitem(last=False)
        self._unsettled.pop(name, None)
        return Candidate(name, arrived_by_rename=moved_in)


def _key_of(candidate: Candidate) -> bytes:
    return sort_key(candidate.ctime_ns or 0, candidate.name)
