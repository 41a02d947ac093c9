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
from conductor_loop.core.places import claimed_path, needs_folder
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.distribution")


class Handoffs:
    """`ports.Outlet` on handoff folders, by ordinal; each is opened anew for each file."""

    def __init__(
        self,
        layout: Layout,
        claims: Claims,
        copies: Copies,
        clock: Clock,
        folders: Sequence[str],
    ) -> None:
        self._layout, self._claims, self._copies, self._clock = layout, claims, copies, clock
        self._folders = folders
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
        place = claimed_path(parcel.intent_id, parcel.name)
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
        self._remove_folder(parcel)
        return Passing.MOVED

    def _carry_over(self, parcel: Parcel, folder: int) -> Passing:
        """Copy to another file system. Once the claim is gone, and not before, the copy counts."""
        if disk.exists(folder, parcel.name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        claim = Claim(parcel.intent_id, parcel.name, self._clock.now())
        arrival = self._claims.read(claim)
        if arrival is None:
            return self._move_copy(parcel, folder)
        if not isinstance(arrival.content, Content):
            return self._set_aside(parcel)
        self._copies.make(folder, parcel, arrival.content.body)
        disk.unlink_durably(self._layout.claimed, claim.place)
        return self._move_copy(parcel, folder)

    def _move_copy(self, parcel: Parcel, folder: int) -> Passing:
        """Give the copy its name, now or after a try at which that was taken."""
        try:
            self._copies.give_name(folder, parcel)
        except FileNotFoundError:
            place = claimed_path(parcel.intent_id, parcel.name)
            _log.error("%s was taken out of claimed/", shown(place))
            return Passing.GONE
        self._remove_folder(parcel)
        return Passing.MOVED

    def _set_aside(self, parcel: Parcel) -> Passing:
        layout, folder = self._layout, parcel.intent_id.encode()
        place = claimed_path(parcel.intent_id, parcel.name)
        disk.move_into_own(layout.claimed, place, layout.quarantine, folder, parcel.name)
        with opened(parcel.intent_id, inside=layout.quarantine) as aside:
            disk.sync_each((aside, layout.quarantine, layout.claimed))
        self._remove_folder(parcel)
        where = f"{self._layout.path}/.conductor/quarantine/{parcel.intent_id}"
        _log.error(
            "%s is no file that may be copied to another file system: set aside in %s",
            shown(parcel.name),
            where,
        )
        return Passing.SET_ASIDE

    def _remove_folder(self, parcel: Parcel) -> None:
        if needs_folder(parcel.name):
            with contextlib.suppress(OSError):  # an empty one goes at the next start
                os.rmdir(parcel.intent_id, dir_fd=self._layout.claimed)
