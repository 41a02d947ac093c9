"""The log of a state dir, read line by line by whoever wants to prove or show it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from conductor_loop import disk
from conductor_loop.core.audit.verification import Line
from conductor_loop.core.faults import CannotStart
from conductor_loop.projections.audit.files import FOLDER, NOTE, names

_LONGEST_NOTE = 4096


def note_of(state_dir: Path) -> bytes | None:
    """The signed checkpoint beside a log, at most 4 KiB; None where there is none."""
    path = state_dir / os.fsdecode(FOLDER) / os.fsdecode(NOTE)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # that it is missing, or not to be read, is told by whoever asks
        return None
    with open(handle, "rb") as file:
        return file.read(_LONGEST_NOTE)


def lines_of(state_dir: Path) -> Iterator[Line]:
    """Every line, oldest first; a file that is pruned meanwhile is left out. Raises CannotStart."""
    path = state_dir / os.fsdecode(FOLDER)
    try:
        folder = disk.open_folder(os.fspath(path))
    except OSError as error:
        raise CannotStart(
            f"there is no audit log in {path}: {error.strerror}",
            hint="name the daemon's folders by -handoff or -state-dir, and run as its user",
            code="no_audit_log",
        ) from error
    try:
        for name in names(folder):
            yield from _lines_in(folder, name)
    finally:
        os.close(folder)


def _lines_in(folder: int, name: bytes) -> Iterator[Line]:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    shown = os.fsdecode(name)
    with open(handle, "rb") as file:
        for number, line in enumerate(file, 1):
            is_whole = line.endswith(b"\n")
            yield Line(shown, number, line[:-1] if is_whole else line, is_whole)
