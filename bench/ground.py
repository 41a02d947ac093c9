"""A temporary handoff, intents to fill it with, and the real command run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncinotify import Inotify, Mask

from bench.machine import CannotMeasure

COMMAND = Path(sys.executable).with_name("conductor-loop")
# Longer than -debounce, so that files written in place count as complete at the first look.
QUIET_SECONDS = 1.0
GIVE_UP_SECONDS = 300
LOOK_EVERY_SECONDS = 0.005
_NOBODY = 65532


@dataclass(frozen=True, slots=True)
class Once:
    """What one `-once` took."""

    seconds: float
    peak_bytes: int
    """The most that one of its processes had resident (getrusage(2), ru_maxrss)."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The folders of one measurement."""

    handoff: Path
    out: Path
    staging: Path
    log: Path

    @property
    def status(self) -> Path:
        """Where verdicts appear."""
        return self.handoff / "status"

    def stage(self, first: int, count: int) -> list[Path]:
        """Write intents beside the handoff, each for a target of its own."""
        return [_write_intent(self.staging, number) for number in range(first, first + count)]

    def hand_over(self, files: list[Path]) -> None:
        """Rename files into the handoff, as `submit` does."""
        for file in files:
            file.rename(self.handoff / file.name)

    def settle_disk(self) -> None:
        """Let earlier writes reach the disk and the files turn quiet."""
        os.sync()
        time.sleep(QUIET_SECONDS)

    def verdicts(self) -> int:
        """How many intents have one."""
        if not self.status.exists():
            return 0
        return sum(entry.name.endswith(".status") for entry in os.scandir(self.status))

    def once(
        self,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (str(COMMAND),),
    ) -> Once:
        """Run `-once` to its end. Raises CannotMeasure when it does not end with 0.

        `program` are the words before the flags, for one that is more than the command.
        """
        _, *given = self._command("-once", *flags)
        command, variables = [*program, *given], {**os.environ, **(environment or {})}
        begin = time.monotonic()
        with self.log.open("ab") as log:
            running = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if running.returncode:
            raise CannotMeasure(f"-once ended with {running.returncode}: {self.last_line()}")
        return Once(seconds, usage.ru_maxrss * 1024)

    @contextmanager
    def watching(self, *flags: str) -> Iterator[Daemon]:
        """Run the daemon while the block lasts."""
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(self._command(*flags), stdout=log, stderr=log)
        try:
            yield Daemon(self, daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _command(self, *flags: str) -> list[str]:
        folders = ["-handoff", str(self.handoff), "-out", str(self.out)]
        return [str(COMMAND), *folders, *flags]

    def last_line(self) -> str:
        """The last thing that the command said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


@contextmanager
def ground(parent: Path | None) -> Iterator[Ground]:
    """Make the folders of one measurement, and remove them afterwards."""
    top = Path(tempfile.mkdtemp(prefix="conductor-bench-", dir=parent))
    made = Ground(top / "handoff", top / "out", top / "staging", top / "log")
    for folder in (made.handoff, made.out, made.staging):
        folder.mkdir()
    if os.geteuid() == 0:
        # A daemon of root's becomes this user, who must get by without a capability here.
        top.chmod(0o755)
        for folder in (made.handoff, made.out):
            os.chown(folder, _NOBODY, _NOBODY)
    try:
        yield made
    finally:
        shutil.rmtree(top)


def _write_intent(folder: Path, number: int) -> Path:
    intent = {
        "intent_type": "scaling",
        "target": f"cnf-{number:07d}",
        "namespace": "oran-sim",
        "replicas": number % 100 + 1,
        "reason": "High load detected",
        "source": "planner",
        "correlation_id": f"bench-{number:07d}",
    }
    file = folder / f"intent-{number:07d}.json"
    file.write_text(json.dumps(intent))
    return file


@contextmanager
def arrivals(folder: Path) -> Iterator[Inotify]:
    """Hear of every name that appears in a folder."""
    folder.mkdir(exist_ok=True)
    with Inotify(sync_timeout=1) as events:
        events.add_watch(folder, Mask.MOVED_TO | Mask.CREATE)
        yield events


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon, and waiting for what it does. Raises CannotMeasure when that is in vain."""

    ground: Ground
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Of the daemon itself."""
        return self.process.pid

    def wait_for_verdict(self, events: Inotify, file: Path) -> None:
        """Wait until a file that was handed over has one; `events` tell of new verdicts."""
        verdict = self.ground.status / f"{file.name}.status"
        for waited in range(GIVE_UP_SECONDS):
            while events.sync_get() is not None:
                if verdict.exists():
                    return
            if verdict.exists():
                return
            self._require_alive(f"no {verdict.name} after {waited} s")

    def wait_for_verdicts(self, count: int) -> None:
        """Wait until there are so many."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while (seen := self.ground.verdicts()) < count:
            time.sleep(LOOK_EVERY_SECONDS)
            if time.monotonic() > deadline:
                raise CannotMeasure(f"{seen} of {count} verdicts after {GIVE_UP_SECONDS} s")
            self._require_alive(f"{seen} of {count} verdicts")

    def _require_alive(self, otherwise: str) -> None:
        if self.process.poll() is not None:
            raise CannotMeasure(f"the daemon ended, {otherwise}: {self.ground.last_line()}")
