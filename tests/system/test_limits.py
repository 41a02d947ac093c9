"""Bombs: each hits its limit, the verdict says which, and the others do not notice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.system.daemon import Site, Verdict, intent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
BOMBS = {
    "memory": (
        "CONDUCTOR_CHILD_MEMORY",
        "200MiB",
        "memory",
        "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))",
    ),
    "cpu": ("CONDUCTOR_CHILD_CPU", "1s", "CPU time", "while True: pass"),
    "files": (
        "CONDUCTOR_CHILD_FILES",
        "64",
        "open files",
        "hoard = []\nwhile True: hoard.append(open('/dev/null'))",
    ),
    "file-size": (
        "CONDUCTOR_CHILD_FILE_SIZE",
        "1MiB",
        "the size of a file",
        "file = open('big', 'wb')\nwhile True: file.write(bytes(1 << 16))",
    ),
    "processes": (
        "CONDUCTOR_CHILD_PROCESSES",
        "64",
        "processes",
        "import os, time\nwhile True:\n  if not os.fork(): time.sleep(600)",
    ),
}


def bomb_or_work(site: Site, bomb: str) -> str:
    """A porch that is a bomb for the target `bomb`, and does its work for others."""
    folder = site.top / "bin"
    folder.mkdir()
    (folder / "bomb.py").write_text(bomb)
    porch = folder / "porch"
    python = f'exec "{sys.executable}" -I -S'
    porch.write_text(
        "#!/bin/sh\n"
        f'case "$2" in *bomb*) {python} "{folder}/bomb.py";; esac\n'
        'echo done > "$4/${2##*/}"\n'
    )
    porch.chmod(0o755)
    return str(porch)


@pytest.mark.parametrize("kind", BOMBS)
def test_row_33_a_bomb_hits_its_limit_and_others_do_not_notice(kind: str, tmp_path: Path) -> None:
    variable, value, said, bomb = BOMBS[kind]
    site = Site(tmp_path)
    site.environment[variable] = value
    site.hand_over_all(
        {"intent-bomb.json": intent("bomb")}
        | {f"intent-{n}.json": intent(f"amf-{n}") for n in range(3)}
    )

    site.once("-porch", bomb_or_work(site, bomb), "-max-attempts", "1", "-timeout", "20s")

    verdict: Verdict = site.verdict("intent-bomb.json")
    assert verdict["status"] == "failed"
    assert verdict["message"].startswith(f"porch met the limit on {said}"), verdict
    assert all(site.verdict(f"intent-{n}.json")["status"] == "success" for n in range(3))


def test_limits_hold_for_the_child_and_not_for_the_daemon(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.environment |= {
        "CONDUCTOR_CHILD_FILES": "64",
        "CONDUCTOR_CHILD_FILE_SIZE": "1MiB",
        "CONDUCTOR_CHILD_MEMORY": "1GiB",
        "CONDUCTOR_CHILD_CPU": "7s",
    }
    site.hand_over_all({"intent-a.json": intent()})
    wait = "until grep 'cpu time *7 ' /proc/$$/limits; do :; done"  # set a moment after the start
    site.once("-porch", site.porch(f"{wait}; cat /proc/$$/limits > $top/limits"))

    lines = (tmp_path / "limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max open files"] == ["64", "64"]
    assert limits["Max file size"] == [str(1 << 20)] * 2
    assert limits["Max data size"] == [str(1 << 30)] * 2
    assert limits["Max cpu time"] == ["7", "9"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max address space"] == ["unlimited", "unlimited"]


def test_zero_stands_for_no_limit(tmp_path: Path) -> None:
    site = Site(tmp_path)
    names = ("MEMORY", "CPU", "FILES", "FILE_SIZE", "PROCESSES")
    site.environment |= {f"CONDUCTOR_CHILD_{name}": "0" for name in names}
    site.hand_over_all({"intent-a.json": intent()})
    site.once("-porch", site.porch("cat /proc/$$/limits > $top/limits"))
    ours = Path("/proc/self/limits").read_text().splitlines()

    lines = (tmp_path / "limits").read_text().splitlines()
    changed = {line[:26].strip() for line in set(lines) ^ set(ours)}
    # What the daemon raises for itself, and the core file, which nobody is to leave.
    assert changed <= {"Max core file size", "Max open files"}
    assert os.path.exists(site.verdict_path("intent-a.json"))
