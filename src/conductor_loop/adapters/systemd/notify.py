"""What systemd is told: ready, stopping, and that the loops still move (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta

_log = logging.getLogger("conductor_loop.systemd")
_POLL_SECONDS = 0.05
_EXTENSION_SECONDS, _EXTEND_EVERY_SECONDS = 60, 10.0
# sd_watchdog_enabled(3) recommends half of the time that the manager waits.
_PINGS_PER_DEADLINE = 2


class ServiceManager:
    """The datagram socket that systemd gave us; what cannot be sent stops nobody."""

    def __init__(self, address: str, watchdog: timedelta | None) -> None:
        self.watchdog = watchdog
        """Restart us when nothing was heard for so long; None: not asked for."""
        # `@` stands for the zero byte of an abstract address (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(0)  # a full queue must not hold up the loops

    def tell(self, *assignments: str) -> None:
        """Send `NAME=VALUE` lines as one datagram."""
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            _log.debug("systemd was not told %s: %s", assignments, error)

    async def keep_informed(self, is_ready: Callable[[], bool], stuck: Callable[[], str]) -> None:
        """READY=1 once, then WATCHDOG=1 while `stuck` names no loop; for ever.

        Recovery may take long: as long as the event loop turns, the time to start is extended.
        """
        await self._starting(is_ready)
        self.tell("READY=1", "STATUS=takes files")
        told = ""
        while self.watchdog is not None:
            culprit = stuck()
            if culprit and culprit != told:
                _log.error("no sign of life for systemd: %s", culprit)
                self.tell(f"STATUS=stuck: {culprit}")
            elif not culprit:
                self.tell("WATCHDOG=1", *(["STATUS=takes files"] if told else []))
            told = culprit
            await asyncio.sleep(self.watchdog.total_seconds() / _PINGS_PER_DEADLINE)

    async def _starting(self, is_ready: Callable[[], bool]) -> None:
        waited = 0.0
        while not is_ready():
            if waited % _EXTEND_EVERY_SECONDS < _POLL_SECONDS:
                extension = f"EXTEND_TIMEOUT_USEC={_EXTENSION_SECONDS * 1_000_000}"
                self.tell(extension, "WATCHDOG=1", "STATUS=recovering")
            await asyncio.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS

    def stopping(self) -> None:
        """Tell that the end was asked for, or has come by itself."""
        self.tell("STOPPING=1", "STATUS=ending what runs")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def service_manager(environ: Mapping[str, str], pid: int) -> ServiceManager | None:
    """Whom `environ` names as our service manager; None outside of `Type=notify`."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    return ServiceManager(address, _watchdog(environ, pid))


def _watchdog(environ: Mapping[str, str], pid: int) -> timedelta | None:
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    with contextlib.suppress(ValueError):
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
        return timedelta(microseconds=microseconds) if microseconds > 0 else None
    return None
