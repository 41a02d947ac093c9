"""The newest vitals of the daemon, for everybody who asks or waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from conductor_loop.core.liveness import Liveness
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

    async def next(self) -> Vitals:
        """Wait for the next word."""
        await self._changed.wait()
        return self.vitals

    async def until(self, holds: Callable[[Vitals], bool]) -> None:
        """Wait until it says something of which this holds."""
        while not holds(self.vitals):
            await self.next()
