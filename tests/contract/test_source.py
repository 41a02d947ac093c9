"""What every source promises, tried on the one in memory and on a real folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest

from conductor_loop.core.arrival import Content
from conductor_loop.core.identity import is_ulid
from conductor_loop.ports import Source
from tests.fakes import FakeClock, FakeSource, in_a_loop, number_id
from tests.fakes_source import BRISK, names, serving, take, take_all


@dataclass(frozen=True, slots=True)
class Stage:
    """A source, and the ways in which the world acts on it."""

    source: Source
    now: Callable[[], datetime]
    hand_over: Callable[[bytes, bytes], object]
    leave_over: Callable[[bytes, bytes], str]
    """Leave a claim behind as a dead daemon would; returns its id."""
    end: Callable[[], object]
    """Nothing more will be handed over."""
    pass_time: Callable[[], object] = lambda: None
    """Let what is handed over next be told from what was handed over before by its time."""


@contextmanager
def in_memory(_: Path, *, once: bool) -> Iterator[Stage]:
    clock = FakeClock()
    source = FakeSource(clock)

    def leave_over(name: bytes, body: bytes) -> str:
        intent_id = source.offer(name, body)
        source.claims.claimed[intent_id] = source.claims.handed_over.pop()
        return intent_id

    yield Stage(source, clock.now, source.offer, leave_over, source.drain)


@contextmanager
def in_a_folder(tmp_path: Path, *, once: bool) -> Iterator[Stage]:
    with serving(tmp_path / "handoff", replace(BRISK, once=once)) as served:
        numbers = count(1)

        def leave_over(name: bytes, body: bytes) -> str:
            intent_id = number_id(next(numbers))
            served.claim(intent_id, name.decode()).write_bytes(body)
            return intent_id

        def end() -> None:
            assert once

        def pass_time() -> None:
            # Up to Linux 6.12 times of files are those of the last tick, up to 10 ms old.
            before = touched(tmp_path)
            while touched(tmp_path) <= before:
                pass

        yield Stage(served.source, served.clock.now, served.hand_over, leave_over, end, pass_time)


def touched(folder: Path) -> int:
    """The time that a file there would get now."""
    probe = folder / "probe"
    probe.touch()
    return probe.stat().st_ctime_ns


@pytest.fixture(params=[in_memory, in_a_folder])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with request.param(tmp_path, once=False) as made:
        yield made


@pytest.fixture(params=[in_memory, in_a_folder])
def stage_once(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with request.param(tmp_path, once=True) as made:
        yield made


@in_a_loop
async def test_an_arrival_carries_the_bytes_and_their_digest(stage: Stage) -> None:
    before = stage.now()
    stage.hand_over(b"intent-a.json", b'{"replicas": 3}')
    [arrival] = await take(stage.source)
    assert arrival.content == Content(b'{"replicas": 3}')
    receipt = arrival.receipt
    assert (receipt.name, receipt.size) == (b"intent-a.json", 15)
    assert receipt.digest == hashlib.sha256(b'{"replicas": 3}').hexdigest()
    assert before <= receipt.received_at <= stage.now()
    assert is_ulid(arrival.intent_id)


@in_a_loop
async def test_take_waits_until_there_is_something(stage: Stage) -> None:
    waiting = asyncio.create_task(take(stage.source))
    await asyncio.sleep(0)
    assert not waiting.done()
    stage.hand_over(b"intent-a.json", b"{}")
    assert names(await waiting) == [b"intent-a.json"]


@in_a_loop
async def test_no_more_is_taken_than_there_is_room_for(stage: Stage) -> None:
    for number in range(5):
        stage.hand_over(b"intent-%d.json" % number, b"{}")
    sizes, total = [], 0
    while total < 5:
        sizes.append(len(await take(stage.source, room=2)))
        total += sizes[-1]
    assert total == 5
    assert max(sizes) <= 2


@in_a_loop
async def test_ids_rise_and_files_come_in_the_order_of_handing_over(stage: Stage) -> None:
    handed = [b"intent-%d.json" % number for number in (3, 1, 2, 5, 4)]
    for name in handed:
        stage.hand_over(name, name)
        stage.pass_time()
    arrivals = await take_all(stage.source, 5, room=2)
    assert names(arrivals) == handed
    ids = [arrival.intent_id for arrival in arrivals]
    assert ids == sorted(set(ids))


@in_a_loop
async def test_the_same_name_can_be_handed_over_again(stage: Stage) -> None:
    stage.hand_over(b"intent-a.json", b"1")
    first = await take(stage.source)
    stage.hand_over(b"intent-a.json", b"2")
    second = await take(stage.source)
    assert [a.content for a in first + second] == [Content(b"1"), Content(b"2")]


@in_a_loop
async def test_a_cancelled_take_loses_nothing(stage: Stage) -> None:
    for number in range(20):
        waiting = asyncio.create_task(stage.source.take(1))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        taken = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(taken[0], asyncio.CancelledError)
    stage.hand_over(b"intent-a.json", b"{}")
    assert names(await take(stage.source)) == [b"intent-a.json"]


@in_a_loop
async def test_once_ends_with_an_empty_sequence(stage_once: Stage) -> None:
    stage_once.hand_over(b"intent-a.json", b"{}")
    stage_once.end()
    assert names(await take(stage_once.source)) == [b"intent-a.json"]
    assert await take(stage_once.source) == []
    assert await take(stage_once.source) == []


@in_a_loop
async def test_once_with_nothing_to_do_ends_at_once(stage_once: Stage) -> None:
    stage_once.end()
    assert await take(stage_once.source) == []


@in_a_loop
async def test_leftovers_are_the_claims_that_are_not_known_under_their_ids(stage: Stage) -> None:
    known = stage.leave_over(b"intent-known.json", b"1")
    lost = stage.leave_over(b"intent-lost.json", b"2")
    [arrival] = await stage.source.leftovers({known})
    assert (arrival.intent_id, arrival.content) == (lost, Content(b"2"))
    assert arrival.receipt.name == b"intent-lost.json"


@in_a_loop
async def test_a_working_source_is_not_blocked(stage: Stage) -> None:
    stage.hand_over(b"intent-a.json", b"{}")
    await take(stage.source)
    assert stage.source.blocked_by is None
