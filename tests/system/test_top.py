"""`conductor-loop top` on a real terminal, into a pipe, and as data."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.system.daemon import COMMAND, PATIENCE, Site, intent, wait_until

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_OURS = re.compile("|".join(map(re.escape, [_ENTER, _LEAVE, "\x1b[H", "\x1b[K", "\x1b[J"])))
HOSTILE = "intent-\x1b[2J\u202e\n.json"


class Terminal:
    """A terminal of a given size in which `top` runs."""

    def __init__(self, site: Site, columns: int, lines: int, exported: dict[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        self.modes = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            [*COMMAND, "top"],
            cwd=site.top,
            env={**site.environment, "TERM": "xterm", "PYTHONUTF8": "1", **exported},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self.shown = ""

    def frames(self) -> list[str]:
        """What was shown so far, whole frames only, each from its beginning."""
        while select.select([self.ours], [], [], 0)[0]:
            self.shown += os.read(self.ours, 65536).decode()
        return [frame.partition("\x1b[J")[0] for frame in self.shown.split("\x1b[H")[1:-1]]

    def wait_for(self, words: str) -> str:
        """Wait for a frame with these words, and return it."""
        found: list[str] = []

        def is_shown() -> bool:
            found[:] = [frame for frame in self.frames() if words in frame]
            return bool(found)

        wait_until(is_shown, f"{words} is shown")
        return found[-1]

    def ended(self) -> int:
        """Wait for the end of `top`, and read the rest of what it showed."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.frames()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.frames()
        return self.process.returncode


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextlib.contextmanager
def terminal(
    site: Site, columns: int = 120, lines: int = 40, **exported: str
) -> Iterator[Terminal]:
    shown = Terminal(site, columns, lines, exported)
    try:
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait()
        os.close(shown.ours)
        os.close(shown.theirs)


@contextlib.contextmanager
def busy(site: Site) -> Iterator[None]:
    """A daemon with one intent that runs, one behind it, one that succeeded and one that failed."""
    porch = site.porch(
        'case $2 in *bad*) exit 2;; *slow*) until [ -e "$top/go" ]; do sleep 0.05; done;; esac'
    )
    with site.daemon("-porch", porch):
        site.hand_over("intent-good.json", intent("good"))
        site.hand_over("intent-bad.json", intent("bad"))
        site.wait_for_final(2)
        site.hand_over("intent-slow.json", intent("slow"))
        site.hand_over("intent-next.json", intent("slow", 2))
        wait_until(lambda: sum(site.counts().values()) == 4, "all are admitted")
        yield
        (site.top / "go").touch()
        site.wait_for_final(4)


def test_into_a_pipe_it_prints_one_frame_without_control_characters(site: Site) -> None:
    with busy(site):
        done = site.command("top")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert re.search(r"ready  pid \d+  /", done.stdout)
    assert re.search(r"waiting +1 ", done.stdout)
    assert re.search(r"workers +1 of 2 ", done.stdout)
    assert re.search(
        r"RUNS +ATTEMPT +FOR +FILE +ID\noran-sim/slow +1 +\d+s +intent-slow.json +[0-9A-Z]{26}\n",
        done.stdout,
    )
    assert re.search(r"WAITS FOR +INTENTS\noran-sim/slow +1\n", done.stdout)
    assert re.search(r"failed +oran-sim/bad +intent-bad.json\n", done.stdout)
    assert re.search(r"published +oran-sim/good +intent-good.json\n", done.stdout)


def test_as_data_it_tells_the_same(site: Site) -> None:
    with busy(site):
        told = site.asked("top")
    assert told["ready"] is True
    assert told["daemon_pid"]
    assert [each["intent_file"] for each in told["running"]] == ["intent-slow.json"]
    (running,) = told["running"]
    assert running["attempt"] == 1
    assert 0 < running["running_seconds"] < told["oldest_seconds"]
    assert datetime.fromisoformat(running["started_at"]) < datetime.fromisoformat(told["at"])
    assert told["queue"] == [{"target": "oran-sim/slow", "waiting": 1}]
    assert {each["intent_file"] for each in told["recent"]} == {
        "intent-good.json",
        "intent-bad.json",
    }
    assert told["rates"]["succeeded_per_second"] == told["rates"]["failed_per_second"] == 0.017
    assert 0 < told["rates"]["p50_seconds"] <= told["rates"]["p95_seconds"]
    assert told["oldest_seconds"] > 0


def test_without_a_daemon_it_shows_what_the_journal_says(site: Site) -> None:
    site.hand_over_all({"intent-a.json": intent()})
    site.once()
    done = site.command("top", "-once")
    assert "no daemon runs" in done.stdout
    assert "intent-a.json" in done.stdout
    told = site.asked("top")
    assert (told["ready"], told["daemon_pid"], told["workers"]) == (False, None, None)


def test_where_nothing_was_handed_over_it_says_so(site: Site) -> None:
    done = site.command("top")
    assert done.returncode == 1
    assert "no journal" in done.stderr


def test_what_keeps_the_daemon_from_taking_files_stands_at_the_top(site: Site) -> None:
    with site.daemon():
        site.pause()
        shown = site.command("top").stdout.splitlines()
        site.resume()
    assert "NOT READY" in shown[0]
    assert shown[1].startswith("  BAD not-paused: ")


def test_on_a_terminal_it_follows_what_happens_until_q(site: Site) -> None:
    with site.daemon(), terminal(site) as screen:
        screen.wait_for("ready  pid")
        site.hand_over("intent-a.json", intent())
        assert "oran-sim/amf" in screen.wait_for("intent-a.json")
        os.write(screen.ours, b"q")
        assert screen.ended() == 0
        assert screen.shown.startswith(_ENTER)
        assert screen.shown.endswith(_LEAVE)
        assert termios.tcgetattr(screen.theirs) == screen.modes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_gets_the_terminal_back_as_it_was(
    site: Site, number: signal.Signals
) -> None:
    with site.daemon(), terminal(site) as screen:
        screen.wait_for("ready  pid")
        screen.process.send_signal(number)
        assert screen.ended() == 0
        assert screen.shown.endswith(_LEAVE)
        assert "Traceback" not in screen.shown
        assert termios.tcgetattr(screen.theirs) == screen.modes


def test_row_11_a_name_moves_no_cursor_and_clears_no_screen(site: Site) -> None:
    with site.daemon(), terminal(site) as screen:
        site.hand_over(HOSTILE, intent())
        screen.wait_for("published")
        os.write(screen.ours, b"q")
        screen.ended()
    text = _OURS.sub("", screen.shown).replace("\r\n", "")
    assert text.isprintable()
    assert "2J" in text


@pytest.mark.parametrize("exported", [{}, {"COLUMNS": "200", "LINES": "60"}])
def test_in_a_small_terminal_nothing_wraps_or_scrolls(site: Site, exported: dict[str, str]) -> None:
    names = [f"intent-{n}-{'x' * 60}.json" for n in range(20)]
    with site.daemon(), terminal(site, columns=40, lines=10, **exported) as screen:
        for n, name in enumerate(names):
            site.hand_over(name, intent(f"t{n}"))
        site.wait_for_final(len(names))
        frame = screen.wait_for("published")
    lines = _OURS.sub("", frame).split("\r\n")
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 40


def test_a_serial_line_without_a_size_is_as_large_as_was_exported(site: Site) -> None:
    with site.daemon(), terminal(site, 0, 0, COLUMNS="30", LINES="5") as screen:
        frame = screen.wait_for("Z  ready")
    assert max(map(len, _OURS.sub("", frame).split("\r\n"))) == 30
