"""Reading files below a folder without following a symlink anywhere on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator

from conductor_loop import disk

_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class NotRegular(OSError):
    """Something else stands where a regular file belongs."""


@contextlib.contextmanager
def opened_beneath(top: int, path: bytes) -> Iterator[int]:
    """Open a regular file by its path below an open folder.

    Raises OSError: FileNotFoundError where there is nothing, another one for a symlink on the
    way (ELOOP, ENOTDIR), NotRegular for anything else that is no file.
    """
    with _parent_of(top, path) as (inside, name):
        handle = os.open(name, _SAFELY, dir_fd=inside)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise NotRegular(f"{path!r} is no regular file")
            yield handle
        finally:
            os.close(handle)


@contextlib.contextmanager
def _parent_of(top: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    *folders, name = path.split(b"/")
    if b".." in folders or name in (b"", b".", b".."):
        raise NotRegular(f"{path!r} leads elsewhere")
    with contextlib.ExitStack() as opened:
        inside = top
        for folder in folders:
            inside = disk.open_folder(folder, inside=inside)
            opened.callback(os.close, inside)
        yield inside, name


def facts_beneath(top: int, path: bytes) -> tuple[os.stat_result, bytes | None]:
    """What stands there, whatever it is, and where it leads if it is a symlink, unfollowed.

    Raises OSError as `opened_beneath` does.
    """
    with _parent_of(top, path) as (inside, name):
        status = os.stat(name, dir_fd=inside, follow_symlinks=False)
        is_link = stat.S_ISLNK(status.st_mode)
        return status, os.readlink(name, dir_fd=inside) if is_link else None


def read_beneath(top: int, path: bytes, longest: int) -> bytes:
    """The bytes of a file, which must not be longer. Raises OSError as `opened_beneath` does."""
    with opened_beneath(top, path) as handle, open(handle, "rb", closefd=False) as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise NotRegular(f"{path!r} is longer than {longest} bytes")
    return data


def digest_beneath(top: int, path: bytes) -> tuple[str, int]:
    """SHA-256 of a file in hex, and its size. Raises OSError as `opened_beneath` does."""
    with opened_beneath(top, path) as handle, open(handle, "rb", closefd=False) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, os.fstat(handle).st_size
