"""The newest vitals of the daemon, for everybody who asks or waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from conductor_loop.core.control import Check
from conductor_loop.core.liveness import EVENT_LOOP, Liveness
from conductor_loop.core.vitals import PORCH_BOUNDS, PROCESSING_BOUNDS, Counts, Vitals, histogram
from conductor_loop.web.history import History


class Board:
    """Holds what the daemon said last; whoever waits is woken by the next word."""

    def __init__(self) -> None:
        self.vitals = Vitals(0.0, Counts(histogram(PROCESSING_BOUNDS), histogram(PORCH_BOUNDS)))
        self.history = History()
        self._liveness = Liveness(time.monotonic())
        self._changed = asyncio.Event()

    def post(self, vitals: Vitals) -> None:
        """The daemon said something."""
        self.vitals = vitals
        self._liveness.note(vitals.loops, time.monotonic())
        self.history.add(vitals)
        self._changed.set()
        self._changed = asyncio.Event()

    def liveness(self) -> dict[str, bool]:
        """Tell of each loop whether it lives."""
        return self._liveness.verdicts(time.monotonic())

    def checks(self) -> Sequence[Check]:
        """What must hold for files to be taken, that the daemon lives included.

        Of one that does not speak any more, what it said last is not true any more.
        """
        return (*self.vitals.checks, Check("daemon", all(self.liveness().values())))

    def is_ready(self) -> bool:
        """Whether files are taken; not before the daemon has said so."""
        return bool(self.vitals.checks) and all(check.ok for check in self.checks())

    def oldest_seconds(self) -> float:
        """The age of the oldest intent or file without an end; it grows without the daemon too.

        What a silent daemon has not told of may have waited since its last word.
        """
        vitals, silence = self.vitals, self._liveness.silence(time.monotonic())
        if vitals.oldest_at is None:
            return 0.0 if self.liveness()[EVENT_LOOP] else silence
        # From the daemon's own clock at both ends: ours is the same, but this moment is not.
        return max(vitals.at - vitals.oldest_at, 0.0) + silence

    async def next(self) -> Vitals:
        """Wait for the next word."""
        await self._changed.wait()
        return self.vitals

    async def until(self, holds: Callable[[Vitals], bool]) -> None:
        """Wait until it says something of which this holds."""
        while not holds(self.vitals):
            await self.next()
