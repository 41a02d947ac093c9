"""What waits in the handoff folder, and whether it is still the same folder."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from conductor_loop.adapters.handoff.events import Hints
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.lock import Lock
from conductor_loop.adapters.handoff.scan import (
    END_OF_TIME_NS,
    MOST_REMEMBERED,
    Ignored,
    Listing,
    list_folder,
)
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown
from conductor_loop.core.owners import OwnerQueues
from conductor_loop.core.rates import Buckets, Rate
from conductor_loop.core.waiting import Waiting, ctime_of, name_of
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.folder")

_NS = 1_000_000_000
_SCAN_SHARE = 20  # one part in so many of the time may go into scans: 5 %
_GAP_SHARE = 4  # the same where events were lost, so that what they name now waits for the scan
_RETRY_SECONDS = 1.0  # after a scan that failed, or a folder that is not there
_TOLD_BY_THEN_NS = _NS  # an event that has not come a second after its file will not come
_GRAIN_NS = 10_000_000  # file times lag by up to a tick: 10 ms where a kernel has 100 a second
_SAMPLE = 100  # files of a listing that are checked for having been announced


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """What an operator may choose about the handoff folder."""

    debounce: timedelta = timedelta(milliseconds=500)
    """Quiet after which a file written in place counts as complete."""
    period: timedelta = timedelta(seconds=2)
    """Time between scans, which find what events did not tell."""
    max_bytes: int = 10 * 1024 * 1024
    """Larger files are refused unread."""
    once: bool = False
    """Take what the first scan finds, then end."""
    intake_rate: Rate | None = None
    """How many files may be claimed in a time."""
    owner_rate: Rate | None = None
    """How many of one owner's."""
    burst: int = 1
    """How many at once, after a rest; for both rates."""


class Troubles:
    """What keeps the source from working, by area: logged when it changes, kept until it passes."""

    def __init__(self) -> None:
        self._errors: dict[str, OSError] = {}
        self._logged: dict[str, str] = {}

    def report(self, area: str, error: OSError) -> None:
        """Something of this area cannot be done now."""
        self._errors[area] = error
        if self._logged.get(area) != str(error):
            self._logged[area] = str(error)
            _log.error("%s", error.strerror)

    def clear(self, area: str) -> None:
        """Nothing is wrong in this area, or it shall be tried again."""
        self._errors.pop(area, None)

    def first(self) -> OSError | None:
        """Any of the present ones."""
        return next(iter(self._errors.values()), None)


