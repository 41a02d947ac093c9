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


def files_in(out: str | os.PathLike[str], folder: tuple[str, str]) -> dict[str, bytes]:
    """Read the package that stands in OUT; empty when there is none. What is no file is left out.

    Raises OSError, also where a symlink stands in the way.
    """
    with (
        suppress(FileNotFoundError),
        Closing(os.open(out, os.O_RDONLY | os.O_DIRECTORY)) as top,
        Closing(disk.open_folder(folder[0], inside=top)) as namespace,
        Closing(disk.open_folder(folder[1], inside=namespace)) as inside,
    ):
        contents = {name: _content(inside, name) for name in sorted(os.listdir(inside))}
        return {name: content for name, content in contents.items() if content is not None}
    return {}


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
