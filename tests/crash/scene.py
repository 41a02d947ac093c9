"""A handoff with a past and a handful of intents, and the real command run on it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# By module, not by script: in a path with spaces the script is a shell that runs Python.
COMMAND = [sys.executable, "-m", "conductor_loop"]
RUN_SECONDS = 60.0

PORCH = """#!/bin/sh
# porch -intent FILE -out DIR: leaves a copy of the intent, named as it was handed over.
/bin/cp "$2" "$4/"
"""


class With(StrEnum):
    """What is run for an intent."""

    BUILTIN = "builtin"
    PORCH = "porch command"


def intent(target: str, replicas: int) -> bytes:
    """Write a valid intent."""
    document = {
        "intent_type": "scaling",
        "target": target,
        "namespace": "oran-sim",
        "replicas": replicas,
    }
    return json.dumps(document).encode()


PAST = {"intent-again.json": intent("upf", 1), "intent-same.json": intent("smf", 2)}
"""Handed over and finished before a story begins."""

LONG = f"intent-3-other-{'x' * 220}.json"
"""Too long to be claimed under a name that has its id in it, too."""

FRESH = {
    "intent-1-first.json": intent("amf", 3),
    "intent-2-second.json": intent("amf", 5),
    LONG: intent("nrf", 4),
    "intent-again.json": intent("upf", 7),  # a verdict of this name is there already
    "intent-bad.json": b'{"intent_type": "scaling"',
    "intent-same.json": intent("smf", 2),  # a duplicate
}
"""Handed over in a story: two of one target, a name that came before, a bad one, a duplicate."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The folders of one story, always at the same path, and what it runs for an intent."""

    top: Path
    publisher: With

    @property
    def handoff(self) -> Path:
        """Where intents are dropped."""
        return self.top / "handoff"

    @property
    def out(self) -> Path:
        """Where packages go."""
        return self.top / "out"

    @property
    def state(self) -> Path:
        """Where journal and claims are."""
        return self.handoff / ".conductor"

    @property
    def _template(self) -> Path:
        return self.top.with_name(self.top.name + "-template")

    def prepare(self) -> None:
        """Live through the past once; `reset` returns to the end of it."""
        self.furnish()
        self.hand_over(PAST)
        ended = self.run_once()
        if ended.returncode != 0:
            raise RuntimeError(f"the past went wrong: {ended.stderr}")
        self.top.rename(self._template)

    def furnish(self) -> None:
        """Make the handoff folder and the porch."""
        self.handoff.mkdir(parents=True)
        porch = self.top / "porch"
        porch.write_text(PORCH)
        porch.chmod(0o755)

    def reset(self) -> None:
        """Begin the story anew: the past is done, fresh intents wait."""
        shutil.rmtree(self.top, ignore_errors=True)
        shutil.copytree(self._template, self.top, symlinks=True)
        self.hand_over(FRESH)

    def hand_over(self, files: dict[str, bytes]) -> None:
        """Write files beside the handoff and rename them into it."""
        for name, body in files.items():
            staged = self.top / f"staged-{name}"
            staged.write_bytes(body)
            staged.rename(self.handoff / name)

    def command(self, *flags: str) -> list[str]:
        """The command line of the daemon on this scene."""
        porch = "builtin" if self.publisher is With.BUILTIN else str(self.top / "porch")
        folders = ["-handoff", str(self.handoff), "-out", str(self.out), "-porch", porch]
        timing = ["-debounce", "1ms", "-retry-backoff", "10ms", "-timeout", "20s"]
        return [*COMMAND, *folders, *timing, *flags]

    def run_once(
        self, before: Sequence[str] = (), flags: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run `-once` to its end, under another command if one is given.

        Raises subprocess.TimeoutExpired when it hangs.
        """
        return subprocess.run(
            [*before, *self.command("-once", *flags)],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            # Compiled modules are not written, so that every run makes the same calls.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def packages(self) -> dict[str, str]:
        """Digest of every file in OUT."""
        return tree(self.out)


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def digest(body: bytes) -> str:
    """SHA-256 in hex, as the journal has it."""
    return hashlib.sha256(body).hexdigest()
