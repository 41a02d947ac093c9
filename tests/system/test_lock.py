"""The lock: one daemon per handoff folder and per state dir, told apart by the kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conductor_loop.adapters.handoff.layout import open_layout
from conductor_loop.adapters.handoff.lock import Lock, hold_lock, served_elsewhere
from conductor_loop.core.faults import CannotStart

SINCE = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
HOLD_FOR_EVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from conductor_loop.adapters.handoff.layout import open_layout
from conductor_loop.adapters.handoff.lock import hold_lock
with open_layout(Path(sys.argv[1])) as layout, hold_lock(layout, datetime.now(UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


def held(opened: ExitStack, handoff: Path, state_dir: Path | None = None) -> Lock:
    layout = opened.enter_context(open_layout(handoff, state_dir))
    return opened.enter_context(hold_lock(layout, SINCE))


def test_a_second_daemon_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with ExitStack() as opened:
        held(opened, tmp_path)
        with pytest.raises(CannotStart) as raised:
            held(opened, tmp_path)
    error = raised.value
    assert (error.code, error.exit_status) == ("already_running", 1)
    assert f"pid {os.getpid()}" in error.message
    assert "2026-03-01T10:30:00" in error.message
    assert str(tmp_path) in error.message
    assert error.hint


def test_whoever_asks_another_state_dir_is_told_of_the_one_that_is_in_use(tmp_path: Path) -> None:
    handoff, state = tmp_path / "handoff", tmp_path / "the state"
    inside = handoff / ".conductor"
    assert served_elsewhere(handoff, inside) is None
    assert not handoff.exists()
    with ExitStack() as opened:
        held(opened, handoff, state)
        assert served_elsewhere(handoff, state) is None
        told = served_elsewhere(handoff, inside)
        assert told is not None
        assert told.is_certain
        assert f"pid {os.getpid()}" in told.message
        assert f"-state-dir '{state}'" in told.hint
        with pytest.raises(CannotStart) as raised:
            held(opened, handoff)
        assert f"-state-dir '{state}'" in raised.value.hint
    assert served_elsewhere(handoff, inside) is None  # what it wrote outlives it


def test_a_lock_of_a_version_that_named_no_state_dir_is_understood(tmp_path: Path) -> None:
    with ExitStack() as opened:
        held(opened, tmp_path, tmp_path / "state")
        lock = tmp_path / ".conductor/lock"
        said = json.loads(lock.read_bytes())
        del said["state_dir"]
        lock.write_text(json.dumps(said))

        told = served_elsewhere(tmp_path, tmp_path / ".conductor")
        assert told is not None
        assert not told.is_certain
        assert f"pid {os.getpid()}" in told.message
        assert "give its -state-dir" in told.hint

        lock.write_bytes(b"\xff{")
        assert served_elsewhere(tmp_path, tmp_path / ".conductor") is None


def test_two_handoffs_may_not_share_a_state_dir(tmp_path: Path) -> None:
    with ExitStack() as opened:
        held(opened, tmp_path / "a", tmp_path / "state")
        with pytest.raises(CannotStart) as raised:
            held(opened, tmp_path / "b", tmp_path / "state")
        assert str(tmp_path / "state") in raised.value.message
        held(opened, tmp_path / "b")  # and the failed try holds nothing


def test_whoever_lets_go_makes_room_for_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        with ExitStack() as opened:
            held(opened, tmp_path, tmp_path / "state")


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_FOR_EVER, str(tmp_path)]
    daemon = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    assert daemon.stdin is not None
    with daemon.stdin, daemon.stdout, ExitStack() as opened:
        assert daemon.stdout.readline() == b"held\n"
        with pytest.raises(CannotStart, match=f"pid {daemon.pid} "):
            held(opened, tmp_path)
        daemon.kill()
        daemon.wait()
        held(opened, tmp_path)


def test_a_child_started_by_exec_does_not_share_the_lock(tmp_path: Path) -> None:
    with ExitStack() as opened:
        held(opened, tmp_path)
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with ExitStack() as opened:
        held(opened, tmp_path)
    child.communicate(b"")


def test_an_illegible_lock_file_does_not_hide_that_it_is_held(tmp_path: Path) -> None:
    with ExitStack() as opened:
        held(opened, tmp_path)
        (tmp_path / ".conductor/lock").write_bytes(b"\xff{")
        with pytest.raises(CannotStart, match="another daemon serves"):
            held(opened, tmp_path)


@pytest.mark.parametrize("make", ["symlink", "folder"])
def test_what_stands_in_place_of_the_lock_is_not_followed(tmp_path: Path, make: str) -> None:
    with open_layout(tmp_path / "handoff") as layout:
        place = tmp_path / "handoff/.conductor/lock"
        if make == "symlink":
            place.symlink_to(tmp_path / "target")
        else:
            place.mkdir()
        with pytest.raises(CannotStart) as raised:
            hold_lock(layout, SINCE)
    assert raised.value.code == "lock_unusable"
    assert not (tmp_path / "target").exists()


def test_renewing_holds_the_lock_of_a_private_folder_made_anew(tmp_path: Path) -> None:
    handoff, state = tmp_path / "handoff", tmp_path / "state"
    with open_layout(handoff, state) as layout, hold_lock(layout, SINCE) as lock:
        lock.renew()
        shutil.rmtree(handoff / ".conductor")
        layout.reopen()
        with open_layout(handoff) as other, hold_lock(other, SINCE), pytest.raises(CannotStart):
            lock.renew()
        lock.renew()
        with open_layout(handoff) as other, pytest.raises(CannotStart):
            hold_lock(other, SINCE)
