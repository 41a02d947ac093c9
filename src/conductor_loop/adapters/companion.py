"""A process beside the daemon, for what must not delay it: started, talked to, replaced, ended.

It meets the daemon on a socket pair, and ends when the daemon closes its end of it.
"""

from __future__ import annotations

import asyncio
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
_LOOK_SECONDS = 0.01
_DYING_SECONDS = 2.0
"""What it gets after SIGKILL."""
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


class Hopeless(Exception):
    """What a talk raises when another one would fare no better; the text says why."""


class Companion:
    """Keeps one running, and talks to it."""

    def __init__(
        self,
        program: Program,
        talk: Callable[[socket.socket], Awaitable[None]],
        ended: Callable[[str], None],
    ) -> None:
        """`talk` returns when the other end is closed; `ended` is told how it ended, each time.

        A talk may raise OSError, ValueError for what it does not understand, and Hopeless.
        """
        self._program = program
        self._talk = talk
        self._ended = ended
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    async def run(self) -> None:
        """Run until it is hopeless; what ends is started again, at a slower pace each time."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        try:
            while True:
                born = loop.time()
                await self._live()
                how = await self._bury()
                pause = _FIRST_PAUSE_SECONDS if loop.time() - born > _STEADY_SECONDS else pause
                self._tell_of_end(how, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except Hopeless as error:
            _log.error("the process that %s is not started again: %s", self._program.task, error)
        finally:
            await self._bury()

    async def _live(self) -> None:
        """Start one and talk to it until its end, or until it cannot be talked to."""
        try:
            await self._talk(self._start())
        except OSError as error:
            _log.warning("the process that %s: %s", self._program.task, error)
        except ValueError as error:
            task = self._program.task
            _log.error("the process that %s said what nobody understands: %s", task, error)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        self._link = ours  # known before anything can fail, so that it is closed
        with theirs:
            self._child = subprocess.Popen(
                command_of(self._program.module, str(theirs.fileno())),
                pass_fds=(theirs.fileno(), *self._program.inherited),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={**loader_environment(), **self._program.environment},
                start_new_session=True,
            )
        return ours

    async def _bury(self) -> str:
        """Make sure that none is left; tell how it ended. Everything else goes on meanwhile."""
        if self._link is not None:
            self._link.close()
            self._link = None
        child, self._child = self._child, None
        if child is None:
            return "it did not start"
        task, patience = self._program.task, self._program.ending_seconds
        try:
            if await _ended(child, patience) is None:
                _log.warning("the process that %s took over %g s to end: killed", task, patience)
        finally:  # cancelled once more, it gets no more time
            child.kill()
        code = await _ended(child, _DYING_SECONDS)
        if code is None:  # it hangs in the kernel, e.g. on a disk that is away
            return "it does not end"
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _tell_of_end(self, how: str, pause: float) -> None:
        task = self._program.task
        _log.warning("the process that %s ended (%s); again in %g s", task, how, pause)
        self._ended(how)


async def _ended(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for its end for so long; its exit status as `Popen` has it, None while it runs."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    # Nothing tells of it on every platform and every supported Python.
    while (code := child.poll()) is None and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)
    return code


def command_of(module: str, *arguments: str) -> list[str]:
    """What runs the `main` of a module of ours with nothing of the environment's Python in it.

    It finds the folder that the package lies in, then the arguments, behind its own name.
    """
    package = str(Path(conductor_loop.__file__).parent.parent)
    start = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main()"
    return [sys.executable, "-I", "-c", start, package, *arguments]


def loader_environment() -> dict[str, str]:
    """What the interpreter itself may need to be found; nothing of it is a setting of ours."""
    return {name: os.environ[name] for name in (_LOADER_VARIABLE,) if name in os.environ}
