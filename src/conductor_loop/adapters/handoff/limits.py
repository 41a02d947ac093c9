"""How fast files may be claimed, in all and of one owner; what is over it waits in the folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from conductor_loop.adapters.handoff.watch import FolderSettings
from conductor_loop.adapters.users import user_name
from conductor_loop.core.completeness import Sighting
from conductor_loop.core.rates import Buckets, Episodes, Rate
from conductor_loop.core.waiting import Candidate, Waiting

_log = logging.getLogger("conductor_loop.folder")


class IntakeLimits:
    """Both rates, asked before a claim and told of each. Times are steady seconds."""

    def __init__(self, settings: FolderSettings, waiting: Waiting) -> None:
        self._all: Buckets[None] = Buckets(settings.intake_rate, settings.burst)
        self._waiting, self._owners = waiting, waiting.owners
        self._floods: Episodes[int | None] = Episodes()
        self._rates = _rates(settings)

    def adopt(self, settings: FolderSettings) -> None:
        """Go by these rates from now on; the same as before go on counting."""
        if self._rates == _rates(settings):
            return
        self._rates = _rates(settings)
        self._all.change(settings.intake_rate, settings.burst)
        self._owners.change_rate(settings.owner_rate, settings.burst)

    def opens_at(self) -> float:
        """When anything may be claimed; it may have passed."""
        return self._all.ready_at(None)

    def is_shut(self, now: float) -> bool:
        """Whether all files together are over their rate; logged when that begins."""
        if self.opens_at() <= now:
            return False
        if self._floods.begins(None, now):
            _log.warning("more files than -intake-rate allows: the rest waits in the folder")
        return True

    def keeps_waiting(self, candidate: Candidate, sighting: Sighting, now: float) -> bool:
        """Let a file queue whose owner is over the rate; False when it may be claimed."""
        owner, queues = sighting.owner, self._owners
        if candidate.turn_of == owner:
            # It has waited for its turn; only one that was not complete then comes a second time.
            if queues.ready_at(owner) <= now:
                return False
            self._waiting.set_aside(candidate, queues.ready_at(owner))
            return True
        if not queues.must_wait(owner, now):
            queues.leave(candidate.name)
            return False
        if self._floods.begins(owner, now):
            _log.warning(
                "more files of %s than -owner-rate allows: the rest waits in the folder",
                user_name(owner),
            )
        moved_in = sighting.arrived_by_rename
        queues.join(owner, candidate.name, ctime_ns=sighting.ctime_ns, moved_in=moved_in)
        return True

    def count(self, owner: int, now: float) -> None:
        """A file was claimed."""
        self._all.take(None, now)
        self._owners.count(owner, now)

    def over_rate(self) -> Mapping[str, int]:
        """How many files wait of each owner who is over the rate."""
        return {user_name(owner): size for owner, size in self._owners.sizes().items()}


def _rates(settings: FolderSettings) -> tuple[Rate | None, Rate | None, int]:
    return settings.intake_rate, settings.owner_rate, settings.burst
