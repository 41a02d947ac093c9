"""The notice board: what was noticed waits here, bounded, until it is in the journal."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from conductor_loop.core.events import Noticed
from conductor_loop.core.legible import legible_line
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import severity_of
from conductor_loop.ports import Journal

_MOST = 1024
# A subject may be a path of a stranger's making; PATH_MAX is 4096, escaped it may be longer.
_LONGEST_TEXT = 1024


class NoticeBoard:
    """`ports.Notices`, and the loop that journals what is reported."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[Noticed] = deque()
        self._lost = 0
        self.beats = 0
        """How often what was reported went into the journal."""
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def report(self, code: str, subject: str = "", *, by: str = "", **details: str) -> None:
        """See `ports.Notices`."""
        if len(self._waiting) >= _MOST:
            self._lost += 1
            return
        told = {name: _plain(text) for name, text in details.items()}
        self._waiting.append(Noticed(code, severity_of(code), _plain(subject), told, _plain(by)))
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens any more
            self._loop.call_soon_threadsafe(self._told.set)

    @property
    def is_due(self) -> bool:
        """Whether something waits to be journalled."""
        return bool(self._waiting or self._lost)

    async def run(self) -> None:
        """Journal what is reported, for ever."""
        while True:
            await self._told.wait()
            self._told.clear()
            await self.flush()

    async def flush(self) -> None:
        """Journal everything reported so far."""
        lost, self._lost = self._lost, 0
        noticed = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lost:
            noticed.append(Noticed("notices_lost", severity_of("notices_lost"), str(lost)))
        if noticed:
            await self._journal.record([Record(None, event) for event in noticed])
            self.beats += 1

    async def close(self) -> None:
        """Say that the daemon stops in order, as its last word."""
        self.report("daemon_stopped")
        await self.flush()


def _plain(text: str) -> str:
    return legible_line(text[:_LONGEST_TEXT])
