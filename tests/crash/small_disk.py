"""Stories on a small file system of their own; each needs a mount namespace (see the test)."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conductor_loop.core.states import State
from tests.crash.invariants import broken_journal_and_files, endings
from tests.crash.scene import COMMAND, Scene, With, intent

ROOMY = "size=4m,nr_inodes=600"
# Who may mount is root of a namespace; the daemon is its only other user, as it is never root.
NOT_ROOT = ("unshare", "--map-user=1000", "--map-group=1000")
IMPATIENT = ("-timeout", "1s", "-grace", "1s")
PATIENCE_SECONDS = 30.0
WAITING = {f"intent-{n:02d}.json": intent(f"cnf-{n:02d}", n) for n in range(20)}


def take_all_space(folder: Path) -> None:
    """Leave not a byte."""
    with (folder / "ballast").open("wb", buffering=0) as ballast, _room_ending():
        while True:
            ballast.write(b"\0" * 4096)


def take_all_inodes(folder: Path) -> None:
    """Leave room for bytes, but for no further file."""
    with _room_ending():
        for number in range(1_000_000):
            (folder / f"ballast-{number}").touch()


@contextmanager
def _room_ending() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def give_back(folder: Path) -> None:
    """Remove whatever took the room."""
    for ballast in folder.glob("ballast*"):
        ballast.unlink()


def watching(scene: Scene, take: Callable[[Path], None]) -> None:
    """The daemon waits while there is no room, loses nothing, and goes on when there is."""
    with _daemon(scene) as daemon:
        scene.hand_over({"intent-first.json": intent("amf", 1)})
        wait_until("the first intent has its verdict", lambda: _verdicts(scene) == 1)
        staged = _stage(scene)
        take(scene.top)
        for file in staged:
            file.rename(scene.handoff / file.name)
        wait_until("the daemon says that it is not ready", lambda: not _is_ready(scene))
        assert not _failed(scene), _failed(scene)
        assert daemon.poll() is None, "the daemon ended"
        give_back(scene.top)
        wait_until("every intent has its verdict", lambda: _verdicts(scene) == len(WAITING) + 1)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE_SECONDS) == 0
    _require_all_published(scene, len(WAITING) + 1)


@contextmanager
def _daemon(scene: Scene) -> Iterator[subprocess.Popen[bytes]]:
    daemon = subprocess.Popen([*NOT_ROOT, *scene.command()])
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def once(scene: Scene, take: Callable[[Path], None]) -> None:
    """`-once` gives up after -timeout with status 1, and the next one finishes."""
    scene.run_once(NOT_ROOT)
    staged = _stage(scene)
    take(scene.top)
    for file in staged:
        file.rename(scene.handoff / file.name)
    gave_up = scene.run_once(NOT_ROOT, IMPATIENT)
    assert gave_up.returncode == 1, (gave_up.returncode, gave_up.stderr[-2000:])
    assert not _failed(scene), _failed(scene)
    give_back(scene.top)
    ended = scene.run_once(NOT_ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    _require_all_published(scene, len(WAITING))


def too_small(scene: Scene) -> None:
    """Where there is no room even to begin, it says so and touches nothing."""
    staged = [scene.handoff / name for name in ("intent-a.json", "intent-b.json")]
    for file in staged:
        file.write_bytes(intent("amf", 1))
    ended = scene.run_once(NOT_ROOT, IMPATIENT)
    assert ended.returncode == 1, (ended.returncode, ended.stderr[-2000:])
    assert "this is a defect" not in ended.stderr, ended.stderr[-2000:]
    found = [path for path in scene.handoff.rglob("intent-*.json") if path.is_file()]
    assert {path.name for path in found} == {"intent-a.json", "intent-b.json"}, found
    assert not _failed(scene), _failed(scene)


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Wait for a condition. Raises AssertionError when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def _stage(scene: Scene) -> list[Path]:
    """Write while there is room, so that handing over takes none."""
    staging = scene.top / "staging"
    staging.mkdir()
    for name, body in WAITING.items():
        (staging / name).write_bytes(body)
    return sorted(staging.iterdir())


def _verdicts(scene: Scene) -> int:
    return len(list((scene.handoff / "status").glob("*.status")))


def _failed(scene: Scene) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(scene.handoff / "failed")
    return []


def _is_ready(scene: Scene) -> bool:
    asked = [*COMMAND, "health", "-handoff", str(scene.handoff)]
    return subprocess.run(asked, capture_output=True, timeout=PATIENCE_SECONDS).returncode == 0


def _require_all_published(scene: Scene, count: int) -> None:
    assert broken_journal_and_files(scene) == []
    states = [state for _, _, state in endings(scene).elements()]
    assert states == [State.PUBLISHED] * count, states


STORIES: dict[str, tuple[str, Callable[[Scene], None]]] = {
    "space-watching": (ROOMY, lambda scene: watching(scene, take_all_space)),
    "inodes-watching": (ROOMY, lambda scene: watching(scene, take_all_inodes)),
    "space-once": (ROOMY, lambda scene: once(scene, take_all_space)),
    "inodes-once": (ROOMY, lambda scene: once(scene, take_all_inodes)),
    "64-kilobytes": ("size=64k", too_small),
    "10-inodes": ("size=4m,nr_inodes=10", too_small),
}


def tell(story: str, publisher: str) -> None:
    """Tell a story on a file system that is made for it, here."""
    options, told = STORIES[story]
    top = Path.cwd() / "disk"
    top.mkdir()
    _mount(top, options)
    scene = Scene(top, With[publisher])
    scene.furnish()
    if scene.publisher is With.PORCH:
        # What a porch does without room is its own affair; ours is all but its output.
        scene.out.mkdir()
        _mount(scene.out, "size=4m")
    told(scene)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
