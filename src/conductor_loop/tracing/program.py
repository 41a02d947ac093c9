"""The program: confine itself, open the journal, send what ends there, end with the daemon."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.adapters.journal.effective_access import ask_for_effective_rights
from conductor_loop.adapters.journal.reader import open_reader
from conductor_loop.adapters.sandbox import confinement
from conductor_loop.core.exporting import Exporting, Progress, decode_exporting, encode
from conductor_loop.core.faults import CannotStart, ConductorError
from conductor_loop.tracing.following import Following
from conductor_loop.tracing.opening import open_sender

if TYPE_CHECKING:
    from conductor_loop.tracing.sending import Sender

_log = logging.getLogger("conductor_loop.tracing")
_NICENESS = 10
"""Traces are for looking back: whatever the daemon and porch do comes first."""


def main() -> None:
    """Run until the daemon closes its end; arguments: where the package lies, a descriptor."""
    logging.basicConfig(format="conductor-loop traces: %(levelname)s: %(message)s")
    # A terminal or a service manager tells the daemon, which ends us by closing the connection.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    with socket.socket(fileno=int(sys.argv[2])) as link, link.makefile("rb") as lines:
        line = lines.readline()
        if not line:  # the daemon was gone before it said anything
            return
        task = decode_exporting(line)
        try:
            sender = open_sender(task.version)
        except CannotStart as error:
            told = f"{error.message} ({error.hint})"
            link.sendall(encode(Progress(task.position, refused=told)))
            return
        try:
            _export(link, task, sender)
        except ConductorError as error:
            _log.error("%s (%s)", error.message, error.hint)
            sys.exit(error.exit_status)


def _export(link: socket.socket, task: Exporting, sender: Sender) -> None:
    _confine(task.confinement)
    ask_for_effective_rights()
    reader = open_reader(Path(task.state_dir), Path(task.kek_file) if task.kek_file else None)
    _confine(task.sealed_off)
    Following(link, reader, sender, task.position).run()


def _confine(words: tuple[str, ...]) -> None:
    try:
        confinement.obey(words)
    except OSError as error:
        _log.warning("the process that exports traces is not confined: %s", error)
