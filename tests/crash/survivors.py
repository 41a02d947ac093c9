"""Processes that outlive their daemon: orphans come to us, because we ask the kernel for them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def orphans_adopted() -> Iterator[None]:
    """Be their parent for a while: whoever tests in this process next has none of them."""
    known = children()
    adopt_orphans()
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid in children() - known:
            os.waitpid(pid, 0 if _has_ended(pid) else os.WNOHANG)


def survivors(known: frozenset[int], seconds: float = 5.0) -> list[str]:
    """Command lines of adopted children that are still there after a while; then end them."""
    deadline = time.monotonic() + seconds
    while (alive := _adopted() - known) and time.monotonic() < deadline:
        for pid in alive:
            if _has_ended(pid):
                os.waitpid(pid, 0)
        time.sleep(0.005)
    found = [_command_line(pid) for pid in alive]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def children() -> frozenset[int]:
    """The children that we know of."""
    return frozenset(_adopted())


def _adopted() -> set[int]:
    mine = str(os.getpid())
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _field(pid, 1) == mine}


def _has_ended(pid: int) -> bool:
    return _field(str(pid), 0) == "Z"


def _field(pid: str, index: int) -> str:
    """State (0) or parent (1) of a process, "" when it is gone (proc(5), stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[index]
    except OSError:
        return ""


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
