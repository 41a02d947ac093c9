"""The date as far as the steady clock vouches for it: for deciding that something is old."""

from __future__ import annotations

from datetime import datetime, timedelta


class SureTime:
    """Wall time that never passes faster than steady time.

    A wall clock that is set years ahead makes nothing old that is young. One that was behind and
    is set right leaves this one behind: things are kept longer, until the next start.
    """

    def __init__(self, wall: datetime, steady: float) -> None:
        self._wall, self._steady = wall, steady

    def at(self, wall: datetime, steady: float) -> datetime:
        """What the date surely is at least, given both clocks."""
        return min(wall, self._wall + timedelta(seconds=steady - self._steady))
