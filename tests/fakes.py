"""Stand-ins for the world, steered by the test: clock, source, publisher.

Each keeps the contract of its port. The fake journal has a module of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from bisect import insort
from collections.abc import Awaitable, Callable, Container, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import ParamSpec

from conductor_loop.core.arrival import (
    Abandoned,
    Arrival,
    Content,
    Delivered,
    Lease,
    Outcome,
    Undelivered,
)
from conductor_loop.core.events import Failure, FailureKind, Receipt
from conductor_loop.core.identity import ulid
from conductor_loop.core.intent import Target

BEGINNING = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
_P = ParamSpec("_P")
_DEADLINE_SECONDS = 30


def in_a_loop(test: Callable[_P, Coroutine[object, object, None]]) -> Callable[_P, None]:
    """Run an asynchronous test in an event loop of its own, with a deadline."""

    @wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(_within_deadline(test(*args, **kwargs)))

    return run


async def _within_deadline(awaitable: Awaitable[None]) -> None:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        await awaitable


def number_id(number: int) -> str:
    """Make the id of a small number; ids rise with their numbers."""
    return ulid(number, 0)


def intent_bytes(target: Target, replicas: int) -> bytes:
    """Write a scaling intent."""
    document = {
        "intent_type": "scaling",
        "namespace": target.namespace,
        "target": target.name,
        "replicas": replicas,
    }
    return json.dumps(document).encode()


def receipt_of(name: bytes, body: bytes, received_at: datetime = BEGINNING) -> Receipt:
    """Make the receipt of a regular file."""
    return Receipt(name, received_at, len(body), hashlib.sha256(body).hexdigest(), "operator")


def failure_of(kind: FailureKind, code: str = "made_up") -> Failure:
    """Make a failure of a kind."""
    return Failure(kind, code, f"a {kind} failure, as the test asked", "nothing to do")


def delivered(clock: FakeClock) -> Delivered:
    """Make the outcome of an attempt that worked."""
    return Delivered(0, clock.now(), timedelta(milliseconds=5), outputs_unknown="a fake")


def undelivered(clock: FakeClock, kind: FailureKind) -> Undelivered:
    """Make the outcome of an attempt that did not."""
    return Undelivered(0, clock.now(), timedelta(milliseconds=5), failure_of(kind))


class FakeClock:
    """`ports.Clock` whose time stands still until the test advances it."""

    def __init__(self, start: datetime = BEGINNING) -> None:
        self._start = start
        self._passed = 0.0
        self.wall_ahead = timedelta(0)
        """How far somebody has set the wall clock, which steady time does not feel."""
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = 0

    def now(self) -> datetime:
        """See `ports.Clock`."""
        return self._start + timedelta(seconds=self._passed) + self.wall_ahead

    def steady(self) -> float:
        """See `ports.Clock`."""
        return 1_000.0 + self._passed

    async def sleep(self, seconds: float) -> None:
        """See `ports.Clock`; ends when the test has advanced far enough."""
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slept += 1
        insort(self._sleepers, (self.steady() + max(seconds, 0.0), self._slept, waker))
        self._wake()
        await waker

    def step(self, seconds: float) -> None:
        """Set the wall clock to another time; the steady one goes on."""
        self._start += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake who slept until then."""
        self._passed += seconds
        self._wake()

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self.steady():
            waker = self._sleepers.pop(0)[2]
            # Who was cancelled meanwhile, or belonged to a loop that is gone, sleeps no more.
            if not waker.done():
                waker.set_result(None)


@dataclass(slots=True)
class Claims:
    """What a fake source keeps on its disk: files handed over, and files claimed under ids."""

    handed_over: list[Arrival] = field(default_factory=list)
    claimed: dict[str, Arrival] = field(default_factory=dict)
    ids: int = 0

    def next_id(self) -> str:
        """Make an id that is higher than any before."""
        self.ids += 1
        return number_id(self.ids)


