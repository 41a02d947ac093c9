"""What inotify tells, read as hints."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.events import Heard, InotifyHints, PollingHints
from tests.fakes import in_a_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def hints(tmp_path: Path) -> Iterator[InotifyHints]:
    made = InotifyHints()
    made.watch(str(tmp_path))
    yield made
    made.close()


def test_each_way_to_arrive_is_heard(tmp_path: Path, hints: InotifyHints) -> None:
    (tmp_path / "draft").write_bytes(b"")
    (tmp_path / "intent-written.json").write_bytes(b"")
    os.link(tmp_path / "draft", tmp_path / "intent-linked.json")
    (tmp_path / "intent-symlink.json").symlink_to("draft")
    os.mkfifo(tmp_path / "intent-fifo.json")
    (tmp_path / "draft").rename(tmp_path / "intent-moved.json")
    heard = hints.collect()
    assert list(heard.names.items()) == [
        (b"intent-written.json", False),
        (b"intent-linked.json", False),
        (b"intent-symlink.json", False),
        (b"intent-fifo.json", False),
        (b"intent-moved.json", True),
    ]
    assert hints.collect() == Heard()


def test_the_last_thing_that_happened_to_a_name_counts(tmp_path: Path, hints: InotifyHints) -> None:
    for name in ("intent-a.json", "intent-b.json"):
        (tmp_path / ".draft").write_bytes(b"")
        (tmp_path / ".draft").rename(tmp_path / name)
    with (tmp_path / "intent-a.json").open("ab"):
        pass
    assert list(hints.collect().names.items()) == [
        (b"intent-b.json", True),
        (b"intent-a.json", False),
    ]


def test_names_arrive_as_the_bytes_they_are(tmp_path: Path, hints: InotifyHints) -> None:
    names = [b"intent-\xff\n\x1b.json", b"intent-" + b"n" * 243 + b".json"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert list(hints.collect().names) == names


def test_a_folder_that_moves_or_goes_is_heard(tmp_path: Path) -> None:
    hints = InotifyHints()
    for leave in (lambda path: path.rename(tmp_path / "away"), Path.rmdir):
        folder = tmp_path / "folder"
        folder.mkdir()
        hints.watch(str(folder))
        leave(folder)
        assert hints.collect().folder_changed
    hints.close()


def test_watching_another_folder_forgets_the_first(tmp_path: Path, hints: InotifyHints) -> None:
    other = tmp_path / "other"
    other.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    hints.watch(str(other))
    (tmp_path / "intent-a.json").write_bytes(b"")
    assert hints.collect() == Heard()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_symlink_is_not_watched(tmp_path: Path, hints: InotifyHints) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        hints.watch(str(tmp_path / "link"))
    assert hints.collect() == Heard()


def test_a_limit_that_is_reached_is_named(tmp_path: Path) -> None:
    hints = InotifyHints()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hints.watch(str(tmp_path))
    hints.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="max_user_instances"):
            hints.watch(str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@in_a_loop
async def test_waiting_ends_with_an_event_and_does_not_miss_an_earlier_one(tmp_path: Path) -> None:
    hints = InotifyHints()
    hints.watch(str(tmp_path))
    (tmp_path / "intent-a.json").write_bytes(b"")
    await hints.wait(3_600)
    assert list(hints.collect().names) == [b"intent-a.json"]
    await hints.wait(0.001)
    hints.close()
    await hints.wait(0.001)


@in_a_loop
async def test_without_events_waiting_is_sleeping(tmp_path: Path) -> None:
    hints = PollingHints()
    with pytest.raises(OSError, match="tells of none"):
        hints.watch(str(tmp_path))
    (tmp_path / "intent-a.json").write_bytes(b"")
    await hints.wait(0.001)
    assert hints.collect() == Heard()
    hints.close()
