"""The modes of what is the daemon's alone: looked at, and put back.

Landlock leaves chmod alone, so porch, which is the same user, may change them: to let others in, or
to have the next start refuse a key that others could read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Protocol

from conductor_loop.adapters.handoff.own_folders import OTHERS, PRIVATE, closed_bits, put_back
from conductor_loop.core.detection.modes import ModeChanged

_FILE, _FOLDERS = 0o600, (b"keys", b"audit")
# What else lies in a -state-dir may be somebody else's affair.
_OURS = frozenset({b"lock", b"control.sock", b"control.token", b"journal-id"})
_JOURNAL = b"journal."
_PERMISSIONS, _OWNER_READS = 0o777, 0o400


class PrivateFolders(Protocol):
    """The folders that are the daemon's alone, open, and their paths; a `Layout` has them."""

    @property
    def path(self) -> str:
        """The handoff folder."""

    @property
    def state_path(self) -> str:
        """The state folder."""

    @property
    def state(self) -> int:
        """The state folder, open."""

    @property
    def conductor(self) -> int:
        """`.conductor/`, open."""

    @property
    def claimed(self) -> int:
        """`.conductor/claimed/`, open."""

    @property
    def quarantine(self) -> int:
        """`.conductor/quarantine/`, open."""


def put_modes_back(layout: PrivateFolders) -> list[ModeChanged]:
    """Put back every mode of the state that is not as it should be, and tell which."""
    own = f"{layout.path}/.conductor"
    places = (
        (layout.state_path, layout.state, closed_bits(layout.path, layout.state_path)),
        (own, layout.conductor, OTHERS),
        (f"{own}/claimed", layout.claimed, OTHERS),
        (f"{own}/quarantine", layout.quarantine, OTHERS),
    )
    found = [each for place in places for each in put_back(*place, opened=PRIVATE)]
    for name in _FOLDERS:
        shown = f"{layout.state_path}/{name.decode()}"
        found += _mended(layout.state, name, shown)
        found += _in_folder(layout.state, name, shown)
    return [*found, *files_put_back(layout.state, layout.state_path)]


def files_put_back(state: int, state_path: str) -> Iterator[ModeChanged]:
    """The same for the journal and what lies beside it, and the files of the audit log.

    Not for the keys: one that others could read stops a start.
    """
    yield from _each(state, state_path, _is_ours)
    yield from _in_folder(state, b"audit", f"{state_path}/audit")


def _in_folder(state: int, name: bytes, shown: str) -> Iterator[ModeChanged]:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=state)
    except OSError:  # not made yet; or what is wrong with it is told by whoever works with it
        return
    try:
        yield from _each(handle, shown, lambda _: True)
    finally:
        os.close(handle)


def _each(folder: int, shown: str, is_ours: Callable[[bytes], bool]) -> Iterator[ModeChanged]:
    for name in map(os.fsencode, os.listdir(folder)):
        if is_ours(name):
            yield from _mended(folder, name, f"{shown}/{os.fsdecode(name)}")


def _is_ours(name: bytes) -> bool:
    return name in _OURS or name.startswith(_JOURNAL)


def _mended(folder: int, name: bytes, shown: str) -> Iterator[ModeChanged]:
    with contextlib.suppress(OSError):  # it went meanwhile, or is not ours to change
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        found, now = stat.S_IMODE(facts.st_mode) & _PERMISSIONS, _wanted(facts)
        if now == found or facts.st_uid != os.geteuid():
            return
        # By a handle that needs no right to read it, and follows no link put there since.
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{handle}", now)
        finally:
            os.close(handle)
        yield ModeChanged(shown, found, now)


def _wanted(facts: os.stat_result) -> int:
    """Which mode it should have; of what is none of ours, the one that it has."""
    found = stat.S_IMODE(facts.st_mode) & _PERMISSIONS
    if stat.S_ISDIR(facts.st_mode):
        return PRIVATE
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISSOCK(facts.st_mode)):
        return found
    is_fine = not found & OTHERS and bool(found & _OWNER_READS)
    return found if is_fine else _FILE
