"""One spawner process and the socket to it: started, talked to, buried."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import conductor_loop
from conductor_loop.adapters.porch.runs import TOKEN_VARIABLE, message, messages
from conductor_loop.adapters.porch.spawner import CONNECTION
from conductor_loop.adapters.porch.spawner_process import command
from conductor_loop.adapters.sandbox.confinement import Confinement

_log = logging.getLogger(__name__)

_CHUNK = 256 * 1024
_CLOSING_SECONDS = 10.0
_RECALL_SECONDS = 2.0
# Where the interpreter finds its own libraries when they are in no usual place (ld.so(8)).
_LOADER_VARIABLE = "LD_LIBRARY_PATH"


class SpawnerLink:
    """A running spawner. Not reusable: when it ends, `lost` is called once, and that is that."""

    def __init__(
        self,
        workers: int,
        token: bytes,
        confinement: Confinement,
        take: Callable[[list[bytes], bytes], None],
        lost: Callable[[], None],
    ) -> None:
        """Start it; raises OSError. `take` gets each message, as words and payload."""
        self._take, self._lost = take, lost
        self._pid, self._socket = _start(workers, token, confinement)
        self._incoming, self._outgoing = bytearray(), bytearray()
        self._broken = ""
        self._recalls: deque[asyncio.Future[None]] = deque()
        self._gone = asyncio.Event()
        self.born = time.monotonic()
        self.answered = asyncio.Event()
        """Set when it said that it is ready, and when it ended."""
        self.layer = ""
        """The layer of confinement that it says it reached."""
        self.end = ""
        """Why it ended; empty as long as it has not."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def send(self, data: bytes) -> None:
        """Send soon, together with whatever else is sent in this turn of the loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += data

    async def recall(self) -> None:
        """Have nothing more started of what was sent; it said so, or ended, when this returns.

        One that stands still is not waited for: when it goes on, it may start what it was about to.
        """
        if self.end:
            return
        said = self._loop.create_future()
        self._recalls.append(said)
        self.send(message(b"recall"))
        done, _ = await asyncio.wait((said,), timeout=_RECALL_SECONDS)
        if not done:
            _log.warning("the spawner did not say within %s s that it recalled", _RECALL_SECONDS)

    async def close(self) -> None:
        """Let it end all it runs and itself."""
        if not self.end:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """Make sure that it is dead, and tell. What it ran is left to the caller."""
        if self.end:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        with contextlib.suppress(OSError):  # it is closed all the same (close(2))
            self._socket.close()
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        self.end = f"the spawner ended ({how})" + (f":\n{self._broken}" if self._broken else "")
        self.answered.set()
        self._gone.set()
        while self._recalls:
            self._is_recalled()
        self._lost()

    def _flush(self) -> None:
        if self.end or not self._outgoing:
            return
        try:
            del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            # The reader notices the same, and what has arrived before comes first.
            return
        if self._outgoing:
            self._loop.add_writer(self._socket, self._flush_rest)

    def _flush_rest(self) -> None:
        self._loop.remove_writer(self._socket)
        self._flush()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.kill()
            return
        self._incoming += data
        for words, payload in messages(self._incoming):
            if words[0] == b"ready":
                self.layer = words[1].decode()
                self.answered.set()
            elif words[0] == b"recalled":
                self._is_recalled()
            elif words[0] == b"broken":
                self._broken = payload.decode("utf-8", "replace")
            else:
                self._take(words, payload)

    def _is_recalled(self) -> None:
        self._recalls.popleft().set_result(None)


def _start(workers: int, token: bytes, confinement: Confinement) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    package = str(Path(conductor_loop.__file__).parent.parent)
    words = [*confinement.prefix]
    words += command(package, "prepare", str(workers), confinement.words())
    environment = {TOKEN_VARIABLE: token}
    if _LOADER_VARIABLE in os.environ:
        environment[_LOADER_VARIABLE.encode()] = os.environb[_LOADER_VARIABLE.encode()]
    with theirs:
        ours.settimeout(0)
        try:
            pid = os.posix_spawn(
                words[0],
                words,
                environment,
                file_actions=_descriptors(theirs.fileno()),
                setsid=True,
                setsigmask=(),
            )
        except BaseException:
            ours.close()
            raise
    return pid, ours


def _descriptors(connection: int) -> list[tuple[int, int, int] | tuple[int, int, str, int, int]]:
    """The socket, nothing to read, nowhere to write but our stderr, where a trace belongs."""
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, connection, CONNECTION),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        os.fstat(2)
    except OSError:
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    return actions
