"""The folders that the views write to, and how files of our own are written and known there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from conductor_loop import disk

ERROR_LOG_HEAD = 4096
"""Bytes to read of an error log: it names its intent in its first line, which is shorter."""


class Folders(Protocol):
    """Open descriptors; whoever opened them sees to it that they lead to the right folders."""

    @property
    def processed(self) -> int:
        """`processed/`, perhaps on another file system."""

    @property
    def failed(self) -> int:
        """`failed/`, perhaps on another file system."""

    @property
    def status(self) -> int:
        """`status/`."""

    @property
    def history(self) -> int:
        """`status/history/`, on the same file system as `status/`."""

    @property
    def claimed(self) -> int:
        """`.conductor/claimed/`, ours alone."""

    @property
    def quarantine(self) -> int:
        """`.conductor/quarantine/`, on the same file system as `claimed/`."""

    @property
    def modes(self) -> disk.Modes:
        """Permissions of verdicts and error logs."""


@contextmanager
def unusable(*folders: int) -> Iterator[None]:
    """Tell a folder that is out of order from a file that is: an OSError that may pass.

    ESTALE: it was deleted under us; its descriptor leads to the new one as soon as somebody has
    made and opened one. EROFS: its mode, owner or attributes let us change nothing in it.
    """
    try:
        yield
    except FileNotFoundError as error:
        if any(os.fstat(folder).st_nlink == 0 for folder in folders):
            raise OSError(errno.ESTALE, "a folder was deleted under the running daemon") from error
        raise
    except PermissionError as error:
        if not all(map(_is_writable, folders)):
            raise OSError(errno.EROFS, "a folder was closed to the running daemon") from error
        raise


def _is_writable(folder: int) -> bool:
    return os.access(b".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)


def hidden_name(intent_id: str, purpose: bytes) -> bytes:
    """Name a file of ours that nobody should read yet: `.ID.PURPOSE`."""
    return b"." + intent_id.encode() + b"." + purpose


def write_hidden(folder: int, name: bytes, data: bytes, mode: int) -> int:
    """Write a file under a hidden name, over what a crash may have left; return it open."""
    try:
        handle = disk.write_new(folder, name, data, mode)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        handle = disk.write_new(folder, name, data, mode)
    os.fchmod(handle, mode)  # whatever the umask is
    return handle


def is_same(folder: int, name: bytes, other: int, other_name: bytes) -> bool:
    """Tell whether two names are one file; both must exist."""
    return os.path.samestat(
        os.stat(name, dir_fd=folder, follow_symlinks=False),
        os.stat(other_name, dir_fd=other, follow_symlinks=False),
    )


def open_own(folder: int, name: bytes) -> int | None:
    """Open a file that should be ours; None when it cannot be: not regular, or not readable.

    Nothing is followed, and what is no regular file is not opened. FileNotFoundError: none there.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except PermissionError:  # what we wrote we can read
        return None


def read_own(folder: int, name: bytes, limit: int) -> bytes | None:
    """Read the start of a file that should be ours; None if there is none, empty if it is not."""
    try:
        handle = open_own(folder, name)
    except FileNotFoundError:
        return None
    if handle is None:
        return b""
    with open(handle, "rb", buffering=0) as file:
        return file.read(limit)
