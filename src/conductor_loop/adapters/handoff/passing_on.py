"""From the claims of an inbox into other handoffs: one rename, never over another file.

docs/decisions/0011-scale-out-by-target.md tells why nothing is lost or doubled.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Sequence

from conductor_loop import disk
from conductor_loop.adapters.handoff.claims import Claim, Claims
from conductor_loop.adapters.handoff.copies import Copies, opened
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.watch import Troubles
from conductor_loop.core.arrival import Content
from conductor_loop.core.distribution import Parcel, Passing
from conductor_loop.core.naming import shown
from conductor_loop.ports import Clock
from conductor_loop.spare_folders import SpareFolders

_log = logging.getLogger("conductor_loop.distribution")


class Handoffs:
    """`ports.Outlet` on handoff folders, by ordinal; each is opened anew for each file."""

    def __init__(
        self,
        layout: Layout,
        claims: Claims,
        copies: Copies,
        clock: Clock,
        spares: SpareFolders,
        folders: Sequence[str],
    ) -> None:
        self._layout, self._claims, self._copies, self._clock = layout, claims, copies, clock
        self._spares, self._folders = spares, folders
        self._troubles = Troubles()
        self._unsynced: set[str] = set()

    def pass_on(self, parcel: Parcel, ordinal: int) -> Passing:
        """See `ports.Outlet`. Raises DurabilityLost."""
        path = self._folders[ordinal]
        try:
            with opened(path) as folder:
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
            with contextlib.suppress(OSError), opened(path) as folder:
                disk.sync(folder)
        self._unsynced.clear()

    def _move(self, parcel: Parcel, folder: int) -> Passing:
        place = _place(parcel)
        try:
            disk.move_new(self._layout.claimed, place, folder, parcel.name)
        except FileNotFoundError:
            if disk.exists(self._layout.claimed, place):  # then it is the handoff that is gone
                raise
            return self._move_copy(parcel, folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Two file systems are told apart before a name is looked up (rename(2)).
            if not disk.exists(self._layout.claimed, place):
                return self._move_copy(parcel, folder)
            return self._carry_over(parcel, folder)
        self._spares.give(parcel.intent_id)
        return Passing.MOVED

    def _carry_over(self, parcel: Parcel, folder: int) -> Passing:
        """Copy to another file system. Once the claim is gone, and not before, the copy counts."""
        if disk.exists(folder, parcel.name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        claim = Claim(parcel.intent_id, parcel.name, self._clock.now())
        arrival = self._claims.read(claim)
        if arrival is None or not isinstance(arrival.content, Content):
            return self._set_aside(parcel)
        self._copies.make(folder, parcel, arrival.content.body)
        with opened(parcel.intent_id, inside=self._layout.claimed) as emptied:
            os.unlink(parcel.name, dir_fd=emptied)
            disk.sync(emptied)
        return self._move_copy(parcel, folder)

    def _move_copy(self, parcel: Parcel, folder: int) -> Passing:
        """Give the copy its name, now or after a try at which that was taken."""
        try:
            self._copies.give_name(folder, parcel)
        except FileNotFoundError:
            _log.error("%s was taken out of claimed/%s", shown(parcel.name), parcel.intent_id)
            return Passing.GONE
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


def _place(parcel: Parcel) -> bytes:
    return b"%b/%b" % (parcel.intent_id.encode(), parcel.name)
