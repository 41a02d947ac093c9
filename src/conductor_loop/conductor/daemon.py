"""The conductor: recovery first, then intake, work and relay with their lifetimes nested."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from conductor_loop.conductor.backlog import Backlog, WaitingPolicy
from conductor_loop.conductor.housekeeping import Housekeeping
from conductor_loop.conductor.intake import Intake
from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.conductor.recovery import recover_running
from conductor_loop.conductor.relay import Relay
from conductor_loop.conductor.steering import Steering
from conductor_loop.conductor.work import Work, WorkPolicy
from conductor_loop.core.breaker import Breaker, BreakerPolicy
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.reading import IntakeRules
from conductor_loop.ports import (
    Catalog,
    Clock,
    Feed,
    Journal,
    Listener,
    Projection,
    Publisher,
    Source,
)

# How often what can block a run is looked at, and how soon `once` notices that all is final.
_WATCH_SECONDS = 0.25
# After the grace: how long the views, or a full disk, may hold up the end.
_LAST_SECONDS = 5.0

_log = logging.getLogger("conductor_loop.conductor")


class Hindrance(StrEnum):
    """What keeps everything from going on, for a reason that is no intent's own."""

    PAUSED = "paused"
    OUTAGE = "porch"
    VIEWS = "views"
    ROOM = "room"
    HANDOFF = "handoff"
    WRITER = "writer"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loops stand on."""

    clock: Clock
    source: Source
    journal: Journal
    feed: Feed
    catalog: Catalog
    publisher: Publisher
    projections: Sequence[Projection]
    listeners: Sequence[Listener]
    new_id: Callable[[], str]
    read: Callable[[bytes], Intent | Fault]
    jitter: Callable[[], float]
    housekeeping: Housekeeping
    notices: NoticeBoard


@dataclass(frozen=True, slots=True)
class Policies:
    """What the operator decided."""

    intake: IntakeRules
    work: WorkPolicy
    waiting: WaitingPolicy
    breaker: BreakerPolicy
    grace: timedelta
    longest_pause: timedelta | None = None
    """Give up when nothing could go on for so long; None: never."""


class Conductor:
    """One daemon on one handoff folder."""

    def __init__(self, parts: Parts, policies: Policies) -> None:
        self._recovered = asyncio.Event()
        self.backlog = Backlog(
            parts.journal, parts.clock, Breaker(policies.breaker), policies.waiting
        )
        self.intake = Intake(
            parts.source, parts.journal, parts.catalog, self.backlog, policies.intake
        )
        self.work = Work(
            parts.journal,
            parts.publisher,
            self.backlog,
            parts.clock,
            policies.work,
            parts.jitter,
        )
        self.relay = Relay(
            parts.feed, parts.projections, parts.listeners, parts.clock, lambda: self.work.is_busy
        )
        self.steering = Steering(
            parts.journal,
            parts.catalog,
            parts.clock,
            parts.new_id,
            parts.read,
            self.backlog,
            self.work,
            self._recovered,
        )
        self.is_ready = False
        self.gave_up: Hindrance | None = None
        """With `once`: what kept everything from going on for too long; intents are kept."""
        self.housekeeping = parts.housekeeping
        self.notices = parts.notices
        self._parts = parts
        self._policies = policies
        self._stop = asyncio.Event()

    def adopt(self, policies: Policies, read: Callable[[bytes], Intent | Fault]) -> None:
        """Decide by these from now on; what runs ends as it began. Workers stay."""
        self._policies = policies
        self.intake.rules, self.steering.read = policies.intake, read
        self.work.policy = replace(policies.work, workers=self.work.policy.workers)
        self.backlog.adopt(policies.waiting)
        self.backlog.breaker.policy = policies.breaker

    def stop(self) -> None:
        """Take nothing more; end what runs within the grace; bring the views in line; return."""
        self._stop.set()
        self.backlog.ended.ring()

    @property
    def is_stopping(self) -> bool:
        """Whether it ends before all is done: asked to, or for want of patience."""
        return self._stop.is_set()

    async def run(self, pauses: Sequence[Target | None] = ()) -> None:
        """Serve until stopped, or with `once` until everything found is final.

        Raises an ExceptionGroup of DurabilityLost, or of NoRoom when stopped with a full disk.
        """
        for target in pauses:
            self.backlog.pause(target)
        async with asyncio.TaskGroup() as watching:
            watch = watching.create_task(self._watch(), name="watch")
            tidy = watching.create_task(self._parts.housekeeping.run(), name="housekeeping")
            async with asyncio.TaskGroup() as relaying:
                relay = relaying.create_task(self.relay.run(), name="relay")
                notices = relaying.create_task(self._parts.notices.run(), name="notices")
                await self._recover()
                async with asyncio.TaskGroup() as working:
                    work = working.create_task(self.work.run(), name="work")
                    await self._take_in()
                    await self._let_finish(work)
                # The look at the journal ends first: what it sets aside is told by this daemon.
                tidy.cancel()
                await asyncio.wait({tidy})
                # Who listens to what is relayed may notice something, which is to be kept too.
                await self._bring_views_in_line()
                notices.cancel()
                await self._parts.notices.close()
                await self._bring_views_in_line()
                relay.cancel()
            watch.cancel()

    async def _recover(self) -> None:
        """Bring back what an earlier daemon left: running ones to waiting, claims to intents."""
        parts, policy = self._parts, self._policies.work.retry
        await self.backlog.restore(await recover_running(parts.journal, parts.catalog, policy))
        await self.intake.take_leftovers()
        await self.backlog.expire()
        self._recovered.set()

    async def _take_in(self) -> None:
        if self.is_stopping:
            return  # told so before it began: nothing is claimed any more
        self.is_ready = True
        intake = asyncio.create_task(self.intake.run(), name="intake")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({intake, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_ready = False
            stop.cancel()
            if not intake.done():
                intake.cancel()
        if intake.done() and not intake.cancelled():
            intake.result()

    async def _let_finish(self, work: asyncio.Task[None]) -> None:
        while self._has_more_to_do() and not self._stop.is_set():
            await self.backlog.ended.wait(_WATCH_SECONDS)
        await self.work.finish()
        grace = self._policies.grace.total_seconds()
        done, _ = await asyncio.wait({work}, timeout=grace)
        if not done:
            _log.warning("ending what still runs after %g s of grace", grace)
            await self.work.stop_running()

    def _has_more_to_do(self) -> bool:
        # Retention would never come to what `once` runs in turn would each begin and leave.
        return len(self.backlog) > 0 or not self._parts.housekeeping.has_tidied

    async def _bring_views_in_line(self) -> None:
        in_line = asyncio.create_task(self.relay.caught_up(self._parts.catalog.last_seq()))
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({in_line, stop}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({in_line}, timeout=_LAST_SECONDS)
        finally:
            stop.cancel()
            in_line.cancel()
        if not done:
            _log.warning("the views are not in line yet; the next start goes on with them")
        for each in done:
            each.result()

    async def _watch(self) -> None:
        """Give up a `once` that cannot go on; let no full disk hold up a stop."""
        await self._stop_or_patience_ends()
        await self._parts.clock.sleep(self._policies.grace.total_seconds() + _LAST_SECONDS)
        self._parts.journal.abandon()

    async def _stop_or_patience_ends(self) -> None:
        longest = self._policies.longest_pause
        if longest is None:
            await self._stop.wait()
        blocked_since: float | None = None
        while not self._stop.is_set():
            await self._stop_within(_WATCH_SECONDS)
            now = self._parts.clock.steady()
            assert longest is not None
            hindrance = self.hindrance()
            if hindrance is None:
                blocked_since = None
                continue
            blocked_since = now if blocked_since is None else blocked_since
            if now - blocked_since > longest.total_seconds():
                self.gave_up = hindrance
                self.stop()

    async def _stop_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def hindrance(self) -> Hindrance | None:
        """Why nothing may go on now, if that is no intent's own fault."""
        if self.backlog.is_held:
            return Hindrance.PAUSED
        if self._parts.journal.lacks_room:
            return Hindrance.ROOM
        if self.relay.stalled_by is not None:
            return Hindrance.VIEWS
        if self._parts.source.blocked_by is not None:
            return Hindrance.HANDOFF
        if not len(self.backlog) and self._parts.source.held_open is not None:
            return Hindrance.WRITER
        return Hindrance.OUTAGE if self.backlog.breaker.is_open else None
