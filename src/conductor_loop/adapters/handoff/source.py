"""The handoff folder as a source of intents. Events are hints; a scan is the truth."""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from conductor_loop import disk
from conductor_loop.adapters.handoff.claims import Claim, Claims, unreadable
from conductor_loop.adapters.handoff.events import Hints
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.limits import IntakeLimits
from conductor_loop.adapters.handoff.lock import Lock
from conductor_loop.adapters.handoff.scan import MOST_REMEMBERED, Ignored
from conductor_loop.adapters.handoff.watch import FolderSettings, FolderWatch
from conductor_loop.adapters.handoff.writers import is_open_for_writing
from conductor_loop.core.arrival import Arrival, Content
from conductor_loop.core.completeness import Kind, Ready, Sighting, Wait, is_complete
from conductor_loop.core.naming import shown
from conductor_loop.core.waiting import Candidate
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.folder")

_NS = 1_000_000_000
_RETRY_SECONDS = 1.0  # after an error that is the world's fault
_REFUSED_RETRY_SECONDS = 30.0  # after an error of one file's own, e.g. a mount on top of it
_LOOKS_AT_ONE_GO = 1_000  # about 10 ms; then other tasks get their turn
_BATCH_BYTES = 16 * 1024 * 1024  # what one batch keeps in memory, give or take its last file
_TIMER_SLACK = 0.001  # a timer may fire a little early


@dataclass(frozen=True, slots=True)
class FolderState:
    """How the source fares, for readiness and metrics."""

    is_served: bool
    """The handoff folder stands where it should, and is the one that is open."""
    blocked_by: OSError | None
    """What keeps files from being claimed at the moment."""
    waiting: int
    """Names known to wait in the folder."""
    oldest: datetime | None
    """The last change of the oldest of them."""
    ignored: int
    """Files left alone."""
    scan_seconds: float
    """How long the last scan took."""
    over_rate: Mapping[str, int]
    """Files that wait because their owner is over the rate, by owner."""
    is_over_rate: bool
    """All files together are over the rate."""
    hears_events: bool
    """New files are announced by the kernel; otherwise only the scan finds them."""


