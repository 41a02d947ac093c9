"""Everything admitted and unfinished, in order, with what operators and limits do to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from conductor_loop.conductor.signals import Bell
from conductor_loop.core.breaker import Breaker
from conductor_loop.core.events import Skipped, SkipReason
from conductor_loop.core.intent import Target
from conductor_loop.core.rates import Buckets, Episodes, Rate
from conductor_loop.core.records import Record, Unfinished
from conductor_loop.core.schedule import Schedule
from conductor_loop.core.settlement import LONGEST_WAIT
from conductor_loop.core.sure_time import SureTime
from conductor_loop.ports import Clock, Journal

_log = logging.getLogger("conductor_loop.conductor")


@dataclass(frozen=True, slots=True)
class WaitingPolicy:
    """Which intents need not run any more."""

    capacity: int = 10_000
    """Unfinished intents held at once; beyond it files wait in the handoff folder."""
    capacity_paused: int = 50_000
    """As many may wait for paused targets and for namespaces over their rate, so that these keep
    nobody else waiting."""
    max_wait: timedelta | None = None
    supersede: bool = False
    namespace_rate: Rate | None = None
    """How many intents of one namespace may be begun in a time."""
    burst: int = 1
    """How many of them at once, after a rest."""


class Backlog:
    """The schedule, the breaker and the pauses, kept together: what may run next."""

    def __init__(
        self, journal: Journal, clock: Clock, breaker: Breaker, policy: WaitingPolicy
    ) -> None:
        self.bell = Bell()
        self.ended = Bell()
        """Rings when something ended, or is to end."""
        self.breaker = breaker
        self.paused = False
        """An operator paused everything."""
        self.admitting = asyncio.Lock()
        """Held from judging until what is admitted is in order: each judges by all before it."""
        self.running: dict[str, Unfinished] = {}
        self.started_at: dict[str, datetime] = {}
        """When the attempt of each running one was begun."""
        self._journal = journal
        self._clock = clock
        self._time = SureTime(clock.now(), clock.steady())
        self._policy = policy
        self._schedule = Schedule(Buckets(policy.namespace_rate, policy.burst))
        self._floods: Episodes[str] = Episodes()
        self._fresh: set[Target] = set()
        self._room = asyncio.Event()
        self._room.set()

    def adopt(self, policy: WaitingPolicy) -> None:
        """Go by this from now on, also for what waits."""
        before, self._policy = self._policy, policy
        if (before.namespace_rate, before.burst) != (policy.namespace_rate, policy.burst):
            self._schedule.change_rate(policy.namespace_rate, policy.burst)
        self.bell.ring()

    @property
    def is_held(self) -> bool:
        """Whether operators paused everything that is left."""
        return self.paused or (not self.running and self._schedule.is_held())

    def __len__(self) -> int:
        """Everything unfinished here, running included."""
        return len(self._schedule) + len(self.running)

    async def room(self) -> int:
        """Wait until at least one more fits; say how many."""
        while (free := self.free) <= 0:
            self._room.clear()
            await self._room.wait()
        return free

    @property
    def free(self) -> int:
        """How many more intents fit."""
        held = min(self._schedule.held_back(), self._policy.capacity_paused)
        return self._policy.capacity - (len(self) - held)

    async def add(self, items: Iterable[Unfinished]) -> None:
        """Put in order what was journalled together; with `-supersede`, only the newest stays.

        Whoever calls this right after its commit does so in journal order.
        """
        self._schedule_all(items, {})
        await self._supersede()

    async def restore(self, items: Iterable[Unfinished]) -> None:
        """Take over what an earlier daemon left, in journal order."""
        items, now, steady = list(items), self._clock.now(), self._clock.steady()
        waits = {i.intent_id: (i.not_before - now).total_seconds() for i in items if i.not_before}
        # Longer only where the clock was set back since: that is no reason to wait.
        longest = LONGEST_WAIT.total_seconds()
        ready_at = {key: steady + min(wait, longest) for key, wait in waits.items() if wait > 0}
        self._schedule_all(items, ready_at)
        await self._supersede()

    async def skip(self, items: Sequence[Unfinished], event: Skipped) -> Sequence[Unfinished]:
        """End those of `items` that still wait; return them."""
        return await self._end([(item, event) for item in items])

    async def expire(self) -> None:
        """End what waited longer than `-max-wait`."""
        if self._policy.max_wait is None:
            return
        now = self._time.at(self._clock.now(), self._clock.steady())
        oldest = now - self._policy.max_wait
        late = [item for item in self._schedule.waiting() if item.received_at < oldest]
        why = f"waited longer than {self._policy.max_wait.total_seconds():g} s"
        await self.skip(late, Skipped(SkipReason.EXPIRED, why=why))

    def take(self) -> Unfinished | None:
        """Give the next one that may run now, and count it as running."""
        if self.paused:
            return None
        now = self._clock.steady()
        item = self._take_probe(now) if self.breaker.is_open else self._take_next(now)
        if item is not None:
            self.running[item.intent_id] = item
            self.started_at[item.intent_id] = self._clock.now()
        self._tell_of_floods(now)
        return item

    def put_back(self, item: Unfinished, *, not_before: datetime | None = None) -> None:
        """A running one goes back to the head of its target."""
        del self.running[item.intent_id], self.started_at[item.intent_id]
        ready_at = 0.0
        if not_before is not None:
            wait = (not_before - self._clock.now()).total_seconds()
            ready_at = self._clock.steady() + max(wait, 0.0)
        self._schedule.put_back(item, ready_at=ready_at)
        self.bell.ring()

    def finish(self, item: Unfinished) -> None:
        """A running one is final."""
        del self.running[item.intent_id], self.started_at[item.intent_id]
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

    def is_startable(self) -> bool:
        """Whether something waits that nothing holds back."""
        held = self.paused or self.breaker.is_open
        return not held and len(self._schedule) > 0 and self._schedule.has_ready()

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
        self._room.set()

    def resume(self, target: Target | None) -> None:
        """Lift a pause."""
        if target is None:
            self.paused = False
        else:
            self._schedule.resume(target)
        self.bell.ring()

    def is_paused(self, target: Target) -> bool:
        """Whether an operator wants nothing of this target to start."""
        return self.paused or self._schedule.is_paused(target)

    def over_rate(self) -> Mapping[str, int]:
        """How many wait in each namespace that is over its rate."""
        return self._schedule.over_rate()

    def _tell_of_floods(self, now: float) -> None:
        for namespace in self._schedule.newly_over():
            if self._floods.begins(namespace, now):
                _log.warning(
                    "the namespace %s is over its rate: its intents wait, in order", namespace
                )
            # What is held makes room for others.
            self._room.set()

    def _take_next(self, now: float, avoid: AbstractSet[Target] = frozenset()) -> Unfinished | None:
        """The next one, beside what runs; what runs alone waits for that, and all others for it."""
        if len(self.running) == 1 and any(item.runs_alone for item in self.running.values()):
            return None
        item = self._schedule.take(now, avoid=avoid)
        if item is not None and item.runs_alone and self.running:
            self._schedule.put_back(item)
            return None
        return item

    def _take_probe(self, now: float) -> Unfinished | None:
        if not self.breaker.may_probe(now):
            return None
        item = self._take_next(now, self.breaker.tried)
        if item is not None:
            self.breaker.start_probe(item.intent_id, item.target)
        return item

    def _schedule_all(self, items: Iterable[Unfinished], ready_at: Mapping[str, float]) -> None:
        for item in items:
            self._schedule.add(item, ready_at=ready_at.get(item.intent_id, 0.0))
            self._fresh.add(item.target)
        self.bell.ring()

    async def _supersede(self) -> None:
        """End everything but the newest that waits, of each target that got something."""
        fresh, self._fresh = self._fresh, set()
        if not self._policy.supersede:
            return
        ends: list[tuple[Unfinished, Skipped]] = []
        for target in fresh:
            waiting = list(self._schedule.waiting(target))
            if len(waiting) < 2:
                continue
            *older, newest = waiting
            event = Skipped(SkipReason.SUPERSEDED, superseded_by=newest.intent_id)
            ends += [(item, event) for item in older]
        await self._end(ends)

    async def _end(self, ends: Sequence[tuple[Unfinished, Skipped]]) -> list[Unfinished]:
        removed = [(i, e) for i, e in ends if self._schedule.remove(i.intent_id, i.target)]
        if removed:
            await self._journal.record([Record(i.intent_id, event) for i, event in removed])
            self._freed()
        return [item for item, _ in removed]

    def _freed(self) -> None:
        self._room.set()
        self.bell.ring()
        self.ended.ring()
