"""Moving a file to another file system, in steps that a crash can interrupt anywhere.

The file is at every moment whole either in its old place or under a hidden name in the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os

from conductor_loop import disk

_CHUNK = 1 << 20


def bring_over(source: int, path: bytes, folder: int, arrived: bytes) -> None:
    """Move `path` below `source` to `arrived` in `folder`, durably; both names are ours alone.

    The caller gives it its final name afterwards. Begins anew over what a crash left; what had
    already arrived whole is kept. FileNotFoundError: it is in neither place. Raises
    DurabilityLost, too.
    """
    if not disk.exists(folder, arrived):
        _copy(source, path, folder, arrived)
    with contextlib.suppress(FileNotFoundError):
        # Else a power cut could bring the source back after its copy got its final name.
        disk.unlink_durably(source, path)


def _copy(source: int, path: bytes, folder: int, arrived: bytes) -> None:
    partial = arrived + b".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial, dir_fd=folder)
    inlet = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    try:
        outlet = disk.write_new(folder, partial, b"", 0o600)
        try:
            _copy_data(inlet, outlet)
            _copy_facts(inlet, outlet)
            disk.sync(outlet)
        finally:
            os.close(outlet)
    finally:
        os.close(inlet)
    os.rename(partial, arrived, src_dir_fd=folder, dst_dir_fd=folder)
    disk.sync(folder)


def _copy_data(inlet: int, outlet: int) -> None:
    # Hole by hole: a file refused for its size may be sparse and larger than any disk.
    size, position = os.fstat(inlet).st_size, 0
    while position < size:
        try:
            position = os.lseek(inlet, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left (lseek(2))
                break
            raise
        end = os.lseek(inlet, position, os.SEEK_HOLE)
        position = _copy_range(inlet, outlet, position, end)
    os.ftruncate(outlet, size)


def _copy_range(inlet: int, outlet: int, position: int, end: int) -> int:
    while position < end:
        data = os.pread(inlet, min(_CHUNK, end - position), position)
        if not data:  # cut short meanwhile by somebody who holds it open
            break
        position += os.pwrite(outlet, data, position)
    return end


def _copy_facts(inlet: int, outlet: int) -> None:
    facts = os.fstat(inlet)
    with contextlib.suppress(PermissionError):  # only root gives files away
        os.fchown(outlet, facts.st_uid, facts.st_gid)
    os.fchmod(outlet, facts.st_mode & 0o777)
    os.utime(outlet, ns=(facts.st_atime_ns, facts.st_mtime_ns))
