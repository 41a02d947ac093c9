"""Which kind of file system holds a folder: SQLite and flock need one that keeps their promises."""

from __future__ import annotations

import ctypes
import sys

# linux/magic.h and statfs(2). Locks and shared memory of these are another machine's business,
# or a user program's (sqlite.org/wal.html: "all processes must be on the same host").
_NOT_LOCAL = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
}
_STATFS_ROOM = 256  # struct statfs is 120 bytes on 64-bit Linux; f_type is its first word

_libc = ctypes.CDLL(None, use_errno=True)


def not_local(magic: int) -> str | None:
    """Name the kind of file system that a journal must not stand on; None for all others."""
    return _NOT_LOCAL.get(magic & 0xFFFFFFFF)


def magic_of(handle: int) -> int:
    """Ask for the magic number of the file system of an open folder; 0 where nobody can tell."""
    if sys.platform != "linux":
        return 0
    answer = ctypes.create_string_buffer(_STATFS_ROOM)
    if _libc.fstatfs(handle, answer) != 0:
        return 0
    return ctypes.c_long.from_buffer(answer).value
