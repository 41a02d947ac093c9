"""The words for how far porch is confined, and for what it may use up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

UNCONFINED = "none"


class SandboxChoice(StrEnum):
    """The layer asked for; each but `auto` and `none` is a demand."""

    AUTO = "auto"
    LANDLOCK = "landlock"
    BWRAP = "bwrap"
    NONE = UNCONFINED


class NetworkChoice(StrEnum):
    """What porch may reach: whatever the host can, or nothing."""

    HOST = "host"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process of porch may use; 0 stands for no limit (setrlimit(2))."""

    memory: int
    """RLIMIT_DATA, bytes. The address space is not limited: runtimes reserve more than they use."""
    cpu: timedelta | None
    """None: four times the deadline of the attempt."""
    open_files: int
    file_size: int
    processes: int
    """Besides those that its user has when the daemon starts; the kernel counts by user."""
