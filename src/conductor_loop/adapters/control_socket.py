"""The control socket: one request a connection, from this user or root, who show the token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from conductor_loop.adapters.control_token import ControlToken, read_token
from conductor_loop.adapters.users import user_name
from conductor_loop.core.control import (
    Health,
    Look,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode,
)
from conductor_loop.core.detection.restraint import Restraint
from conductor_loop.core.faults import CannotStart, ConductorError, Fault
from conductor_loop.ports import Notices

_NAME = "control.sock"
_LONGEST_LINE = 1 << 20
_SECONDS = 60.0
"""For a change: an attempt that is cancelled may use up its grace first."""
_LOOK_SECONDS = 5.0
_LOOKS = Health | Look
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_MOST_NOTICES, _SPAN_SECONDS = 20, 1800.0  # who is refused may try again at once, for ever

Obey = Callable[[Request, str], Awaitable[Reply]]
"""Carries out a request of a named operator."""


class DaemonSilent(ConductorError):
    """A daemon holds the socket and does not answer."""

    code = "daemon_silent"


class ControlRefused(ConductorError):
    """A daemon holds the socket and does not let this process steer it."""

    code = "not_allowed"


@asynccontextmanager
async def serve_control(
    state_dir: Path, obey: Obey, notices: Notices
) -> AsyncIterator[ControlToken]:
    """Listen while the block runs. The caller holds the lock, so an old socket is nobody's.

    Gives the token, to be renewed should others have been able to read it. Raises CannotStart.
    """
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _remove_stale(folder)
        token = ControlToken(folder)
        server = await _listen(folder, _Gate(token, notices), obey)
        try:
            async with server:
                yield token
        finally:
            _remove_stale(folder)
    finally:
        os.close(folder)


async def _listen(folder: int, gate: _Gate, obey: Obey) -> asyncio.Server:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await _answer(reader, writer, gate, obey)
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


class _Gate:
    """Who gets in: this user and root, who can read the token. Whoever does not is told of."""

    def __init__(self, token: ControlToken, notices: Notices) -> None:
        self._token, self._notices = token, notices
        self._restraint = Restraint(_MOST_NOTICES, _SPAN_SECONDS)

    def lets_in(self, pid: int, uid: int, token: bytes) -> bool:
        """Whether a process may steer; that one may not is noted."""
        if uid not in (0, os.geteuid()):
            why = "another user"
        elif not self._token.is_known_to(token):
            why = "without the token"
        else:
            return True
        if self._restraint.passes("control_refused", time.monotonic()):
            untold = self._restraint.take_held_back("control_refused")
            more = {"not_told_before": str(untold)} if untold else {}
            by = user_name(uid)
            self._notices.report("control_refused", _NAME, by=by, why=why, pid=str(pid), **more)
        return False


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: _Gate, obey: Obey
) -> None:
    pid, uid = _peer(writer.get_extra_info("socket"))
    if gate.lets_in(pid, uid, await _line(reader)):
        reply = await _obeyed(await _line(reader), obey, user_name(uid))
    else:
        reply = _refused(
            "not_allowed",
            "only the daemon's own user and root may steer it, by the token in its state dir",
        )
    writer.write(encode(reply))
    await writer.drain()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line without its end; one that is longer than any request counts as empty."""
    try:
        return (await reader.readline()).rstrip(b"\n")
    except ValueError:
        return b""


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


def _peer(peer: socket.socket) -> tuple[int, int]:
    """The process at the other end, as it was when it connected, and its user."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return int(pid), int(uid)


def ask(state_dir: Path, request: Request) -> Reply | None:
    """Ask the daemon of a state dir; None when none runs.

    Raises DaemonSilent, ControlRefused, and PermissionError for who may not enter the state dir.
    """
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        if isinstance(request, _LOOKS):
            return _let_in(_asked(folder, request, _LOOK_SECONDS))
        # A stopped daemon would carry out what it is asked for whenever it goes on.
        _let_in(_asked(folder, Health(), _LOOK_SECONDS))
        return _let_in(_asked(folder, request, _SECONDS))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    finally:
        os.close(folder)


def _asked(folder: int, request: Request, seconds: float) -> Reply:
    try:
        return _exchanged(folder, request, seconds)
    except (FileNotFoundError, ConnectionRefusedError):
        raise
    except (TimeoutError, ConnectionError, msgspec.DecodeError) as error:
        late = "" if isinstance(request, _LOOKS) else "; what it was asked for may still come true"
        raise DaemonSilent(
            f"a daemon holds the control socket and gives no answer{late}",
            hint="look at its log; it may be stopped (kill -CONT) or stuck",
        ) from error


def _exchanged(folder: int, request: Request, seconds: float) -> Reply:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(seconds)
        link.connect(_address(folder))
        # Read when connected: it is then the one of the daemon that answers.
        link.sendall(read_token(folder) + b"\n" + encode(request))
        with link.makefile("rb") as lines:
            return decode_reply(lines.readline(_LONGEST_LINE))


def _let_in(reply: Reply) -> Reply:
    for fault in reply.refusals:
        if fault.code == ControlRefused.code:
            raise ControlRefused(
                "the daemon does not let this command steer it",
                hint="run it as the daemon's user or as root; restart the daemon if somebody "
                "changed or removed control.token in its state dir",
            )
    return reply


def no_daemon(state_dir: Path) -> CannotStart:
    """What to say where nobody answers, which may not be the folder that is meant."""
    return CannotStart(
        f"no daemon runs on {state_dir.absolute()}",
        code="no_daemon",
        hint="if it runs on another folder, give its -handoff, or its settings with -config FILE;"
        " to start one here: conductor-loop",
    )
