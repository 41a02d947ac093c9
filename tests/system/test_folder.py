"""The folder source on a real folder with real events: what is taken, when, and what is not."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import resource
import shutil
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from asyncinotify import Inotify, Mask

from conductor_loop.adapters.handoff.events import PollingHints
from conductor_loop.adapters.handoff.scan import list_ignored
from conductor_loop.adapters.handoff.watch import FolderSettings
from conductor_loop.core.arrival import Content, HardLinked, Special, TooLarge
from conductor_loop.core.faults import CannotStart, DurabilityLost
from conductor_loop.core.rates import Rate
from tests.fakes import in_a_loop, number_id
from tests.fakes_source import (
    A_WHILE,
    BRISK,
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
ONCE = replace(BRISK, once=True)
QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def handoff(tmp_path: Path) -> Path:
    return tmp_path / "handoff"


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where many files cost little, if this machine has one."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        yield tmp_path
        return
    place = shm / f"conductor-test-{os.getpid()}"
    place.mkdir()
    yield place
    remove(place)


def touch_all(served: Served, count: int) -> None:
    """Hand over many files, empty and in place."""
    for number in range(count):
        name = b"intent-scale-up-%06d.json" % number
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=served.layout.handoff))


def remove(*folders: Path) -> None:
    """Remove folders as an operator does."""
    for folder in folders:
        shutil.rmtree(folder)


# When is a file taken?


@in_a_loop
async def test_a_file_that_is_moved_in_is_taken_at_once(handoff: Path) -> None:
    with serving(handoff, replace(PATIENT, period=timedelta(hours=1))) as served:
        await listening(served)
        served.hand_over("intent-a.json", b"moved")
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"moved")
        assert not (handoff / "intent-a.json").exists()
        assert served.claim(arrival.intent_id, "intent-a.json").read_bytes() == b"moved"


@in_a_loop
async def test_a_file_written_in_place_is_taken_after_the_debounce(handoff: Path) -> None:
    with serving(handoff, PATIENT) as served:
        await listening(served)
        (handoff / "intent-slow.json").write_bytes(b"in place")
        await eventually(lambda: served.source.state().waiting == 1, served)
        served.hand_over("intent-moved.json")
        assert names(await take(served.source)) == [b"intent-moved.json"]
        served.clock.pass_time(A_WHILE)
        assert names(await take(served.source)) == [b"intent-slow.json"]


@in_a_loop
async def test_row_07_each_write_starts_the_debounce_anew(handoff: Path) -> None:
    with serving(handoff, PATIENT) as served:
        path = handoff / "intent-slow.json"
        path.write_bytes(b"first ")
        await eventually(lambda: served.source.state().waiting == 1, served)
        nearly = A_WHILE - timedelta(seconds=1)
        served.clock.pass_time(nearly)
        with path.open("ab") as file:
            file.write(b"second")
        # The kernel stamped the write with the real time: now, as far as the test is concerned.
        served.clock.wall_ahead = -nearly.total_seconds()
        served.clock.pass_time(timedelta(seconds=2))
        served.hand_over("intent-moved.json")
        assert names(await take(served.source)) == [b"intent-moved.json"]
        served.clock.pass_time(A_WHILE)
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"first second")


@in_a_loop
async def test_a_writer_that_holds_the_file_open_is_waited_for(handoff: Path) -> None:
    with serving(handoff) as served, (handoff / "intent-slow.json").open("wb") as file:
        for number in range(3):
            file.write(b"chunk")
            file.flush()
            # Written later, and complete: so the first one had its debounce as well.
            (handoff / f"intent-{number}.json").write_bytes(b"{}")
            assert names(await take(served.source)) == [b"intent-%d.json" % number]
        file.close()
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"chunkchunkchunk")


@in_a_loop
async def test_a_ctime_in_the_future_counts_from_the_first_look(handoff: Path) -> None:
    with serving(handoff, PATIENT) as served:
        served.clock.wall_ahead = -timedelta(days=1).total_seconds()
        await listening(served)
        (handoff / "intent-ahead.json").write_bytes(b"{}")
        await eventually(lambda: served.source.state().waiting == 1, served)
        served.hand_over("intent-moved.json")
        assert names(await take(served.source)) == [b"intent-moved.json"]
        served.clock.pass_time(A_WHILE)
        assert names(await take(served.source)) == [b"intent-ahead.json"]


@in_a_loop
async def test_delivery_by_link_and_unlink_arrives_as_one_file(handoff: Path) -> None:
    with serving(handoff, PATIENT) as served:
        draft = handoff / ".draft"
        draft.write_bytes(b"mail")
        os.link(draft, handoff / "intent-mail.json")
        await eventually(lambda: served.source.state().waiting == 1, served)
        draft.unlink()
        served.clock.pass_time(A_WHILE)
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"mail")


@in_a_loop
async def test_row_02_a_file_that_keeps_its_second_link_is_claimed_unread(handoff: Path) -> None:
    with serving(handoff) as served:
        foreign = handoff.parent / "foreign"
        foreign.write_bytes(b"secret")
        foreign.chmod(0o640)
        os.link(foreign, handoff / "intent-linked.json")
        [arrival] = await take(served.source)
        assert arrival.content == HardLinked(2)
        assert (arrival.receipt.size, arrival.receipt.digest) == (6, "")
        assert (foreign.read_bytes(), foreign.stat().st_mode & 0o777) == (b"secret", 0o640)


@in_a_loop
async def test_row_06_what_a_writer_adds_after_the_claim_is_not_in_the_intent(
    handoff: Path,
) -> None:
    with serving(handoff) as served:
        await listening(served)
        draft = handoff / ".draft"
        with draft.open("wb", buffering=0) as file:
            file.write(b"before")
            draft.rename(handoff / "intent-a.json")
            [arrival] = await take(served.source)
            file.write(b"after")
        assert arrival.content == Content(b"before")


# What is taken?


@contextmanager
def opens_of(*paths: Path) -> Iterator[list[str]]:
    """Hear of each time one of these is opened, not through links."""
    opened: list[str] = []
    with Inotify(sync_timeout=0) as inotify:
        for path in paths:
            inotify.add_watch(path, Mask.OPEN | Mask.ACCESS | Mask.DONT_FOLLOW)
        yield opened
        opened += [str(event.watch) for event in inotify]


@in_a_loop
async def test_row_01_03_what_is_no_file_is_claimed_and_never_opened(
    handoff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(handoff) as served, socket.socket(socket.AF_UNIX) as listener:
        secret = handoff.parent / "secret"
        secret.write_bytes(b"secret")
        kinds = {}
        os.mkfifo(handoff / "intent-fifo.json")
        kinds[b"intent-fifo.json"] = "FIFO"
        monkeypatch.chdir(handoff)  # a socket's path must be short
        listener.bind("intent-socket.json")
        kinds[b"intent-socket.json"] = "socket"
        for number, target in enumerate(
            (secret, Path("nowhere"), Path("/"), Path("intent-3.json"))
        ):
            link = handoff / f"intent-{number}.json"
            link.symlink_to(target)
            kinds[os.fsencode(link.name)] = "symlink"
        with opens_of(
            secret, handoff / "intent-fifo.json", handoff / "intent-socket.json"
        ) as opened:
            arrivals = await take_all(served.source, len(kinds))
        assert {a.receipt.name: a.content for a in arrivals} == {
            name: Special(what) for name, what in kinds.items()
        }
        assert opened == []
        assert {(a.receipt.size, a.receipt.digest) for a in arrivals} == {(0, "")}


HOSTILE = [
    b"intent-new\nline.json",
    b"intent-\x1b[31mred.json",
    "intent-\u202egnp.json".encode(),
    b"intent-\xff\xfe.json",
    b"intent-" + b"n" * (255 - 12) + b".json",
    b"intent-.json",
    b"intent- .json",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@in_a_loop
async def test_row_11_a_hostile_name_is_a_name_like_any_other(handoff: Path, name: bytes) -> None:
    with serving(handoff) as served:
        served.hand_over(name, b"{}")
        assert names(await take(served.source)) == [name]
        (handoff / os.fsdecode(name)).write_bytes(b"in place")
        assert names(await take(served.source)) == [name]


@in_a_loop
async def test_row_17_a_file_beyond_the_limit_is_refused_unread(handoff: Path) -> None:
    with serving(handoff, replace(BRISK, max_bytes=10)) as served:
        served.hand_over("intent-1.json", b"0123456789")
        served.hand_over("intent-2.json", b"0123456789+")
        sparse = served.hand_over("intent-3.json", b"")
        os.truncate(sparse, 1 << 40)
        served.hand_over("intent-4.json", b"")
        arrivals = await take_all(served.source, 4)
        by_name = {a.receipt.name: (a.content, a.receipt.size) for a in arrivals}
        assert by_name == {
            b"intent-1.json": (Content(b"0123456789"), 10),
            b"intent-2.json": (TooLarge(10), 11),
            b"intent-3.json": (TooLarge(10), 1 << 40),
            b"intent-4.json": (Content(b""), 0),
        }


@in_a_loop
async def test_big_files_do_not_come_in_one_batch(handoff: Path) -> None:
    megabyte = 1 << 20
    with serving(handoff, ONCE) as served:
        for number in range(5):
            served.hand_over(f"intent-{number}.json", b"x" * 7 * megabyte)
        served.clock.pass_time(A_WHILE)
        sizes = [len(await take(served.source)) for _ in range(3)]
        assert sizes == [3, 2, 0]


@in_a_loop
async def test_the_owner_of_the_file_is_who_submitted_it(handoff: Path) -> None:
    with serving(handoff) as served:
        path = served.hand_over("intent-a.json")
        expected = path.owner()
        if os.geteuid() == 0:
            os.chown(path, 54_321, -1)
            expected = "uid:54321"
        [arrival] = await take(served.source)
        assert arrival.receipt.submitted_by == expected


# What is left alone?


@in_a_loop
async def test_other_files_and_folders_are_left_alone_warned_about_once_and_counted(
    handoff: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(handoff) as served:
        (handoff / "intent-folder.json").mkdir()
        for name in ("notes.txt", "intent-a.JSON", "\x1b[1m.txt", ".hidden", "-intent-a.json"):
            (handoff / name).write_bytes(b"{}")
        (handoff / "archive").mkdir()
        await eventually(lambda: served.source.state().ignored == 5, served)
        for number in range(3):
            (handoff / f"intent-{number}.json").write_bytes(b"{}")
            await take(served.source)
        ignored = {i.name: i for i in served.source.ignored()}
    assert set(ignored) == {
        b"intent-folder.json",
        b"notes.txt",
        b"intent-a.JSON",
        b"\x1b[1m.txt",
        b"-intent-a.json",
    }
    assert "folder" in ignored[b"intent-folder.json"].why
    assert all(i.remedy for i in ignored.values())
    warnings = [record.getMessage() for record in caplog.records]
    assert sum("notes.txt" in line for line in warnings) == 1
    assert not any("\x1b" in line or ".hidden" in line or "archive" in line for line in warnings)
    assert (handoff / "notes.txt").exists()
    assert {i.name for i in list_ignored(handoff)} == set(ignored)


# Events are hints


@in_a_loop
async def test_a_scan_finds_what_no_event_told(handoff: Path) -> None:
    with serving(handoff, hints=ToldHints()) as served:
        await eventually(lambda: served.source.state().is_served, served)
        served.hand_over("intent-a.json")
        assert names(await take(served.source)) == [b"intent-a.json"]


@in_a_loop
async def test_a_mount_that_announces_nothing_is_noticed(handoff: Path) -> None:
    with serving(handoff, hints=ToldHints()) as served:
        await listening(served)
        served.hand_over("intent-a.json")
        served.clock.pass_time(A_WHILE)
        await take(served.source)
        assert not served.source.state().hears_events


@in_a_loop
async def test_lost_events_lead_to_a_scan_before_its_time(handoff: Path) -> None:
    hints = ToldHints()
    with serving(handoff, SELDOM, hints=hints) as served:
        await eventually(lambda: served.source.state().is_served, served)
        served.hand_over("intent-untold.json")
        served.clock.pass_time(timedelta(minutes=1))
        hints.tell(is_incomplete=True)
        assert names(await take(served.source)) == [b"intent-untold.json"]


@in_a_loop
async def test_a_hint_about_a_file_that_is_gone_means_nothing(handoff: Path) -> None:
    hints = ToldHints()
    with serving(handoff, SELDOM, hints=hints) as served:
        await eventually(lambda: served.source.state().is_served, served)
        served.hand_over("intent-here.json")
        hints.tell(b"intent-gone.json", b"intent-here.json", moved_in=True)
        assert names(await take(served.source)) == [b"intent-here.json"]
        assert len(list(served.claimed.iterdir())) == 1


class LateHints(ToldHints):
    """Hints that the system refuses at first."""

    refusals = 3

    def watch(self, path: str) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise OSError(errno.ENOSPC, "no room for a watch")
        super().watch(path)


@in_a_loop
async def test_without_a_watch_the_scan_does_the_work_until_there_is_one(
    handoff: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(handoff, hints=LateHints()) as served:
        served.hand_over("intent-a.json")
        assert names(await take(served.source)) == [b"intent-a.json"]
        await listening(served)
    assert caplog.text.count("no room for a watch") == 1


@in_a_loop
async def test_without_events_at_all_the_scan_does_the_work(handoff: Path) -> None:
    with serving(handoff, hints=PollingHints()) as served:
        served.hand_over("intent-a.json")
        assert names(await take(served.source)) == [b"intent-a.json"]
        assert not served.source.state().hears_events


@in_a_loop
async def test_after_an_overflow_every_file_is_found(in_memory: Path) -> None:
    files = int(QUEUED_EVENTS.read_text()) // 2 + 500  # each is created and closed: two events
    if files > 50_000:
        pytest.skip(f"the event queue of this machine takes {files} files to overflow")
    with serving(in_memory / "handoff", SELDOM) as served:
        await listening(served)
        touch_all(served, files)  # nobody reads events meanwhile
        served.clock.pass_time(timedelta(minutes=1))
        arrivals = await take_all(served.source, files, room=1_000)
        assert len(set(names(arrivals))) == len(arrivals) == files
        assert not list(served.handoff.glob("intent-*"))


# Order, and -once


def written_in_order(handoff: Path, *order: str) -> None:
    """Write files whose ctimes differ, whatever the grain of the clock."""
    last = 0
    for name in order:
        path = handoff / name
        for _ in itertools.takewhile(lambda _: True, itertools.count()):
            path.write_bytes(b"{}")
            if path.stat().st_ctime_ns > last:
                break
        last = path.stat().st_ctime_ns


@in_a_loop
async def test_a_scan_hands_out_the_oldest_first(handoff: Path) -> None:
    with serving(handoff, ONCE) as served:
        order = ["intent-c.json", "intent-a.json", "intent-d.json", "intent-b.json"]
        written_in_order(handoff, *order)
        served.clock.pass_time(A_WHILE)
        arrivals = await take_all(served.source, 4, room=3)
        assert names(arrivals) == [name.encode() for name in order]
        ids = [a.intent_id for a in arrivals]
        assert ids == sorted(ids)


@in_a_loop
async def test_once_takes_what_the_first_scan_found_and_no_more(handoff: Path) -> None:
    with serving(handoff, ONCE) as served:
        (handoff / "intent-a.json").write_bytes(b"{}")
        (handoff / "intent-b.json").write_bytes(b"{}")
        assert len(await take(served.source, room=1)) == 1
        served.hand_over("intent-late.json")
        assert len(await take(served.source)) == 1
        assert await take(served.source) == []
        assert (handoff / "intent-late.json").exists()


@in_a_loop
async def test_once_waits_for_what_is_not_complete_yet(handoff: Path) -> None:
    with serving(handoff, ONCE) as served, (handoff / "intent-a.json").open("wb") as file:
        taking = asyncio.create_task(take(served.source))
        while not served.source.state().waiting:  # noqa: ASYNC110 # as in `eventually`
            await asyncio.sleep(0.001)
        file.write(b"whole")
        file.close()
        [arrival] = await taking
        assert arrival.content == Content(b"whole")
        assert await take(served.source) == []


@in_a_loop
async def test_once_is_not_held_up_by_a_file_that_vanishes(handoff: Path) -> None:
    with serving(handoff, ONCE) as served:
        for name in ("intent-a.json", "intent-b.json"):
            (handoff / name).write_bytes(b"{}")
        [arrival] = await take(served.source, room=1)
        (
            handoff / ({"intent-a.json", "intent-b.json"} - {arrival.receipt.name.decode()}).pop()
        ).unlink()
        assert await take(served.source) == []


# The folder is not the same any more


@in_a_loop
async def test_a_folder_renamed_away_and_made_anew_is_served_again(
    handoff: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(handoff) as served:
        served.hand_over("intent-before.json")
        [before] = await take(served.source)
        old = handoff.rename(handoff.parent / "old")
        await eventually(lambda: served.source.blocked_by is not None, served)
        assert not served.source.state().is_served
        (old / "intent-old.json").write_bytes(b"{}")
        handoff.mkdir()
        served.hand_over("intent-new.json", b"new")
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"new")
        assert served.source.blocked_by is None
        assert (old / "intent-old.json").exists()
        # Claims, journal and lock stay with the daemon.
        assert served.claim(before.intent_id, "intent-before.json").exists()
        assert not (old / ".conductor").exists()
        assert (handoff / "status" / "history").is_dir()
        assert os.fstat(served.layout.status).st_ino == (handoff / "status").stat().st_ino
        served.hand_over("intent-moved.json")
        assert names(await take(served.source)) == [b"intent-moved.json"]
    assert "replaced" in caplog.text


@in_a_loop
async def test_a_symlink_that_was_switched_is_told_of_and_nothing_taken_until_it_is_back(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("a")
    told: list[str] = []
    with serving(link) as served:
        served.source.tell_replaced(told.append)
        served.hand_over("intent-before.json")
        await take(served.source)
        link.unlink()
        link.symlink_to("b")
        (tmp_path / "b/intent-other.json").write_bytes(b"{}")
        await eventually(lambda: served.source.blocked_by is not None, served)
        assert not served.source.state().is_served
        assert told == [f"{link} no longer leads to {tmp_path / 'a'}"]
        assert "restart to serve where it leads" in str(served.source.blocked_by)
        served.hand_over("intent-after.json")
        link.unlink()
        link.symlink_to("a")
        assert names(await take(served.source)) == [b"intent-after.json"]
        assert served.source.blocked_by is None


@in_a_loop
async def test_a_folder_deleted_and_made_anew_is_served_again(tmp_path: Path) -> None:
    handoff = tmp_path / "handoff"
    with serving(handoff, state_dir=tmp_path / "state") as served:
        served.hand_over("intent-before.json")
        await take(served.source)
        remove(handoff)
        handoff.mkdir()
        served.hand_over("intent-new.json")
        assert names(await take(served.source)) == [b"intent-new.json"]
        assert (handoff / ".conductor" / "lock").exists()


@in_a_loop
async def test_when_the_journal_was_deleted_with_the_folder_the_daemon_stops(handoff: Path) -> None:
    with serving(handoff) as served:
        served.hand_over("intent-before.json")
        await take(served.source)
        remove(handoff)
        handoff.mkdir()
        with pytest.raises(DurabilityLost) as raised:
            await take(served.source)
        assert raised.value.code == "state_dir_gone"


@in_a_loop
async def test_row_08_a_symlink_in_place_of_the_folder_is_not_served(handoff: Path) -> None:
    with serving(handoff) as served:
        elsewhere = handoff.parent / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "intent-a.json").write_bytes(b"{}")
        away = handoff.rename(handoff.parent / "away")
        handoff.symlink_to(elsewhere)
        await eventually(lambda: "symlink" in str(served.source.blocked_by), served)
        assert not served.source.state().is_served
        handoff.unlink()
        away.rename(handoff)
        served.hand_over("intent-b.json")
        assert names(await take(served.source)) == [b"intent-b.json"]
        assert (elsewhere / "intent-a.json").exists()
        assert served.source.state().is_served


@in_a_loop
async def test_a_folder_of_ours_that_was_removed_is_made_again(handoff: Path) -> None:
    with serving(handoff) as served:
        served.hand_over("intent-a.json")
        await take(served.source)
        remove(handoff / "status", served.claimed)
        served.hand_over("intent-b.json")
        assert names(await take(served.source)) == [b"intent-b.json"]
        await eventually((handoff / "status" / "history").is_dir, served)
        assert served.layout.is_current()


# The world objects


@in_a_loop
async def test_without_descriptors_nothing_is_lost_and_it_goes_on_later(handoff: Path) -> None:
    with serving(handoff) as served:
        served.hand_over("intent-a.json")
        await take(served.source)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        served.hand_over("intent-b.json", b"b")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await eventually(lambda: served.source.blocked_by is not None, served)
            assert served.source.blocked_by is not None
            assert served.source.blocked_by.errno == errno.EMFILE
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        served.clock.pass_time(timedelta(minutes=1))
        [arrival] = await take(served.source)
        assert arrival.content == Content(b"b")
        assert served.source.blocked_by is None


class TimedHints(ToldHints):
    """Hints that remember for how long they were to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        await super().wait(seconds)


