"""The loops of a distributor: takes what is complete, and passes it on to where it belongs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from conductor_loop.conductor.signals import Bell
from conductor_loop.core.arrival import Arrival
from conductor_loop.core.distribution import Lines, Parcel, Passing, ordinal_of, parcel_of
from conductor_loop.core.naming import shown
from conductor_loop.ports import Clock, Outlet, Source

_log = logging.getLogger("conductor_loop.distribution")

_BATCH = 128  # as intake has it: one sync is shared by many
_MOST_HELD = 1_024
"""So many files may wait for a name to be free; more stay in the inbox."""
_RETRY_SECONDS = 0.25


class Distribution:
    """Passes on what a source has, until it is cancelled or the source has no more."""

    def __init__(self, source: Source, outlet: Outlet, clock: Clock, count: int) -> None:
        self._source, self._outlet, self._clock = source, outlet, clock
        self._lines, self._is_drained = Lines(), False
        self._news, self._space = Bell(), Bell()
        self._waits_for_name: set[str] = set()
        self.moved = [0] * count
        """How many went to each ordinal."""
        self.set_aside = 0

    @property
    def waiting(self) -> int:
        """Files taken and not passed on; they are kept for the next start."""
        return len(self._lines)

    async def run(self, begun: Sequence[Parcel]) -> None:
        """Pass on, first what an earlier distributor began, then what it took and left.

        Raises DurabilityLost.
        """
        for parcel in begun:
            self._lines.add(parcel)
        self._add(await self._source.leftovers(frozenset()))
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._take(), name="take")
            loops.create_task(self._pass_on(), name="pass on")

    async def _take(self) -> None:
        while arrivals := await self._source.take(min(await self._room(), _BATCH)):
            self._add(arrivals)
        self._is_drained = True
        self._news.ring()

    async def _room(self) -> int:
        while len(self._lines) >= _MOST_HELD:
            await self._space.wait()
        return _MOST_HELD - len(self._lines)

    def _add(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self._lines.add(parcel_of(arrival))
        self._news.ring()

    async def _pass_on(self) -> None:
        while True:
            while heads := self._lines.heads(self._clock.steady()):
                for parcel in heads:
                    self._pass(parcel)
            self._outlet.sync()
            self._space.ring()
            if self._is_drained and self._lines.are_held:
                return
            due = self._lines.next_due()
            await self._news.wait(None if due is None else max(due - self._clock.steady(), 0.0))

    def _pass(self, parcel: Parcel) -> None:
        ordinal = ordinal_of(parcel.key, len(self.moved))
        passing = self._outlet.pass_on(parcel, ordinal)
        now = self._clock.steady()
        if passing in (Passing.NAME_TAKEN, Passing.NOT_NOW):
            self._lines.hold(parcel, now + _RETRY_SECONDS)
            self._tell_of_name(parcel, ordinal, passing)
            return
        self._lines.passed(parcel, now)
        self._waits_for_name.discard(parcel.intent_id)
        self.moved[ordinal] += passing is Passing.MOVED
        self.set_aside += passing is Passing.SET_ASIDE
        if passing is Passing.MOVED:
            name, key = shown(parcel.name), shown(parcel.key)
            _log.info("%s goes to %d, by %s", name, ordinal, key, extra={"intent.file": name})

    def _tell_of_name(self, parcel: Parcel, ordinal: int, passing: Passing) -> None:
        if passing is not Passing.NAME_TAKEN or parcel.intent_id in self._waits_for_name:
            return
        self._waits_for_name.add(parcel.intent_id)
        name = shown(parcel.name)
        why = "%s waits: a file of its name is in the handoff of %d"
        _log.warning(why, name, ordinal, extra={"intent.file": name})
