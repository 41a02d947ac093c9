"""The progress bar of `-once` on a real terminal, beside the log."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.screen import shown_on_screen
from tests.system.daemon import COMMAND, PATIENCE, Site, intent

_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO |WARN |ERROR) ")
_WIDE = 2000


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def on_terminal(site: Site, *words: str) -> str:
    """Everything that a command writes to a terminal as its standard error."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, _WIDE, 0, 0))
    child = subprocess.Popen(
        [*COMMAND, *site.flags, *words],
        cwd=site.top,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**site.environment, "TERM": "xterm", "PYTHONUTF8": "1"},
    )
    os.close(theirs)
    written = b""
    # EIO is how Linux says that nobody holds the other end any more.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            written += part
    os.close(ours)
    child.wait(PATIENCE)
    return written.decode()


def test_each_log_line_stands_whole_above_one_progress_bar(site: Site) -> None:
    site.hand_over_all({f"intent-{n}.json": intent(f"cnf-{n}") for n in range(3)})
    porch = site.porch("/bin/sleep 0.3; exit 0")

    written = on_terminal(site, "-once", "-workers", "1", "-porch", porch)

    lines = shown_on_screen(written)
    bars = [line for line in lines if "/3 " in line]
    assert bars == lines[-1:], lines
    assert bars[0].count("3/3") == 1
    assert all(_LINE.match(line) for line in lines[:-1]), lines
    assert sum(" published" in line and "intent.file=" in line for line in lines) == 3


def test_beside_a_progress_bar_the_log_is_written_in_the_terminals_encoding(site: Site) -> None:
    site.hand_over_all({"intent-µ.json": intent()})

    written = on_terminal(site, "-once")

    assert "intent-µ.json" in written
    assert "\\xb5" not in written
