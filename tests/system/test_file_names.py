"""File names that are hard to show or to type: everywhere they are shown, they can be asked for."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import urllib.parse
from pathlib import Path

import pytest

from conductor_loop.core.naming import shown
from tests.system.daemon import COMMAND, Site, intent, wait_until
from tests.system.test_http import serving

BYTES = b"intent-\xff\xfe.json"
SHOWN = "intent-\\xff\\xfe.json"
LONG = "intent-" + "x" * 243 + ".json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def on_terminal(site: Site, columns: int, *words: str) -> list[str]:
    """The lines that a command shows on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    environment = {**site.environment, "PYTHONUTF8": "1"}
    with subprocess.Popen([*COMMAND, *words], cwd=site.top, env=environment, stdout=theirs) as ran:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # how Linux tells that nobody holds the other end any more
            pass
    os.close(ours)
    assert ran.returncode == 0
    return said.decode().splitlines()


def test_a_name_is_found_as_it_is_shown(site: Site) -> None:
    with site.daemon("-porch", site.porch("exit 2")):
        site.hand_over(BYTES, intent())
        site.wait_for_final(1)
        assert shown(BYTES) == site.asked("list")[0]["intent_file"] == SHOWN
        told = site.asked("why", SHOWN)
        assert told["intent_file"] == SHOWN
        retried = site.asked("retry", SHOWN)
        site.wait_for_final(2)
        assert site.asked("why", retried["intent_ids"][0])["retry_of"] == told["intent_id"]
        site.pause()
        site.hand_over(BYTES, intent(replicas=2))
        wait_until(lambda: site.counts().total() == 3, "it waits")
        assert site.asked("cancel", SHOWN)["intent_ids"] == [site.asked("why", SHOWN)["intent_id"]]


def test_a_name_that_means_one_file_and_shows_as_another_is_not_guessed(site: Site) -> None:
    site.hand_over_all({SHOWN: intent("a")})
    site.hand_over(BYTES, intent("b"))
    site.once()
    for words in (("why", SHOWN), ("retry", SHOWN), ("cancel", SHOWN)):
        refused = site.command(*words)
        assert refused.returncode == 2
        assert "may mean two files" in refused.stderr
    ids = {each["intent_file"]: each["intent_id"] for each in site.asked("list")}
    assert all(intent_id in refused.stderr for intent_id in ids.values())
    assert site.asked("why", ids[SHOWN])["intent_file"] == SHOWN


def test_the_page_finds_a_name_as_it_is_shown(site: Site) -> None:
    with serving(site) as server:
        site.hand_over(BYTES, intent())
        site.wait_for_final(1)
        asked = urllib.parse.urlencode({"name": SHOWN})
        answer = server.get(f"/api/find?{asked}")
    assert answer.status == 200
    assert json.loads(answer.body) == {"intent_id": site.asked("list")[0]["intent_id"]}


def test_a_long_name_is_cut_to_the_width_of_a_terminal_and_nowhere_else(site: Site) -> None:
    site.hand_over_all({LONG: intent(), "intent-a.json": intent("smf")})
    site.once()
    lines = on_terminal(site, 120, "list")
    assert max(map(len, lines)) <= 120
    assert any("intent-xxx" in line and "…" in line and "xxx.json" in line for line in lines)
    assert any("intent-a.json" in line for line in lines)
    assert LONG in site.command("list").stdout
    assert any(LONG in line for line in on_terminal(site, 120, "list", "-json"))


def test_folders_whose_names_are_not_utf_8_serve_like_others(site: Site) -> None:
    site.handoff = site.top / os.fsdecode(b"in \xff?#%")
    there = ("-handoff", str(site.handoff))
    site.hand_over_all({"intent-a.json": intent()})
    assert site.once(*there).returncode == 0
    assert site.asked("list", *there)[0]["state"] == "published"
    assert site.asked("why", "intent-a.json", *there)["intent_file"] == "intent-a.json"
    exported = json.loads(site.command("state", "export", *there).stdout)
    assert list(exported["states"]) == [f"{site.top}/in \\xff?#%/intent-a.json"]
