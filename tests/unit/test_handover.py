"""Handing over: whole at once, by rename, and never over another file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.handover import NameTaken, hand_over, open_handoff
from conductor_loop.core.faults import CannotStart

BODY = b"{}" * 5_000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """An open handoff folder."""
    handle = open_handoff(tmp_path)
    yield handle
    os.close(handle)


def test_the_file_is_there_whole_and_nothing_else_is(folder: int, tmp_path: Path) -> None:
    hand_over(folder, b"intent-a.json", BODY, "1")
    assert os.listdir(tmp_path) == ["intent-a.json"]
    assert (tmp_path / "intent-a.json").read_bytes() == BODY


@pytest.mark.skipif(sys.platform != "linux", reason="watches with inotify")
def test_the_name_appears_by_a_rename_so_nobody_sees_half_of_it(
    folder: int, tmp_path: Path
) -> None:
    from asyncinotify import Inotify, Mask

    with Inotify(sync_timeout=0) as watch:
        watch.add_watch(tmp_path, Mask.CREATE | Mask.MODIFY | Mask.MOVED_TO)
        hand_over(folder, b"intent-a.json", BODY, "1")
        seen = [(str(event.name), event.mask) for event in watch]
    assert [mask for name, mask in seen if name == "intent-a.json"] == [Mask.MOVED_TO]
    assert {name for name, _ in seen} == {"intent-a.json", ".submit-1"}


def test_a_taken_name_keeps_its_file_and_nothing_is_left_behind(
    folder: int, tmp_path: Path
) -> None:
    (tmp_path / "intent-a.json").write_bytes(b"theirs")
    with pytest.raises(NameTaken) as caught:
        hand_over(folder, b"intent-a.json", BODY, "1")
    assert "--name" in caught.value.hint
    assert os.listdir(tmp_path) == ["intent-a.json"]
    assert (tmp_path / "intent-a.json").read_bytes() == b"theirs"


def test_a_name_of_any_bytes_is_handed_over(folder: int, tmp_path: Path) -> None:
    hand_over(folder, b"intent-\xff\n.json", BODY, "1")
    assert os.listdir(os.fsencode(tmp_path)) == [b"intent-\xff\n.json"]


def test_what_the_file_system_refuses_leaves_nothing_behind(folder: int, tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as caught:
        hand_over(folder, b"intent-" + b"x" * 300 + b".json", BODY, "1")
    assert "File name too long" in caught.value.message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_handoff_folder_that_is_none_is_refused_and_not_made(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart) as caught:
        open_handoff(tmp_path / what)
    assert caught.value.hint
    assert os.listdir(tmp_path) == ["file"]
