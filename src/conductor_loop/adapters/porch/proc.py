"""What /proc says of other processes. Where there is none, it says that there is nobody.

The spawner imports this; it must stay as light as `spawner.py` itself.
"""

from __future__ import annotations

import os

from conductor_loop.adapters.porch.runs import TOKEN_VARIABLE

# An environment and its arguments share a quarter of the stack, 2 MiB as a rule (execve(2)).
_ENOUGH = 2 * 1024 * 1024


def everybody() -> list[int]:
    """Every process there is."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdecimal()]


def newest() -> int:
    """The number that was given out last (proc_loadavg(5)); 0 when nobody says."""
    words = _read(b"/proc/loadavg").split()
    return int(words[-1]) if words else 0


def status(pid: int) -> tuple[bytes, int, int]:
    """State, parent and session of a process (proc_pid_stat(5)); nothing and zeros when gone."""
    # The name in parentheses may itself hold parentheses and spaces.
    fields = _read(b"/proc/%d/stat" % pid).rpartition(b")")[2].split(None, 4)
    return (fields[0], int(fields[1]), int(fields[3])) if len(fields) > 4 else (b"", 0, 0)


def token(pid: int) -> bytes | None:
    """The attempt in whose environment a program was started; None when it shows nothing at all.

    That is so for a moment between two programs, for a dead process, and for one of another user.
    """
    environment = _read(b"/proc/%d/environ" % pid)
    if not environment:
        return None
    found = (b"\0" + environment).partition(b"\0" + TOKEN_VARIABLE + b"=")[2]
    return found.partition(b"\0")[0]


def _read(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _ENOUGH)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