@in_a_loop
async def test_a_scan_that_fails_after_events_were_lost_is_not_tried_again_without_rest(
    handoff: Path,
) -> None:
    hints = TimedHints()
    with serving(handoff, SELDOM, hints=hints) as served:
        await listening(served)
        served.clock.pass_time(timedelta(minutes=1))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            hints.waits.clear()
            hints.tell(is_incomplete=True)
            await eventually(lambda: served.source.blocked_by and hints.waits, served)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert hints.waits[-1] > 0.5


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(replace(BRISK, intake_rate=Rate(1, 3600)), id="over the rate"),
        pytest.param(replace(BRISK, debounce=timedelta(days=1)), id="settling"),
        pytest.param(BRISK, id="held"),
    ],
)
def test_while_nothing_of_what_a_scan_listed_may_be_claimed_the_source_rests(
    handoff: Path, settings: FolderSettings
) -> None:
    @in_a_loop
    async def rests() -> None:
        hints = TimedHints()
        with serving(handoff, settings, hints=hints) as served:
            served.hand_over("intent-a.json")
            served.hand_over("intent-b.json")
            if settings.intake_rate:
                await take(served.source)
            if settings is BRISK:
                served.source.hold(OSError(errno.ENOMEM, "held"))
            await eventually(lambda: hints.waits, served)
            served.clock.pass_time(A_WHILE)  # so that a scan would be due
            hints.waits.clear()
            await eventually(lambda: len(hints.waits) > 1, served)
            assert 0 not in hints.waits

    rests()


