"""The daemon's side of child processes: sends runs to the spawner, receives what came of them."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import msgspec

from conductor_loop.adapters.porch.orphans import end_orphans
from conductor_loop.adapters.porch.runs import message
from conductor_loop.adapters.porch.spawner_link import SpawnerLink
from conductor_loop.adapters.sandbox.confinement import Confinement
from conductor_loop.core.child_output import Printed
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown

_log = logging.getLogger(__name__)

_STARTING_SECONDS = 30.0
# A spawner that lived for less is broken; starting the next one at once would only burn CPU.
_SOON_SECONDS = 1.0
# No limit explains these: the program itself cannot be run (execve(2)).
_NOT_EXECUTABLE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOEXEC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChildRequest(msgspec.Struct, frozen=True):
    """One run: `argv[0]` is an absolute path, `environment` all of it as `NAME=VALUE`.

    No two unfinished runs share a key.
    The environment must name the attempt under `CONDUCTOR_ATTEMPT`, beginning with the prefix that
    `Children` was given. `timeout` after the start comes SIGTERM, and `grace` after that SIGKILL.
    """

    key: str
    argv: tuple[bytes, ...]
    environment: tuple[bytes, ...]
    timeout: timedelta
    grace: timedelta


class ChildResult(msgspec.Struct, frozen=True):
    """A run that came to its end. Either `exit_code` or `signal` is None."""

    worker: int
    started_at: datetime
    duration: timedelta
    exit_code: int | None
    signal: int | None
    timed_out: bool
    stdout: Printed
    stderr: Printed


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The system would not start the program; `error` is an errno."""

    worker: int
    started_at: datetime
    error: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Ended by `stop` or by closing, before or after it had been started."""

    started: bool


@dataclass(frozen=True, slots=True)
class SupervisorLost:
    """The spawner died; what it ran has been ended."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoSupervisor:
    """There is no spawner, because none can be started; nothing ran."""

    detail: str


Ending = ChildResult | SpawnFailed | Stopped | SupervisorLost | NoSupervisor


class _Call:
    """A run as its caller waits for it."""

    __slots__ = ("ending", "number", "sent")

    def __init__(self, number: int, ending: asyncio.Future[Ending]) -> None:
        self.number = number
        self.ending = ending
        self.sent = False


