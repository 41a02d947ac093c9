"""A source on a real folder, and what a test steers it by: a clock to turn, hints to give."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from conductor_loop.adapters.handoff.events import Heard, Hints, open_hints
from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.adapters.handoff.watch import FolderSettings
from conductor_loop.core.arrival import Arrival
from conductor_loop.core.places import claimed_path
from conductor_loop.ports import Source

DEADLINE = 20.0
"""Seconds after which a condition that should come true is given up."""
A_WHILE = timedelta(minutes=10)
"""A debounce that only passes when a test turns the clock."""
BRISK = FolderSettings(debounce=timedelta(milliseconds=20), period=timedelta(milliseconds=20))


class TurnedClock:
    """The machine's clock, turned ahead by a test; wall and steady time can be turned apart."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.wall_ahead = 0.0

    def now(self) -> datetime:
        """See `ports.Clock`."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead + self.wall_ahead)

    def steady(self) -> float:
        """See `ports.Clock`."""
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """See `ports.Clock`; in the machine's own time."""
        await asyncio.sleep(seconds)

    def pass_time(self, amount: timedelta) -> None:
        """Let time go by at once."""
        self.ahead += amount.total_seconds()


class ToldHints:
    """Hints that a test gives by hand, and a folder that announces nothing by itself."""

    def __init__(self) -> None:
        self._heard = Heard()
        self._told = asyncio.Event()
        self.watched: list[str] = []

    def tell(self, *names: bytes, moved_in: bool = False, is_incomplete: bool = False) -> None:
        """Give a hint."""
        self._heard.names.update(dict.fromkeys(names, moved_in))
        self._heard.is_incomplete |= is_incomplete
        self._told.set()

    def watch(self, path: str) -> None:
        """See `Hints`."""
        self.watched.append(path)

    def collect(self) -> Heard:
        """See `Hints`."""
        heard, self._heard = self._heard, Heard()
        self._told.clear()
        return heard

    def wake(self) -> None:
        """See `Hints`."""
        self._told.set()

    async def wait(self, seconds: float) -> None:
        """See `Hints`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()

    def close(self) -> None:
        """See `Hints`."""


@dataclass(slots=True)
class Served:
    """A real folder, open, with a source on it."""

    layout: Layout
    source: FolderSource
    clock: TurnedClock

    @property
    def handoff(self) -> Path:
        """The handoff folder."""
        return Path(self.layout.path)

    @property
    def claimed(self) -> Path:
        """Where claims stand."""
        return self.handoff / ".conductor" / "claimed"

    def claim(self, intent_id: str, name: str) -> Path:
        """Where one claim stands."""
        return self.claimed / os.fsdecode(claimed_path(intent_id, os.fsencode(name)))

    def hand_over(self, name: str | bytes, body: bytes = b"{}") -> Path:
        """Deliver a file as a careful producer does: written elsewhere, then renamed."""
        draft = self.handoff / ".draft"
        draft.write_bytes(body)
        return draft.rename(self.handoff / os.fsdecode(name))


@contextlib.contextmanager
def serving(
    handoff: Path,
    settings: FolderSettings = BRISK,
    *,
    hints: Hints | None = None,
    state_dir: Path | None = None,
) -> Iterator[Served]:
    """Open a folder and a source on it, with real events unless hints are given."""
    clock = TurnedClock()
    with (
        open_layout(handoff, state_dir) as layout,
        hold_lock(layout, clock.now()) as lock,
        contextlib.closing(hints or open_hints()) as heard,
    ):
        source = FolderSource(layout, lock, heard, clock, settings)
        yield Served(layout, source, clock)


async def take(source: Source, room: int = 64) -> list[Arrival]:
    """One `take` that must not last for ever."""
    return list(await asyncio.wait_for(source.take(room), DEADLINE))


async def take_all(source: Source, count: int, room: int = 64) -> list[Arrival]:
    """Take until so many have come."""
    arrivals: list[Arrival] = []
    async with asyncio.timeout(DEADLINE):
        while len(arrivals) < count:
            arrivals += await source.take(room)
    return arrivals


def names(arrivals: Sequence[Arrival]) -> list[bytes]:
    """The names, in order."""
    return [arrival.receipt.name for arrival in arrivals]


async def eventually(condition: Callable[[], object], served: Served) -> None:
    """Let the source work, which must have nothing to return, until a condition holds."""
    task = asyncio.create_task(take(served.source))
    while not condition():
        assert not task.done(), f"took {task.result()}"
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])


async def listening(served: Served) -> None:
    """Let the source come to the point where events reach it."""
    await eventually(lambda: served.source.state().hears_events, served)
