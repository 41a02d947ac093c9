"""Copies of an inbox in handoffs on another file system: made, given their names, finished later.

Other inboxes may stand before the same handoffs: a copy names its inbox, which alone touches it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator

from conductor_loop import disk
from conductor_loop.core.distribution import Parcel, addressed
from conductor_loop.core.faults import DurabilityLost
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.places import claimed_path

_log = logging.getLogger("conductor_loop.distribution")

_STAGED = ".arriving-"
"""Then the inbox, `-`, and the id of the claim: a folder with the one file in it."""
_MODE = 0o644  # as `handover` has it
_READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Copies:
    """The copies of one inbox, wherever they are; handoffs come as open folders."""

    def __init__(self, inbox: str, claimed: int, max_bytes: int) -> None:
        self._inbox, self._claimed = inbox, claimed
        self._max_bytes = max_bytes  # a copy that waits for its name is read, for its target
        self._places: dict[str, tuple[int, int]] = {}  # device and inode of the handoff, by id

    def make(self, folder: int, parcel: Parcel, body: bytes) -> None:
        """Write the copy, whole and durable, over one that an earlier try left.

        Raises OSError and DurabilityLost.
        """
        name = self._folder_of(parcel.intent_id)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
        with opened(name, inside=folder) as staged:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(parcel.name, dir_fd=staged)
            handle = disk.write_new(staged, parcel.name, body, _MODE)
            try:
                os.fchmod(handle, _MODE)
                _sync_copy(handle)
            finally:
                os.close(handle)
            disk.sync(staged)
        disk.sync(folder)
        self._places[parcel.intent_id] = _id_of(folder)

    def give_name(self, folder: int, parcel: Parcel) -> None:
        """Rename the copy to its place. Raises OSError.

        FileExistsError: that is taken. FileNotFoundError: somebody removed the copy.
        """
        name = self._folder_of(parcel.intent_id)
        if self._places.get(parcel.intent_id, _id_of(folder)) != _id_of(folder):
            why = "another folder is in the place of the one that has the copy"
            raise OSError(errno.ESTALE, why)
        disk.move_new(folder, os.fsencode(name) + b"/" + parcel.name, folder, parcel.name)
        self._places.pop(parcel.intent_id, None)
        with contextlib.suppress(OSError):  # empty; the next start removes it
            os.rmdir(name, dir_fd=folder)

    def finish(self, folder: int, path: str) -> list[Parcel]:
        """Bring to its end what a dead distributor copied into a handoff; `path` is for the log.

        Returns the copies that cannot have their names now, oldest first. Raises OSError.
        """
        names = [name for name in sorted(os.listdir(folder)) if name.startswith(_STAGED)]
        own = [name for name in names if name.startswith(self._folder_of(""))]
        if len(own) < len(names):
            count = len(names) - len(own)
            _log.warning("%d copies in %s are of other inboxes: left to them", count, path)
        waiting = [parcel for name in own for parcel in self._finish(folder, name, path)]
        disk.sync(folder)
        return waiting

    def _folder_of(self, intent_id: str) -> str:
        return f"{_STAGED}{self._inbox}-{intent_id}"

    def _finish(self, folder: int, name: str, path: str) -> list[Parcel]:
        intent_id = name.removeprefix(self._folder_of(""))
        if not is_ulid(intent_id):
            return []
        try:
            with opened(name, inside=folder) as staged:
                files = map(os.fsencode, os.listdir(staged))
                found = [self._finish_file(folder, staged, intent_id, file) for file in files]
            waiting = [parcel for parcel in found if parcel is not None]
            if not waiting:
                os.rmdir(name, dir_fd=folder)
        except OSError as error:  # a link in its place, or another user's
            _log.error("%s in %s is left alone: %s", name, path, error.strerror)
            return []
        return waiting

    def _finish_file(self, folder: int, staged: int, intent_id: str, file: bytes) -> Parcel | None:
        if disk.exists(self._claimed, claimed_path(intent_id, file)):
            os.unlink(file, dir_fd=staged)  # it may be half written; it is made anew
            return None
        try:
            disk.move_new(staged, file, folder, file)
        except OSError:
            self._places[intent_id] = _id_of(folder)
            return addressed(intent_id, file, self._read(staged, file))
        return None

    def _read(self, staged: int, file: bytes) -> bytes:
        handle = os.open(file, _READ_SAFELY, dir_fd=staged)
        with open(handle, "rb") as copy:
            body = copy.read(self._max_bytes + 1)
        if len(body) > self._max_bytes:
            raise OSError(errno.EFBIG, "its file is larger than -max-file-size now")
        return body


def _sync_copy(handle: int) -> None:
    """As `disk.sync`; but that there is no room, as NFS says so late, raises OSError.

    The copy is not synced again then: it is made anew from the claim.
    """
    try:
        disk.sync(handle)
    except DurabilityLost as lost:
        cause = lost.__cause__
        if isinstance(cause, OSError) and cause.errno in disk.ROOM_ERRORS:
            raise cause from None
        raise


def _id_of(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def opened(path: str, *, inside: int | None = None) -> Iterator[int]:
    """Open a folder for as long as the block takes. Raises OSError."""
    handle = disk.open_folder(path, inside=inside)
    try:
        yield handle
    finally:
        os.close(handle)
