"""How a running daemon is: its checks, its loops, its queue, for probes, metrics and the page."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.adapters.backup.kept import newest_at
from conductor_loop.core.control import Check
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.liveness import Liveness
from conductor_loop.core.naming import shown
from conductor_loop.core.vitals import Attempt, Counts, Loop, Process, Vitals

if TYPE_CHECKING:
    from collections.abc import Callable

    from conductor_loop.adapters.handoff.layout import Layout
    from conductor_loop.adapters.handoff.source import FolderSource, FolderState
    from conductor_loop.adapters.journal.writer import SqliteJournal
    from conductor_loop.conductor.backlog import Backlog
    from conductor_loop.conductor.daemon import Conductor
    from conductor_loop.ports import Notices
    from conductor_loop.settings import Settings

_PATIENCE = 15.0
"""Seconds without a beat that a slow disk may explain."""
_FOLDER_CHECK_SECONDS = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Daemon:
    """The parts of a daemon that are looked at."""

    conductor: Conductor
    source: FolderSource
    journal: SqliteJournal
    layout: Layout
    checks: Callable[[], Sequence[Check]]


class Observer:
    """Looks at a daemon; before there is one, says that it is starting."""

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self._settings = settings
        # An attempt that runs keeps the deadline that it began with.
        self._longest_timeout = settings.timeout
        self._counts = counts
        self._daemon: Daemon | None = None
        self._started_at = time.time()
        self._liveness = Liveness(time.monotonic())
        self._folders = _FolderChecks(settings.disk_floor)
        self.notices: Notices | None = None
        """Where to report what is noticed, once there is a journal."""

    def attend(self, daemon: Daemon | None) -> None:
        """From now on there is this one, or none any more."""
        self._daemon = daemon

    def adopt(self, settings: Settings) -> None:
        """Judge by these from now on."""
        self._settings = settings
        self._longest_timeout = max(self._longest_timeout, settings.timeout)
        self._folders = _FolderChecks(settings.disk_floor)

    def look(self) -> Vitals:
        """Everything at this moment; costs well below a millisecond and waits for nothing."""
        if self._daemon is None:
            starting = Check("intake", ok=False, message="starting or ended")
            return Vitals(time.time(), self._counts, (starting,), process=self._process())
        return self._look_at(self._daemon)

    def checks(self) -> list[Check]:
        """What must hold for files to be taken."""
        assert self._daemon is not None
        return [*self._daemon.checks(), *self._folders.look(self._daemon.layout, self._settings)]

    def _checks_or_why_not(self) -> list[Check]:
        try:
            return self.checks()
        except ConductorError as error:
            return [Check("journal", ok=False, message=error.message)]

    def stuck(self) -> str:
        """The loops that are stuck, in words; empty when all live. Whoever asks asks regularly."""
        if self._daemon is None:
            return ""
        now = time.monotonic()
        self._liveness.note(self._loops(self._daemon), now)
        lives = self._liveness.verdicts(now)
        return ", ".join(name for name, ok in lives.items() if not ok)

    def _look_at(self, daemon: Daemon) -> Vitals:
        conductor, journal, folder = daemon.conductor, daemon.journal, daemon.source.state()
        backlog, workers = conductor.backlog, conductor.work.policy.workers
        running = _attempts(backlog, workers)
        return Vitals(
            time.time(),
            self._counts,
            checks=tuple(self._checks_or_why_not()),
            loops=tuple(self._loops(daemon)),
            running=running,
            workers=workers,
            waiting=len(backlog) - len(running),
            in_folder=daemon.source.unclaimed(),
            ignored=folder.ignored,
            oldest_at=_oldest(conductor, folder),
            is_paused=backlog.paused,
            is_breaker_open=backlog.breaker.is_open,
            is_journal_open=True,
            parked=conductor.relay.parked_count,
            committed=journal.committed_seq,
            relayed=conductor.relay.position,
            disk_free_bytes=self._folders.free,
            last_backup_at=_last_backup(self._settings),
            process=self._process(),
        )

    def _loops(self, daemon: Daemon) -> Sequence[Loop]:
        conductor, journal, backlog = daemon.conductor, daemon.journal, daemon.conductor.backlog
        settings, has_room = self._settings, not daemon.journal.lacks_room
        ready = conductor.is_ready and has_room
        scan = 2 * settings.period.total_seconds()
        attempt = (self._longest_timeout + 2 * settings.grace).total_seconds()
        relay, tidy, notices = conductor.relay, conductor.housekeeping, conductor.notices
        # A loop that waits for room on a disk is rightly idle: `/readyz` tells of that.
        behind = relay.stalled_by is None and relay.position < journal.committed_seq
        may_start = bool(backlog.running) or (ready and backlog.is_startable())
        looking = ready and backlog.free > 0 and not settings.once
        return (
            Loop("intake", daemon.source.looks, looking, scan + _PATIENCE),
            Loop("work", conductor.work.beats, has_room and may_start, attempt + _PATIENCE),
            Loop("relay", relay.position, has_room and behind, _PATIENCE),
            Loop("journal", journal.done, has_room and journal.done < journal.asked, _PATIENCE),
            Loop("notices", notices.beats, has_room and notices.is_due, _PATIENCE),
            Loop("housekeeping", tidy.beats, has_room and tidy.is_tidying, 4 * _PATIENCE),
        )

    def _process(self) -> Process:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Process(
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            resident_bytes=_resident_bytes(),
            open_files=_open_files(),
            most_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            started_at=self._started_at,
        )


def _attempts(backlog: Backlog, workers: int) -> tuple[Attempt, ...]:
    """What the workers do; what was started ahead of them, in order, still waits for one."""
    return tuple(
        Attempt(
            intent_id=item.intent_id,
            name=shown(item.name),
            target=str(item.target),
            attempt=item.runs + 1,
            started_at=backlog.started_at[item.intent_id].timestamp(),
        )
        for item in islice(backlog.running.values(), workers)
    )


def _last_backup(settings: Settings) -> float | None:
    if not settings.backup_interval or settings.backup_dir is None:
        return None
    try:
        return newest_at(settings.backup_dir)
    except OSError:  # a folder that cannot be read holds nothing that could be restored
        return 0.0


def _oldest(conductor: Conductor, folder: FolderState) -> float | None:
    backlog = conductor.backlog
    moments = [item.received_at for item in (*backlog.waiting(), *backlog.running.values())]
    if folder.oldest is not None:
        moments.append(folder.oldest)
    return min(moments).timestamp() if moments else None


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:  # no Linux
        return 0


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class _FolderChecks:
    """Whether folders can be written to and have room; looked at now and then."""

    def __init__(self, floor: int) -> None:
        self.free = 0
        """Bytes on the fullest of their disks."""
        self._floor = floor
        self._looked_at = -_FOLDER_CHECK_SECONDS
        self._found: list[Check] = []

    def look(self, layout: Layout, settings: Settings) -> list[Check]:
        now = time.monotonic()
        if now - self._looked_at >= _FOLDER_CHECK_SECONDS:
            self._looked_at = now
            self._found = self._judge(layout, settings)
        return self._found

    def _judge(self, layout: Layout, settings: Settings) -> list[Check]:
        folders: dict[str, int | str] = {
            "handoff": layout.handoff,
            "processed": layout.processed,
            "failed": layout.failed,
            "status": layout.status,
            "state": layout.state,
            "out": os.fspath(settings.out),
        }
        closed = [name for name, place in folders.items() if not _is_writable(place)]
        self.free = min((_free(place) for place in folders.values()), default=0)
        is_low = self.free < self._floor
        told = f"not writable: {', '.join(closed)}" if closed else ""
        room = f"{self.free} bytes are free, the floor is {self._floor}" if is_low else ""
        return [Check("folders", not closed, told), Check("disk-floor", not is_low, room)]


def _is_writable(place: int | str) -> bool:
    path = f"/proc/self/fd/{place}" if isinstance(place, int) else place
    return os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _free(place: int | str) -> int:
    try:
        found = os.statvfs(place)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
