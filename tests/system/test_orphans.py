"""Ending what a dead daemon left, found by the token in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.porch import proc
from conductor_loop.adapters.porch.orphans import end_orphans, token_prefix
from conductor_loop.core.faults import CannotStart
from tests.system.child_processes import (
    PATIENCE,
    carriers,
    is_alive,
    python,
    shell,
    unique_prefix,
    wait_until,
)
from tests.system.daemon import Site, intent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@contextlib.contextmanager
def left_running(token: str, *argv: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command with a token in its environment, as a daemon would have started it."""
    environment = {"PATH": "/usr/bin:/bin", "CONDUCTOR_ATTEMPT": token}
    with subprocess.Popen(argv, env=environment, start_new_session=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or bool(carriers(token)))
            yield process
        finally:
            process.kill()


def test_a_process_with_our_token_is_ended() -> None:
    prefix = unique_prefix()
    with left_running(f"{prefix}A.1", *shell("trap '' TERM; exec sleep 600")) as orphan:
        assert end_orphans(prefix, PATIENCE) == 1
        assert orphan.wait(PATIENCE) == -signal.SIGKILL
        assert carriers(prefix) == []


def test_nobody_else_is_touched() -> None:
    ours, theirs = unique_prefix(), unique_prefix()
    with left_running(f"{theirs}A.1", *shell("exec sleep 600")) as other:
        assert end_orphans(ours, PATIENCE) == 0
        assert other.poll() is None


def test_a_token_that_only_contains_the_prefix_is_not_ours() -> None:
    prefix = unique_prefix()
    with left_running(f"x{prefix}A.1", *shell("exec sleep 600")) as other:
        assert end_orphans(prefix, PATIENCE) == 0
        assert other.poll() is None


def test_we_never_end_ourselves() -> None:
    prefix = unique_prefix()
    program = (
        "import sys; from conductor_loop.adapters.porch.orphans import end_orphans;"
        f"sys.exit(40 + end_orphans({prefix!r}, 60))"
    )
    with left_running(f"{prefix}A.1", sys.executable, "-c", program) as daemon:
        assert daemon.wait(PATIENCE) == 40


def test_a_whole_family_is_ended_however_it_hides(tmp_path: Path) -> None:
    prefix, mark = unique_prefix(), tmp_path / "mark"
    with left_running(f"{prefix}A.1", *python("leave_a_crowd.py", mark, "50")) as parent:
        parent.wait(PATIENCE)
        family = [int(line) for line in mark.read_text().splitlines()]

        assert end_orphans(prefix, PATIENCE) >= 50

    assert not any(map(is_alive, family))


def test_one_that_does_not_end_is_said_by_number() -> None:
    """Out of time before the first look: what a process that hangs in the kernel comes to."""
    prefix = unique_prefix()
    with (
        left_running(f"{prefix}A.1", *shell("exec sleep 600")) as orphan,
        pytest.raises(CannotStart, match=str(orphan.pid)),
    ):
        end_orphans(prefix, -1.0)


def test_every_handoff_has_a_prefix_of_its_own(tmp_path: Path) -> None:
    prefixes = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        folder = os.open(tmp_path / name, os.O_RDONLY)
        prefixes.add(token_prefix(folder))
        assert token_prefix(folder) in prefixes
        os.close(folder)

    assert len(prefixes) == 2


def test_the_next_start_ends_what_was_left_although_it_runs_no_porch(tmp_path: Path) -> None:
    site = Site(tmp_path)
    porch = site.porch('mkdir "$top/begun" || exit 0; echo $$ > "$top/pid"; exec /bin/sleep 600')
    left = tmp_path / "pid"
    with site.daemon("-porch", porch) as daemon:
        site.hand_over("intent-a.json", intent())
        wait_until(lambda: left.exists() and bool(left.read_text()))
        spawner = proc.status(int(left.read_text()))[1]
        daemon.send(signal.SIGSTOP)
        os.kill(spawner, signal.SIGKILL)
        daemon.kill()
    assert is_alive(int(left.read_text()))

    done = site.once("-porch", "builtin")

    assert done.returncode == 0
    assert not is_alive(int(left.read_text()))
