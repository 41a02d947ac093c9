"""Finding and ending what a dead daemon, or a dead spawner, left running."""

from __future__ import annotations

import os
import select
import signal
import time

from conductor_loop.adapters.porch import proc
from conductor_loop.core.faults import CannotStart

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 10.0


def token_prefix(conductor: int) -> str:
    """What every attempt token of a handoff begins with, by its open folder `.conductor`.

    Its lock is held there, so one daemon at a time has this prefix, whatever else it is told.
    """
    stat = os.fstat(conductor)
    return f"{stat.st_dev:x}-{stat.st_ino:x}:"


def end_leftovers(conductor: int) -> None:
    """End what an earlier daemon of this handoff left running. Raises CannotStart.

    Before the daemon confines itself: under Landlock one looks into no process of another domain.
    """
    end_orphans(token_prefix(conductor))


def end_orphans(prefix: str, seconds: float = _PATIENCE_SECONDS) -> int:
    """SIGKILL every process whose attempt token begins with `prefix`; return how many there were.

    Waits until all of them are gone. Raises CannotStart when one still lives after `seconds`.
    A program that was given another environment is not found.
    """
    give_up = time.monotonic() + seconds
    found: set[int] = set()
    while carriers := _carriers(prefix.encode()):
        found |= carriers
        if time.monotonic() > give_up:
            raise _immortal(carriers)
        for pid in carriers:
            _end(pid, prefix.encode())
    return len(found)


def _carriers(prefix: bytes) -> set[int]:
    us = os.getpid()
    return {pid for pid in proc.everybody() if pid != us and _carries(pid, prefix)}


def _carries(pid: int, prefix: bytes) -> bool:
    return (proc.token(pid) or b"").startswith(prefix)


def _end(pid: int, prefix: bytes) -> None:
    """Kill one process and wait a moment for its end."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # The number may have gone to somebody else since the scan; the descriptor cannot.
        if _carries(pid, prefix):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _POLL_SECONDS)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(handle)


def _immortal(pids: set[int]) -> CannotStart:
    numbers = ", ".join(map(str, sorted(pids)))
    return CannotStart(
        f"processes that an earlier daemon started do not end: {numbers}",
        hint="look at what they wait for (ps -o pid,stat,wchan,cmd), then start again",
    )
