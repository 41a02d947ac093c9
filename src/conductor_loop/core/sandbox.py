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


def is_weaker(layer: str, than: str) -> bool:
    """Whether a layer as verdicts name it (`landlock-6+no-tcp`) confines less than another one.

    Landlock and a jail cannot be compared, but for what they leave of the network.
    """
    if UNCONFINED in (layer, than):
        return than != UNCONFINED
    kind, _, network = layer.partition("+")
    other_kind, _, other_network = than.partition("+")
    name, _, version = kind.partition("-")
    other_name, _, other_version = other_kind.partition("-")
    is_older = name == other_name and _number(version) < _number(other_version)
    return is_older or bool(other_network and not network)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0


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
