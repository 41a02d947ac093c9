"""The process that exports traces, told where to begin, and what it tells of its progress."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence

import msgspec

from conductor_loop.adapters.companion import (
    Companion,
    Hopeless,
    Program,
    command_of,
    loader_environment,
)
from conductor_loop.core.exporting import (
    Exporting,
    Progress,
    Tried,
    decode_progress,
    decode_tried,
    encode,
)
from conductor_loop.core.faults import CannotStart

_log = logging.getLogger("conductor_loop.traces")
_CHUNK = 64 * 1024
_ENDING_SECONDS = 5.0
"""For what has just ended: with `-once` that is everything."""
_TRIAL_SECONDS = 60.0
"""It takes a third of a second; more only where a disk or a processor is very busy."""


def try_exporting(environment: Mapping[str, str]) -> Sequence[str]:
    """Have OpenTelemetry read its settings, in a process of its own, and send nothing.

    Returns what it does not understand and goes on without. Raises CannotStart for what it
    refuses.
    """
    found = _tried(environment)
    if found.refused:
        raise CannotStart(found.refused, hint=found.hint, code="otel_settings")
    return found.complaints


def _tried(environment: Mapping[str, str]) -> Tried:
    try:
        done = subprocess.run(
            command_of("conductor_loop.tracing.trial"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**loader_environment(), **environment},
            timeout=_TRIAL_SECONDS,
            check=True,
        )
        return decode_tried(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or b""
        why = said.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise CannotStart(
            f"OpenTelemetry cannot be loaded: {why}",
            hint="install it anew, in a checkout: pip install '.[otel]'",
            code="otel_missing",
        ) from error


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
        self._given_up = 0
        """Traces since it began to fail."""
        self._has_damage = False
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
        """Export until OpenTelemetry refuses its settings."""
        try:
            await self._companion.run()
        finally:
            if self._given_up:
                _log.warning("traces that no collector took in time: %d", self._given_up)

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
        if progress.refused:
            raise Hopeless(progress.refused)
        self._given_up += progress.dropped
        if progress.failing and not self._failing:
            _log.warning("no traces can be exported: %s", progress.failing)
        elif self._failing and not progress.failing:
            _log.info("traces are exported again; given up meanwhile: %d", self._given_up)
            self._given_up = 0
        self._failing = progress.failing
        self._note_damage(progress)

    def _note_damage(self, progress: Progress) -> None:
        """Say it once: the metric has the count, and a start of the daemon tells which they are."""
        if progress.damaged and not self._has_damage:
            _log.warning("no traces are made from entries of the journal that cannot be trusted")
            self._has_damage = True
