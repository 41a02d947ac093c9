"""What stands in a folder of OUT: its files, and how they differ from what was written there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from conductor_loop import disk
from conductor_loop.adapters.builtin.package_staging import Closing
from conductor_loop.core.naming import shown

# Far beyond anything written here: what is larger was put there by hand.
_LONGEST_FILE = 1 << 20
_UNREAD = "not read"
_KINDS = {
    stat.S_IFREG: "a file that is not read",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Found:
    """Digests by file name: of what stands in a package's place, was last written, and is due."""

    files: dict[str, str] | None
    written: dict[str, str] | None
    wanted: Mapping[str, str]

    def is_wanted(self) -> bool:
        """Whether all is as it should be, and by this program's doing."""
        return self.files == self.written == self.wanted

    def is_ours(self) -> bool:
        """Whether nothing would be lost that this program could not write again."""
        return self.files in (self.written, self.wanted)

    def edit(self) -> str:
        """Say how the folder differs from what was written."""
        if self.files is None or self.written is None:
            return "a folder that this program has no record of"
        changed = self.files.items() ^ self.written.items()
        names = sorted({shown(os.fsencode(name)) for name, _ in changed})
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"a folder edited by hand: files {', '.join(names[:_MOST_NAMES])}{more}"


@dataclass(frozen=True, slots=True)
class Contents:
    """All that stands in a package's place: its files, and in a word what is no file of ours."""

    files: Mapping[str, bytes]
    others: Mapping[str, str]


def contents_in(out: str | os.PathLike[str], folder: tuple[str, str]) -> Contents:
    """Read the package that stands in OUT; empty when there is none.

    Raises OSError, also where a symlink stands in the way.
    """
    files: dict[str, bytes] = {}
    others: dict[str, str] = {}
    with (
        suppress(FileNotFoundError),
        Closing(os.open(out, os.O_RDONLY | os.O_DIRECTORY)) as top,
        Closing(disk.open_folder(folder[0], inside=top)) as namespace,
        Closing(disk.open_folder(folder[1], inside=namespace)) as inside,
    ):
        for name in sorted(os.listdir(inside)):
            content = _content(inside, name)
            if content is None:
                others[name] = _kind(inside, name)
            else:
                files[name] = content
    return Contents(files, others)


def _kind(folder: int, name: str) -> str:
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return "not read"
    return _KINDS.get(stat.S_IFMT(facts.st_mode), "device")


def digests_in(folder: int, expected: Collection[str]) -> dict[str, str]:
    """Digest the expected files; that there are others is all one needs to know of those."""
    return {
        name: _digest_in(folder, name) if name in expected else _UNREAD
        for name in os.listdir(folder)
    }


def _digest_in(folder: int, name: str) -> str:
    content = _content(folder, name)
    return _UNREAD if content is None else sha256(content)


def _content(folder: int, name: str) -> bytes | None:
    """Read a regular file of a size that ours could have; None for anything else."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    with Closing(handle):
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LONGEST_FILE:
            return None
        return os.read(handle, facts.st_size)


def sha256(content: bytes) -> str:
    """Digest bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
