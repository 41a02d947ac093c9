"""The line to the daemon: it is asked for its vitals by a byte, and answers with a line."""

from __future__ import annotations

import asyncio
import socket

from conductor_loop.core.vitals import decode_vitals
from conductor_loop.web.board import Board

_ASK = b"+"
_CHUNK = 256 * 1024
_QUIET_SECONDS, _BUSY_SECONDS = 1.0, 0.25
"""Between two questions, when nothing happens and when something does."""


class DaemonLink:
    """Our end of the socket pair."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def first_line(self) -> bytes:
        """Wait for the first line. Raises EOFError when the daemon is gone before that."""
        while b"\n" not in self._buffer:
            self._take(self._connection.recv(_CHUNK))
        return self._line()

    async def follow(self, board: Board) -> None:
        """Ask and post for ever. Raises EOFError when the daemon is gone."""
        self._connection.settimeout(0)
        while True:
            before, vitals = board.vitals.committed, decode_vitals(await self._answer())
            board.post(vitals)
            await asyncio.sleep(_QUIET_SECONDS if vitals.committed == before else _BUSY_SECONDS)

    async def _answer(self) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._connection, _ASK)
            while b"\n" not in self._buffer:
                self._take(await loop.sock_recv(self._connection, _CHUNK))
        except ConnectionError as error:
            raise EOFError("the daemon is gone") from error
        return self._line()

    def _take(self, data: bytes) -> None:
        if not data:
            raise EOFError("the daemon is gone")
        self._buffer += data

    def _line(self) -> bytes:
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        return line
