"""How much is used of memory, descriptors, disks and inodes: a few reads of /proc and statvfs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from conductor_loop.adapters.cpu_quota import cpu_groups, cpu_mounts, group_folders
from conductor_loop.core.detection.pressure import Level

_PROC = Path("/proc/self")
_AUTOMATIC_SHARE = 0.8
LEAST_SENSIBLE_MARK = 64 << 20
"""At rest the daemon and what it loads need not much less: below, it would hold for ever."""


def levels(folders: Sequence[Path]) -> Iterator[Level]:
    """Look at this process and at the file systems of these folders; what cannot be read is left.

    Each file system is told once, by the first folder on it.
    """
    yield from _memory()
    yield from _descriptors()
    seen = set()
    for folder in folders:
        with contextlib.suppress(OSError):  # not made yet
            device = os.stat(folder).st_dev
            if device not in seen:
                seen.add(device)
                yield from disk_levels(str(folder), os.statvfs(folder))


def disk_levels(subject: str, told: os.statvfs_result) -> Iterator[Level]:
    """Room and inodes as this user has them; some file systems count no inodes."""
    room = told.f_blocks - told.f_bfree + told.f_bavail
    if room:
        yield Level("disk_pressure", subject, 1 - told.f_bavail / room)
    inodes = told.f_files - told.f_ffree + told.f_favail
    if told.f_files and inodes:
        yield Level("inode_pressure", subject, 1 - told.f_favail / inodes)


def memory_limit() -> int | None:
    """Bytes that the control groups (version 2) allow this process and its group; None: no limit.

    `memory.max`, and `memory.high`, above which the kernel throttles (cgroup-v2.rst); the least of
    the group's own and those above it.
    """
    try:
        mounts = cpu_mounts((_PROC / "mountinfo").read_text(errors="replace"))
        group = cpu_groups((_PROC / "cgroup").read_text(errors="replace")).get(2, "/")
    except OSError:
        return None
    found = (
        _limit(folder / name)
        for mount in mounts
        if mount.version == 2
        for folder in group_folders(mount, group)
        for name in ("memory.max", "memory.high")
    )
    return min((limit for limit in found if limit is not None), default=None)


def automatic_mark() -> int | None:
    """Bytes of resident memory above which no more should be begun; None without a limit."""
    limit = memory_limit()
    return None if limit is None else max(int(limit * _AUTOMATIC_SHARE), LEAST_SENSIBLE_MARK)


def resident_bytes() -> int:
    """Resident memory of this process (proc_pid_statm(5)); 0 where that cannot be read."""
    try:
        pages = int((_PROC / "statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return to the system what is free inside this process (malloc_trim(3), glibc only)."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _memory() -> Iterator[Level]:
    limit = memory_limit()
    if not limit:
        return
    if used := resident_bytes():
        yield Level("memory_pressure", "resident memory", used / limit)


def _descriptors() -> Iterator[Level]:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError):
        if most > 0:
            yield Level("descriptor_pressure", "open files", len(os.listdir(_PROC / "fd")) / most)
