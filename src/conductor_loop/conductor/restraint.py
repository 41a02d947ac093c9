"""Restraint: no more files are taken while the daemon uses more memory than it may."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from conductor_loop.core.detection.pressure import is_over
from conductor_loop.ports import Clock, Notices

# A look takes some 40 microseconds. In a second, intake adds at most a few thousand intents.
_LOOK_SECONDS = 1.0
_MIB = 1 << 20
# Less than this is not worth the milliseconds that giving back takes.
_WORTH_GIVING_BACK = _MIB // 2


class Holding(Protocol):
    """The part of a source that this needs."""

    def hold(self, why: OSError | None) -> None:
        """Claim nothing for this reason, or (None) go on; what is there waits where it is."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How to look at this process's memory, and how to make it smaller."""

    used: Callable[[], int]
    """Bytes."""
    give_back: Callable[[], None]


class Restraint:
    """Holds the source above a mark of memory, while waiting can help; nothing fails or is lost.

    What work took goes back to the system once it is done.

    Once nothing is unfinished, what is used is what the process needs, and waiting longer frees
    none of it: files are then taken again, for one look at a time.
    """

    def __init__(
        self,
        source: Holding,
        memory: Memory,
        is_idle: Callable[[], bool],
        notices: Notices,
        clock: Clock,
    ) -> None:
        """`is_idle` tells whether no intent is unfinished."""
        self._source, self._memory, self._is_idle = source, memory, is_idle
        self._notices, self._clock = notices, clock
        self._held = False
        self._at_rest = 0
        self.mark: int | None = None
        """Bytes; None: no limit. May be exchanged."""
        self.because = ""
        """Why as little as can be is taken; empty while memory is below the mark."""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await self._clock.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Hold or go on, by what is used now."""
        is_idle, used = self._is_idle(), self._memory.used()
        has_grown = is_idle and used > self._at_rest + _WORTH_GIVING_BACK
        # What is free inside the process is no reason to hold.
        if has_grown or self._is_over(used):
            self._memory.give_back()
            used = self._memory.used()
        if has_grown:
            self._at_rest = used
        is_over = self._is_over(used)
        if is_over != bool(self.because):
            self._tell(used, is_over=is_over)
        self._hold(is_over and not is_idle)

    def _is_over(self, used: int) -> bool:
        return is_over(used, self.mark, was_over=bool(self.because))

    def _hold(self, held: bool) -> None:
        if held != self._held:
            self._held = held
            self._source.hold(OSError(errno.ENOMEM, self.because) if held else None)

    def _tell(self, used: int, *, is_over: bool) -> None:
        if is_over:
            assert self.mark is not None
            told = f"{used // _MIB} MiB of memory are used, {self.mark // _MIB} MiB are allowed"
            self.because = told
            self._notices.report("intake_held", "resident memory", why=told)
        else:
            self.because = ""
            self._notices.report("intake_released", "resident memory", used=f"{used // _MIB} MiB")
