"""The process that exports traces, told where to begin, and what it tells of its progress."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping

import msgspec

from conductor_loop.adapters.companion import Companion, Program
from conductor_loop.core.exporting import Exporting, Progress, decode_progress, encode

_log = logging.getLogger("conductor_loop.traces")
_CHUNK = 64 * 1024
_ENDING_SECONDS = 5.0
"""For what has just ended: with `-once` that is everything."""


class TraceProcess:
    """Keeps one running; a new one begins where the one before had come to."""

    def __init__(
        self,
        exporting: Exporting,
        environment: Mapping[str, str],
        count: Callable[[Progress], None],
    ) -> None:
        self._exporting = exporting
        self._count = count
        self._failing = ""
        self._companion = Companion(
            Program(
                task="exports traces",
                module="conductor_loop.tracing.program",
                environment=environment,
                ending_seconds=_ENDING_SECONDS,
            ),
            self._talk,
            lambda _: None,
        )

    async def run(self) -> None:
        """Export for ever."""
        await self._companion.run()

    async def _talk(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(link, encode(self._exporting))
        rest = b""
        while data := await loop.sock_recv(link, _CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._note(decode_progress(line))

    def _note(self, progress: Progress) -> None:
        self._exporting = msgspec.structs.replace(self._exporting, position=progress.position)
        self._count(progress)
        if progress.failing and not self._failing:
            _log.warning("no traces can be exported: %s", progress.failing)
        elif self._failing and not progress.failing:
            _log.info("traces are exported again")
        self._failing = progress.failing
