"""Small files that are kept in folders of ours, each replaced whole and durably."""

from __future__ import annotations

import contextlib
import os

from conductor_loop import disk
from conductor_loop.core.faults import CannotStart

_LONGEST = 1 << 20


def read_record(folder: int, name: bytes, inside: str) -> bytes | None:
    """Read a record of an open folder, whose path is `inside`; None when there is none.

    Raises CannotStart.
    """
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(handle, "rb") as file:
            return file.read(_LONGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotStart(
            f"{inside}/{os.fsdecode(name)} cannot be read: {error.strerror}",
            hint="it is a file of this program's user; mend its rights or the disk",
            code="record_unreadable",
        ) from error


def write_record(folder: int, name: bytes, data: bytes, inside: str) -> None:
    """Put a record in the place of the one before. Raises CannotStart and DurabilityLost."""
    fresh = b".%b.new" % name
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        handle = disk.write_new(folder, fresh, data, 0o600)
        try:
            disk.sync(handle)
        finally:
            os.close(handle)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise CannotStart(
            f"{inside}/{os.fsdecode(name)} cannot be written: {error.strerror}",
            hint="make room, or let this user write there; nothing was moved",
            code="record_unwritten",
        ) from error
    disk.sync(folder)