class FakeSource:
    """`ports.Source` over a list; `drain` ends it as the end of `-once` does."""

    def __init__(self, clock: FakeClock, claims: Claims | None = None) -> None:
        self.blocked_by: OSError | None = None
        self.held_open: bytes | None = None
        self.claims = claims or Claims()
        self._clock = clock
        self._drained = False
        self._bell = asyncio.Event()

    def offer(self, name: bytes, body: bytes) -> str:
        """Hand over a file; return the id that it will be claimed under."""
        intent_id = self.claims.next_id()
        receipt = receipt_of(name, body, self._clock.now())
        self.claims.handed_over.append(Arrival(intent_id, receipt, Content(body)))
        self._bell.set()
        return intent_id

    def drain(self) -> None:
        """Nothing will come any more."""
        self._drained = True
        self._bell.set()

    async def take(self, room: int) -> Sequence[Arrival]:
        """See `ports.Source`."""
        while not self.claims.handed_over and not self._drained:
            self._bell.clear()
            await self._bell.wait()
        taken = self.claims.handed_over[:room]
        del self.claims.handed_over[:room]
        self.claims.claimed |= {arrival.intent_id: arrival for arrival in taken}
        # The claim is durable, the journal knows nothing yet: a crash may come in between.
        await asyncio.sleep(0)
        return taken

    async def leftovers(self, known: Container[str]) -> Sequence[Arrival]:
        """See `ports.Source`."""
        return [a for intent_id, a in sorted(self.claims.claimed.items()) if intent_id not in known]


class FakePublisher:
    """`ports.Publisher` whose attempts end when, and as, the test says.

    With a `script` each attempt ends at once as the script says; None leaves it running. Beyond so
    many `places`, attempts wait for one.
    """

    program_sha256 = ""
    sandbox = "none"

    def __init__(
        self,
        script: Callable[[Lease], Outcome | Exception | None] | None = None,
        places: int = 1_000_000,
    ) -> None:
        self.running: dict[str, Lease] = {}
        self.leases: list[Lease] = []
        """Every attempt that ever began, in order."""
        self.delivered: list[Lease] = []
        """Every attempt whose effect the world has seen, in order."""
        self.synced = 0
        """How many of those would survive a power cut."""
        self.violations: list[str] = []
        """What must never be asked of a publisher, but was."""
        self.replaced_by = ""
        """The hash of another program that stands where its own did."""
        self._script = script or (lambda _: None)
        self._places = places
        self._ends: dict[str, asyncio.Future[Outcome]] = {}
        self._ahead: dict[str, tuple[Lease, asyncio.Future[Abandoned | None]]] = {}

    def replacement(self) -> str:
        """See `ports.Publisher`."""
        return self.replaced_by

    def accept(self, sha256: str) -> None:
        """See `ports.Publisher`."""
        self.program_sha256, self.replaced_by = sha256, ""

    async def publish(self, lease: Lease) -> Outcome:
        """See `ports.Publisher`."""
        rivals = [*self.running.values(), *(other for other, _ in self._ahead.values())]
        if any(other.target == lease.target for other in rivals):
            self.violations.append(f"two attempts of {lease.target} at the same time")
        not_run = await self._begin(lease)
        if not_run is not None:
            return not_run
        self.leases.append(lease)
        self._ends[lease.intent_id] = asyncio.get_running_loop().create_future()
        scripted = self._script(lease)
        if scripted is not None:
            self.end(lease.intent_id, scripted)
        try:
            return await self._ends[lease.intent_id]
        finally:
            del self.running[lease.intent_id], self._ends[lease.intent_id]
            self._let_in()

    def end(self, intent_id: str, outcome: Outcome | Exception) -> None:
        """End a running attempt, as an outcome or as a surprise."""
        if isinstance(outcome, Delivered):
            self.delivered.append(self.running[intent_id])
        if isinstance(outcome, Exception):
            self._ends[intent_id].set_exception(outcome)
        else:
            self._ends[intent_id].set_result(outcome)

    @property
    def endable(self) -> list[str]:
        """The ids of attempts that have not been told how to end, oldest first."""
        return [intent_id for intent_id, end in self._ends.items() if not end.done()]

    async def settle_output(self) -> None:
        """See `ports.Publisher`."""
        self.synced = len(self.delivered)

    async def stop(self, intent_id: str) -> None:
        """See `ports.Publisher`."""
        if intent_id in self.endable:
            self._ends[intent_id].set_result(Abandoned("shutdown"))
        elif intent_id in self._ahead:
            self._ahead.pop(intent_id)[1].set_result(Abandoned("not_run"))

    async def recall(self) -> None:
        """See `ports.Publisher`."""
        for intent_id in list(self._ahead):
            await self.stop(intent_id)

    async def _begin(self, lease: Lease) -> Abandoned | None:
        if len(self.running) < self._places:
            self.running[lease.intent_id] = lease
            return None
        turn: asyncio.Future[Abandoned | None] = asyncio.get_running_loop().create_future()
        self._ahead[lease.intent_id] = (lease, turn)
        return await turn

    def _let_in(self) -> None:
        while self._ahead and len(self.running) < self._places:
            intent_id = next(iter(self._ahead))
            lease, turn = self._ahead.pop(intent_id)
            if not turn.done():
                self.running[intent_id] = lease
                turn.set_result(None)
