"""Relay: brings the views in line with the journal, in its order, from one durable position."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Sequence

from conductor_loop import disk
from conductor_loop.core.records import Entry
from conductor_loop.ports import Clock, Feed, Listener, Projection, Steps

_log = logging.getLogger("conductor_loop.relay")
_BATCH = 256
_GATHER_SECONDS, _LOOK_SECONDS = 0.05, 0.01
"""While much is about to end, entries gather so long: the syncs of a batch serve them all."""
_TRIES = 3
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_PARKED_SECONDS = 10.0
"""What was set aside is tried again so often."""


class Relay:
    """Applies each entry to every projection; a crash repeats from the last position."""

    def __init__(
        self,
        feed: Feed,
        projections: Sequence[Projection],
        listeners: Sequence[Listener],
        clock: Clock,
        is_busy: Callable[[], bool],
    ) -> None:
        self.position = feed.position()
        self.stalled_by: OSError | None = None
        """What keeps the views from being written now, if anything."""
        self.parked_count = 0
        """Entries that a view cannot take."""
        self._parked_due = 0.0
        self._feed = feed
        self._projections = projections
        self._listeners = listeners
        self._clock = clock
        self._is_busy = is_busy
        self._advances: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Follow the feed for ever."""
        self.parked_count = len(self._feed.parked())
        await self._retry_parked()
        if self.parked_count:
            _log.error("%d entries are still set aside, their views are missing", self.parked_count)
        while True:
            if self.parked_count and self._clock.steady() >= self._parked_due:
                await self._retry_parked()
            entries = self._feed.after(self.position, _BATCH)
            if entries:
                await self._relay(entries)
                if len(entries) < _BATCH:  # after a full one more waits already
                    await self._gather()
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Until there is another entry, or what was set aside is due."""
        wait = self._parked_due - self._clock.steady() if self.parked_count else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._feed.committed(self.position)

    async def _gather(self) -> None:
        for _ in range(round(_GATHER_SECONDS / _LOOK_SECONDS)):
            if not self._is_busy():
                return
            await self._clock.sleep(_LOOK_SECONDS)

    async def caught_up(self, seq: int) -> None:
        """Wait until everything up to an entry is in the views, and durably so."""
        while self.position < seq:
            self._moved.clear()
            await self._moved.wait()
        if self._advances:
            await asyncio.gather(*self._advances)

    async def _relay(self, entries: Sequence[Entry]) -> None:
        places = await self._apply(entries)
        self.position = entries[-1].seq
        # Nobody has to wait for the position: after a crash the same entries come again.
        advance = asyncio.create_task(self._feed.advance(self.position, filed=places))
        self._advances.add(advance)
        advance.add_done_callback(self._advanced)
        for entry in entries:
            for listener in self._listeners:
                listener.hear(entry)
        self._moved.set()

    def _advanced(self, advance: asyncio.Task[None]) -> None:
        self._advances.discard(advance)
        if not advance.cancelled() and advance.exception() is not None:
            # The journal has ended: whoever waits for it next is told why.
            _log.debug("the position was not kept: %s", advance.exception())

    async def _apply(self, entries: Sequence[Entry]) -> list[tuple[str, str]]:
        """Apply a batch; one that cannot be taken is tried entry by entry."""
        try:
            return await self._project(entries)
        except OSError as error:
            _log.warning("views cannot be written: %s; trying again", error.strerror)
        places: list[tuple[str, str]] = []
        for entry in entries:
            places += await self._apply_one(entry, places)
        return places

    async def _apply_one(
        self, entry: Entry, before: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        tries, pause = 0, _FIRST_PAUSE_SECONDS
        while True:
            try:
                places = await self._project([entry])
            except OSError as error:
                self.stalled_by = error
                passing = error.errno in disk.PASSING_ERRORS
                tries += not passing
                if tries >= _TRIES:
                    # Setting it aside moves the position past those before it.
                    await self._feed.advance(entry.seq - 1, filed=before)
                    await self._park(entry, error)
                    return []
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self.stalled_by = None
                return places

    async def _project(self, entries: Sequence[Entry]) -> list[tuple[str, str]]:
        """Take every view through its steps; one sync off the loop ends a step of all."""
        places: list[tuple[str, str]] = []
        with contextlib.ExitStack() as unfinished:
            views = [view.apply(entries) for view in self._projections]
            for view in views:
                unfinished.callback(view.close)
            while views:
                to_sync: list[int] = []
                for view in _in_turn(views):
                    try:
                        to_sync += next(view)
                    except StopIteration as end:
                        views.remove(view)
                        places += end.value
                if to_sync:
                    await asyncio.to_thread(disk.sync_each, to_sync)
        return places

    async def _park(self, entry: Entry, error: OSError) -> None:
        _log.error(
            "entry %d set aside, its views are missing: %s", entry.seq, error,
            extra=entry.facts(),
        )  # fmt: skip
        self.stalled_by = None
        await self._feed.park(entry, str(error))
        if not self.parked_count:
            self._parked_due = self._clock.steady() + _PARKED_SECONDS
        self.parked_count += 1

    async def _retry_parked(self) -> None:
        for entry, _ in self._feed.parked():
            try:
                places = await self._project([entry])
            except OSError as error:
                _log.debug("entry %d is still set aside: %s", entry.seq, error)
            else:
                await self._feed.unpark(entry.seq, filed=places)
                self.parked_count -= 1
                _log.info("the views of entry %d are made after all", entry.seq)
        self._parked_due = self._clock.steady() + _PARKED_SECONDS


def _in_turn(views: Sequence[Steps]) -> Sequence[Steps]:
    """Who takes the next step: the last view begins with the others and then waits for them."""
    has_begun = inspect.getgeneratorstate(views[-1]) is not inspect.GEN_CREATED
    return views[:-1] if has_begun and len(views) > 1 else tuple(views)
