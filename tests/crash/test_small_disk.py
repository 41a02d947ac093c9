"""A full and an inode-full file system: the daemon waits, loses nothing, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import full_handoff
from tests.crash.scene import With
from tests.crash.small_disk import STORIES
from tests.own_mounts import run_in_own_mounts


@pytest.mark.crash
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("publisher", With)
@pytest.mark.parametrize("story", STORIES)
def test_row_20_a_disk_without_room_delays_intents_and_fails_none(
    tmp_path: Path, story: str, publisher: With
) -> None:
    script = f"from tests.crash.small_disk import tell; tell({story!r}, {publisher.name!r})"

    run_in_own_mounts("", script, tmp_path)


@pytest.mark.crash
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("room", full_handoff.TAKES)
@pytest.mark.parametrize("story", full_handoff.STORIES)
def test_row_20_a_handoff_without_room_keeps_files_in_the_inbox_before_it(
    tmp_path: Path, story: str, room: str
) -> None:
    mounts = f"mkdir far; mount -t tmpfs -o {full_handoff.ROOMY} none far"
    script = f"from tests.crash.full_handoff import tell; tell({story!r}, {room!r})"

    run_in_own_mounts(mounts, script, tmp_path)
