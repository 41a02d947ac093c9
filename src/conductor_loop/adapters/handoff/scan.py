"""One walk through the handoff folder: what is handed over, and what is left alone."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conductor_loop.adapters.handoff.handover import open_handoff
from conductor_loop.adapters.handoff.own_folders import OWN_NAMES
from conductor_loop.core.naming import is_intent_name
from conductor_loop.core.waiting import sort_key

# 100,000 files take about half a second; other tasks get their turn every few milliseconds.
_AT_ONE_GO = 1_000
END_OF_TIME_NS = 1 << 63
"""As `settled_before_ns`: whatever stands there, new or old."""
MOST_REMEMBERED = 1_000
"""So many ignored names are kept; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file that is left alone, why, and what to do about it."""

    name: bytes
    why: str
    remedy: str


@dataclass(slots=True)
class Listing:
    """What one walk found."""

    keys: list[bytes] = field(default_factory=list)
    """`sort_key` of each file of the intent pattern that is no folder, unsorted."""
    ignored: dict[bytes, Ignored] = field(default_factory=dict)
    ignored_count: int = 0

    def ignore(self, ignored: Ignored) -> None:
        """Count it, and keep it while there is room."""
        self.ignored_count += 1
        if len(self.ignored) < MOST_REMEMBERED:
            self.ignored[ignored.name] = ignored


async def list_folder(handoff: int, settled_before_ns: int) -> Listing:
    """Walk the open folder, letting other tasks go on meanwhile. Raises OSError.

    Foreign files changed since `settled_before_ns` (wall time) may be a producer's temporary
    ones, and names with a leading dot are: neither is reported.
    """
    listing = Listing()
    for _ in _walk(handoff, settled_before_ns, listing):
        await asyncio.sleep(0)
    return listing


def list_ignored(handoff: Path) -> Sequence[Ignored]:
    """Tell what a daemon would leave alone, without serving the folder.

    Raises CannotStart where there is none, and OSError.
    """
    listing = Listing()
    handle = open_handoff(handoff)
    try:
        deque(_walk(handle, END_OF_TIME_NS, listing), maxlen=0)
    finally:
        os.close(handle)
    return list(listing.ignored.values())


def _walk(handoff: int, settled_before_ns: int, listing: Listing) -> Iterator[None]:
    """Fill the listing, with a pause wherever other tasks should get their turn."""
    # A descriptor of our own: the position in a folder belongs to the open file.
    handle = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handoff)
    try:
        with os.scandir(handle) as entries:
            for count, entry in enumerate(entries, 1):
                _take_note(entry, listing, settled_before_ns)
                if count % _AT_ONE_GO == 0:
                    yield
    finally:
        os.close(handle)


def _take_note(entry: os.DirEntry[str], listing: Listing, settled_before_ns: int) -> None:
    name = os.fsencode(entry.name)
    is_intent = is_intent_name(name)
    if not is_intent and (name.startswith(b".") or name in OWN_NAMES):
        return
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    is_folder = stat.S_ISDIR(status.st_mode)
    if is_intent and not is_folder:
        listing.keys.append(sort_key(status.st_ctime_ns, name))
    elif is_intent and status.st_ctime_ns < settled_before_ns:
        listing.ignore(
            Ignored(name, "it is a folder", "hand over a file, and move the folder away")
        )
    elif not is_folder and status.st_ctime_ns < settled_before_ns:
        listing.ignore(_foreign(name))


def _foreign(name: bytes) -> Ignored:
    return Ignored(
        name,
        "its name is not of the form intent-*.json, case and all",
        "rename it to hand it over, or move it away",
    )
