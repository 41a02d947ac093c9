"""A process beside the daemon, for what must not delay it: started, talked to, replaced, ended.

It meets the daemon on a socket pair, and ends when the daemon closes its end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import conductor_loop

_log = logging.getLogger("conductor_loop.companion")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 30.0
_STEADY_SECONDS = 60.0
"""Once it has lived so long, an end is not taken for one of a series."""
_LOADER_VARIABLE = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to speak of it."""

    task: str
    """What is said of it in the log: `the process that TASK ended`."""
    module: str
    """It has a `main`, and finds a folder and a descriptor among its arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Nothing else is inherited."""
    inherited: tuple[int, ...] = ()
    """Open descriptors that it gets besides the socket."""
    ending_seconds: float = 2.0
    """What it gets between the closing of the socket and SIGKILL."""


class Companion:
    """Keeps one running, and talks to it."""

    def __init__(
        self,
        program: Program,
        talk: Callable[[socket.socket], Awaitable[None]],
        ended: Callable[[str], None],
    ) -> None:
        """`talk` returns when the other end is closed; `ended` is told how it ended, each time."""
        self._program = program
        self._talk = talk
        self._ended = ended
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    async def run(self) -> None:
        """Run for ever; what ends is started again, at a slower pace each time."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        try:
            while True:
                born = loop.time()
                try:
                    self._link = self._start()
                    await self._talk(self._link)
                except OSError as error:
                    _log.warning("the process that %s: %s", self._program.task, error)
                how = self._bury()
                pause = _FIRST_PAUSE_SECONDS if loop.time() - born > _STEADY_SECONDS else pause
                self._tell_of_end(how, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._bury()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        loader = {n: os.environ[n] for n in (_LOADER_VARIABLE,) if n in os.environ}
        with theirs:
            self._child = subprocess.Popen(
                _command(self._program.module, theirs.fileno()),
                pass_fds=(theirs.fileno(), *self._program.inherited),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={**loader, **self._program.environment},
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
            child.wait(self._program.ending_seconds)
        child.kill()
        code = child.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _tell_of_end(self, how: str, pause: float) -> None:
        task = self._program.task
        _log.warning("the process that %s ended (%s); again in %g s", task, how, pause)
        self._ended(how)


def _command(module: str, connection: int) -> list[str]:
    package = str(Path(conductor_loop.__file__).parent.parent)
    start = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main()"
    return [sys.executable, "-I", "-c", start, package, str(connection)]
