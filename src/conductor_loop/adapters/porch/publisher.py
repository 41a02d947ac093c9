"""The porch command as a publisher."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from conductor_loop import disk
from conductor_loop.adapters.porch.children import (
    Children,
    ChildRequest,
    ChildResult,
    Ending,
    NoSupervisor,
    SpawnFailed,
    Stopped,
    SupervisorLost,
)
from conductor_loop.adapters.porch.orphans import token_prefix
from conductor_loop.adapters.porch.out_folder import OutFolder
from conductor_loop.adapters.porch.program import PorchCommand, require_trusted, resolve_porch
from conductor_loop.adapters.porch.runs import FOLDER_VARIABLE, TOKEN_VARIABLE
from conductor_loop.adapters.porch.spool import Spool
from conductor_loop.adapters.sandbox.choice import SandboxSection, choose
from conductor_loop.adapters.sandbox.rules import Places, child_rules, is_open_by_folder
from conductor_loop.core.arrival import Abandoned, Delivered, Lease, Outcome, Undelivered
from conductor_loop.core.child_output import cleaned
from conductor_loop.core.durations import format_duration
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown
from conductor_loop.core.packages import Mode
from conductor_loop.core.porch_exit import PorchExit, failure_of, no_spawner, not_started
from conductor_loop.core.sandbox import UNCONFINED
from conductor_loop.core.traces import TRACEPARENT, traceparent
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.porch")

# What a program needs to find its tools, its files and its language; nothing else is inherited.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
# The folder of the attempt: what porch leaves there goes with it.
_FOLDER_VARIABLES = (FOLDER_VARIABLE, b"TMPDIR")
_ID_VARIABLE = b"CONDUCTOR_INTENT_ID"
# The state belongs to whatever made the parent that ours takes the place of.
_TRACE_VARIABLES = (TRACEPARENT, "TRACESTATE")
_OUTPUTS_UNKNOWN = "porch writes into a shared folder"


@dataclass(frozen=True, slots=True)
class PorchSection:
    """What the porch publisher has to be told."""

    porch: str
    """A path, or a name to look for on PATH."""
    out: Path
    state: Path
    mode: Mode
    workers: int
    grace: timedelta
    """Between SIGTERM and SIGKILL."""
    environment: Mapping[str, str]
    """Variables that porch gets besides the clean minimum."""
    sandbox: SandboxSection
    scrub: bool = True
    """Whether secrets are taken out of what porch printed."""
    trace_share: float | None = None
    """Which share of traces is kept; None: there are none, and porch is not told of any."""
    pinned_sha256: str = ""
    """What the program must hash to, in hex; empty: whatever is there at start."""


class PorchPublisher:
    """A `Publisher` that runs the porch command once per attempt."""

    def __init__(
        self,
        section: PorchSection,
        command: PorchCommand,
        children: Children,
        spool: Spool,
        clock: Clock,
    ) -> None:
        """Open OUT, to sync its file system; raises OSError."""
        self.command = command
        self.program_sha256 = command.sha256()
        self._pinned_sha256 = section.pinned_sha256
        self._first_file = command.file()
        self._rules = child_rules(command.path, _places(section, spool))
        self._told_of = ""  # the other program that was found last, and not run
        self._children = children
        self._spool = spool
        self._clock = clock
        self._grace = section.grace
        self._scrub = section.scrub
        self._flags = (b"-structured",) if section.mode is Mode.STRUCTURED else ()
        is_traced = section.trace_share is not None
        self._environment = _environment(section.environment, _TRACE_VARIABLES if is_traced else ())
        self._trace_share = section.trace_share
        self._token = TOKEN_VARIABLE + b"=" + children.token_prefix.encode()
        self._out = OutFolder(section.out)
        self._destination = (b"-out", self._out.path)

    @property
    def sandbox(self) -> str:
        """See `ports.Publisher`."""
        return self._children.layer

    def close(self) -> None:
        """Let go of OUT."""
        self._out.close()

    async def publish(self, lease: Lease) -> Outcome:
        """See `ports.Publisher`."""
        attempt = f"{lease.intent_id}.{lease.attempt}"
        started_at, porch_sha256 = self._clock.now(), self.command.sha256()
        if hindrance := self._hindrance(porch_sha256):
            return Undelivered(0, started_at, timedelta(0), hindrance)
        try:
            copy = self._spool.put(attempt, lease.name, lease.body)
        except OSError as error:
            return Undelivered(0, started_at, timedelta(0), _no_copy(error))
        try:
            ending = await self._children.run(self._request(lease, attempt.encode(), copy))
        finally:
            self._spool.remove(copy)
        outcome = self._outcome(lease, ending)
        if isinstance(outcome, Abandoned):
            return outcome
        if isinstance(outcome, Undelivered) and (trouble := self._trouble_with_out()):
            outcome = replace(outcome, failure=trouble)
        self._describe(lease, outcome)
        return replace(outcome, porch_sha256=porch_sha256, sandbox=self.sandbox)

    async def settle_output(self) -> None:
        """See `ports.Publisher`."""
        await asyncio.to_thread(self._out.sync)

    async def stop(self, intent_id: str) -> None:
        """See `ports.Publisher`."""
        await self._children.stop(intent_id)

    async def recall(self) -> None:
        """See `ports.Publisher`."""
        await self._children.recall()

    def replacement(self) -> str:
        """See `ports.Publisher`. Raises CannotStart for one that no start would take."""
        now = self.command.sha256()
        if now in ("", self.program_sha256) or now != self._told_of:
            return ""
        require_trusted(self.command, self._pinned_sha256)
        if not self._is_within_reach():
            failure = _out_of_reach(self.command)
            raise CannotStart(failure.message, hint=failure.hint, code=failure.code)
        return now

    def _is_within_reach(self) -> bool:
        """Whether what stands there now can be run at all: a sandbox is never widened."""
        return (
            self.sandbox == UNCONFINED
            or self.command.file() == self._first_file
            or is_open_by_folder(self.command.path, self._rules)
        )

    def accept(self, sha256: str) -> None:
        """See `ports.Publisher`."""
        self.program_sha256 = sha256

    def _hindrance(self, porch_sha256: str) -> Failure | None:
        """Why nothing may be run now, whichever intent it is for."""
        if porch_sha256 and porch_sha256 != self.program_sha256:
            self._told_of = porch_sha256
            return self._changed(porch_sha256)
        if porch_sha256 and not self._is_within_reach():
            return _out_of_reach(self.command)
        return self._trouble_with_out()

    def _trouble_with_out(self) -> Failure | None:
        return self._out.trouble(is_confined=self.sandbox != UNCONFINED)

    def _changed(self, now: str) -> Failure:
        """Somebody replaced the program under the running daemon: an operator has to decide."""
        accept = (
            "run conductor-loop resume, which accepts it unless another is pinned"
            if self._is_within_reach()
            else "restart conductor-loop to run it, as the sandbox is open to the old file alone"
        )
        return Failure(
            kind=FailureKind.ENVIRONMENT,
            code="porch_changed",
            message=f"{shown(self.command.path)} was changed under the running daemon: its SHA-256 "
            f"is {now}, and was {self.program_sha256}",
            hint=f"if that was meant, {accept}; else put the old one back and find out who did it: "
            "the queue waits and goes on by itself",
        )

    def _describe(self, lease: Lease, outcome: Delivered | Undelivered) -> None:
        if not _log.isEnabledFor(logging.DEBUG):
            return
        flags = b" ".join((*self._destination, *self._flags))
        came = "delivered" if isinstance(outcome, Delivered) else outcome.failure.message
        _log.debug(
            "worker %d ran %s -intent %s %s in %s: %s",
            outcome.worker,
            shown(self.command.path),
            shown(lease.name),
            shown(flags),
            format_duration(outcome.duration),
            came,
            extra=lease.facts(),
        )

    def _request(self, lease: Lease, attempt: bytes, copy: bytes) -> ChildRequest:
        return ChildRequest(
            key=lease.intent_id,
            argv=(self.command.path, b"-intent", copy, *self._destination, *self._flags),
            environment=(
                *(name + b"=" + os.path.dirname(copy) for name in _FOLDER_VARIABLES),
                *self._environment,
                self._token + attempt,
                _ID_VARIABLE + b"=" + lease.intent_id.encode(),
                *self._place_in_trace(lease),
            ),
            timeout=lease.timeout,
            grace=self._grace,
        )

    def _place_in_trace(self, lease: Lease) -> tuple[bytes, ...]:
        if self._trace_share is None:
            return ()
        place = traceparent(lease.intent_id, lease.attempt, self._trace_share)
        return (f"{TRACEPARENT}={place}".encode(),)

    def _outcome(self, lease: Lease, ending: Ending) -> Outcome:
        match ending:
            case ChildResult():
                return _judged(lease, ending, scrub=self._scrub)
            case SpawnFailed(worker, started_at, error):
                failure = not_started(shown(self.command.path), os.strerror(error))
                return Undelivered(worker, started_at, timedelta(0), failure)
            case Stopped(started):
                return Abandoned("shutdown" if started else "not_run")
            case NoSupervisor(detail):
                return Undelivered(0, self._clock.now(), timedelta(0), no_spawner(detail))
            case SupervisorLost():
                return Abandoned("spawner_ended")


def _judged(lease: Lease, result: ChildResult, *, scrub: bool) -> Outcome:
    if result.exit_code == 0 and not result.timed_out:
        return Delivered(
            result.worker, result.started_at, result.duration, outputs_unknown=_OUTPUTS_UNKNOWN
        )
    failure = failure_of(
        PorchExit(
            code=result.exit_code,
            signal=result.signal,
            timed_out=result.timed_out,
            deadline=lease.timeout,
            stdout=cleaned(result.stdout, scrub=scrub),
            stderr=cleaned(result.stderr, scrub=scrub),
        )
    )
    assert failure is not None
    return Undelivered(result.worker, result.started_at, result.duration, failure)


def _environment(extra: Mapping[str, str], without: Sequence[str]) -> tuple[bytes, ...]:
    """The clean minimum, and over it what the operator lists; never our own variables."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    ours = {*map(os.fsdecode, (TOKEN_VARIABLE, _ID_VARIABLE, FOLDER_VARIABLE)), *without}
    chosen = {name: text for name, text in {**inherited, **extra}.items() if name not in ours}
    return tuple(os.fsencode(f"{name}={text}") for name, text in chosen.items())


