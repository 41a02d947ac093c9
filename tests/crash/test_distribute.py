"""A distributor killed at, or refused, each of its system calls; daemons take what has come."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.injection import (
    KILL,
    KILLED,
    PLAUSIBLE,
    Usage,
    has_struck,
    saboteur,
    usages,
)
from tests.crash.scene import COMMAND, LONG, RUN_SECONDS, intent

FILES = {
    "intent-1.json": intent("amf", 1),
    "intent-2.json": intent("smf", 2),
    "intent-3.json": intent("amf", 3),
    "intent-bad.json": b"{",
    LONG: intent("nrf", 4),
}
# About a second each on an idle machine; with THOROUGH=1 every call is disturbed.
SAMPLES = {KILL: 6, "error=EIO": 2, "error=ENOSPC": 2, "error=EINVAL": 1}
NO_NOREPLACE = ("-e", "inject=renameat2:error=EINVAL")
"""As NFS answers."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """An inbox with five files, and two handoffs, on another file system perhaps."""

    top: Path
    far: Path

    @property
    def handoff(self) -> Path:
        """Where files are dropped."""
        return self.top / "inbox"

    def reset(self) -> None:
        """Nothing has been moved yet."""
        for folder in (self.top, self.far):
            shutil.rmtree(folder, ignore_errors=True)
        self.handoff.mkdir(parents=True)
        for ordinal in range(2):
            (self.far / str(ordinal)).mkdir(parents=True)
        for name, body in FILES.items():
            (self.handoff / name).write_bytes(body)

    def run_once(self, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Divide what is there, under another command if one is given."""
        return self._divide(self.handoff, before)

    @property
    def is_far(self) -> bool:
        """Whether files have to be copied."""
        return self.far.stat().st_dev != self.top.stat().st_dev

    def run_another(self) -> subprocess.CompletedProcess[str]:
        """Divide another inbox, an empty one, among the same handoffs."""
        another = self.top / "another"
        another.mkdir()
        return self._divide(another)

    def _divide(self, inbox: Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        words = ["distribute", "-handoff", str(inbox), "-to", f"{self.far}/{{}}"]
        return subprocess.run(
            [*before, *COMMAND, *words, "--count", "2", "-once", "-debounce", "1ms"],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def take(self) -> Counter[tuple[str, str, bytes]]:
        """Take away what has come, as daemons do: ordinal, name and bytes."""
        taken = Counter[tuple[str, str, bytes]]()
        for path in self.far.glob("*/intent-*"):
            taken[path.parent.name, path.name, path.read_bytes()] += 1
            path.unlink()
        return taken

    def left(self) -> list[str]:
        """What lies about that should not: files on their way, copies."""
        claimed = self.handoff.glob(".conductor/claimed/*")
        wanted = {self.far / "0", self.far / "1"}
        found = (*self.handoff.glob("*.json"), *claimed, *self.far.rglob("*"))
        # The lock of a file system without RENAME_NOREPLACE stays.
        return [str(path) for path in found if path not in wanted and path.name != ".moving.lock"]


Story = tuple[Inbox, Counter[tuple[str, str, bytes]], list[Usage]]


@pytest.fixture(scope="module", params=["one file system", "two file systems"])
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """The inbox, what comes of it undisturbed, and which calls that takes."""
    top = tmp_path_factory.mktemp("crash")
    far = top / "far"
    if request.param == "two file systems":
        far = Path(tempfile.mkdtemp(dir="/dev/shm")) / "far"
        far.parent.chmod(0o755)
        if far.parent.stat().st_dev == top.stat().st_dev:
            pytest.skip("there is one file system")
    inbox = Inbox(top / "scene", far)
    inbox.reset()
    assert inbox.run_once().returncode == 0
    whole = inbox.take()
    assert {name for _, name, _ in whole} == FILES.keys()
    yield inbox, whole, usages(inbox)
    shutil.rmtree(far.parent, ignore_errors=True)


def points(used: Sequence[Usage], fault: str) -> list[tuple[str, int]]:
    """Where this fault may strike."""
    calls = PLAUSIBLE.get(fault, frozenset({"renameat2"})) - {"openat", "close"}
    return [(each.call, n) for each in used if each.call in calls for n in each.numbers()]


def wrong_after(inbox: Inbox, whole: Counter[tuple[str, str, bytes]], call: str, fault: str,
                number: int, log: Path) -> list[str] | None:  # fmt: skip
    """What is wrong after one disturbance; None when it did not happen."""
    inbox.reset()
    done = inbox.run_once(saboteur(call, fault, number, log))
    if not has_struck(log, done.returncode):
        return None
    wrong = []
    if done.returncode not in (0, 1, *KILLED) or "this is a defect" in done.stderr:
        wrong.append(f"ended with {done.returncode}: {done.stderr[-400:]}")
    if inbox.is_far:  # another inbox's distributor leaves copies alone
        other = inbox.run_another()
        if other.returncode != 0:
            wrong.append(f"another inbox's ended with {other.returncode}: {other.stderr[-400:]}")
    # Daemons take what has come before the distributor is started again.
    taken = inbox.take()
    again = inbox.run_once()
    if again.returncode != 0:
        wrong.append(f"the restart ended with {again.returncode}: {again.stderr[-400:]}")
    taken += inbox.take()
    if taken != whole:
        wrong.append(f"lost {whole - taken}, too many {taken - whole}")
    return wrong + [f"left behind: {path}" for path in inbox.left()]


@pytest.mark.crash
@pytest.mark.needs("strace")
@pytest.mark.parametrize("fault", SAMPLES)
def test_every_file_comes_exactly_once_when_a_system_call_fails_or_never_happens(
    story: Story, fault: str, tmp_path: Path
) -> None:
    inbox, whole, used = story
    places, count = points(used, fault), 0
    wanted = len(places) if os.environ.get("THOROUGH") else SAMPLES[fault]
    found = {}
    for index in range(wanted):
        call, number = places[len(places) * index // wanted]
        wrong = wrong_after(inbox, whole, call, fault, number, tmp_path / "log")
        count += wrong is not None
        if wrong:
            found[call, number] = wrong
    assert found == {}
    assert count >= wanted // 2


@pytest.mark.crash
@pytest.mark.needs("strace")
def test_where_no_rename_can_refuse_to_replace_it_is_looked_first(
    story: Story, tmp_path: Path
) -> None:
    inbox, whole, _ = story
    inbox.reset()
    ordinal = next(place for place, name, _ in whole if name == "intent-2.json")
    taken = inbox.far / ordinal / "intent-2.json"
    taken.write_bytes(b"theirs")
    done = inbox.run_once(("strace", "-f", "-qq", "-o", str(tmp_path / "log"), *NO_NOREPLACE))
    assert (done.returncode, done.stdout) == (1, "4 moved, 0 set aside, 1 kept\n")
    assert "(INJECTED)" in (tmp_path / "log").read_text()
    assert taken.read_bytes() == b"theirs"