FULL_DISK = """
import asyncio, errno
from datetime import timedelta
from pathlib import Path
from tests.fakes_source import serving, take, names

async def main():
    with serving(Path("disk/handoff")) as served:
        served.hand_over("intent-0.json")
        await take(served.source)
        served.hand_over("intent-short.json")
        long = [f"intent-{'x' * 230}{number}.json" for number in range(3)]
        for name in long:
            served.hand_over(name)
        fillers = []
        try:
            while True:
                fillers.append(served.handoff / f".filler-{len(fillers)}")
                fillers[-1].touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC
        assert names(await take(served.source)) == [b"intent-short.json"]
        taking = asyncio.create_task(take(served.source))
        while served.source.blocked_by is None:
            await asyncio.sleep(0.001)
        assert served.source.blocked_by.errno == errno.ENOSPC
        assert len(list(served.handoff.glob("intent-*"))) == 3
        for filler in fillers[:-1]:
            filler.unlink()
        served.clock.pass_time(timedelta(minutes=1))
        assert sorted(names(await taking)) == [name.encode() for name in long]
        assert served.source.blocked_by is None

asyncio.run(main())
"""


@pytest.mark.needs("unshare")
def test_row_20_a_disk_without_inodes_stops_what_needs_a_folder_and_loses_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk").mkdir()
    run_in_own_mounts("mount -t tmpfs -o nr_inodes=30 none disk", FULL_DISK, tmp_path)


