"""The few file-system calls that durability rests on, each with its errors told apart.

Names are bytes relative to an open folder, so that no path can be swapped underneath.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conductor_loop.core.faults import DurabilityLost

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h
_TURN = b".moving.lock"
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_FROM_START, _TO_END = ctypes.c_int64(0), ctypes.c_int64(0)  # sync_file_range(2)
_NO_SUCH_FLAG = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_NO_LINKS_HERE = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# Below this many folders, one fsync each is cheaper than flushing the whole file system.
_FEW = 4

ROOM_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No room now; there may be room later."""

PASSING_ERRORS = ROOM_ERRORS | {
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EINTR,
    errno.EAGAIN,
    errno.ESTALE,
}
"""The world's fault rather than this file's: wait and try the same again."""


@dataclass(frozen=True, slots=True)
class Modes:
    """Permissions of what is there for others to read, set outright whatever the umask is.

    The defaults are those that the original documents. What is ours alone is 0600 in 0700.
    """

    file: int = 0o644
    folder: int = 0o755


DEFAULT_MODES = Modes()


_libc = ctypes.CDLL(None, use_errno=True)


def open_folder(path: bytes | str, *, inside: int | None = None) -> int:
    """Open a folder for the calls below; a symlink in its last part is refused (ENOTDIR/ELOOP)."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)


def exists(folder: int, name: bytes) -> bool:
    """Tell whether anything has this name; nothing is followed or opened. Raises OSError."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def rename_new(source: int, name: bytes, destination: int, new_name: bytes) -> None:
    """Rename and never replace: FileExistsError when the new name is taken.

    Where the file system knows no RENAME_NOREPLACE (renameat2(2)), a link and an unlink do the
    same for files; a crash between the two leaves both names.
    """
    try:
        _renameat2(source, name, destination, new_name, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_SUCH_FLAG:
            raise
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=destination, follow_symlinks=False)
        os.unlink(name, dir_fd=source)


def move_new(source: int, name: bytes, destination: int, new_name: bytes) -> None:
    """As `rename_new`, but a file never has both names, whatever it is and wherever one is killed.

    Where the file system knows no RENAME_NOREPLACE (NFS), it is looked whether the name is free,
    then renamed, under a lock: fit for a folder in which nobody makes names but by this call.
    Another's turn there raises BlockingIOError.
    """
    try:
        _renameat2(source, name, destination, new_name, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_SUCH_FLAG:
            raise
        with _turn_in(destination):
            if exists(destination, new_name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=destination)


def move_into_own(source: int, name: bytes, parent: int, folder: bytes, new_name: bytes) -> None:
    """Move into a private folder made for it, whatever it is; FileExistsError: that is taken.

    For a parent in which nobody else makes names: it is looked whether the name is free, then
    renamed. The folder may be there, empty, from a call that was killed.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700, dir_fd=parent)
    new_path = folder + b"/" + new_name
    if exists(parent, new_path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new_path, src_dir_fd=source, dst_dir_fd=parent)


@contextlib.contextmanager
def _turn_in(folder: int) -> Iterator[None]:
    """Keep other `move_new` out of a folder; never waits, as its holder may have been stopped."""
    # A file, as NFS locks none that is not open for writing: no folder (flock(2)).
    handle = os.open(_TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o660, dir_fd=folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another process moves a file into it") from None
    finally:
        os.close(handle)


def exchange(source: int, name: bytes, destination: int, new_name: bytes) -> None:
    """Swap two existing names in one step. Raises OSError(EINVAL) where that is unknown."""
    _renameat2(source, name, destination, new_name, _RENAME_EXCHANGE)


def _renameat2(source: int, name: bytes, destination: int, new_name: bytes, flags: int) -> None:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _libc.renameat2(source, name, destination, new_name, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(name), None, os.fsdecode(new_name))


def write_new(folder: int, name: bytes, data: bytes, mode: int) -> int:
    """Create a file that must not exist yet, write it whole, and return it open for syncing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(name, flags, mode, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
    except BaseException:
        os.close(handle)
        os.unlink(name, dir_fd=folder)
        raise
    return handle


def sync(handle: int) -> None:
    """Fsync a file or folder. Raises DurabilityLost; there is no second try (see there)."""
    try:
        os.fsync(handle)
    except OSError as error:
        raise _lost("fsync", error) from error


def unlink_durably(folder: int, path: bytes) -> None:
    """Remove a file below an open folder for good. Raises OSError and DurabilityLost."""
    parent = open_folder(os.path.dirname(path) or b".", inside=folder)
    try:
        os.unlink(os.path.basename(path), dir_fd=parent)
        sync(parent)
    finally:
        os.close(parent)


def sync_file_system(handle: int) -> None:
    """Flush the whole file system that holds an open file (syncfs(2)). Raises DurabilityLost."""
    if sys.platform != "linux":
        os.sync()
    elif _libc.syncfs(handle) != 0:
        raise _lost("syncfs", OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))


def sync_each(handles: Sequence[int]) -> None:
    """Make what happened in these files and folders durable, the cheapest way."""
    by_device: dict[int, list[int]] = {}
    for handle in dict.fromkeys(handles):
        by_device.setdefault(os.fstat(handle).st_dev, []).append(handle)
    for same in by_device.values():
        if len(same) > _FEW:
            sync_file_system(same[0])
            continue
        if len(same) > 1:
            _start_writing(same)
        for handle in same:
            sync(handle)


def _start_writing(handles: Sequence[int]) -> None:
    """Have the room of all allocated before the first is synced, so that one commit serves them.

    Under ext4 each fsync of a file whose room is not allocated yet commits on its own (delayed
    allocation). Only a hint: it makes nothing durable, and fsync tells of every error.
    """
    if sys.platform == "linux":
        for handle in handles:
            _libc.sync_file_range(handle, _FROM_START, _TO_END, _SYNC_FILE_RANGE_WRITE)


def _lost(call: str, error: OSError) -> DurabilityLost:
    return DurabilityLost(
        f"{call} failed: {error.strerror}; what was written since the last one may be lost",
        hint="check the disk (dmesg), then start again: the journal knows what is unfinished",
    )
