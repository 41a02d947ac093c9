"""The commands of the runbooks, typed far from the daemon's folder, as operators do at night."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # has no types
import pytest

from conductor_loop.core.states import State
from tests.system.daemon import Site, intent

RUNBOOKS = Path(__file__).parents[2] / "docs/runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
FAILS = "case $name in *-bad.json) exit 2 ;; esac"
REACH = (
    "In a pod: `kubectl -n conductor-loop exec deployment/conductor-loop -- conductor-loop health`."
    " Under systemd: `sudo -u conductor-loop /opt/conductor-loop/bin/conductor-loop health"
    " -config /etc/conductor-loop/default.toml`. Elsewhere in its folder, or with its `-config`."
)


class Scene:
    """A daemon with an intent that failed and one that waits, and a terminal somewhere else."""

    def __init__(self, top: Path) -> None:
        self.site = Site(top / "served")
        self.elsewhere = Site(top / "elsewhere")
        recipient = top / "recipients.txt"
        self.recipient = str(pyrage.x25519.Identity.generate().to_public())
        for folder in (self.site.top, self.elsewhere.top):
            folder.mkdir()
        recipient.write_text(self.recipient)
        config = top / "conductor.toml"
        config.write_text(
            f'handoff = "{self.site.handoff}"\nout = "{self.site.out}"\n'
            f'porch = "{self.site.porch(FAILS)}"\nbackup-recipients = "{recipient}"\n'
        )
        for each in (self.site, self.elsewhere):
            each.environment["CONDUCTOR_CONFIG"] = str(config)
        self.site.flags = ("-debounce", "10ms", "-period", "200ms", "-retry-backoff", "10ms")

    def fill(self) -> None:
        """Have something to look at."""
        self.elsewhere.command("pause", "-target", "oran-sim/upf")
        self.site.hand_over("intent-bad.json", intent("amf"))
        self.site.verdict("intent-bad.json")
        self.site.hand_over("intent-waits.json", intent("upf"))
        self.site.wait_for_state("intent-waits.json", State.WAITING)

    def words(self, command: str) -> list[str]:
        """A command with something real in the place of each word in capitals."""
        file = self.elsewhere.top / "now.age" if " backup " in command else "intent-bad.json"
        real = {
            "FILE": str(file),
            "TEXT": "a test",
            "NAMESPACE/TARGET": "oran-sim/upf",
            "RECIPIENT": self.recipient,
            "ID": self.site.intent_id("intent-bad.json"),
        }
        return [real.get(word, word) for word in shlex.split(command)[1:]]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    with scene.site.daemon():
        scene.fill()
        yield scene


def commands(page: Path) -> list[str]:
    """Those of ours: lines of its blocks, and what stands in its text, in the order of the page."""
    text = page.read_text().replace(REACH, "")
    return re.findall(r"(?m)(?:^|`)(conductor-loop [^`\n]+)(?:`|$)", text)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda p: p.stem)
def test_each_command_of_a_runbook_does_what_it_is_there_for(page: Path, scene: Scene) -> None:
    for command in commands(page):
        (scene.elsewhere.top / "now.age").unlink(missing_ok=True)
        done = scene.elsewhere.command(*scene.words(command))
        told = f"{page.name}: {command}\n{done.stdout}{done.stderr}"
        if command.startswith("conductor-loop state discard"):
            assert "stop that one first" in done.stderr, told  # as its line says
        elif command.startswith(("conductor-loop health", "conductor-loop doctor")):
            assert done.stdout, told  # and whatever status follows from what they found
        else:
            assert done.returncode == 0, told


def test_there_are_commands_to_be_run() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_runbook_says_how_to_reach_the_daemon(page: Path) -> None:
    assert page.read_text().count(REACH) == 1
