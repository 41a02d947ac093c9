"""What a start would refuse, found before there is one, in the words of the start."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from conductor_loop.adapters.checkup import Finding, Grade
from conductor_loop.adapters.handoff.own_folders import PLACES, not_ours
from conductor_loop.adapters.journal.kek_file import own_kek_file, read_keks
from conductor_loop.adapters.sandbox.privileges import daemon_uid
from conductor_loop.core.faults import ConductorError

_PRIVATE = tuple(place for place in PLACES if place.is_private)


def check_owners(handoff: Path, run_as: str) -> Finding | None:
    """Whether our private folders belong to whom the daemon trusts; None when none is there.

    Raises OSError.
    """
    try:
        daemon = daemon_uid(run_as, handoff)
    except ConductorError as error:
        return Finding("owners", Grade.BAD, error.message, error.hint)
    found = False
    for path in _private_folders(handoff):
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found = True
        if stat.S_ISDIR(status.st_mode) and status.st_uid not in (daemon, 0):
            refusal = not_ours(os.fspath(path), status.st_uid, daemon)
            return Finding("owners", Grade.BAD, refusal.message, refusal.hint)
    told = f"what is private belongs to uid {daemon}, or to root"
    return Finding("owners", Grade.OK, told) if found else None


def _private_folders(handoff: Path) -> list[Path]:
    paths = {"handoff": handoff}
    for place in PLACES:
        paths[place.field] = paths[place.parent] / os.fsdecode(place.name)
    return [paths[place.field] for place in _PRIVATE]


def check_kek(state_dir: Path, kek_file: Path | None) -> Finding | None:
    """Whether the key-encryption key is one that a start would take; None: one will be made.

    Raises OSError when a named one cannot be read.
    """
    path = kek_file or own_kek_file(state_dir)
    try:
        read_keks(path)
    except FileNotFoundError:
        if kek_file is None:
            return None
        raise
    except ConductorError as error:
        return Finding("journal key", Grade.BAD, error.message, error.hint)
    return Finding("journal key", Grade.OK, f"{path}, private")
