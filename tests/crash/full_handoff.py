"""Stories of a handoff without room, on a file system of its own; each needs a mount namespace."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.crash.scene import COMMAND, RUN_SECONDS
from tests.crash.small_disk import (
    NOT_ROOT,
    give_back,
    take_all_inodes,
    take_all_space,
    wait_until,
)
from tests.system.daemon import intent

ROOMY = "size=2m,nr_inodes=200"
BIG: dict[str, object] = {
    "metadata": {"filling": "x" * 20_000}
}  # several pages, so that a part of it has room
FILES = {f"intent-{n:02}.json": intent(f"cnf-{n % 3}", n, **BIG) for n in range(20)}
TAKES = {"space": take_all_space, "inodes": take_all_inodes}


class FarHandoffs:
    """An inbox, and two handoffs on a small file system, which are this process's folders."""

    def __init__(self, inbox: str = "inbox") -> None:
        self.inbox, self.far = Path(inbox).absolute(), Path("far").absolute()
        self.inbox.mkdir()
        for ordinal in "01":
            (self.far / ordinal).mkdir()

    @property
    def command(self) -> list[str]:
        """Divide."""
        words = ["distribute", "-handoff", str(self.inbox), "-to", f"{self.far}/{{}}"]
        return [*NOT_ROOT, *COMMAND, *words, "-debounce", "1ms", "--count", "2"]

    def run_once(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Divide what is there."""
        command = [*self.command, "-once", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)

    def hand_over(self) -> None:
        """Drop all files."""
        for name, body in FILES.items():
            (self.inbox / f".{name}").write_bytes(body)
            (self.inbox / f".{name}").rename(self.inbox / name)

    def take_but_a_little(self, take: Callable[[Path], None]) -> None:
        """Leave room for a beginning: a page, or a folder."""
        (self.far / "last").write_bytes(b"\0" * 4_096)
        take(self.far)
        (self.far / "last").unlink()

    def arrived(self) -> dict[str, bytes]:
        """What daemons would see."""
        return {path.name: path.read_bytes() for path in self.far.glob("*/intent-*")}

    def require_no_half(self) -> None:
        """Whatever has its name is whole, and is nowhere else."""
        arrived = self.arrived()
        assert arrived.items() <= FILES.items()
        places = self.inbox.glob(".conductor/claimed/*.json")
        claimed = {path.name.partition(".")[2] for path in places}
        assert not claimed & arrived.keys()
        waiting = {path.name for path in self.inbox.glob("intent-*")}
        assert claimed | waiting | arrived.keys() == FILES.keys()

    def require_all(self) -> None:
        """Everything has come, and nothing lies about."""
        assert self.arrived() == FILES
        assert not list(self.far.glob("*/.arriving-*"))
        assert not list(self.inbox.glob(".conductor/claimed/*"))


def watching(take: Callable[[Path], None]) -> None:
    """The distributor says so, keeps what has no room, and goes on when there is."""
    scene = FarHandoffs()
    with Path("log").open("wb") as log:
        distributor = subprocess.Popen([*scene.command, "-log-format", "json"], stderr=log)
    try:
        wait_until("it divides", lambda: "dividing" in Path("log").read_text())
        scene.take_but_a_little(take)
        scene.hand_over()
        wait_until("it says so", lambda: "No space left on device" in Path("log").read_text())
        scene.require_no_half()
        assert distributor.poll() is None
        give_back(scene.far)
        wait_until("all has come", lambda: scene.arrived().keys() == FILES.keys())
        distributor.send_signal(signal.SIGTERM)
        assert distributor.wait(RUN_SECONDS) == 0, Path("log").read_text()
    finally:
        distributor.kill()
        distributor.wait()
    scene.require_all()


def once(take: Callable[[Path], None]) -> None:
    """`-once` keeps what has no room, and the next one moves it."""
    scene = FarHandoffs()
    scene.hand_over()
    scene.take_but_a_little(take)
    gave_up = scene.run_once()
    assert gave_up.returncode == 1, gave_up.stderr
    assert "this is a defect" not in gave_up.stderr, gave_up.stderr
    scene.require_no_half()
    give_back(scene.far)
    ended = scene.run_once()
    assert ended.returncode == 0, ended.stderr
    scene.require_all()


def records(take: Callable[[Path], None]) -> None:
    """Where another division cannot be put on record, none begins."""
    scene = FarHandoffs("far/inbox")
    assert scene.run_once().returncode == 0
    take(scene.far)
    refused = scene.run_once("--count", "1")
    assert (refused.returncode, "cannot be written" in refused.stderr) == (1, True), refused.stderr
    give_back(scene.far)
    scene.hand_over()
    assert scene.run_once().returncode == 0
    scene.require_all()


STORIES = {"watching": watching, "once": once, "records": records}


def tell(story: str, room: str) -> None:
    """Tell one story, with this kind of room taken."""
    STORIES[story](TAKES[room])
