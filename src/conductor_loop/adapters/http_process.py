"""The process that answers HTTP: listening for it, starting it, telling it, replacing it.

It is another process so that no batch of the daemon's loop delays a probe, and so that whoever
breaks into it meets a program that may read and write nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import conductor_loop
from conductor_loop.core.addresses import Address
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.vitals import Serving, Vitals, encode
from conductor_loop.ports import Notices

_log = logging.getLogger("conductor_loop.http")
_PROGRAM = "conductor_loop.web.program"
_BACKLOG = 128
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 30.0
_STEADY_SECONDS = 60.0
"""Once it has lived so long, an end is not taken for one of a series."""
_ENDING_SECONDS = 2.0
_LOADER_VARIABLE = "LD_LIBRARY_PATH"


def listen(address: Address) -> socket.socket:
    """Open a listening socket; it outlives the processes that serve it. Raises CannotStart."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
        both = address.host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            found[0][4][:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {address}: {error.strerror}",
            hint="another program may have the port (ss -ltnp); choose another one",
            code="cannot_listen",
        ) from error


class HttpProcess:
    """Keeps one running, and hands it the newest vitals whenever it is ready for them."""

    def __init__(
        self, serving: Serving, look: Callable[[], Vitals], notices: Callable[[], Notices | None]
    ) -> None:
        self._serving = serving
        self._look = look
        self._notices = notices
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    async def run(self) -> None:
        """Serve for ever; what ends is started again, at a slower pace each time."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        try:
            while True:
                born = loop.time()
                try:
                    await self._serve_once()
                except OSError as error:
                    _log.warning("HTTP cannot be served: %s", error)
                how = self._bury()
                pause = _FIRST_PAUSE_SECONDS if loop.time() - born > _STEADY_SECONDS else pause
                self._tell_of_end(how, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._bury()

    async def _serve_once(self) -> None:
        """Start one, and talk to it until it ends."""
        self._link = self._start()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._link, encode(self._serving))
        while await loop.sock_recv(self._link, 1):
            await loop.sock_sendall(self._link, encode(self._look()))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        inherited = [each.descriptor for each in self._serving.listening]
        with theirs:
            self._child = subprocess.Popen(
                _command(theirs.fileno()),
                pass_fds=(theirs.fileno(), *inherited),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={n: os.environ[n] for n in (_LOADER_VARIABLE,) if n in os.environ},
                start_new_session=True,
            )
        return ours

    def _bury(self) -> str:
        """Make sure that none is left; tell how it ended."""
        if self._link is not None:
            self._link.close()
            self._link = None
        child, self._child = self._child, None
        if child is None:
            return "it did not start"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_ENDING_SECONDS)
        child.kill()
        code = child.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _tell_of_end(self, how: str, pause: float) -> None:
        _log.warning("the process that serves HTTP ended (%s); again in %g s", how, pause)
        notices = self._notices()
        if notices is not None:
            notices.report("http_ended", how)


def _command(connection: int) -> list[str]:
    package = str(Path(conductor_loop.__file__).parent.parent)
    start = f"import sys; sys.path.append(sys.argv[1]); from {_PROGRAM} import main; main()"
    return [sys.executable, "-I", "-c", start, package, str(connection)]