class FolderWatch:
    """Keeps `waiting` in line with the folder, and the folder open under its name."""

    def __init__(
        self, layout: Layout, lock: Lock, hints: Hints, clock: Clock, settings: FolderSettings
    ) -> None:
        self._layout, self._lock, self._hints = layout, lock, hints
        self._clock, self._settings = clock, settings
        self._period = math.inf if settings.once else settings.period.total_seconds()
        self.waiting = Waiting(OwnerQueues(Buckets(settings.owner_rate, settings.burst)))
        self.troubles = Troubles()
        self.is_served = False
        """The handoff folder is the one that is open, and its lock is ours."""
        self.is_scanned = False
        self.hears_events = False
        """New files are announced; otherwise only the scan finds them."""
        self.scan_seconds = 0.0
        self.ignored: dict[bytes, Ignored] = {}
        self.ignored_count = 0
        self.on_replaced: Callable[[str], None] = lambda _: None
        """Told why when another folder has the name of ours, once until all is right again."""
        self._is_told = False
        self._is_watching, self._deaf_because = False, ""
        self._next_check = self._next_scan = self._earliest_scan = -math.inf

    def adopt(self, settings: FolderSettings) -> None:
        """Scan as often as these say from now on; another debounce holds for what waits, too."""
        if settings.debounce != self._settings.debounce:
            self.waiting.rouse()
        self._settings = settings
        self._period = settings.period.total_seconds()
        soon = self._clock.steady() + self._period
        self._next_check, self._next_scan = (
            min(self._next_check, soon),
            min(self._next_scan, soon),
        )
        self._hints.wake()

    async def find(self) -> None:
        """Bring `waiting` up to date: what was heard, and a scan when it is time for one."""
        now = self._clock.steady()
        self._hear()
        if now >= self._next_check:
            self._check(now)
        if self.is_served and now >= self._scan_at() and self.waiting.is_listing_done:
            began_ns = self._wall_ns()
            await self._scan()
            # A walk may see one of two files that come meanwhile: events tell their order.
            self._hear()
            if self.waiting.has_gap:
                ended_ns = self._wall_ns()
                self.waiting.leave_to_next_scan(began_ns - _GRAIN_NS, ended_ns + _GRAIN_NS)

    def suspect(self) -> None:
        """Something went wrong that a replaced folder would explain: check soon."""
        self._next_check = -math.inf

    def next_time(self) -> float:
        """The steady second at which `find` has something to do, should no event come first."""
        # Until all that was listed is looked at, there is no other scan to wake up for.
        may_scan = self.is_served and self.waiting.is_listing_done
        return min(self._next_check, self._scan_at()) if may_scan else self._next_check

    def _scan_at(self) -> float:
        return self._earliest_scan if self.waiting.has_gap else self._next_scan

    def _hear(self) -> None:
        heard = self._hints.collect()
        self.hears_events |= bool(heard.names)
        for name in heard.names if _log.isEnabledFor(logging.DEBUG) else ():
            _log.debug("heard of %s", shown(name))
        self.waiting.hear(heard.names.items())
        self.waiting.has_gap |= heard.is_incomplete
        if heard.folder_changed:
            self.suspect()

    def _check(self, now: float) -> None:
        self._next_check = now + self._period
        is_current = self._layout.is_current()
        if self.is_served and is_current:
            self._listen()
            return
        self.is_served = False
        try:
            self._open_anew()
        except CannotStart as error:
            self._tell_replaced(error.message, is_replaced=not is_current)
            self.troubles.report("folder", OSError(errno.ESTALE, f"{error.message}; {error.hint}"))
        except OSError as error:
            why = f"{self._layout.path} cannot be opened again: {error.strerror}"
            self._tell_replaced(why, is_replaced=not is_current)
            self.troubles.report("folder", OSError(error.errno, why))
        else:
            self._tell_replaced("opened again, and served", is_replaced=not is_current)
            self._is_told = False
            self.is_served = True
            self.troubles.clear("folder")
            return
        self._next_check = now + _RETRY_SECONDS

    def _tell_replaced(self, why: str, *, is_replaced: bool) -> None:
        if is_replaced and not self._is_told:
            self._is_told = True
            self.on_replaced(why)

    def _open_anew(self) -> None:
        if not self._layout.is_current():
            self._layout.reopen()
            _log.warning("%s, or a folder in it, was replaced: opened again", self._layout.path)
        self._lock.renew()
        self._is_watching = False
        self._listen()
        self.waiting.has_gap, self._earliest_scan = True, -math.inf

    def _listen(self) -> None:
        if self._is_watching or self._settings.once:
            return
        try:
            self._hints.watch(self._layout.path)
        except OSError as error:
            self.hears_events = False
            if self._deaf_because != (why := error.strerror or str(error)):
                self._deaf_because = why
                _log.warning("no events for %s: %s; relying on scans", self._layout.path, why)
        else:
            self.hears_events = self._is_watching = True
            self.waiting.has_gap = True

    async def _scan(self) -> None:
        began = self._clock.steady()
        settled_before = self._settled_before()
        try:
            listing = await list_folder(self._layout.handoff, settled_before)
        except OSError as error:
            why = f"{self._layout.path} cannot be listed: {error.strerror}"
            self.troubles.report("scan", OSError(error.errno, why))
            self._next_scan = self._earliest_scan = began + _RETRY_SECONDS
            return
        self.troubles.clear("scan")
        _log.debug("scan found %d files handed over", len(listing.keys))
        self.scan_seconds = self._clock.steady() - began
        self._earliest_scan = began + self.scan_seconds * _GAP_SHARE
        self._next_scan = began + max(self._period, self.scan_seconds * _SCAN_SHARE)
        self._mind_silence(listing, settled_before)
        self._take_over(listing)

    def _settled_before(self) -> int:
        if self._settings.once:  # no later scan would tell what this one left out
            return END_OF_TIME_NS
        return self._wall_ns() - int(self._settings.debounce.total_seconds() * _NS)

    def _wall_ns(self) -> int:
        return int(self._clock.now().timestamp() * _NS)

    def _take_over(self, listing: Listing) -> None:
        for name, ignored in listing.ignored.items():
            if name not in self.ignored:
                _log.warning("%s is left alone: %s; %s", shown(name), ignored.why, ignored.remedy)
        if listing.ignored_count > MOST_REMEMBERED >= self.ignored_count:
            _log.warning("more than %d files are left alone", MOST_REMEMBERED)
        self.ignored, self.ignored_count = listing.ignored, listing.ignored_count
        self.waiting.relist(listing.keys, self._clock.steady())
        self.is_scanned = True

    def _mind_silence(self, listing: Listing, settled_before: int) -> None:
        """A file that has stood there for a while and was never announced: events do not come."""
        is_quiet = not (self.waiting.has_gap or len(self.waiting))
        if not (is_quiet and self.hears_events):
            return
        for key in listing.keys[:_SAMPLE]:
            if ctime_of(key) < settled_before - _TOLD_BY_THEN_NS:
                self.hears_events = False
                _log.warning("%s came without an event: relying on scans", shown(name_of(key)))
                return
