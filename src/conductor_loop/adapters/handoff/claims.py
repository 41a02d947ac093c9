"""Taking a file safely: renamed into a private folder, only then looked at, and read once.

That order is what makes swapping harmless; looking first, or in place, does not.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from conductor_loop import disk
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.users import user_name
from conductor_loop.core.arrival import Arrival, Content, HardLinked, NotReadable, Special, TooLarge
from conductor_loop.core.events import Receipt
from conductor_loop.core.identity import UlidSequence, is_ulid
from conductor_loop.core.naming import is_intent_name, shown
from conductor_loop.ports import Clock
from conductor_loop.spare_folders import SpareFolders

_log = logging.getLogger("conductor_loop.folder")

_READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_ENTROPY_BYTES = 10
# With more claims than these, one flush of the file system is cheaper than a sync per folder.
_FEW_CLAIMS = 2
_SPECIAL = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFDIR: "folder",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that is ours: it stands in `claimed/ID/NAME`."""

    intent_id: str
    name: bytes
    at: datetime

    @property
    def place(self) -> bytes:
        """Where it stands, relative to `claimed/`."""
        return b"%b/%b" % (self.intent_id.encode(), self.name)


class Claims:
    """The folder `claimed/`: what gets in, and what is still there after a crash."""

    def __init__(self, layout: Layout, clock: Clock, max_bytes: int, spares: SpareFolders) -> None:
        self._spares = spares
        self._layout, self._clock, self.max_bytes = layout, clock, max_bytes
        self._sequence = UlidSequence()
        self._spare: str | None = None

    def claim(self, name: bytes) -> Claim | None:
        """Rename a file of the handoff folder into a fresh private folder; None if it vanished.

        Raises OSError, and the file is where it was. Not durable before `sync`.
        """
        now = self._clock.now()
        self._spare = intent_id = self._spare or self._make_folder(now)
        claim = Claim(intent_id, name, now)
        folders = {"src_dir_fd": self._layout.handoff, "dst_dir_fd": self._layout.claimed}
        try:
            os.rename(name, claim.place, **folders)
        except FileNotFoundError:
            return None
        self._spare = None
        return claim

    def tidy(self) -> None:
        """Remove the folder that a failed claim left unused."""
        if self._spare is not None:
            with contextlib.suppress(FileNotFoundError):
                self._spares.give(self._spare)
            self._spare = None

    def sync(self, claims: Sequence[Claim]) -> None:
        """Make claims survive a power cut. Raises DurabilityLost."""
        if not claims or (len(claims) <= _FEW_CLAIMS and self._sync_folders(claims)):
            return
        disk.sync_file_system(self._layout.handoff)

    def read(self, claim: Claim) -> Arrival | None:
        """Look at a claimed file and read it once; None when it was taken from under us.

        Raises OSError when the world is at fault, e.g. no descriptors left: try again later.
        """
        claimed = self._layout.claimed
        try:
            status = os.stat(claim.place, dir_fd=claimed, follow_symlinks=False)
        except FileNotFoundError:
            _log.error("%s was taken out of claimed/%s", shown(claim.name), claim.intent_id)
            return None
        if not stat.S_ISREG(status.st_mode):
            return _special(claim, status, _SPECIAL[stat.S_IFMT(status.st_mode)])
        try:
            handle = os.open(claim.place, _READ_SAFELY, dir_fd=claimed)
        except PermissionError:
            return _not_readable(claim, status)
        try:
            return _read_regular(claim, handle, self.max_bytes)
        finally:
            os.close(handle)

    def leftovers(self, known: Container[str]) -> list[Arrival]:
        """Read what was claimed and never journalled, durably; remove empty claim folders."""
        left = [self._leftover(intent_id, known) for intent_id in self._ids()]
        claims = [claim for claim in left if claim is not None]
        arrivals = [arrival for claim in claims if (arrival := self.read(claim)) is not None]
        if claims:
            self.sync(claims)
        return arrivals

    def _sync_folders(self, claims: Sequence[Claim]) -> bool:
        """Sync just the folders that were changed; False when they cannot be opened."""
        folders = [self._layout.handoff, self._layout.claimed]
        with contextlib.ExitStack() as opened:
            try:
                for claim in claims:
                    folders.append(self._open(claim.intent_id))
                    opened.callback(os.close, folders[-1])
            except OSError:  # no descriptors left, or removed by hand
                return False
            disk.sync_each(folders)
        return True

    def _ids(self) -> list[str]:
        names = os.listdir(self._layout.claimed)
        for name in names:
            if not is_ulid(name):
                _log.warning("%s in claimed/ is none of ours: left alone", shown(os.fsencode(name)))
        return sorted(filter(is_ulid, names))

    def _leftover(self, intent_id: str, known: Container[str]) -> Claim | None:
        try:
            folder = self._open(intent_id)
        except NotADirectoryError:
            _log.warning("claimed/%s is no folder: left alone", intent_id)
            return None
        try:
            names = [os.fsencode(name) for name in os.listdir(folder)]
            claimed_at = datetime.fromtimestamp(os.fstat(folder).st_mtime, UTC)
        finally:
            os.close(folder)
        if not names:
            os.rmdir(intent_id, dir_fd=self._layout.claimed)
            return None
        if intent_id in known:
            return None
        if len(names) > 1 or not is_intent_name(names[0]):
            _log.warning("claimed/%s holds what was never claimed: left alone", intent_id)
            return None
        return Claim(intent_id, names[0], min(claimed_at, self._clock.now()))

    def _make_folder(self, now: datetime) -> str:
        milliseconds = int(now.timestamp() * 1_000)
        while True:
            entropy = int.from_bytes(os.urandom(_ENTROPY_BYTES))
            intent_id = self._sequence.next(milliseconds, entropy)
            if self._spares.take_as(intent_id):
                return intent_id
            try:
                os.mkdir(intent_id, 0o700, dir_fd=self._layout.claimed)
            except FileExistsError:
                continue
            except FileNotFoundError as error:
                raise OSError(errno.ESTALE, "claimed/ was deleted under the daemon") from error
            return intent_id

    def _open(self, intent_id: str) -> int:
        return disk.open_folder(intent_id, inside=self._layout.claimed)


