"""The demo as a newcomer runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "conductor_loop", "demo", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_demo_shows_verdicts_and_packages_and_leaves_them(tmp_path: Path) -> None:
    done = run_demo(tmp_path)

    assert done.returncode == 0, done.stderr
    assert "intent-scale-up-001.json" in done.stdout
    assert (tmp_path / "demo/out/oran-sim/cnf-simulator/scaling-patch.yaml").is_file()
    assert (tmp_path / "demo/handoff/failed/intent-bad-type-007.json.error.log").is_file()


def test_the_demo_runs_twice_in_a_row_with_the_same_result(tmp_path: Path) -> None:
    first, second = run_demo(tmp_path), run_demo(tmp_path)

    def timeless(text: str) -> str:
        return re.sub(r" in [0-9.]+m?s", "", text)

    assert (first.returncode, second.returncode) == (0, 0)
    assert timeless(first.stdout) == timeless(second.stdout)


def test_the_command_that_the_demo_ends_with_works_as_it_stands(tmp_path: Path) -> None:
    last = run_demo(tmp_path).stdout.splitlines()[-1].strip()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    answer = subprocess.run(
        shlex.split(last), cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip

    assert answer.returncode == 0, answer.stderr
    assert "rejected" in answer.stdout


def test_a_folder_that_no_demo_made_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "demo" / "precious"
    precious.parent.mkdir()
    precious.write_text("keep me")

    done = run_demo(tmp_path)

    assert (done.returncode, precious.read_text()) == (1, "keep me")
    assert "no demo folder" in done.stderr


def test_the_demo_never_hands_over_in_a_folder_of_the_users(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "-handoff", "mine")

    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []
