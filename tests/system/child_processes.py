"""What tests of child processes share: requests, and who is alive."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from conductor_loop.adapters.porch import proc
from conductor_loop.adapters.porch.children import ChildRequest

PORCHES = Path(__file__).parent / "porches"
PATIENCE = 60.0
"""Seconds after which something that should happen counts as never happening."""


def unique_prefix() -> str:
    """A token prefix that no other test has."""
    return f"test-{os.getpid()}-{time.monotonic_ns()}:"


def request(
    prefix: str,
    key: str,
    *argv: str | bytes | Path,
    timeout: float = PATIENCE,
    grace: float = PATIENCE,
) -> ChildRequest:
    """Run a command with nothing in its environment but PATH and the token."""
    return ChildRequest(
        key=key,
        argv=tuple(os.fsencode(word) for word in argv),
        environment=(
            b"PATH=/usr/bin:/bin",
            f"CONDUCTOR_ATTEMPT={prefix}{key}".encode(),
        ),
        timeout=timedelta(seconds=timeout),
        grace=timedelta(seconds=grace),
    )


def python(script: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """The command that runs one of the porches written in Python."""
    return (sys.executable, "-I", "-S", PORCHES / script, *arguments)


def shell(script: str) -> tuple[str, ...]:
    """The command that runs a line of shell."""
    return ("/bin/sh", "-c", script)


def carriers(prefix: str) -> list[int]:
    """Who runs with a token of this prefix in its environment."""
    wanted = prefix.encode()
    return [pid for pid in proc.everybody() if (proc.token(pid) or b"").startswith(wanted)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has buried yet does not."""
    state, _, _ = proc.status(pid)
    return state not in (b"", b"Z", b"X")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true; fails after a generous deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
