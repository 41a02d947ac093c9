"""Private copies of the hashed bytes, under their own name, for a program to read.

They live for one attempt and are worth nothing after a crash, so they need no disk
(docs/decisions/0003-spool-in-memory.md).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from conductor_loop import disk

_IN_MEMORY = Path("/dev/shm")  # noqa: S108  shm_overview(7); what we make in it is ours alone
_NAME = "spool"
# The folder keeps others out. The simplest porch, `cp`, hands the mode on to what it writes.
_PRIVATE, _COPY = 0o700, 0o644


class Spool:
    """One folder per attempt; whatever a dead daemon left is removed."""

    def __init__(self, state: Path) -> None:
        """Raises OSError. Only the holder of the state folder's lock may do this."""
        self._places = [_Place(state.absolute() / _NAME)]
        with contextlib.suppress(OSError):  # no such file system, or somebody took the name
            self._places.insert(0, _Place(_IN_MEMORY / _own_name(state)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for place in self._places:
            place.close()

    def put(self, attempt: str, name: bytes, body: bytes) -> bytes:
        """Write one copy and return its absolute path. Raises OSError, with nothing left."""
        *faster, last = self._places
        for place in faster:
            with contextlib.suppress(OSError):  # e.g. the little memory a container gives it
                return place.put(attempt, name, body)
        return last.put(attempt, name, body)

    @property
    def folders(self) -> list[bytes]:
        """Where copies may be put."""
        return [place.path for place in self._places]

    def remove(self, path: bytes) -> None:
        """Remove the copy that `put` returned, and whatever the program left beside it."""
        folder = os.path.dirname(path)
        try:
            os.unlink(path)
            os.rmdir(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # what stays is removed at the next start


class _Place:
    """A folder of ours that holds copies."""

    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, _PRIVATE)
        self._folder = disk.open_folder(self.path)
        facts = os.fstat(self._folder)
        if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            os.close(self._folder)
            raise PermissionError(f"{path} is somebody else's")
        for leftover in os.listdir(self._folder):
            shutil.rmtree(leftover, ignore_errors=True, dir_fd=self._folder)

    def put(self, attempt: str, name: bytes, body: bytes) -> bytes:
        os.mkdir(attempt, _PRIVATE, dir_fd=self._folder)
        place = attempt.encode() + b"/" + name
        try:
            os.close(disk.write_new(self._folder, place, body, _COPY))
        except OSError:
            os.rmdir(attempt, dir_fd=self._folder)
            raise
        return self.path + b"/" + place

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a child that could not be ended may still read
            os.rmdir(self.path)
        os.close(self._folder)


def _own_name(state: Path) -> str:
    """The same for every daemon of a state folder, and for no other."""
    facts = os.stat(state)
    return f"conductor-loop-{facts.st_dev:x}-{facts.st_ino:x}"
