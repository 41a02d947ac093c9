"""In which order a source takes what scans and events tell of, and what counts as written."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.events import Heard
from conductor_loop.core.rates import Rate
from tests.fakes import in_a_loop
from tests.fakes_source import (
    A_WHILE,
    BRISK,
    DEADLINE,
    Served,
    ToldHints,
    eventually,
    listening,
    names,
    serving,
    take,
    take_all,
)
from tests.own_mounts import run_in_own_mounts

PATIENT = replace(BRISK, debounce=A_WHILE)
SELDOM = replace(BRISK, period=timedelta(hours=1))


@pytest.fixture
def handoff(tmp_path: Path) -> Path:
    return tmp_path / "handoff"


async def next_look(served: Served) -> None:
    """Let the source, which somebody takes from already, look at the folder once more."""
    looks = served.source.looks
    async with asyncio.timeout(DEADLINE):
        while served.source.looks <= looks:  # noqa: ASYNC110 # as in `eventually`
            await asyncio.sleep(0.001)


@in_a_loop
async def test_what_came_before_anybody_listened_is_not_overtaken_by_what_events_name(
    handoff: Path,
) -> None:
    hints = ToldHints()
    with serving(handoff, PATIENT, hints=hints) as served:
        served.hand_over("intent-before.json")
        taking = asyncio.create_task(take_all(served.source, 2))
        await next_look(served)
        served.hand_over("intent-after.json")
        hints.tell(b"intent-after.json", moved_in=True)
        await next_look(served)
        assert not taking.done()
        served.clock.pass_time(A_WHILE)
        hints.wake()
        assert names(await taking) == [b"intent-before.json", b"intent-after.json"]


@in_a_loop
async def test_what_lost_events_would_have_told_is_not_overtaken_by_what_later_ones_name(
    handoff: Path,
) -> None:
    hints = ToldHints()
    with serving(handoff, replace(SELDOM, debounce=A_WHILE), hints=hints) as served:
        await listening(served)
        taking = asyncio.create_task(take_all(served.source, 3))
        await next_look(served)
        served.hand_over("intent-a-told.json")
        hints.tell(b"intent-a-told.json", moved_in=True)
        served.hand_over("intent-b-lost.json")
        hints.tell(is_incomplete=True)
        served.hand_over("intent-c-after.json")
        hints.tell(b"intent-c-after.json", moved_in=True)
        served.clock.pass_time(A_WHILE)
        order = [b"intent-a-told.json", b"intent-b-lost.json", b"intent-c-after.json"]
        assert names(await taking) == order


class BusyScan(ToldHints):
    """Hints with something that happens between the first scan and the next look at events."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self.happens, self.collected = happens, 0

    def collect(self) -> Heard:
        self.collected += 1
        if self.collected == 2:
            self.happens()
        return super().collect()


@in_a_loop
async def test_files_that_come_during_a_scan_keep_the_order_of_their_events(handoff: Path) -> None:
    # A walk may return the second of two that come meanwhile, and not the first: readdir(3).
    def first_was_missed() -> None:
        served.hand_over("intent-first.json")
        hints.tell(b"intent-first.json", b"intent-second.json", moved_in=True)

    hints = BusyScan(first_was_missed)
    with serving(handoff, replace(BRISK, debounce=timedelta(0)), hints=hints) as served:
        served.hand_over("intent-second.json")
        arrivals = await take_all(served.source, 2)
        assert names(arrivals) == [b"intent-first.json", b"intent-second.json"]


@in_a_loop
async def test_when_events_are_lost_during_a_scan_the_next_one_tells_the_order(
    handoff: Path,
) -> None:
    # As above, and the event of the second is lost: the listing alone would put it first.
    def first_was_missed() -> None:
        served.hand_over("intent-a-first.json")
        hints.tell(b"intent-a-first.json", moved_in=True, is_incomplete=True)
        second.chmod(0o600)  # so that it is the later one

    hints = BusyScan(first_was_missed)
    with serving(handoff, replace(BRISK, debounce=timedelta(0)), hints=hints) as served:
        second = served.hand_over("intent-b-second.json")
        arrivals = await take_all(served.source, 2)
        assert names(arrivals) == [b"intent-a-first.json", b"intent-b-second.json"]


