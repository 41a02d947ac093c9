"""OUT as porch was given it: opened at the start, synced, missed when its name leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from conductor_loop import disk
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.naming import shown


class OutFolder:
    """The folder that porch writes to, and keeps writing to while its name leads there."""

    def __init__(self, path: Path) -> None:
        """Open it, to sync its file system; raises OSError."""
        self.path = os.fsencode(path.absolute())
        self._opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._opened)

    def sync(self) -> None:
        """Flush its file system. Raises DurabilityLost."""
        disk.sync_file_system(self._opened)

    def trouble(self, *, is_confined: bool) -> Failure | None:
        """Why porch cannot write to what stands under its name now, if it cannot.

        The rules of a sandbox hold for the folder that was there at the start. Without one, any on
        the same file system will do: what is put there is synced with it.
        """
        try:
            now = os.stat(os.path.join(self.path, b""))
        except OSError as error:
            return self._replaced(error.strerror or str(error), can_be_remade=not is_confined)
        opened = os.fstat(self._opened)
        if os.path.samestat(now, opened) or (not is_confined and now.st_dev == opened.st_dev):
            return None
        return self._replaced("another one took its place", can_be_remade=False)

    def _replaced(self, why: str, *, can_be_remade: bool) -> Failure:
        remedy = "make it again, or put it back" if can_be_remade else "put it back"
        return Failure(
            kind=FailureKind.ENVIRONMENT,
            code="out_replaced",
            message=f"{shown(self.path)} is not the folder that was there at the start: {why}",
            hint=f"{remedy}, and the queue goes on by itself; or restart conductor-loop, to go on "
            "with what stands there then",
        )
