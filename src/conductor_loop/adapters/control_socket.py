"""The control socket: one request a connection, from this user or root only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from conductor_loop.adapters.users import user_name
from conductor_loop.core.control import Reply, Request, decode_reply, decode_request, encode
from conductor_loop.core.faults import ConductorError, Fault
from conductor_loop.ports import Notices

_NAME = "control.sock"
_LONGEST_LINE = 1 << 20
_SECONDS = 60.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))

Obey = Callable[[Request, str], Awaitable[Reply]]
"""Carries out a request of a named operator."""


class DaemonSilent(ConductorError):
    """A daemon holds the socket and does not answer."""

    code = "daemon_silent"


@asynccontextmanager
async def serve_control(state_dir: Path, obey: Obey, notices: Notices) -> AsyncIterator[None]:
    """Listen while the block runs. The caller holds the lock, so an old socket is nobody's."""
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _remove_stale(folder)
        server = await _listen(folder, obey, notices)
        try:
            async with server:
                yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_NAME, dir_fd=folder)
    finally:
        os.close(folder)


async def _listen(folder: int, obey: Obey, notices: Notices) -> asyncio.Server:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await _answer(reader, writer, obey, notices)
        writer.close()

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(_address(folder))
    # Nobody gets in before this: the folder is 0700, and the peer is checked besides.
    os.chmod(_NAME, 0o600, dir_fd=folder)
    return await asyncio.start_unix_server(converse, sock=listener, limit=_LONGEST_LINE)


def _address(folder: int) -> str:
    """A socket's path holds 107 bytes (unix(7)); a state dir's may be longer, this never is."""
    return f"/proc/self/fd/{folder}/{_NAME}"


def _remove_stale(folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NAME, dir_fd=folder)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, obey: Obey, notices: Notices
) -> None:
    peer = _peer(writer.get_extra_info("socket"))
    if peer in (0, os.geteuid()):
        reply = await _obeyed(await reader.readline(), obey, user_name(peer))
    else:
        notices.report("control_refused", _NAME, by=user_name(peer))
        reply = _refused("not_allowed", "only the daemon's own user and root may steer it")
    writer.write(encode(reply))
    await writer.drain()


async def _obeyed(line: bytes, obey: Obey, by: str) -> Reply:
    try:
        request = decode_request(line)
    except msgspec.DecodeError as error:
        return _refused("not_understood", f"not a request: {error}")
    try:
        return await obey(request, by)
    except ConductorError as error:
        return Reply(refusals=(Fault(error.code, error.message, error.hint),))


def _refused(code: str, message: str) -> Reply:
    return Reply(refusals=(Fault(code, message),))


def _peer(peer: socket.socket) -> int:
    """The user at the other end."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return int(uid)


def ask(state_dir: Path, request: Request) -> Reply | None:
    """Ask the daemon of a state dir; None when none runs. Raises DaemonSilent."""
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_SECONDS)
            link.connect(_address(folder))
            link.sendall(encode(request))
            with link.makefile("rb") as lines:
                return decode_reply(lines.readline(_LONGEST_LINE))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (TimeoutError, ConnectionError, msgspec.DecodeError) as error:
        raise DaemonSilent(
            "a daemon holds the control socket and gives no answer",
            hint="look at its log; it may be stopped (kill -CONT) or stuck",
        ) from error
    finally:
        os.close(folder)
