"""How long the relay waits for more, so that the syncs of a batch serve as many as they can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from conductor_loop.conductor.relay import Relay
from conductor_loop.core.events import Paused
from conductor_loop.core.records import Record
from tests.fake_journal import FakeJournal, Memory
from tests.fakes import FakeClock, in_a_loop

_BATCH = 256
_DEADLINE = 20.0
_GATHER_SECONDS = 0.05


@asynccontextmanager
async def relaying(entries: int, clock: FakeClock) -> AsyncIterator[tuple[Relay, FakeJournal]]:
    """A relay at work on so many entries, while much is about to end."""
    journal = FakeJournal(Memory(), clock)
    await add(journal, entries)
    relay = Relay(journal, [], [], clock, lambda: True)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(_DEADLINE):
        yield relay, journal
    running.cancel()


async def add(journal: FakeJournal, entries: int) -> None:
    await journal.record([Record(None, Paused("ops", "", "")) for _ in range(entries)])


@in_a_loop
async def test_what_is_behind_by_more_than_a_batch_goes_on_at_once() -> None:
    async with relaying(3 * _BATCH + 1, FakeClock()) as (relay, journal):
        await relay.caught_up(journal.last_seq())


@in_a_loop
async def test_what_came_to_the_end_waits_a_little_for_more() -> None:
    clock = FakeClock()
    async with relaying(1, clock) as (relay, journal):
        await relay.caught_up(1)
        await add(journal, 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert relay.position == 1
        while relay.position == 1:
            clock.advance(_GATHER_SECONDS)
            await asyncio.sleep(0)
