"""The program that is run: found once, told by its hash, and one that only its owner may change."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Container

from conductor_loop.adapters.users import user_name
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

    def file(self) -> tuple[int, ...]:
        """Which file it was that was hashed last, by device and inode."""
        return self._seen[:2]


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


def who_may_replace(command: PorchCommand, users: Container[int]) -> list[str]:
    """Whoever besides these users may put another program in its place, by owner or by group.

    As sentences. A group counts with the members that this machine knows, root's not at all; a
    folder with the sticky bit lets its owner replace what is in it, and no group. Raises OSError.
    """
    found = []
    for path in _way_to(command):
        facts = os.stat(path)
        if facts.st_uid not in users:
            found.append(f"{shown(path)} belongs to {user_name(facts.st_uid)}")
        is_sticky = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX
        if facts.st_mode & stat.S_IWGRP and facts.st_gid and not is_sticky:
            others = sorted(_members(facts.st_gid) - {user_name(facts.st_uid)})
            told = [name for name in others if _uid_of(name) not in users]
            if told:
                found.append(f"{shown(path)} may be written by {', '.join(told)}, by its group")
    return found


def _members(gid: int) -> set[str]:
    """The users of a group, also those whose first group it is."""
    try:
        listed = set(grp.getgrgid(gid).gr_mem)
    except KeyError:  # a container's: nobody is known to be in it
        listed = set()
    return listed | {each.pw_name for each in pwd.getpwall() if each.pw_gid == gid}


def _uid_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _way_to(command: PorchCommand) -> list[bytes]:
    """The program, symlinks resolved, and each folder above it."""
    path = os.path.realpath(command.path)
    way = [path]
    while way[-1] != b"/":
        way.append(os.path.dirname(way[-1]))
    return way


def require_trusted(command: PorchCommand, pinned_sha256: str = "") -> None:
    """Refuse a program that anybody may replace, or that is not the pinned one.

    A folder with the sticky bit counts as closed: only owners replace what is in it. Raises
    CannotStart.
    """
    for path in _way_to(command):
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
