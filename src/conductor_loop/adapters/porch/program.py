"""The program that is run: found once, told by its hash, and one that only its owner may change."""

from __future__ import annotations

import hashlib
import os
import stat

from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown


class PorchCommand:
    """The program that is run: an absolute path, and the hash of what is there."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._sha256 = ""

    def sha256(self) -> str:
        """The hash of the file, in hex, read again when its stat changed; empty if unreadable."""
        try:
            seen = _identity(os.stat(self.path))
            if seen != self._seen:
                with open(self.path, "rb") as file:
                    self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                self._seen = seen
        except OSError:
            self._seen, self._sha256 = (), ""
        return self._sha256


def _identity(status: os.stat_result) -> tuple[int, ...]:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


def resolve_porch(name: str) -> PorchCommand:
    """Find the program once: a path as it is, a name on PATH. Raises CannotStart."""
    if "/" in name:
        path = os.path.abspath(os.fsencode(name))
        if reason := _why_not(path):
            raise _unusable(name, reason)
        return PorchCommand(path)
    # An empty or relative entry means the working folder, where anybody may plant a porch.
    folders = [folder for folder in os.get_exec_path() if folder.startswith("/")]
    for folder in folders:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        if name and not _why_not(path):
            return PorchCommand(path)
    raise _unusable(name, "executable file not found in $PATH")


def _why_not(path: bytes) -> str:
    """Why a file cannot be run, in the words of Go's os/exec; empty when it can."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"stat {shown(path)}: {(error.strerror or str(error)).lower()}"
    if stat.S_ISDIR(mode):
        return "is a directory"
    return (
        ""
        if stat.S_ISREG(mode) and os.access(path, os.X_OK, effective_ids=True)
        else "permission denied"
    )


def _unusable(name: str, reason: str) -> CannotStart:
    quoted = shown(os.fsencode(name)).replace('"', '\\"')
    return CannotStart(
        f'Failed to create watcher: porch validation failed: exec: "{quoted}": {reason}',
        hint="give the path of an executable with -porch /path/to/porch, or use -porch builtin",
        code="porch_not_found",
    )


def require_trusted(command: PorchCommand, pinned_sha256: str = "") -> None:
    """Refuse a program that anybody may replace, or that is not the pinned one.

    A folder with the sticky bit counts as closed: only owners replace what is in it. Raises
    CannotStart.
    """
    real = os.path.realpath(command.path)
    parents = [real]
    while parents[-1] != b"/":
        parents.append(os.path.dirname(parents[-1]))
    for path in parents:
        mode = os.stat(path).st_mode
        if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            raise CannotStart(
                f"porch could be replaced by anybody: {shown(path)} is writable by all",
                hint=f"chmod o-w {shown(path)}",
                code="porch_writable_by_all",
            )
    if pinned_sha256 and command.sha256() != pinned_sha256.lower():
        raise CannotStart(
            f"{shown(command.path)} is not the pinned porch: its SHA-256 is {command.sha256()}",
            hint="install the porch that -porch-sha256 names, or pin this one",
            code="porch_not_pinned",
        )
