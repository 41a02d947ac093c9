"""From the claims of an inbox into other handoffs: one rename, never over another file.

docs/decisions/0011-scale-out-by-target.md tells why nothing is lost or doubled.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator, Sequence

from conductor_loop import disk
from conductor_loop.adapters.handoff.claims import Claim, Claims
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.watch import Troubles
from conductor_loop.core.arrival import Content
from conductor_loop.core.distribution import Parcel, Passing
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import shown
from conductor_loop.ports import Clock
from conductor_loop.spare_folders import SpareFolders

_log = logging.getLogger("conductor_loop.distribution")

STAGED = ".arriving-"
"""A copy from another file system, and the id of its claim: a folder with the one file in it."""
_MODE = 0o644  # as `handover` has it


class Handoffs:
    """`ports.Outlet` on handoff folders, by ordinal; each is opened anew for each file."""

    def __init__(
        self,
        layout: Layout,
        claims: Claims,
        clock: Clock,
        spares: SpareFolders,
        folders: Sequence[str],
    ) -> None:
        self._layout, self._claims, self._clock = layout, claims, clock
        self._spares, self._folders = spares, folders
        self._troubles = Troubles()
        self._unsynced: set[str] = set()

    def pass_on(self, parcel: Parcel, ordinal: int) -> Passing:
        """See `ports.Outlet`. Raises DurabilityLost."""
        path = self._folders[ordinal]
        try:
            with _opened(path) as folder:
                passing = self._move(parcel, folder)
        except FileExistsError:
            return Passing.NAME_TAKEN
        except OSError as error:
            why = f"nothing can be moved into {path} now: {error.strerror}; trying again"
            self._troubles.report(path, OSError(error.errno, why))
            return Passing.NOT_NOW
        self._troubles.clear(path)
        self._unsynced.add(path)
        return passing

    def sync(self) -> None:
        """See `ports.Outlet`. Raises DurabilityLost."""
        for path in self._unsynced:
            with contextlib.suppress(OSError), _opened(path) as folder:
                disk.sync(folder)
        self._unsynced.clear()

    def _move(self, parcel: Parcel, folder: int) -> Passing:
        place = _place(parcel)
        try:
            disk.move_new(self._layout.claimed, place, folder, parcel.name)
        except FileNotFoundError:
            if _exists(self._layout.claimed, place):  # then it is the handoff that is gone
                raise
            return self._move_copy(parcel, folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Two file systems are told apart before a name is looked up (rename(2)).
            if not _exists(self._layout.claimed, place):
                return self._move_copy(parcel, folder)
            return self._carry_over(parcel, folder)
        self._spares.give(parcel.intent_id)
        return Passing.MOVED

    def _carry_over(self, parcel: Parcel, folder: int) -> Passing:
        """Copy to another file system. Once the claim is gone, and not before, the copy counts."""
        if _exists(folder, parcel.name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        claim = Claim(parcel.intent_id, parcel.name, self._clock.now())
        arrival = self._claims.read(claim)
        if arrival is None or not isinstance(arrival.content, Content):
            return self._set_aside(parcel)
        _stage(folder, parcel, arrival.content.body)
        with _opened(parcel.intent_id, inside=self._layout.claimed) as emptied:
            os.unlink(parcel.name, dir_fd=emptied)
            disk.sync(emptied)
        return self._move_copy(parcel, folder)

    def _move_copy(self, parcel: Parcel, folder: int) -> Passing:
        """Give the copy its name, now or after a try at which that was taken."""
        staged = STAGED + parcel.intent_id
        try:
            disk.move_new(folder, os.fsencode(staged) + b"/" + parcel.name, folder, parcel.name)
        except FileNotFoundError:
            _log.error("%s was taken out of claimed/%s", shown(parcel.name), parcel.intent_id)
            return Passing.GONE
        with contextlib.suppress(OSError):  # empty; the next start removes it
            os.rmdir(staged, dir_fd=folder)
        self._spares.give(parcel.intent_id)
        return Passing.MOVED

    def _set_aside(self, parcel: Parcel) -> Passing:
        folders = {"src_dir_fd": self._layout.claimed, "dst_dir_fd": self._layout.quarantine}
        os.rename(parcel.intent_id, parcel.intent_id, **folders)
        where = f"{self._layout.path}/.conductor/quarantine/{parcel.intent_id}"
        _log.error(
            "%s is no file that may be copied to another file system: set aside in %s",
            shown(parcel.name),
            where,
        )
        return Passing.SET_ASIDE


def finish_copies(layout: Layout, folder: int, path: str) -> None:
    """Bring to its end what a dead distributor copied into an open handoff. Raises CannotStart."""
    for name in sorted(os.listdir(folder)):
        intent_id = name.removeprefix(STAGED)
        if name == intent_id or not is_ulid(intent_id):
            continue
        with _opened(name, inside=folder) as staged:
            files = list(map(os.fsencode, os.listdir(staged)))
        for file in files:
            if _exists(layout.claimed, b"%b/%b" % (intent_id.encode(), file)):
                os.unlink(f"{name}/{os.fsdecode(file)}", dir_fd=folder)
                continue
            try:
                disk.move_new(folder, os.fsencode(name) + b"/" + file, folder, file)
            except FileExistsError:
                raise CannotStart(
                    f"{shown(file)} has arrived in {path}, where its name is taken",
                    hint="start again when the daemon there has taken the other one",
                    code="name_taken",
                ) from None
        os.rmdir(name, dir_fd=folder)
    disk.sync(folder)


def _place(parcel: Parcel) -> bytes:
    return b"%b/%b" % (parcel.intent_id.encode(), parcel.name)


def _stage(folder: int, parcel: Parcel, body: bytes) -> None:
    """Write the copy, whole and durable, over one that an earlier try left."""
    name = STAGED + parcel.intent_id
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
    with _opened(name, inside=folder) as staged:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(parcel.name, dir_fd=staged)
        handle = disk.write_new(staged, parcel.name, body, _MODE)
        try:
            os.fchmod(handle, _MODE)
            disk.sync(handle)
        finally:
            os.close(handle)
        disk.sync(staged)
    disk.sync(folder)


def _exists(folder: int, name: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


@contextlib.contextmanager
def _opened(path: str, *, inside: int | None = None) -> Iterator[int]:
    handle = disk.open_folder(path, inside=inside)
    try:
        yield handle
    finally:
        os.close(handle)
