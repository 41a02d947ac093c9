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
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import UlidSequence
from conductor_loop.core.naming import is_intent_name, shown
from conductor_loop.core.places import claimed_path, needs_folder, read_claimed
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.folder")

_READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_ENTROPY_BYTES = 10
# With more of them, one flush of the file system is cheaper than a sync of each.
_FEW_FOLDERS = 2
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
    """A file that is ours."""

    intent_id: str
    name: bytes
    at: datetime

    @property
    def place(self) -> bytes:
        """Where it stands, relative to `claimed/`."""
        return claimed_path(self.intent_id, self.name)


class Claims:
    """The folder `claimed/`: what gets in, and what is still there after a crash."""

    def __init__(self, layout: Layout, clock: Clock, max_bytes: int) -> None:
        self._layout, self._clock, self.max_bytes = layout, clock, max_bytes
        self._sequence = UlidSequence()

    def claim(self, name: bytes) -> Claim | None:
        """Rename a file of the handoff folder to a name that is ours alone; None if it vanished.

        Raises OSError, and the file is where it was. Not durable before `sync`.
        """
        now = self._clock.now()
        # As ids are never given twice, this rename replaces nothing.
        claim = Claim(self._new_id(now), name, now)
        is_ours = self._rename_into_folder(claim) if needs_folder(name) else self._rename(claim)
        return claim if is_ours else None

    def sync(self, claims: Sequence[Claim]) -> None:
        """Make claims survive a power cut. Raises DurabilityLost."""
        if not claims:
            return
        ids = [claim.intent_id for claim in claims if needs_folder(claim.name)]
        if len(ids) > _FEW_FOLDERS or not self._sync_folders(ids):
            disk.sync_file_system(self._layout.handoff)

    def read(self, claim: Claim) -> Arrival | None:
        """Look at a claimed file and read it once; None when it was taken from under us.

        Raises OSError when the world is at fault, e.g. no descriptors left: try again later.
        """
        claimed = self._layout.claimed
        try:
            status = os.stat(claim.place, dir_fd=claimed, follow_symlinks=False)
        except FileNotFoundError:
            _log.error("%s was taken out of claimed/", shown(claim.place))
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
        """Read what was claimed and never journalled, durably; remove empty folders."""
        left = [
            self._leftover(intent_id, paths)
            for intent_id, paths in self._standing().items()
            if intent_id not in known
        ]
        claims = [claim for claim in left if claim is not None]
        arrivals = [arrival for claim in claims if (arrival := self.read(claim)) is not None]
        self.sync(claims)
        return arrivals

    def _new_id(self, now: datetime) -> str:
        entropy = int.from_bytes(os.urandom(_ENTROPY_BYTES))
        return self._sequence.next(int(now.timestamp() * 1_000), entropy)

    def _rename(self, claim: Claim) -> bool:
        handoff, claimed = self._layout.handoff, self._layout.claimed
        try:
            os.rename(claim.name, claim.place, src_dir_fd=handoff, dst_dir_fd=claimed)
        except FileNotFoundError as error:
            if os.fstat(claimed).st_nlink == 0:
                raise _deleted() from error
            return False
        return True

    def _rename_into_folder(self, claim: Claim) -> bool:
        try:
            os.mkdir(claim.intent_id, 0o700, dir_fd=self._layout.claimed)
        except FileNotFoundError as error:
            raise _deleted() from error
        is_ours = False
        try:
            is_ours = self._rename(claim)
        finally:
            if not is_ours:
                with contextlib.suppress(OSError):  # an empty one goes at the next start
                    os.rmdir(claim.intent_id, dir_fd=self._layout.claimed)
        return is_ours

    def _sync_folders(self, ids: Sequence[str]) -> bool:
        """Sync just the folders that were changed; False when they cannot be opened."""
        with contextlib.ExitStack() as opened:
            folders = []
            try:
                for intent_id in ids:
                    folders.append(disk.open_folder(intent_id, inside=self._layout.claimed))
                    opened.callback(os.close, folders[-1])
            except OSError:  # no descriptors left, or removed by hand
                return False
            # In this order a power cut leaves a name too many rather than none.
            disk.sync_each([*folders, self._layout.claimed, self._layout.handoff])
        return True

    def _standing(self) -> dict[str, list[bytes]]:
        """What stands in `claimed/`, by ids that rise."""
        found: dict[str, list[bytes]] = {}
        for entry in sorted(map(os.fsencode, os.listdir(self._layout.claimed))):
            claimed = read_claimed(entry)
            if claimed is None:
                _log.warning("%s in claimed/ is none of ours: left alone", shown(entry))
                continue
            intent_id, name = claimed
            paths = [entry] if name else self._in_folder(intent_id)
            if paths:
                found.setdefault(intent_id, []).extend(paths)
        return found

    def _in_folder(self, intent_id: str) -> list[bytes]:
        try:
            names = names_in_folder(self._layout.claimed, intent_id)
        except NotADirectoryError:
            _log.warning("claimed/%s is no folder: left alone", intent_id)
            return []
        if not names:
            os.rmdir(intent_id, dir_fd=self._layout.claimed)
        return [b"%b/%b" % (intent_id.encode(), name) for name in names]

    def _leftover(self, intent_id: str, paths: Sequence[bytes]) -> Claim | None:
        name = paths[0][len(intent_id) + 1 :]
        is_claim = is_intent_name(name) and paths[0] == claimed_path(intent_id, name)
        if len(paths) > 1 or not is_claim:
            _log.warning("claimed/%s is or holds what was never claimed: left alone", intent_id)
            return None
        # The last rename set this time (rename(2)); a clock may have been set back since.
        status = os.stat(paths[0], dir_fd=self._layout.claimed, follow_symlinks=False)
        claimed_at = datetime.fromtimestamp(status.st_ctime, UTC)
        return Claim(intent_id, name, min(claimed_at, self._clock.now()))


def names_in_folder(claimed: int, intent_id: str) -> list[bytes]:
    """What is in the folder of one claim. Raises OSError; NotADirectoryError: it is none."""
    folder = disk.open_folder(intent_id, inside=claimed)
    try:
        return [os.fsencode(name) for name in os.listdir(folder)]
    finally:
        os.close(folder)


def unreadable(error: OSError) -> CannotStart:
    """Word why a start has to wait: what a dead daemon claimed must not be passed over."""
    return CannotStart(
        f"what was claimed before cannot be read: {error.strerror}",
        hint="it is kept in .conductor/claimed; mend the disk or the limits, start again",
        code="claims_unreadable",
    )


def _deleted() -> OSError:
    return OSError(errno.ESTALE, "claimed/ was deleted under the daemon")


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