ACROSS_MOUNTS = """
import asyncio
from dataclasses import replace
from pathlib import Path
from tests.fakes_source import BRISK, serving, take

async def main():
    with serving(Path("handoff"), replace(BRISK, once=True)) as served:
        for name in ("intent-a.json", "intent-b.json"):
            served.hand_over(name)
        assert await take(served.source) == []
        assert sorted(p.name for p in served.handoff.glob("intent-*")) == [
            "intent-a.json", "intent-b.json"
        ]
        assert list(served.claimed.iterdir()) == []
        [first, second] = served.source.ignored()
        assert "cross-device" in first.why, first.why

asyncio.run(main())
"""


@pytest.mark.needs("unshare")
def test_a_claim_that_would_cross_mounts_is_an_error_and_never_a_copy(tmp_path: Path) -> None:
    (tmp_path / "handoff/.conductor/claimed").mkdir(parents=True, mode=0o700)
    (tmp_path / "handoff/.conductor").chmod(0o700)
    (tmp_path / "other").mkdir(mode=0o700)
    run_in_own_mounts("mount --bind other handoff/.conductor/claimed", ACROSS_MOUNTS, tmp_path)


MOUNTED_FILE = """
import asyncio
from pathlib import Path
from tests.fakes_source import names, serving, take

async def main():
    with serving(Path("handoff")) as served:
        served.hand_over("intent-b.json")
        assert names(await take(served.source)) == [b"intent-b.json"]
        assert (served.handoff / "intent-mounted.json").exists()
        assert len(served.source.ignored()) == 1

asyncio.run(main())
"""


