"""Housekeeping: what is final and old enough goes, file, verdict and history together.

What stays is looked at, slowly, whether it is still what was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta

from conductor_loop.conductor.signals import Bell
from conductor_loop.core.events import Tidied
from conductor_loop.core.records import Record, Summary
from conductor_loop.core.states import FINAL, UNSUCCESSFUL, State
from conductor_loop.core.sure_time import SureTime
from conductor_loop.ports import Catalog, Clock, Journal, Scrubber, Tidier

_log = logging.getLogger("conductor_loop.housekeeping")
_BATCH = 200
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long final intents are kept; zero means for ever. Age counts from the final event."""

    succeeded: timedelta
    unsuccessful: timedelta
    interval: timedelta
    """Between two rounds; zero means never."""


class Housekeeping:
    """Rounds of forgetting; unfinished intents and packages are never touched."""

    def __init__(
        self, journal: Journal, catalog: Catalog, tidier: Tidier, clock: Clock,
        policy: RetentionPolicy, scrubber: Scrubber,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._catalog = catalog
        self._tidier = tidier
        self._clock = clock
        self._time = SureTime(clock.now(), clock.steady())
        self.policy = policy
        self._scrubber = scrubber
        self._changed = Bell()
        self.beats = 0
        """How many batches were looked at."""
        self.is_tidying = False
        self.has_tidied = False
        """Whether the first round is over, or there is to be none."""

    def adopt(self, policy: RetentionPolicy) -> None:
        """Go by this from now on: with another one, a round begins at once."""
        if policy != self.policy:
            self.policy = policy
            self._changed.ring()

    async def run(self) -> None:
        """One round at once, then one per interval, for ever; none without an interval.

        Whatever the policy is now, what was told of and not removed goes first. Cancelled, it ends
        with the batch that it is at.
        """
        seq, due = self._catalog.told_to_go()
        if due:
            await self._to_the_end(self._remove_told(due, seq))
        while True:
            if self.policy.interval:
                await self._round()
            self.has_tidied = True
            await self._pause()

    async def _round(self) -> None:
        removed = await self.tidy()
        self.has_tidied = True
        if removed:
            _log.info("forgot %d intents past their retention", removed)
        await self._scrub()

    async def _pause(self) -> None:
        """Wait for an interval, or for another policy."""
        waits = [asyncio.create_task(self._changed.wait())]
        if self.policy.interval:
            seconds = self.policy.interval.total_seconds()
            waits.append(asyncio.create_task(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _scrub(self) -> None:
        seq = await self._scrubber.look_at(0)
        while seq:
            await self._clock.sleep(_PAUSE_SECONDS)
            seq = await self._scrubber.look_at(seq)

    async def tidy(self) -> int:
        """One round; returns how many intents were forgotten."""
        self.is_tidying = True
        try:
            removed = await self._forget_older(self.policy.succeeded, FINAL - UNSUCCESSFUL)
            return removed + await self._forget_older(self.policy.unsuccessful, UNSUCCESSFUL)
        finally:
            self.is_tidying = False

    async def _forget_older(self, age: timedelta, states: Collection[State]) -> int:
        if not age:
            return 0
        cutoff, total = self._time.at(self._clock.now(), self._clock.steady()) - age, 0
        while True:
            due = self._catalog.final_before(cutoff, states, _BATCH)
            removed = await self._to_the_end(self._remove(due)) if due else []
            self.beats += 1
            total += len(removed)
            # What could not be removed now stays, and is tried in the next round.
            if len(due) < _BATCH or not removed:
                return total
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _remove(self, due: Sequence[Summary]) -> Sequence[str]:
        # Said first: what is gone without a word would look like a verdict that somebody took.
        event = Tidied(tuple(i.intent_id for i in due))
        (seq,) = await self._journal.record([Record(None, event)])
        return await self._remove_told(due, seq)

    async def _remove_told(self, due: Sequence[Summary], seq: int) -> Sequence[str]:
        removed = self._tidier.remove(due)
        await self._journal.forget(removed, told_by=seq)
        return removed

    async def _to_the_end(self, removal: Coroutine[None, None, Sequence[str]]) -> Sequence[str]:
        """Also when cancelled: what was said to go would else be there, and excused as gone."""
        task = asyncio.create_task(removal, name="removal")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            task.result()  # what went wrong with it is not to be lost
            raise