def _special(claim: Claim, status: os.stat_result, what: str) -> Arrival:
    receipt = Receipt(claim.name, claim.at, submitted_by=user_name(status.st_uid))
    return Arrival(claim.intent_id, receipt, Special(what))


def _not_readable(claim: Claim, status: os.stat_result) -> Arrival:
    owner = user_name(status.st_uid)
    receipt = Receipt(claim.name, claim.at, size=status.st_size, submitted_by=owner)
    return Arrival(claim.intent_id, receipt, NotReadable(user_name(os.geteuid())))


def _read_regular(claim: Claim, handle: int, max_bytes: int) -> Arrival:
    status = os.fstat(handle)
    # Only this look is at what will be read; a reader of the name's could have been deceived.
    if not stat.S_ISREG(status.st_mode):
        return _special(claim, status, _SPECIAL[stat.S_IFMT(status.st_mode)])
    owner = user_name(status.st_uid)
    unread = Receipt(claim.name, claim.at, size=status.st_size, submitted_by=owner)
    if status.st_nlink > 1:
        return Arrival(claim.intent_id, unread, HardLinked(status.st_nlink))
    if status.st_size > max_bytes:
        return Arrival(claim.intent_id, unread, TooLarge(max_bytes))
    body = _read_at_most(handle, max_bytes + 1, expected=status.st_size)
    if len(body) > max_bytes:  # it grew while it was read
        return Arrival(claim.intent_id, unread, TooLarge(max_bytes))
    digest = hashlib.sha256(body).hexdigest()
    receipt = Receipt(claim.name, claim.at, len(body), digest, owner)
    return Arrival(claim.intent_id, receipt, Content(body))


def _read_at_most(handle: int, limit: int, *, expected: int) -> bytes:
    """Read to the end, or `limit` bytes; a file of the expected size takes two calls."""
    body = b""
    while len(body) < limit:
        # One more than expected, so that the next call meets the end of the file.
        part = os.read(handle, min(max(expected - len(body), 4_095) + 1, limit - len(body)))
        if not part:
            break
        body += part
    return body
