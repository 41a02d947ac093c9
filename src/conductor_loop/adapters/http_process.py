"""The process that answers HTTP: listening for it, and telling it how the daemon is.

It is another process so that no batch of the daemon's loop delays a probe, and so that whoever
breaks into it meets a program that may read and write nothing else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from conductor_loop.adapters.companion import Companion, Program
from conductor_loop.core.addresses import Address
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.vitals import Serving, Vitals, encode
from conductor_loop.ports import Notices

_BACKLOG = 128


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
        self._companion = Companion(
            Program(
                task="serves HTTP",
                module="conductor_loop.web.program",
                inherited=tuple(each.descriptor for each in serving.listening),
            ),
            self._talk,
            self._note_end,
        )

    async def run(self) -> None:
        """Serve for ever."""
        await self._companion.run()

    async def _talk(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(link, encode(self._serving))
        while await loop.sock_recv(link, 1):
            await loop.sock_sendall(link, encode(self._look()))

    def _note_end(self, how: str) -> None:
        notices = self._notices()
        if notices is not None:
            notices.report("http_ended", how)
