"""What an inbox has on record in its state dir: small files, each replaced whole and durably."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime

from conductor_loop import disk
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import is_ulid, ulid

_IDENTITY = b"inbox-id"
_LONGEST = 1 << 20


def read_record(layout: Layout, name: bytes) -> bytes | None:
    """Read a record; None when there is none. Raises CannotStart."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=layout.state)
        with open(handle, "rb") as file:
            return file.read(_LONGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotStart(
            f"{_path(layout, name)} cannot be read: {error.strerror}",
            hint="it is a file of the distributor's user; mend its rights or the disk",
            code="record_unreadable",
        ) from error


def write_record(layout: Layout, name: bytes, data: bytes) -> None:
    """Put a record in the place of the one before. Raises CannotStart and DurabilityLost."""
    fresh = b".%b.new" % name
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=layout.state)
        handle = disk.write_new(layout.state, fresh, data, 0o600)
        try:
            disk.sync(handle)
        finally:
            os.close(handle)
        os.rename(fresh, name, src_dir_fd=layout.state, dst_dir_fd=layout.state)
    except OSError as error:
        raise CannotStart(
            f"{_path(layout, name)} cannot be written: {error.strerror}",
            hint="make room, or let the distributor's user write there; nothing was moved",
            code="record_unwritten",
        ) from error
    disk.sync(layout.state)


def identity_of(layout: Layout, now: datetime) -> str:
    """Tell which inbox this is: a ULID, made at the first start. Raises CannotStart.

    Not its path, which may lead to another inbox tomorrow.
    """
    recorded = read_record(layout, _IDENTITY)
    if recorded is None:
        fresh = ulid(int(now.timestamp() * 1_000), int.from_bytes(os.urandom(10)))
        write_record(layout, _IDENTITY, fresh.encode())
        return fresh
    inbox = recorded.decode(errors="replace").strip()
    if not is_ulid(inbox):
        raise CannotStart(
            f"{_path(layout, _IDENTITY)} has no id in it",
            hint="copies of this inbox in its handoffs are called .arriving-ID-...: put ID there, "
            "or remove the file if there are none",
            code="record_unreadable",
        )
    return inbox


def _path(layout: Layout, name: bytes) -> str:
    return f"{layout.state_path}/{os.fsdecode(name)}"
