"""The program: confine itself, serve each socket, follow the daemon, end with it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys

from conductor_loop.adapters.sandbox import confinement
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.vitals import Listening, Serving, decode_serving
from conductor_loop.web.apps import Shared, app_for
from conductor_loop.web.board import Board
from conductor_loop.web.connections import Connections
from conductor_loop.web.daemon_link import DaemonLink
from conductor_loop.web.renewal import tls_context

_log = logging.getLogger("conductor_loop.http")


def main() -> None:
    """Run until the daemon closes its end; arguments: where the package lies, a descriptor."""
    logging.basicConfig(format="conductor-loop http: %(levelname)s: %(message)s")
    # A terminal or a service manager tells the daemon, which ends us by closing the connection.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    link = DaemonLink(socket.socket(fileno=int(sys.argv[2])))
    serving = decode_serving(link.first_line())
    _confine(serving.confinement)
    try:
        asyncio.run(_serve(serving, link))
    except ConductorError as error:
        _log.error("%s (%s)", error.message, error.hint)
        sys.exit(error.exit_status)


async def _serve(serving: Serving, link: DaemonLink) -> None:
    board = Board()
    shared = Shared(serving, board)
    connections = Connections()
    for listening in serving.listening:
        await _open(listening, serving, shared, connections)
    gc.freeze()
    narrow = asyncio.create_task(_narrow(serving, shared, board))
    try:
        await link.follow(board)
    except EOFError:
        # Nobody is left to be told anything: requests in flight ask a daemon that is gone.
        os._exit(0)
    finally:
        narrow.cancel()


async def _open(
    listening: Listening, serving: Serving, shared: Shared, connections: Connections
) -> None:
    app = app_for(listening.role, shared)
    context = None if listening.is_plain else tls_context(serving)
    await connections.serve(socket.socket(fileno=listening.descriptor), app, context)


async def _narrow(serving: Serving, shared: Shared, board: Board) -> None:
    """Open the journal once there is one; from then on its keys need not be readable."""
    await board.until(lambda vitals: vitals.is_journal_open)
    try:
        await shared.records.open()
    except ConductorError as error:
        _log.warning("the page can tell nothing of intents: %s (%s)", error.message, error.hint)
        return
    _confine(serving.sealed_off)


def _confine(words: tuple[str, ...]) -> None:
    try:
        confinement.obey(words)
    except OSError as error:
        _log.warning("the process that serves HTTP is not confined: %s", error)