class FolderSource:
    """`ports.Source` on a folder. One task calls `take`; a cancelled call loses nothing."""

    blocked_by: OSError | None

    def __init__(
        self,
        layout: Layout,
        lock: Lock,
        hints: Hints,
        clock: Clock,
        settings: FolderSettings,
    ) -> None:
        self._layout, self._hints = layout, hints
        self._clock, self._settings = clock, settings
        self._watch = FolderWatch(layout, lock, hints, clock, settings)
        self._waiting = self._watch.waiting
        self._limits = IntakeLimits(settings, self._waiting)
        self._claims = Claims(layout, clock, settings.max_bytes)
        self._claimed: deque[Claim] = deque()
        self._unsynced: list[Claim] = []
        self._arrivals: list[Arrival] = []
        self._refused: dict[bytes, Ignored] = {}
        self._held_open: set[bytes] = set()
        self._resume_at = 0.0
        self.held_by: OSError | None = None
        """Why somebody else wants nothing claimed, as `blocked_by` says when nothing is worse."""
        self.blocked_by = None
        self.looks = 0
        """How often the folder was looked at."""

    @property
    def held_open(self) -> bytes | None:
        """See `ports.Source`."""
        return min(self._held_open, default=None)

    def tell_replaced(self, told: Callable[[str], None]) -> None:
        """Have somebody told why when another folder has the name of ours; once an episode."""
        self._watch.on_replaced = told

    def adopt(self, settings: FolderSettings) -> None:
        """Go by these from the next look on, which is at once."""
        self._settings = settings
        self._limits.adopt(settings)
        self._claims.max_bytes = settings.max_bytes
        self._watch.adopt(settings)

    def hold(self, why: OSError | None) -> None:
        """Claim nothing for this reason, or (None) go on; what is there waits where it is."""
        self.held_by = why
        self._hints.wake()

    async def take(self, room: int) -> Sequence[Arrival]:
        """See `ports.Source`. Raises DurabilityLost."""
        while not self._arrivals:
            await self._watch.find()
            self.looks += 1
            if self._watch.is_served and self._clock.steady() >= self._resume_at:
                self._watch.troubles.clear("claim")
                self._claim(room)
                self._read()
            self.blocked_by = self._watch.troubles.first() or self.held_by
            if not self._arrivals:
                if self._is_drained():
                    return ()
                await self._hints.wait(self._pause())
        # No await from the first rename to the return: a cancelled call leaves no claim behind.
        self._claims.sync(self._unsynced)
        self._unsynced.clear()
        batch, self._arrivals = self._arrivals[:room], self._arrivals[room:]
        return batch

    async def leftovers(self, known: Container[str]) -> Sequence[Arrival]:
        """See `ports.Source`. Sorted by id; empty folders are removed on the way.

        Raises CannotStart when they cannot be read now, and DurabilityLost.
        """
        try:
            return self._claims.leftovers(known)
        except OSError as error:
            raise unreadable(error) from error

    def ignored(self) -> Sequence[Ignored]:
        """Files left alone, as far as they are remembered; `state` has their number."""
        return [*self._watch.ignored.values(), *self._refused.values()]

    def state(self) -> FolderState:
        """Look at the folder now, and say what is known."""
        oldest = self._waiting.oldest_ctime_ns()
        return FolderState(
            is_served=self._watch.is_served and self._layout.is_current(),
            blocked_by=self.blocked_by,
            waiting=len(self._waiting) + len(self._claimed) + len(self._arrivals),
            oldest=None if oldest is None else datetime.fromtimestamp(oldest / _NS, UTC),
            ignored=self._watch.ignored_count + len(self._refused),
            scan_seconds=self._watch.scan_seconds,
            over_rate=self._limits.over_rate(),
            is_over_rate=len(self._waiting) > 0 and self._limits.opens_at() > self._clock.steady(),
            hears_events=self._watch.hears_events,
        )

    def unclaimed(self) -> int:
        """How many files wait that the journal does not know."""
        return self._waiting.distinct() + len(self._claimed) + len(self._arrivals)

    def _claim(self, room: int) -> None:
        """Claim what is complete, until there is no room, no candidate, or the world objects."""
        for _ in range(_LOOKS_AT_ONE_GO):
            if self.held_by is not None or len(self._claimed) >= room:
                break
            now = self._clock.steady()
            if len(self._waiting) and self._limits.is_shut(now):
                break
            candidate = self._waiting.next(now)
            if candidate is None or not self._try(candidate):
                break

    def _try(self, candidate: Candidate) -> bool:
        """Look at a file, and claim it or set it aside; False when nothing can be claimed now."""
        try:
            sighting = self._look(candidate)
            if sighting is None:
                return True
            candidate = _seen(candidate, sighting)
            if self._may_come(candidate, sighting):
                self._take_over(sighting)
        except OSError as error:
            if error.errno not in disk.PASSING_ERRORS:
                self._refuse(candidate, error)
                return True
            self._waiting.set_aside(candidate, self._clock.steady())
            self._stop_for_now(candidate.name, "claimed", error)
            return False
        return True

    def _look(self, candidate: Candidate) -> Sighting | None:
        try:
            status = os.stat(candidate.name, dir_fd=self._layout.handoff, follow_symlinks=False)
        except FileNotFoundError:
            self._refused.pop(candidate.name, None)
            self._held_open.discard(candidate.name)
            return None
        known = status.st_ctime_ns if candidate.ctime_ns is None else candidate.ctime_ns
        is_unchanged = known == status.st_ctime_ns
        # A chmod after the rename changes no content.
        is_unwritten = is_unchanged or status.st_mtime_ns <= known
        seen = candidate.first_seen if is_unchanged else None
        return Sighting(
            name=candidate.name,
            kind=_kind(status.st_mode),
            ctime_ns=status.st_ctime_ns,
            links=status.st_nlink,
            owner=status.st_uid,
            first_seen=self._clock.steady() if seen is None else seen,
            arrived_by_rename=candidate.arrived_by_rename and is_unwritten,
        )

    def _may_come(self, candidate: Candidate, sighting: Sighting) -> bool:
        if candidate.is_unannounced and not self._is_ready(candidate, sighting):
            return False  # whoever's it is: what came later waits for it
        if self._limits.keeps_waiting(candidate, sighting, self._clock.steady()):
            return False
        return candidate.is_unannounced or self._is_ready(candidate, sighting)

    def _is_ready(self, candidate: Candidate, sighting: Sighting) -> bool:
        """Judge a look; what is not complete yet is set aside for as long as it needs."""
        now, debounce = self._clock.steady(), self._settings.debounce
        wall_ns = int(self._clock.now().timestamp() * _NS)
        verdict = is_complete(sighting, wall_ns, now, debounce)
        wait = self._waiting.let_settle
        if isinstance(verdict, Ready) and self._has_writer(sighting):
            verdict = is_complete(replace(sighting, writer_open=True), wall_ns, now, debounce)
            wait = self._waiting.set_aside
            self._tell_held_open(sighting.name)
        else:
            self._held_open.discard(sighting.name)
        if isinstance(verdict, Wait):
            wait(candidate, now + verdict.seconds + _TIMER_SLACK)
        return isinstance(verdict, Ready)

    def _has_writer(self, sighting: Sighting) -> bool:
        if sighting.arrived_by_rename or sighting.kind is not Kind.REGULAR:
            return False
        return is_open_for_writing(self._layout.handoff, sighting.name)

    def _tell_held_open(self, name: bytes) -> None:
        if name not in self._held_open:
            self._held_open.add(name)
            _log.info("%s is open for writing; it is taken once nobody writes it", shown(name))

    def _take_over(self, sighting: Sighting) -> None:
        claim = self._claims.claim(sighting.name)
        self._refused.pop(sighting.name, None)
        if claim is not None:
            self._limits.count(sighting.owner, self._clock.steady())
            self._claimed.append(claim)
            self._unsynced.append(claim)

    def _refuse(self, candidate: Candidate, error: OSError) -> None:
        """One file cannot be renamed, e.g. it is a mount point (EXDEV, EBUSY): never copy it."""
        name = candidate.name
        if name not in self._refused and len(self._refused) < MOST_REMEMBERED:
            ignored = Ignored(
                name,
                f"it cannot be claimed: {error.strerror}",
                "hand it over as a plain file that the daemon's user may rename",
            )
            self._refused[name] = ignored
            _log.error("%s: %s; %s", shown(name), ignored.why, ignored.remedy)
        if not self._settings.once:
            self._waiting.set_aside(candidate, self._clock.steady() + _REFUSED_RETRY_SECONDS)

    def _read(self) -> None:
        """Turn claims into arrivals, in order, until the batch is big enough."""
        size = 0
        while self._claimed and size <= _BATCH_BYTES:
            claim = self._claimed[0]
            try:
                arrival = self._claims.read(claim)
            except OSError as error:
                self._stop_for_now(claim.name, "read", error)
                return
            self._claimed.popleft()
            if arrival is not None:
                self._arrivals.append(arrival)
                size += len(arrival.content.body) if isinstance(arrival.content, Content) else 0

    def _stop_for_now(self, name: bytes, what: str, error: OSError) -> None:
        self._resume_at = self._clock.steady() + _RETRY_SECONDS
        self._watch.suspect()
        why = f"{shown(name)} cannot be {what}: {error.strerror}; trying again"
        self._watch.troubles.report("claim", OSError(error.errno, why))

    def _is_drained(self) -> bool:
        is_empty = not self._claimed and not len(self._waiting)
        return self._settings.once and self._watch.is_scanned and is_empty

    def _pause(self) -> float:
        """Seconds until there is something to do, should no event come first."""
        times = [self._watch.next_time()]
        if self._watch.is_served:
            times += [max(due, self._resume_at) for due in self._dues()]
        return max(min(times) - self._clock.steady(), 0.0)

    def _dues(self) -> list[float]:
        if self._claimed:
            return [0.0]
        if self.held_by is not None:
            return [self._clock.steady() + _RETRY_SECONDS]
        due = self._waiting.next_due()
        return [] if due is None else [max(due, self._limits.opens_at())]


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.REGULAR
    return Kind.FOLDER if stat.S_ISDIR(mode) else Kind.SPECIAL


def _seen(candidate: Candidate, sighting: Sighting) -> Candidate:
    return Candidate(
        sighting.name,
        sighting.arrived_by_rename,
        sighting.first_seen,
        sighting.ctime_ns,
        candidate.turn_of,
        candidate.is_unannounced and candidate.ctime_ns == sighting.ctime_ns,
    )
