"""Sandboxes for tests of porch: as by default, with what the test's own porch needs opened."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from conductor_loop.adapters.sandbox.choice import SandboxSection
from conductor_loop.core.sandbox import Limits, NetworkChoice, SandboxChoice

LIMITS = Limits(
    memory=4 << 30,
    cpu=timedelta(minutes=10),
    open_files=4096,
    file_size=1 << 30,
    processes=1024,
)


def sandbox(
    *, read: tuple[Path, ...] = (), write: tuple[Path, ...] = (), closed: tuple[Path, ...] = ()
) -> SandboxSection:
    """What can be had on this machine."""
    return SandboxSection(
        SandboxChoice.AUTO, NetworkChoice.HOST, LIMITS, read=read, write=write, closed=closed
    )
