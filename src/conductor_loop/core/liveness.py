"""Which loop is stuck: due for longer than its patience without having come round once."""

from __future__ import annotations

from collections.abc import Iterable

from conductor_loop.core.vitals import Loop

EVENT_LOOP = "event-loop"
LOOPS = ("intake", "work", "relay", "journal", "notices", "housekeeping")
"""What a daemon tells of, besides."""
SILENCE_SECONDS = 15.0
"""The daemon speaks every second; a disk that hangs for less than this is not a stuck loop."""


class Liveness:
    """Follows the loops of one daemon; `now` is steady seconds."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._loops: dict[str, tuple[Loop, float]] = {}

    def note(self, loops: Iterable[Loop], now: float) -> None:
        """Take note of what the daemon says of its loops."""
        self._heard_at = now
        for loop in loops:
            last, since = self._loops.get(loop.name, (loop, now))
            moved = loop.beats != last.beats or not last.is_due
            self._loops[loop.name] = (loop, now if moved else since)

    def silence(self, now: float) -> float:
        """Seconds since the daemon said anything."""
        return now - self._heard_at

    def verdicts(self, now: float) -> dict[str, bool]:
        """Tell of each loop, the one that carries all others first, whether it lives."""
        lives = {EVENT_LOOP: self.silence(now) <= SILENCE_SECONDS}
        for name, (loop, since) in self._loops.items():
            lives[name] = not loop.is_due or now - since <= loop.patience
        return lives
