"""Backups on a schedule: one at a time, beside the work, and never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from conductor_loop.adapters.backup.kept import kept, made_at, path_for
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.core.faults import ConductorError, UsageError
from conductor_loop.settings import Settings

_log = logging.getLogger("conductor_loop.backup")


@asynccontextmanager
async def backing_up(settings: Settings, state: Path, clock: SystemClock) -> AsyncIterator[None]:
    """Make a backup every `-backup-interval` meanwhile. Raises UsageError when it cannot."""
    if not settings.backup_interval or settings.once:
        yield
        return
    schedule = _Schedule(settings, state, clock)
    task = asyncio.create_task(schedule.run(), name="backups")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Schedule:
    def __init__(self, settings: Settings, state: Path, clock: SystemClock) -> None:
        from conductor_loop.adapters.backup.parcel import read_recipients_file

        if settings.backup_dir is None:
            raise UsageError(
                "-backup-interval is given, and no folder for backups", hint="give -backup-dir"
            )
        self._folder = settings.backup_dir
        self._recipients = read_recipients_file(settings.backup_recipients)
        self._kek_file = settings.kek_file
        self._state = state
        self._interval = settings.backup_interval
        self._keep = settings.backup_keep
        self._clock = clock

    async def run(self) -> None:
        """For ever; one that fails is told, and tried again when the next one is due."""
        while True:
            await self._clock.sleep(self._seconds_to_go())
            try:
                await asyncio.to_thread(self._make)
            except (ConductorError, OSError) as error:
                _log.error("no backup was made: %s", error)
                await self._clock.sleep(self._interval.total_seconds())

    def _seconds_to_go(self) -> float:
        made = kept(self._folder)
        if not made:
            return 0.0
        age = self._clock.now() - made_at(made[-1])
        # A clock that was set back must not put the next one off for longer than that.
        return min(max(self._interval - age, timedelta(0)), self._interval).total_seconds()

    def _make(self) -> None:
        from conductor_loop.adapters.backup.making import make_backup

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = self._clock.now()
        file = path_for(self._folder, now)
        made = make_backup(
            self._state, self._kek_file, file, self._recipients, now, with_keys=False
        )
        _log.info("backup %s: %d bytes, decrypted again and found whole", made.path, made.size)
        for old in kept(self._folder)[: -self._keep]:
            old.unlink()
