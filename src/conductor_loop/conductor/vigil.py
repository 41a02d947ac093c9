"""Vigil: looks, slowly, whether what was signed is still there, and whether anything runs out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from conductor_loop.core.detection.modes import ModeChanged
from conductor_loop.core.detection.pressure import Level, Pressure
from conductor_loop.core.detection.restraint import Restraint
from conductor_loop.core.faults import ConductorError
from conductor_loop.ports import Clock, Examiner, Mismatch, Notices

_log = logging.getLogger("conductor_loop.vigil")

# An idle daemon may use a thousandth of a core; a look at the levels takes well below 1 ms.
_LEVELS_SECONDS = 30.0
# A look takes some 0.1 ms. Porch has only so long to let others at what it lays open.
_MODES_SECONDS = 5.0
_MODE_NOTICES, _SPAN_SECONDS = 20, 1800.0
_STEP_SECONDS = 1.0
# Before the first round, so that a start is not slowed down.
_FIRST_SECONDS = 60.0
_MOST_TOLD = 10_000


class Vigil:
    """Loops that report, and change nothing; whoever looks at modes has put them back."""

    def __init__(self, notices: Notices, clock: Clock) -> None:
        self._notices, self._clock = notices, clock
        self._told: set[tuple[str, str, str]] = set()
        self._restraint = Restraint(_MODE_NOTICES, _SPAN_SECONDS)

    async def watch_levels(self, look: Callable[[], Iterable[Level]]) -> None:
        """Report what is nearly used up, and when that is over, for ever."""
        pressure = Pressure()
        while True:
            for code, level in pressure.changes(look()):
                self._notices.report(code, level.subject, used=f"{level.used:.0%}")
            await self._clock.sleep(_LEVELS_SECONDS)

    async def watch_modes(self, put_back: Callable[[], Iterable[ModeChanged]]) -> None:
        """Have modes put back, and report which, for ever."""
        while True:
            self.tell_modes(put_back())
            await self._clock.sleep(_MODES_SECONDS)

    def tell_modes(self, changed: Iterable[ModeChanged]) -> None:
        """Report these; porch may change them again and again, so not all of many."""
        code = "state_mode_changed"
        for each in changed:
            if self._restraint.passes(code, self._clock.steady()):
                untold = self._restraint.take_held_back(code)
                more = {"not_told_before": str(untold)} if untold else {}
                self._notices.report(code, each.path, **each.details(), **more)

    async def examine(self, examiner: Examiner, interval: timedelta) -> None:
        """Go round everything that was signed, once per interval, for ever."""
        pause = interval.total_seconds()
        await self._clock.sleep(min(pause, _FIRST_SECONDS))
        while True:
            try:
                await self._round(examiner)
            except ConductorError as error:  # the journal tells of that itself
                _log.warning("did not look at what was signed: %s", error.message)
            await self._clock.sleep(pause)

    async def _round(self, examiner: Examiner) -> None:
        seq = 0
        while True:
            seq, suspects = await asyncio.to_thread(examiner.examine, seq)
            if seq or suspects:
                await self._clock.sleep(_STEP_SECONDS)
            # Things move while one looks: only what is wrong twice, a step apart, is wrong.
            await self._tell_those(examiner, suspects)
            if not seq:
                return

    async def _tell_those(self, examiner: Examiner, suspects: Iterable[Mismatch]) -> None:
        for mismatch in suspects:
            if await asyncio.to_thread(examiner.still, mismatch):
                self._tell(mismatch)

    def _tell(self, mismatch: Mismatch) -> None:
        key = mismatch.intent_id, mismatch.code, mismatch.subject
        if key in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add(key)
        whose = {"intent_id": mismatch.intent_id} if mismatch.intent_id else {}
        self._notices.report(mismatch.code, mismatch.subject, **whose, why=mismatch.why)
