"""Everything admitted and unfinished, in order, with what operators and limits do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from conductor_loop.conductor.signals import Bell
from conductor_loop.core.breaker import Breaker
from conductor_loop.core.events import Skipped, SkipReason
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record, Unfinished
from conductor_loop.core.schedule import Schedule
from conductor_loop.ports import Clock, Journal


@dataclass(frozen=True, slots=True)
class WaitingPolicy:
    """Which intents need not run any more."""

    capacity: int = 1024
    """Unfinished intents held at once; beyond it files wait in the handoff folder."""
    max_wait: timedelta | None = None
    supersede: bool = False


class Backlog:
    """The schedule, the breaker and the pauses, kept together: what may run next."""

    def __init__(
        self, journal: Journal, clock: Clock, breaker: Breaker, policy: WaitingPolicy
    ) -> None:
        self.bell = Bell()
        self.breaker = breaker
        self.paused = False
        """An operator paused everything."""
        self.running: dict[str, Unfinished] = {}
        self._journal = journal
        self._clock = clock
        self._policy = policy
        self._schedule = Schedule()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Everything unfinished here, running included."""
        return len(self._schedule) + len(self.running)

    async def room(self) -> int:
        """Wait until at least one more fits; say how many."""
        while (free := self._policy.capacity - len(self)) <= 0:
            self._room.clear()
            await self._room.wait()
        return free

    async def add(self, item: Unfinished, *, ready_at: float = 0.0) -> None:
        """Append; with `-supersede`, older ones of the target that wait are skipped."""
        older = list(self._schedule.waiting(item.target)) if self._policy.supersede else []
        self._schedule.add(item, ready_at=ready_at)
        self.bell.ring()
        if older:
            await self.skip(older, Skipped(SkipReason.SUPERSEDED, superseded_by=item.intent_id))

    async def restore(self, items: Iterable[Unfinished]) -> None:
        """Take over what an earlier daemon left, in journal order."""
        now, steady = self._clock.now(), self._clock.steady()
        for item in items:
            wait = (item.not_before - now).total_seconds() if item.not_before else 0.0
            await self.add(item, ready_at=steady + wait if wait > 0 else 0.0)

    async def skip(self, items: Sequence[Unfinished], event: Skipped) -> Sequence[Unfinished]:
        """End those of `items` that still wait; return them."""
        removed = [i for i in items if self._schedule.remove(i.intent_id, i.target)]
        if removed:
            await self._journal.record([Record(i.intent_id, event) for i in removed])
            self._freed()
        return removed

    async def expire(self) -> None:
        """End what waited longer than `-max-wait`."""
        if self._policy.max_wait is None:
            return
        oldest = self._clock.now() - self._policy.max_wait
        late = [item for item in self._schedule.waiting() if item.received_at < oldest]
        why = f"waited longer than {self._policy.max_wait.total_seconds():g} s"
        await self.skip(late, Skipped(SkipReason.EXPIRED, why=why))

    def take(self) -> Unfinished | None:
        """Give the next one that may run now, and count it as running."""
        if self.paused:
            return None
        now = self._clock.steady()
        item = self._take_probe(now) if self.breaker.is_open else self._schedule.take(now)
        if item is not None:
            self.running[item.intent_id] = item
        return item

    def put_back(self, item: Unfinished, *, not_before: datetime | None = None) -> None:
        """A running one goes back to the head of its target."""
        del self.running[item.intent_id]
        ready_at = 0.0
        if not_before is not None:
            wait = (not_before - self._clock.now()).total_seconds()
            ready_at = self._clock.steady() + max(wait, 0.0)
        self._schedule.put_back(item, ready_at=ready_at)
        self.bell.ring()

    def finish(self, item: Unfinished) -> None:
        """A running one is final."""
        del self.running[item.intent_id]
        self._schedule.finish(item.target)
        self.breaker.forget(item.intent_id)
        self._freed()

    def seconds_to_next(self) -> float | None:
        """How long until something may become ready by itself; None: only by an event."""
        now = self._clock.steady()
        moments = [self._schedule.next_wake()]
        if self.breaker.is_open and not self.paused:
            moments.append(self.breaker.probe_at)
        known = [moment - now for moment in moments if moment is not None]
        return max(min(known), 0.0) if known else None

    def find_waiting(self, intent_id: str) -> Unfinished | None:
        """The waiting intent of an id."""
        return next((i for i in self._schedule.waiting() if i.intent_id == intent_id), None)

    def waiting(self, target: Target | None = None) -> list[Unfinished]:
        """Everything that waits."""
        return list(self._schedule.waiting(target))

    def pause(self, target: Target | None) -> None:
        """Start nothing (of a target) any more."""
        if target is None:
            self.paused = True
        else:
            self._schedule.pause(target)

    def resume(self, target: Target | None) -> None:
        """Lift a pause."""
        if target is None:
            self.paused = False
        else:
            self._schedule.resume(target)
        self.bell.ring()

    def _take_probe(self, now: float) -> Unfinished | None:
        if not self.breaker.may_probe(now):
            return None
        item = self._schedule.take(now, avoid=self.breaker.last_target)
        if item is not None:
            self.breaker.start_probe(item.intent_id)
        return item

    def _freed(self) -> None:
        self._room.set()
        self.bell.ring()