@pytest.mark.needs("unshare")
def test_a_file_that_cannot_be_renamed_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "handoff").mkdir()
    for path in ("handoff/intent-mounted.json", "other"):
        (tmp_path / path).write_bytes(b"{}")
    run_in_own_mounts("mount --bind other handoff/intent-mounted.json", MOUNTED_FILE, tmp_path)


# What it costs


@in_a_loop
async def test_row_19_a_hundred_thousand_waiting_files_cost_less_than_200_bytes_each(
    in_memory: Path,
) -> None:
    files = 100_000
    with serving(in_memory / "handoff", ONCE) as served:
        touch_all(served, files)
        served.clock.pass_time(A_WHILE)
        tracemalloc.start()
        try:
            await take(served.source, room=1)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert served.source.state().waiting == files - 1
        assert most / files < 200


@in_a_loop
async def test_the_state_tells_how_much_waits_and_since_when(handoff: Path) -> None:
    with serving(handoff, PATIENT) as served:
        before = served.clock.now() - timedelta(seconds=1)
        (handoff / "intent-a.json").write_bytes(b"{}")
        (handoff / "intent-b.json").write_bytes(b"{}")
        await eventually(lambda: served.source.state().waiting == 2, served)
        state = served.source.state()
        assert state.oldest is not None
        assert before <= state.oldest <= served.clock.now()
        assert state.is_served
        assert state.blocked_by is None


@in_a_loop
async def test_claims_of_before_that_cannot_be_read_now_are_a_reason_not_to_start(
    handoff: Path,
) -> None:
    with serving(handoff) as served:
        (served.claimed / number_id(1)).mkdir()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(CannotStart) as raised:
                await served.source.leftovers(())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert raised.value.code == "claims_unreadable"
