"""The control socket: one request a connection, from this user or root, who show the token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from conductor_loop.adapters.control_token import ControlToken, read_token
from conductor_loop.adapters.handoff.lock import served_elsewhere
from conductor_loop.adapters.users import user_name
from conductor_loop.core.control import (
    Health,
    Look,
    Reply,
    Request,
    Retry,
    decode_reply,
    decode_request,
    encode,
    joined,
    parts,
)
from conductor_loop.core.detection.restraint import Restraint
from conductor_loop.core.faults import CannotStart, ConductorError, Fault
from conductor_loop.core.wording import counted
from conductor_loop.ports import Notices

_NAME = "control.sock"
_LONGEST_LINE = 1 << 20
_LONGEST_REPLY = 64 << 20
"""More than the ids of all that a daemon can hold unfinished."""
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


class AnswerUnreadable(DaemonSilent):
    """A daemon answered, and this command cannot read what."""

    code = "answer_unreadable"


class RequestTooLong(ConductorError):
    """A daemon reads no request that is as long as this."""

    code = "request_too_long"


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
    if gate.lets_in(pid, uid, await _line(reader) or b""):
        reply = await _obeyed(await _line(reader), obey, user_name(uid))
    else:
        reply = _refused(
            "not_allowed",
            "only the daemon's own user and root may steer it, by the token in its state dir",
        )
    writer.write(encode(reply))
    await writer.drain()


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line without its end; None for one that is longer than any request."""
    try:
        return (await reader.readline()).rstrip(b"\n")
    except ValueError:
        return None


async def _obeyed(line: bytes | None, obey: Obey, by: str) -> Reply:
    if line is None:
        return _refusal(_too_long())
    try:
        request = decode_request(line)
    except msgspec.DecodeError as error:
        return _refused("not_understood", f"not a request: {error}")
    try:
        return await obey(request, by)
    except ConductorError as error:
        return _refusal(error)


def _refusal(error: ConductorError) -> Reply:
    return Reply(refusals=(Fault(error.code, error.message, error.hint),))


def _refused(code: str, message: str) -> Reply:
    return Reply(refusals=(Fault(code, message),))


def _too_long() -> RequestTooLong:
    return RequestTooLong(
        "the request is longer than a daemon reads",
        hint="ask for less at a time, or give a shorter -why",
    )


def _peer(peer: socket.socket) -> tuple[int, int]:
    """The process at the other end, as it was when it connected, and its user."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return int(pid), int(uid)


def ask(state_dir: Path, request: Request) -> Reply | None:
    """Ask the daemon of a state dir, for much in several requests; None when none runs.

    Raises DaemonSilent, ControlRefused, RequestTooLong, and PermissionError for who may not enter
    the state dir. What comes between the requests is a refusal of the rest.
    """
    first, *others = parts(request)
    reply = _ask(state_dir, first)
    if reply is None or not others:
        return reply
    return joined([reply, *_rest(state_dir, others)])


def _rest(state_dir: Path, requests: Sequence[Request]) -> Iterator[Reply]:
    for at, request in enumerate(requests):
        try:
            reply = _ask(state_dir, request)
        except ConductorError as error:
            yield _refusal(error)
            yield _not_asked(requests[at + 1 :])
            return
        if reply is None:
            yield _not_asked(requests[at:])
            return
        yield reply


def _not_asked(requests: Sequence[Request]) -> Reply:
    left = sum(len(each.intent_ids) for each in requests if isinstance(each, Retry))
    if not left:
        return Reply()
    asked = counted(left, "intent was", "intents were")
    return _refusal(
        DaemonSilent(
            f"the daemon ended or fell silent meanwhile; {asked} not asked for",
            hint="the same command again asks for them",
        )
    )


def _ask(state_dir: Path, request: Request) -> Reply | None:
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
    except (TimeoutError, ConnectionError, EOFError) as error:
        late = "" if isinstance(request, _LOOKS) else "; what it was asked for may still come true"
        raise DaemonSilent(
            f"a daemon holds the control socket and gives no answer{late}",
            hint="look at its log; it may be stopped (kill -CONT) or stuck",
        ) from error


def _exchanged(folder: int, request: Request, seconds: float) -> Reply:
    line = encode(request)
    if len(line) > _LONGEST_LINE:
        raise _too_long()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(seconds)
        link.connect(_address(folder))
        # Read when connected: it is then the one of the daemon that answers.
        link.sendall(read_token(folder) + b"\n" + line)
        with link.makefile("rb") as lines:
            return _read(lines.readline(_LONGEST_REPLY))


def _read(line: bytes) -> Reply:
    """What a line of a daemon says. Raises AnswerUnreadable, and EOFError where it broke off."""
    try:
        if line.endswith(b"\n"):
            return decode_reply(line)
        if len(line) < _LONGEST_REPLY:
            raise EOFError
        why = "it is too long"
    except msgspec.DecodeError as error:
        why = str(error)
    raise AnswerUnreadable(
        f"the daemon answered, and its answer cannot be read: {why}",
        hint="conductor-loop list shows what came of it; is the daemon of another version?",
    )


def _let_in(reply: Reply) -> Reply:
    for fault in reply.refusals:
        if fault.code == ControlRefused.code:
            raise ControlRefused(
                "the daemon does not let this command steer it",
                hint="run it as the daemon's user or as root; restart the daemon if somebody "
                "changed or removed control.token in its state dir",
            )
    return reply


def no_daemon(handoff: Path, state_dir: Path) -> CannotStart:
    """What to say where nobody answers, which may not be the folder that is meant."""
    return served_elsewhere(handoff, state_dir) or CannotStart(
        f"no daemon runs on {state_dir.absolute()}",
        code="no_daemon",
        hint="if it runs on another folder, give its -handoff, or its settings with -config FILE;"
        " to start one here: conductor-loop",
    )
