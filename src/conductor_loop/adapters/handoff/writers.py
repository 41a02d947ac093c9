"""Whether somebody still has a file open for writing: a question that a read lease answers."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys

from conductor_loop.adapters.handoff.file_system import magic_of, not_local
from conductor_loop.disk import PASSING_ERRORS

_OPEN_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def is_open_for_writing(folder: int, name: bytes) -> bool:
    """Ask the kernel for a read lease and give it back at once (fcntl(2), F_SETLEASE).

    It is refused with EAGAIN while a writer has the file open, on any descriptor of this machine.
    Any other refusal (not the owner, no leases on this file system) says nothing and counts as
    no; so does EAGAIN from NFS and CIFS, which give it to whoever holds no delegation or oplock.
    Raises OSError for what is the world's fault, e.g. no descriptors left.
    """
    if sys.platform != "linux":
        return False
    try:
        handle = os.open(name, _OPEN_SAFELY, dir_fd=folder)
    except OSError as error:
        if error.errno in PASSING_ERRORS:
            raise
        return False
    try:
        is_refused = stat.S_ISREG(os.fstat(handle).st_mode) and _lease_is_refused(handle)
        return is_refused and not_local(magic_of(folder)) is None
    finally:
        os.close(handle)


def _lease_is_refused(handle: int) -> bool:
    try:
        # Whoever opens the file for writing in this very moment makes the kernel signal us. The
        # signal would be SIGIO, which kills; SIGURG is ignored by default.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
