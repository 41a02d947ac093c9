"""What whoever steers the daemon has to know: a number that lies where porch may not read.

The kernel tells the user at the other end of a socket, and porch is the same user. Landlock lets it
connect to any socket that has a path, but not open a file of the state dir.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets

from conductor_loop import disk
from conductor_loop.core.faults import CannotStart

NAME = b"control.token"
_DRAFT = b"control.token.new"
_BYTES, _LONGEST, _MODE = 32, 256, 0o600


class ControlToken:
    """The token in force, in an open state dir; another one after each start."""

    def __init__(self, folder: int) -> None:
        """Make it. Raises CannotStart."""
        self._folder = folder
        self._secret = b""
        try:
            self.renew()
        except OSError as error:
            raise CannotStart(
                f"the token of the control socket cannot be written: {error.strerror}",
                hint="make room in the state dir, and let the daemon's user write there",
                code="control_token_unwritten",
            ) from error

    def renew(self) -> None:
        """Take another one from now on, as after others could read this one. Raises OSError."""
        fresh = secrets.token_hex(_BYTES).encode()
        try:
            self._put(fresh)
        except OSError as error:
            if error.errno not in disk.ROOM_ERRORS:
                raise
            self._put_over(fresh)
        self._secret = fresh

    def _put(self, fresh: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_DRAFT, dir_fd=self._folder)
        # Not synced: after a power cut there is another daemon, and another token.
        os.close(disk.write_new(self._folder, _DRAFT, fresh, _MODE))
        os.rename(_DRAFT, NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _put_over(self, fresh: bytes) -> None:
        """A daemon starts on a full disk, too: the file of an earlier one has room for it."""
        handle = os.open(NAME, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        try:
            os.write(handle, fresh)
        finally:
            os.close(handle)

    def is_known_to(self, given: bytes) -> bool:
        """Whether this is the token; takes as long for every wrong one."""
        return hmac.compare_digest(self._secret, given)


def read_token(folder: int) -> bytes:
    """The token in an open state dir, empty when there is none. Raises OSError."""
    try:
        handle = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return b""
    try:
        return os.read(handle, _LONGEST)
    finally:
        os.close(handle)
