"""Sockets and connections: uvicorn's HTTP/1.1, with deadlines for slow clients and a cap."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST_CONNECTIONS = 256
REQUEST_SECONDS = 10.0
"""From the first byte, or from the connection, to a request that is whole."""
_HANDSHAKE_SECONDS = 10.0
_LONGEST_HEAD = 32 * 1024
_BACKLOG = 128


class Connections:
    """Everything that is open; all sockets of the process share one cap."""

    def __init__(self) -> None:
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def serve(
        self, listener: socket.socket, app: ASGIApp, context: ssl.SSLContext | None
    ) -> None:
        """Answer on a listening socket from now on."""
        config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
        )
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(config, self._state, {}),
            sock=listener,
            ssl=context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
        )
        self._servers.append(server)


class _Connection(H11Protocol):
    """One client, who must ask whole questions in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Read on; half a request has a deadline."""
        super().data_received(data)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        if self._is_answering():
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_answering():
            self.transport.abort()

    def _is_answering(self) -> bool:
        # uvicorn's annotation leaves out that there is none at first.
        cycle = cast("object | None", self.cycle)
        return cycle is not None and not self.cycle.response_complete
