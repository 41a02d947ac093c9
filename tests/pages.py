"""Pages whose commands are run as they stand, and whose shown outputs are compared.

A fenced block of `sh` is typed into bash; the block of `text` behind it is what must come out,
standard error included. A comment before a block says what else a test must know of it:
`not run: WHY`, `fails: STATUS`, `background` (runs on to the end of the page), `waits`
(asked again until the output is the one that is shown), `needs: COMMAND` (left out without it).
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds after which something that a page promises counts as never happening."""
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?```sh\n(?P<commands>.*?)```\n"
    r"(?:\n```text\n(?P<shown>.*?)```\n)?",
    re.DOTALL,
)
_VOLATILE = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
    (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "ULID"),
    (r"\b[0-9a-f]{64}\b", "SHA-256"),
    (r"(?<![\w-])[\w-]{43}(?![\w-])", "KEY"),
    (r"[\w+/]{43}=", "ROOT"),
    (r"\b(\d+(\.\d+)?(h|ms|m|s|µs|us))+\b", "DURATION"),
    (r"\bpid \d+", "pid N"),
    (r"#\d+", "#N"),
    (r"records 1 to \d+, \d+ checkpoints", "records, checkpoints"),
    (r"anchor: \d+", "anchor: N"),
    (r"landlock-\d+", "landlock-N"),
    (r"(?<=\S)  +", "  "),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a page: what is typed, what is shown, and what is said about it."""

    commands: str
    shown: str | None
    mark: str
    line: int

    @property
    def is_run(self) -> bool:
        """Whether a test may run it."""
        return not self.mark.startswith("not run: ")

    @property
    def lacks(self) -> str:
        """The command that it needs and that is not here; empty when it can be run."""
        needed = self.mark.removeprefix("needs: ") if self.mark.startswith("needs: ") else ""
        return needed if needed and shutil.which(needed) is None else ""

    @property
    def status(self) -> int:
        """The exit status that it must end with."""
        return int(self.mark.removeprefix("fails: ")) if self.mark.startswith("fails: ") else 0


def steps(page: Path) -> Iterator[Step]:
    """Every block of `sh`, in the order of the page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Step(found["commands"], found["shown"], found["mark"] or "", line)


def normalised(text: str) -> str:
    """Replace what differs from run to run: times, ids, digests, keys, durations, the user."""
    for pattern, word in _VOLATILE:
        text = re.sub(pattern, word, text)
    text = re.sub(rf"\bby ({re.escape(getpass.getuser())}|you)\b", "by USER", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def differs(shown: str, output: str) -> bool:
    """Whether an output is another one than shown; a line `...` stands for any lines."""
    return _pattern(shown).fullmatch(normalised(output)) is None


def contains(output: str, shown: str) -> bool:
    """Whether what is shown has been said, with more before and behind it or not."""
    return _pattern(shown).search(normalised(output)) is not None


def _pattern(shown: str) -> re.Pattern[str]:
    parts = [re.escape(part) for part in re.split(r"(?m)^\.\.\.$", normalised(shown))]
    return re.compile(".*?".join(parts), re.DOTALL)


class Reader:
    """Somebody who follows a page: types block after block, in one folder and environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._state = folder / ".typed"
        self._state.mkdir()
        self._background: list[subprocess.Popen[bytes]] = []
        self._environment = {
            name: text for name, text in os.environ.items() if not name.startswith("CONDUCTOR_")
        }
        self._environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment["HOME"] = os.fspath(folder)
        self._environment |= environment
        (self._state / "cwd").write_text(f"{folder}\n")
        (self._state / "exported").touch()

    def follow(self, page: Path) -> int:
        """Run a page from its first block to its last; how many blocks were run."""
        count = 0
        for step in steps(page):
            if not step.is_run or step.lacks:
                continue
            where = f"{page.name}:{step.line}: {step.commands}"
            if step.mark == "background":
                self._start(step, where)
            else:
                self._type(step, where)
            count += 1
        return count

    def leave(self) -> None:
        """End what runs in the background, the last started first."""
        for process in reversed(self._background):
            _signal_group(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)
            deadline = time.monotonic() + PATIENCE
            while _signal_group(process.pid, 0):
                assert time.monotonic() < deadline, "what a page started does not end"
                time.sleep(0.02)

    def _type(self, step: Step, where: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            status, output = self._bash(step.commands)
            is_as_shown = step.shown is None or not differs(step.shown, output)
            if status == step.status and is_as_shown:
                return
            if step.mark != "waits" or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert status == step.status, f"{where}\nended with {status}:\n{output}"
        pytest.fail(f"{where}\nshows:\n{step.shown}\nand prints:\n{output}")

    def _bash(self, commands: str) -> tuple[int, str]:
        saved = shlex.quote(os.fspath(self._state))
        script = (
            f'. {saved}/exported; cd "$(cat {saved}/cwd)"\n'
            f"trap 'export -p > {saved}/exported; pwd > {saved}/cwd' EXIT\n{commands}"
        )
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout.decode()

    def _start(self, step: Step, where: str) -> None:
        output = self._state / f"background-{len(self._background)}"
        # The last word keeps bash there, which reaps what it started, as an open terminal does.
        script = f'cd "$(cat {shlex.quote(os.fspath(self._state))}/cwd)"\n{step.commands}\n:'
        with output.open("wb") as file:
            self._background.append(
                subprocess.Popen(
                    ["bash", "-eu", "-c", script],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        deadline = time.monotonic() + PATIENCE
        while not contains(output.read_text(), step.shown or ""):
            assert time.monotonic() < deadline, f"{where}\nsaid only:\n{output.read_text()}"
            time.sleep(0.05)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to what runs in a process group; False when nothing does any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