def _out_of_reach(command: PorchCommand) -> Failure:
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        code="porch_out_of_reach",
        message=f"{shown(command.path)} is another file than at the start, and the sandbox lets "
        "only that one be run",
        hint="restart conductor-loop to run it, or move (not copy) the old file back; nothing is "
        "lost, the queue waits",
    )


def _no_copy(error: OSError) -> Failure:
    no_room = error.errno in disk.ROOM_ERRORS
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        code="spool_no_room" if no_room else "spool_failed",
        message=f"the copy of the intent for porch cannot be written: {error.strerror}",
        hint="make room in the state dir" if no_room else "check the state dir and its disk",
    )


@asynccontextmanager
async def open_porch(
    section: PorchSection, conductor: int, clock: Clock
) -> AsyncIterator[PorchPublisher]:
    """Find porch and start the spawner.

    `conductor` is the open folder `.conductor`; the caller holds its lock, has called
    `end_leftovers` and made `section.out`. Raises CannotStart.
    """
    command = resolve_porch(section.porch)
    require_trusted(command, section.pinned_sha256)
    prefix = token_prefix(conductor)
    with _folders_named():
        spool = Spool(section.state)
    with spool:
        chosen = choose(section.sandbox, command.path, _places(section, spool))
        async with Children(section.workers, prefix, chosen.confinement) as children:
            for gap in chosen.gaps:
                _log.warning(gap)
            _log.info("porch runs in the sandbox %s", children.layer)
            with _folders_named():
                publisher = PorchPublisher(section, command, children, spool, clock)
            with contextlib.closing(publisher):
                yield publisher


def _places(section: PorchSection, spool: Spool) -> Places:
    return Places(
        out=os.fsencode(section.out.absolute()),
        work=spool.folders,
        closed=[os.fsencode(path.absolute()) for path in section.sandbox.closed],
        read=[os.fsencode(path.absolute()) for path in section.sandbox.read],
        write=[os.fsencode(path.absolute()) for path in section.sandbox.write],
    )


@contextmanager
def _folders_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"a folder that porch works with cannot be used: {error}",
            hint="check that it is there, and whose it is",
            code="porch_folders",
        ) from error
