"""strace as saboteur: kill the daemon before its N-th call, or let that call fail (strace(1))."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

READS = ("read", "pread64", "getdents64")
WRITES = ("write", "pwrite64", "writev", "ftruncate", "fallocate")
SYNCS = ("fsync", "fdatasync", "syncfs")
MOVES = ("rename", "renameat", "renameat2", "link", "linkat")
MAKES = ("openat", "mkdir", "mkdirat")
REMOVES = ("unlink", "unlinkat", "rmdir")
MODES = ("fchmod", "fchmodat")
SENDS = ("sendto", "sendmsg")
CALLS = (*MAKES, *READS, *WRITES, *SYNCS, *MOVES, *REMOVES, *MODES, *SENDS, "close")
"""Everything that changes a file system or a socket, and the reads that a disk can fail."""

KILL = "signal=SIGKILL"
KILLED = (-9, 137)
"""How strace ends when what it ran was killed."""
PLAUSIBLE = {
    # A kill before a read is a kill after the call before it.
    KILL: frozenset(CALLS) - set(READS),
    "error=EIO": frozenset(CALLS) - set(SENDS),
    "error=ENOSPC": frozenset((*MAKES, *WRITES, *SYNCS, *MOVES)),
    "error=EXDEV": frozenset(MOVES),
    "error=EINTR": frozenset(("openat", "read", "write", "fsync", "close", *SENDS)),
}
"""Which calls each fault is swept over."""

# Threads are followed, programs that the daemon starts are not: -b detaches at their execve.
_FOLLOW = ("strace", "-f", "-b", "execve", "-qq", "-e", "signal=none")
_LINE = re.compile(r"^(?P<thread>\d+)\s+(?P<call>\w+)\(")


class Story(Protocol):
    """What can be told again and again, under another command."""

    @property
    def top(self) -> Path:
        """All that belongs to it is in here."""

    @property
    def handoff(self) -> Path:
        """Work begins when this is first named."""

    def reset(self) -> None:
        """Begin anew."""

    def run_once(self, before: Sequence[str] = ()) -> object:
        """Tell it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How often one call is made by the busiest thread, and how often before any work begins."""

    call: str
    idle: int
    total: int

    def numbers(self) -> range:
        """Which of them are made while there is work."""
        return range(self.idle + 1, self.total + 1)


def usages(scene: Story) -> list[Usage]:
    """Watch one undisturbed story and count its calls, thread by thread."""
    scene.reset()
    log = scene.top.with_name(scene.top.name + "-strace")
    scene.run_once((*_FOLLOW, "-o", str(log), "-e", f"trace={','.join(CALLS)}"))
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    begins = next(i for i, line in enumerate(lines) if str(scene.handoff) in line)
    idle, total = _count(lines[:begins]), _count(lines)
    return [
        Usage(call, max(_of(idle, call)), max(_of(total, call)))
        for call in CALLS
        if sum(_of(total, call))
    ]


def _count(lines: list[str]) -> Counter[tuple[str, str]]:
    matches = (_LINE.match(line) for line in lines)
    return Counter((match["thread"], match["call"]) for match in matches if match)


def _of(counts: Counter[tuple[str, str]], call: str) -> list[int]:
    return [n for (_, name), n in counts.items() if name == call] or [0]


def saboteur(call: str, fault: str, number: int, log: Path) -> tuple[str, ...]:
    """The command that runs another and disturbs the N-th such call of each of its threads."""
    return (
        *_FOLLOW,
        "-o",
        str(log),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}:when={number}",
    )


def has_struck(log: Path, returncode: int) -> bool:
    """Tell whether the disturbance happened at all."""
    return returncode in KILLED or "(INJECTED)" in log.read_text(errors="replace")
