"""Whether a file in the handoff folder is complete: a pure decision about one look at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import msgspec

_NANOSECONDS = 1_000_000_000
# An open writer is looked for again and again; without a debounce that would never rest.
_SHORTEST_WAIT_FOR_WRITER = 0.05


class Kind(Enum):
    """What stands under a name; links are not followed."""

    REGULAR = "regular"
    SPECIAL = "special"
    """A symlink, FIFO, socket or device."""
    FOLDER = "folder"


class Sighting(msgspec.Struct, frozen=True):
    """One look at a file whose name says that it is handed over."""

    name: bytes
    kind: Kind
    ctime_ns: int
    """Last change of the inode, nanoseconds of wall time: unlike mtime, no copy can preserve it."""
    links: int
    first_seen: float
    """Steady seconds of the first look that found this name with this ctime."""
    arrived_by_rename: bool = False
    writer_open: bool = False
    """Somebody still has it open for writing."""
    owner: int = 0
    """The uid; whose file it is says nothing about whether it is complete."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Complete: claim it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not complete; look again after so many seconds, which are more than none."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Never:
    """A folder: no file will come of it."""


Completeness = Ready | Wait | Never
_READY, _NEVER = Ready(), Never()


def is_complete(
    sighting: Sighting, now_wall_ns: int, now_steady: float, debounce: timedelta
) -> Completeness:
    """Judge: at once after a rename, else after `debounce` of quiet.

    More than one link may be a delivery by link and unlink, seen halfway, so it gets a debounce
    of its own from the first look; the claim then tells what became of it.
    """
    if sighting.kind is not Kind.REGULAR:
        return _NEVER if sighting.kind is Kind.FOLDER else _READY
    seconds = debounce.total_seconds()
    if sighting.writer_open:
        return Wait(max(seconds, _SHORTEST_WAIT_FOR_WRITER))
    since_seen = now_steady - sighting.first_seen
    left = (
        0.0 if sighting.arrived_by_rename else seconds - _quiet(sighting, now_wall_ns, since_seen)
    )
    if sighting.links > 1:
        left = max(left, seconds - since_seen)
    return Wait(left) if left > 0 else _READY


def _quiet(sighting: Sighting, now_wall_ns: int, since_seen: float) -> float:
    """Seconds since the last change; a change in the future cannot be measured from."""
    if sighting.ctime_ns > now_wall_ns:
        return since_seen
    return (now_wall_ns - sighting.ctime_ns) / _NANOSECONDS
