"""A full and an inode-full file system: the daemon waits, loses nothing, and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.scene import With
from tests.crash.small_disk import STORIES

ROOT = Path(__file__).resolve().parents[2]
# A mount of our own needs no rights outside it (unshare(1), -r and -m).
NAMESPACE = ["unshare", "-rm"]


@pytest.mark.crash
@pytest.mark.needs("unshare")
@pytest.mark.parametrize("publisher", With)
@pytest.mark.parametrize("story", STORIES)
def test_a_disk_without_room_delays_intents_and_fails_none(
    tmp_path: Path, story: str, publisher: With
) -> None:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    disk = tmp_path / "disk"
    disk.mkdir()

    told = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.crash.small_disk", story, publisher.name, disk],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert told.returncode == 0, told.stderr[-8000:]
