"""How the loops tell each other that there is something to do."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """Rings at whoever waits; a ring while nobody waits is remembered once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Something may have changed."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Return on the next ring, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