class Children:
    """Runs children through one spawner, at most `workers` at once, the others in order.

    Send ahead of free workers: the spawner then starts the next one without asking first.
    """

    def __init__(
        self, workers: int, token_prefix: str, confinement: Confinement | None = None
    ) -> None:
        self.token_prefix = token_prefix
        self.layer = ""
        """The layer of confinement that children run under."""
        self._workers = workers
        self._confinement = confinement or Confinement()
        self._numbers = itertools.count(1)
        self._calls: dict[str, _Call] = {}
        self._pending: dict[int, asyncio.Future[Ending]] = {}
        self._link: SpawnerLink | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._open = False

    async def __aenter__(self) -> Self:
        """Start the spawner and wait until it is ready. Raises CannotStart."""
        try:
            link = self._connect()
        except OSError as error:
            raise _no_spawner(str(error), error) from error
        try:
            async with asyncio.timeout(_STARTING_SECONDS):
                await link.answered.wait()
        except TimeoutError:
            link.kill()
        if link.end:
            raise _no_spawner(link.end)
        self.layer = link.layer
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every run at once, then the spawner."""
        self._open = False
        if self._recovery is not None:
            await self._recovery
        if self._link is not None:
            await self._link.close()

    async def run(self, request: ChildRequest) -> Ending:
        """Run to the end; nothing of it is alive when this returns.

        When the caller is cancelled the run is stopped, but not waited for.
        """
        call = _Call(next(self._numbers), asyncio.get_running_loop().create_future())
        self._calls[request.key] = call
        try:
            while self._recovery is not None and not call.ending.done():
                await asyncio.wait((self._recovery, call.ending), return_when="FIRST_COMPLETED")
            if not call.ending.done():
                self._send(call, request)
            return await call.ending
        finally:
            del self._calls[request.key]
            if self._pending.pop(call.number, None) is not None:
                self._send_stop(call.number)

    async def stop(self, key: str) -> None:
        """End a run at once, started or not; its `run` returns Stopped. Unknown keys are let be."""
        call = self._calls.get(key)
        if call is None or call.ending.done():
            return
        if not call.sent:
            call.ending.set_result(Stopped(started=False))
        elif call.number in self._pending:
            self._send_stop(call.number)

    async def recall(self) -> None:
        """Start nothing of what was sent ahead: each `run` that waits returns Stopped.

        When this returns, nothing of it is started any more, unless the spawner stands still.
        """
        for call in self._calls.values():
            if not call.sent and not call.ending.done():
                call.ending.set_result(Stopped(started=False))
        if self._link is not None:
            await self._link.recall()

    def _send(self, call: _Call, request: ChildRequest) -> None:
        if not self._open:
            call.ending.set_result(Stopped(started=False))
            return
        try:
            link = self._link or self._connect()
        except OSError as error:
            call.ending.set_result(NoSupervisor(str(error)))
            return
        call.sent = True
        self._pending[call.number] = call.ending
        link.send(_encoded(call.number, request))

    def _send_stop(self, number: int) -> None:
        if self._link is not None:
            self._link.send(message(b"stop %d" % number))

    def _connect(self) -> SpawnerLink:
        token = f"{self.token_prefix}spawner".encode()
        self._link = SpawnerLink(self._workers, token, self._confinement, self._take, self._lost)
        return self._link

    def _take(self, words: list[bytes], payload: bytes) -> None:
        future = self._pending.pop(int(words[1]), None)
        if future is not None and not future.done():
            future.set_result(_decoded(words, payload))

    def _lost(self) -> None:
        """The spawner ended; answer for its runs, after their processes have been ended too."""
        link, self._link = self._link, None
        pending, self._pending = list(self._pending.values()), {}
        if self._open and link is not None:
            self._recovery = asyncio.create_task(self._recover(link, pending))
        else:
            _answer(pending, Stopped(started=True))

    async def _recover(self, dead: SpawnerLink, pending: list[asyncio.Future[Ending]]) -> None:
        _log.error("%s; %d runs are lost, a new one is started", dead.end, len(pending))
        try:
            await asyncio.to_thread(end_orphans, self.token_prefix)
        except CannotStart as error:
            _log.error("%s", error.message)
        # One that was never ready began nothing: that says nothing of what it was to run.
        _answer(pending, SupervisorLost(dead.end) if dead.layer else NoSupervisor(dead.end))
        if self._open and time.monotonic() - dead.born < _SOON_SECONDS:
            await asyncio.sleep(_SOON_SECONDS)
        self._recovery = None


def _no_spawner(why: str, error: OSError | None = None) -> CannotStart:
    hint = "look at the limits on memory and processes (ulimit -a), then start again"
    if error is not None and error.errno in _NOT_EXECUTABLE:
        program = shown(os.fsencode(error.filename or sys.executable))
        hint = (
            f"let the daemon's user execute {program} (its mode, the folders above it, a mount with"
            " noexec), then start again"
        )
    return CannotStart(f"the process that starts porch cannot be started: {why}", hint=hint)


def _answer(pending: list[asyncio.Future[Ending]], ending: Ending) -> None:
    for future in pending:
        if not future.done():
            future.set_result(ending)


def _encoded(number: int, request: ChildRequest) -> bytes:
    numbers = (
        number,
        request.timeout // _MICROSECOND,
        request.grace // _MICROSECOND,
        len(request.argv),
    )
    return message(b"run %d %d %d %d" % numbers, b"\0".join(request.argv + request.environment))


def _decoded(words: list[bytes], payload: bytes) -> Ending:
    """Read `Run.answer`, `Run.refusal` or the word that a waiting run was stopped."""
    numbers = [int(word) for word in words[2:]]
    if words[0] == b"stopped":
        return Stopped(started=bool(numbers[0]))
    worker, started, *rest = numbers
    started_at = _EPOCH + timedelta(microseconds=started // 1000)
    if words[0] == b"refused":
        return SpawnFailed(worker, started_at, rest[0])
    duration, code, timed_out, *sizes = rest
    middle = sizes[1] + sizes[2]
    return ChildResult(
        worker=worker,
        started_at=started_at,
        duration=timedelta(microseconds=duration / 1000),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        timed_out=bool(timed_out),
        stdout=_printed(sizes[0], sizes[1], payload[:middle]),
        stderr=_printed(sizes[3], sizes[4], payload[middle:]),
    )


def _printed(total: int, head: int, kept: bytes) -> Printed:
    return Printed(kept[:head], kept[head:], total)
