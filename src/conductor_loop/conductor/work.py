"""Work: starts attempts in order, settles their outcomes in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from conductor_loop.conductor.backlog import Backlog
from conductor_loop.conductor.signals import Bell
from conductor_loop.core.arrival import Abandoned, Delivered, Lease, Outcome, Undelivered
from conductor_loop.core.events import (
    BreakerClosed,
    BreakerOpened,
    Failure,
    FailureKind,
    HandedBack,
    RetryScheduled,
    Skipped,
)
from conductor_loop.core.records import Record, Unfinished
from conductor_loop.core.settlement import RetryPolicy, Tally, settle
from conductor_loop.ports import Clock, Journal, Publisher

_log = logging.getLogger("conductor_loop.work")
_AHEAD = 48
"""Enough for the publisher to go on while a batch of views is written."""
_AHEAD_BYTES = 8 << 20
"""What is in flight is held in memory, so less is started ahead where intents are large."""
_SHORT_RUN = timedelta(milliseconds=20)
_REFILL_BELOW = 24
_SETTLE_SECONDS = 0.01
"""While short attempts follow one another, outcomes gather so long: one sync serves them all."""
_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WorkPolicy:
    """How many attempts at once, for how long, and how often again."""

    workers: int
    timeout: timedelta
    retry: RetryPolicy


class Work:
    """Attempts in flight, and what came of them."""

    def __init__(
        self,
        journal: Journal,
        publisher: Publisher,
        backlog: Backlog,
        clock: Clock,
        policy: WorkPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._publisher = publisher
        self._backlog = backlog
        self._clock = clock
        self.policy = policy
        """May be exchanged: what comes next goes by it."""
        self._jitter = jitter
        self.beats = 0
        """How many attempts were started or settled."""
        self._publishing = self._publishing_bytes = 0
        self._outcomes: list[tuple[Unfinished, Lease, Outcome]] = []
        self._settle_bell = Bell()
        self._cancelled: dict[str, Skipped] = {}
        self._ended: dict[str, asyncio.Future[bool]] = {}
        self._last_run = _SHORT_RUN
        self._stopping = False
        self._has_to_recall = False

    async def run(self) -> None:
        """Start what may run until told to finish; then until nothing runs."""
        async with asyncio.TaskGroup() as settling:
            settler = settling.create_task(self._settle_outcomes())
            async with asyncio.TaskGroup() as attempts:
                await self._start_attempts(attempts)
            await self._drained()
            settler.cancel()

    @property
    def _has_to_refill(self) -> bool:
        return self._publishing <= self.policy.workers + _REFILL_BELOW

    @property
    def is_busy(self) -> bool:
        """Whether more is in flight than there are workers, so that much is about to end."""
        return self._publishing > self.policy.workers

    async def finish(self) -> None:
        """Start nothing more; `run` returns when what runs has ended."""
        self._stopping = True
        await self._publisher.recall()
        self._backlog.bell.ring()

    async def recall(self) -> None:
        """Take back what was started ahead and has not begun."""
        await self._publisher.recall()

    def replacement(self) -> tuple[str, str]:
        """The program that is run and another one that stands there now, by hash; "": no other.

        Raises ConductorError when that one may not be run, whoever asks for it.
        """
        return self._publisher.program_sha256, self._publisher.replacement()

    def accept(self, sha256: str) -> None:
        """Run that other program from now on, and see at once how it does."""
        self._publisher.accept(sha256)
        self._backlog.breaker.hasten(self._clock.steady())

    async def stop_running(self) -> None:
        """End every attempt now; they go back to the journal uncounted."""
        for intent_id in list(self._backlog.running):
            await self._publisher.stop(intent_id)

    async def cancel(self, intent_id: str, event: Skipped) -> bool:
        """End one running attempt for good, journalled before this returns.

        False when it is not running, or delivered before it could be stopped.
        """
        if intent_id not in self._backlog.running:
            return False
        self._cancelled[intent_id] = event
        ended = self._ended.setdefault(intent_id, asyncio.get_running_loop().create_future())
        await self._publisher.stop(intent_id)
        return await asyncio.shield(ended)

    async def _start_attempts(self, attempts: asyncio.TaskGroup) -> None:
        while not self._stopping:
            starts = self._take_starts()
            if starts:
                for item, lease in zip(starts, await self._lease(starts), strict=True):
                    attempts.create_task(self._attempt(item, lease))
                continue
            await self._backlog.bell.wait(self._patience())
            await self._backlog.expire()

    def _patience(self) -> float | None:
        """Seconds until the backlog must be looked at again even if nothing rings; None: never."""
        if not len(self._backlog):
            return None  # so that an idle daemon sleeps
        # Overdue (0) is as unknown (None): a probe on its way, or nothing that could be one.
        return min(self._backlog.seconds_to_next() or _WATCH_SECONDS, _WATCH_SECONDS)

    def _take_starts(self) -> list[Unfinished]:
        starts: list[Unfinished] = []
        if not self._has_to_refill:
            return starts
        # Short runs are started ahead of free workers, so that one commit marks several. Not
        # beside one that saw the daemon die: it would be blamed for crashes of others, and they
        # for its own.
        is_ahead = self._last_run < _SHORT_RUN and self._publishing_bytes < _AHEAD_BYTES
        while self._publishing < self.policy.workers + (_AHEAD if is_ahead else 0):
            item = self._backlog.take()
            if item is None:
                break
            starts.append(replace(item, runs=item.runs + 1))
            self._publishing += 1
            self._publishing_bytes += item.size
            is_ahead &= not item.crashes and self._publishing_bytes < _AHEAD_BYTES
        self.beats += len(starts)
        return starts

    async def _lease(self, starts: list[Unfinished]) -> list[Lease]:
        bodies = await self._journal.lease([(item.intent_id, item.runs) for item in starts])
        return [self._leased(i, body) for i, (_, body) in zip(starts, bodies, strict=True)]

    def _leased(self, item: Unfinished, body: bytes) -> Lease:
        return Lease(
            intent_id=item.intent_id,
            name=item.name,
            attempt=item.runs,
            target=item.target,
            body=body,
            timeout=min(item.timeout or self.policy.timeout, self.policy.timeout),
            correlation_id=item.correlation_id,
        )

    async def _attempt(self, item: Unfinished, lease: Lease) -> None:
        # Cancelled or paused while its start was still being committed: there was nothing to stop.
        held = item.intent_id in self._cancelled or self._backlog.is_paused(item.target)
        outcome = Abandoned("not_run") if held else await self._publish(lease)
        self._publishing -= 1
        self._publishing_bytes -= item.size
        if not isinstance(outcome, Abandoned):
            self._last_run = outcome.duration
        self._outcomes.append((item, lease, outcome))
        self._settle_bell.ring()
        if self._has_to_refill:
            self._backlog.bell.ring()

    async def _publish(self, lease: Lease) -> Outcome:
        started_at = self._clock.now()
        try:
            return await self._publisher.publish(lease)
        except Exception as error:
            # The one place where a surprise becomes a failure of the attempt.
            _log.exception("publisher failed unexpectedly", extra=lease.facts())
            return Undelivered(
                worker=0,
                started_at=started_at,
                duration=self._clock.now() - started_at,
                failure=Failure(
                    kind=FailureKind.TEMPORARY,
                    code="internal_error",
                    message=f"the publisher failed unexpectedly: {type(error).__name__}",
                    hint="the log has the trace; please report it",
                ),
            )

    async def _drained(self) -> None:
        while self._backlog.running:
            await self._backlog.bell.wait(_WATCH_SECONDS)

    async def _settle_outcomes(self) -> None:
        while True:
            await self._settle_bell.wait()
            while self._outcomes:
                if self.is_busy:
                    await self._clock.sleep(_SETTLE_SECONDS)
                batch, self._outcomes = self._outcomes, []
                await self._settle(batch)

    async def _settle(self, batch: list[tuple[Unfinished, Lease, Outcome]]) -> None:
        if any(isinstance(outcome, Delivered) for _, _, outcome in batch):
            await self._publisher.settle_output()
        records: list[Record] = []
        for item, _, outcome in batch:
            records += self._judge(item, outcome)
        if self._has_to_recall:
            self._has_to_recall = False
            await self._publisher.recall()
        await self._journal.record(records)
        self.beats += len(batch)
        settled = {r.intent_id: r.event for r in records if r.intent_id}
        for item, _, _ in batch:
            self._release(item, settled[item.intent_id])

    def _judge(self, item: Unfinished, outcome: Outcome) -> list[Record]:
        """The event that an outcome means, and what it tells about the environment."""
        cancelled = self._cancelled.pop(item.intent_id, None)
        if cancelled is not None and not isinstance(outcome, Delivered):
            self._backlog.breaker.abandon_probe(item.intent_id)
            return [Record(item.intent_id, cancelled)]
        ruled, service = self._rule(item, outcome)
        event = settle(
            Tally(item.runs, item.failures, item.crashes),
            outcome,
            self.policy.retry,
            ruled,
            self._clock.now(),
            self._jitter(),
        )
        return [*service, Record(item.intent_id, event)]

    def _rule(self, item: Unfinished, outcome: Outcome) -> tuple[bool, list[Record]]:
        breaker, now = self._backlog.breaker, self._clock.steady()
        if isinstance(outcome, Abandoned):
            breaker.abandon_probe(item.intent_id)
            return False, []
        opened_at = breaker.opened_at
        ruled = breaker.rules_environment(
            item.intent_id,
            item.target,
            outcome,
            now,
            has_own_deadline=item.timeout is not None and item.timeout < self.policy.timeout,
        )
        if opened_at is None and breaker.is_open:
            self._has_to_recall = True
            assert isinstance(outcome, Undelivered)
            return ruled, [Record(None, BreakerOpened(outcome.failure))]
        if opened_at is not None and not breaker.is_open:
            return ruled, [Record(None, BreakerClosed(timedelta(seconds=now - opened_at)))]
        return ruled, []

    def _release(self, item: Unfinished, event: object) -> None:
        self._cancelled.pop(item.intent_id, None)
        ended = self._ended.pop(item.intent_id, None)
        if ended is not None and not ended.done():
            ended.set_result(isinstance(event, Skipped))
        match event:
            case RetryScheduled(not_before=not_before):
                again = replace(item, failures=item.failures + 1)
                self._backlog.put_back(again, not_before=not_before)
            case HandedBack(is_crash=is_crash):
                self._backlog.put_back(replace(item, crashes=item.crashes + is_crash))
            case _:
                self._backlog.finish(item)
