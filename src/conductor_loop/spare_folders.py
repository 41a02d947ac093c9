"""Empty claim folders, kept to be used again by the next claims.

A new folder needs an inode to be found, and a file system in a hurry is slow at that; renaming
an empty one needs none (docs/decisions/0004-claim-folders-are-used-again.md has the figures).
"""

from __future__ import annotations

import contextlib
import os
from collections import deque


class SpareFolders:
    """Names of empty folders in `claimed/`; whoever takes one renames it."""

    def __init__(self, claimed: int, *, most: int = 1024) -> None:
        self._claimed = claimed
        self._most = most
        self._names: deque[str] = deque()

    def give(self, name: str) -> None:
        """This folder is nobody's any more; one that is gone already does no harm."""
        if len(self._names) < self._most:
            self._names.append(name)
        else:
            self._remove(name)

    def take_as(self, new_name: str) -> bool:
        """Rename a spare folder; False when there is none."""
        while self._names:
            with contextlib.suppress(OSError):  # removed by hand: the next one, or a new one
                os.rename(
                    self._names.popleft(),
                    new_name,
                    src_dir_fd=self._claimed,
                    dst_dir_fd=self._claimed,
                )
                return True
        return False

    def remove_all(self) -> None:
        """Leave nothing behind; what cannot be removed is empty and goes at the next start."""
        while self._names:
            self._remove(self._names.popleft())

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self._claimed)