@in_a_loop
async def test_files_of_one_tick_keep_the_order_of_their_renames_whatever_scans_come_between(
    handoff: Path,
) -> None:
    with serving(handoff, SELDOM) as served:
        await listening(served)
        order = [f"intent-{number}.json" for number in range(300)]
        random.shuffle(order)
        drafts = served.handoff / ".drafts"
        drafts.mkdir()
        for name in order:
            (drafts / name).write_bytes(b"{}")
        for name in order:
            (drafts / name).rename(served.handoff / name)
        taken: list[str] = []
        while len(taken) < len(order):
            taken += [os.fsdecode(name) for name in names(await take(served.source, room=16))]
            served.clock.pass_time(SELDOM.period)  # so that there is a scan
        assert taken == order


@in_a_loop
async def test_a_chmod_after_the_rename_costs_a_file_neither_its_place_nor_a_debounce(
    handoff: Path,
) -> None:
    hints = ToldHints()
    with serving(handoff, PATIENT, hints=hints) as served:
        await listening(served)
        served.source.hold(OSError(errno.ENOSPC, "held"))
        for name in ("intent-a.json", "intent-b.json"):
            served.hand_over(name)
            hints.tell(name.encode(), moved_in=True)
        last_scan = served.source.state().scan_seconds
        await eventually(lambda: served.source.state().scan_seconds != last_scan, served)
        (handoff / "intent-a.json").chmod(0o600)
        served.source.hold(None)
        assert names(await take_all(served.source, 2)) == [b"intent-a.json", b"intent-b.json"]


def written_anew(path: Path) -> None:
    """As a producer does that takes its file back and begins another in place."""
    path.unlink()
    path.write_bytes(b'{"half')


@in_a_loop
async def test_row_07_a_file_written_anew_while_its_owner_was_over_the_rate_gets_its_debounce(
    handoff: Path,
) -> None:
    hints = ToldHints()
    settings = replace(SELDOM, debounce=A_WHILE, owner_rate=Rate(1, 60))
    with serving(handoff, settings, hints=hints) as served:
        await listening(served)
        for name in ("intent-a.json", "intent-b.json"):
            served.hand_over(name)
            hints.tell(name.encode(), moved_in=True)
        assert names(await take(served.source)) == [b"intent-a.json"]
        await eventually(lambda: served.source.state().over_rate, served)
        written_anew(handoff / "intent-b.json")
        served.clock.pass_time(timedelta(minutes=1))
        served.clock.wall_ahead = -60
        hints.tell(b"intent-b.json")
        await eventually(lambda: not served.source.state().over_rate, served)
        assert (handoff / "intent-b.json").exists()


@in_a_loop
async def test_a_file_that_is_written_when_listening_begins_holds_up_others_only_once(
    handoff: Path,
) -> None:
    hints = ToldHints()
    with serving(handoff, PATIENT, hints=hints) as served:
        written = served.hand_over("intent-written.json")
        taking = asyncio.create_task(take(served.source))
        await next_look(served)
        served.hand_over("intent-after.json")
        hints.tell(b"intent-after.json", moved_in=True)
        served.clock.pass_time(A_WHILE)
        with written.open("ab") as file:
            file.write(b" ")
        served.clock.wall_ahead = -A_WHILE.total_seconds()
        hints.wake()
        assert names(await taking) == [b"intent-after.json"]


WRITTEN_ANEW = """
import asyncio, subprocess
from dataclasses import replace
from pathlib import Path
from tests.fakes_source import A_WHILE, BRISK, ToldHints
from tests.fakes_source import eventually, listening, names, serving, take
from tests.system.test_folder_order import written_anew

async def main():
    hints = ToldHints()
    with serving(Path("handoff"), replace(BRISK, debounce=A_WHILE), hints=hints) as served:
        await listening(served)
        path = served.hand_over("intent-a.json")
        subprocess.run(["mount", "--bind", "other", path], check=True)
        hints.tell(b"intent-a.json", moved_in=True)
        await eventually(lambda: served.source.ignored(), served)
        subprocess.run(["umount", path], check=True)
        written_anew(path)
        hints.tell(b"intent-a.json")
        served.clock.ahead, served.clock.wall_ahead = 31, -31
        served.hand_over("intent-b.json")
        hints.tell(b"intent-b.json", moved_in=True)
        assert names(await take(served.source)) == [b"intent-b.json"]
        assert path.exists()

asyncio.run(main())
"""


@pytest.mark.needs("unshare")
def test_row_07_a_file_written_anew_after_it_could_not_be_claimed_gets_its_debounce(
    tmp_path: Path,
) -> None:
    (tmp_path / "other").touch()
    run_in_own_mounts("true", WRITTEN_ANEW, tmp_path)
