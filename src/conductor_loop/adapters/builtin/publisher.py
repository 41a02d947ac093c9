"""The built-in publisher: renders the package of an intent in this process and puts it into OUT."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from conductor_loop.adapters.builtin.package_folder import PackageFolder, Placed
from conductor_loop.core.arrival import Delivered, Lease, Outcome, Undelivered
from conductor_loop.core.events import Failure, FailureKind, Output
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent
from conductor_loop.core.packages import Mode, render
from conductor_loop.core.sandbox import UNCONFINED
from conductor_loop.ports import Clock

_log = logging.getLogger(__name__)
# The verdict names a worker; there is one, the event loop itself.
_WORKER = 0


class BuiltinPublisher:
    """A `Publisher` without processes.

    An attempt runs to its end without waiting for anything, on the event loop and in no thread:
    it is short, and threads that make short system calls slow each other down at the interpreter
    lock. So it is never stopped half-way, and `lease.timeout` is not looked at.
    """

    def __init__(
        self,
        read: Callable[[bytes], Intent | Fault],
        folder: PackageFolder,
        mode: Mode,
        clock: Clock,
        sandbox: str = UNCONFINED,
    ) -> None:
        """`sandbox` is the layer that this process is confined by, and all it renders with it."""
        self._read = read
        self._folder = folder
        self._mode = mode
        self._clock = clock
        self.sandbox = sandbox

    program_sha256 = ""

    async def publish(self, lease: Lease) -> Outcome:
        """Put the package into OUT; it is durable after `settle_output`."""
        started_at, begun = self._clock.now(), self._clock.steady()
        result = self._deliver(lease)
        duration = timedelta(seconds=self._clock.steady() - begun)
        if isinstance(result, Failure):
            return Undelivered(_WORKER, started_at, duration, result, sandbox=self.sandbox)
        outputs = tuple(
            Output(f"{lease.target.namespace}/{lease.target.name}/{name}", digest)
            for name, digest in sorted(result.digests.items())
        )
        return Delivered(
            _WORKER, started_at, duration, outputs, notes=result.notes, sandbox=self.sandbox
        )

    def replacement(self) -> str:
        """See `ports.Publisher`; without a program there is no other."""
        return ""

    def accept(self, sha256: str) -> None:
        """See `ports.Publisher`; it never told of one."""

    async def settle_output(self) -> None:
        """Sync what was put since the last time, in one go."""
        await asyncio.to_thread(self._folder.unsettled())

    async def stop(self, intent_id: str) -> None:
        """Nothing to end: an attempt is over before anybody else gets to run."""

    async def recall(self) -> None:
        """Nothing waits, for the same reason."""

    def _deliver(self, lease: Lease) -> Placed | Failure:
        intent = self._read(lease.body)
        if isinstance(intent, Fault):
            return refusal(intent)
        package = render(intent, self._mode)
        if isinstance(package, Fault):
            return refusal(package)
        return self._folder.put(package, lambda text: _log.warning(text, extra=lease.facts()))


def refusal(fault: Fault) -> Failure:
    """What is wrong with an intent, as the failure of an attempt that no retry can mend."""
    place = f" ({fault.pointer})" if fault.pointer else ""
    return Failure(FailureKind.PERMANENT, fault.code, fault.message + place, fault.hint)
