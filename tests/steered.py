"""A whole conductor under the hand of a test: one thread, no real time, killed at any step.

What happens next is always the test's choice: one turn of the event loop, or one commit of the
journal. The journal is the real one, on a real disk; only its thread is the test itself.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import shutil
from collections.abc import Container, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from conductor_loop.adapters.journal import Sealing, SqliteJournal
from conductor_loop.adapters.journal.commits import gather
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.conductor.backlog import WaitingPolicy
from conductor_loop.conductor.control import target_on_record
from conductor_loop.conductor.daemon import Conductor, Parts, Policies
from conductor_loop.conductor.housekeeping import Housekeeping, RetentionPolicy
from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.conductor.work import WorkPolicy
from conductor_loop.core.arrival import Arrival, Lease, Outcome
from conductor_loop.core.breaker import BreakerPolicy
from conductor_loop.core.events import RetryScheduled, Started
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.records import Entry, Summary
from conductor_loop.core.settlement import RetryPolicy
from conductor_loop.ports import Steps
from tests.fakes import Claims, FakeClock, FakePublisher, FakeSource

_T = TypeVar("_T")
GRACE = timedelta(seconds=10)
RULES = IntakeRules(check_schema=lambda _: ())
_SHORT_SECONDS = 0.03  # longer than every pause by which the loops gather what belongs together
_MOST_TURNS = 10_000


@dataclass(slots=True)
class World:
    """What outlives a daemon: files, packages, views. A kill leaves a copy of it."""

    folder: Path
    claims: Claims = field(default_factory=Claims)
    judged_from: dict[str, int] = field(default_factory=dict)
    """What was committed when a file came from the source, by id."""
    delivered: list[Lease] = field(default_factory=list)
    seen: dict[str, list[int]] = field(default_factory=dict)
    """The seqs that each view applied for the first time, in that order."""
    filed: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """What was tidied away."""
    views_fail: bool = False
    """Nothing can be written for now."""
    refused: set[int] = field(default_factory=set)
    """Entries that no view can take."""
    violations: list[str] = field(default_factory=list)


class SteeredLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the test's."""

    def __init__(self, clock: FakeClock) -> None:
        self._test_clock = clock
        super().__init__()

    def time(self) -> float:
        return self._test_clock.steady()


class SteeredJournal(SqliteJournal):
    """The journal, committing when the test says so."""

    def _serve(self) -> None:
        """Leave the requests to `commit`."""

    @property
    def is_asked(self) -> bool:
        """Whether anything waits to be committed."""
        return not self._requests.empty()

    def commit(self) -> None:
        """Commit what waits, as one group."""
        request = self._requests.get_nowait()
        assert request is not None
        batch, _ = gather(request, self._requests, patience=0.0)  # whoever asks is this thread
        self._announce(batch, self._commit_batch(batch))

    def let_go(self) -> None:
        """Close the files; what was not committed is lost."""
        self.reader.close()
        self._connection.close()
        self._custody.close()


class SteeredSource(FakeSource):
    """The source, noting what was committed when it gave a file."""

    def __init__(self, world: World, journal: SteeredJournal, clock: FakeClock) -> None:
        super().__init__(clock, world.claims)
        self._world = world
        self._journal = journal

    async def take(self, room: int) -> Sequence[Arrival]:
        return self._noted(await super().take(room))

    async def leftovers(self, known: Container[str]) -> Sequence[Arrival]:
        return self._noted(await super().leftovers(known))

    def _noted(self, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        seq = self._journal.reader.last_seq()
        self._world.judged_from |= {arrival.intent_id: seq for arrival in arrivals}
        return arrivals


class SteeredPublisher(FakePublisher):
    """The publisher, checking that each attempt is durably started when it runs."""

    def __init__(self, world: World, journal: SteeredJournal, places: int) -> None:
        super().__init__(self._begun, places)
        self.delivered = world.delivered
        self.violations = world.violations
        self.forbidden: set[object] = set()
        """Targets that are paused, and None when everything is."""
        self._journal = journal

    async def publish(self, lease: Lease) -> Outcome:
        *_, before, last = self._journal.reader.history(lease.intent_id)
        if last.event != Started(lease.attempt):
            self.violations.append(f"{lease} runs after {last.event}")
        if isinstance(before.event, RetryScheduled) and last.at < before.event.not_before:
            self.violations.append(f"{lease} does not wait out its backoff")
        return await super().publish(lease)

    def _begun(self, lease: Lease) -> None:
        """Leave the attempt running."""
        if {lease.target, None} & self.forbidden:
            self.violations.append(f"{lease} begins in a pause")


class View:
    """`ports.Projection` that takes note; the last of a file's entries files it."""

    def __init__(self, name: str, world: World, after: str = "") -> None:
        self._name = name
        self._after = after
        self._world = world

    def apply(self, entries: Sequence[Entry]) -> Steps:
        places: list[tuple[str, str]] = []
        if self._after:
            yield ()  # what would be drafted
        for entry in entries:
            if self._world.views_fail:
                raise OSError(errno.EIO, "made up")
            if entry.seq in self._world.refused:
                raise OSError(errno.ENAMETOOLONG, "made up")
            places += self._take(entry)
        return places

    def _take(self, entry: Entry) -> list[tuple[str, str]]:
        world = self._world
        if self._after and entry.seq not in world.seen[self._after]:
            world.violations.append(f"{self._name} sees {entry.seq} before {self._after}")
        seen = world.seen.setdefault(self._name, [])
        if entry.seq not in seen:
            seen.append(entry.seq)
        place = _PLACES.get(type(entry.event).__name__)
        if self._name != "filing" or place is None or entry.intent_id is None:
            return []
        world.claims.claimed.pop(entry.intent_id, None)
        if world.filed.setdefault(entry.intent_id, place) != place:
            world.violations.append(f"{entry.intent_id} is filed twice")
        return [(entry.intent_id, place)]


_PLACES = {
    "Published": "processed",
    "Duplicated": "processed",
    "Skipped": "processed",
    "Rejected": "failed",
    "Quarantined": "quarantine",
    "Failed": "failed",
    "TimedOut": "failed",
}


class SteeredTidying:
    """`ports.Tidier` that takes note."""

    def __init__(self, world: World) -> None:
        self._world = world

    def remove(self, intents: Sequence[Summary]) -> Sequence[str]:
        ids = [intent.intent_id for intent in intents]
        self._world.removed += ids
        return ids


@dataclass(frozen=True, slots=True)
class Setting:
    """What an operator may have set."""

    workers: int = 2
    max_attempts: int = 3
    max_crashes: int = 1_000
    capacity: int = 1024
    supersede: bool = False
    max_wait: timedelta | None = None
    longest_pause: timedelta | None = None
    retention: timedelta = timedelta(0)


class Life:
    """One daemon from its start to its end, over a world that outlives it."""

    def __init__(self, world: World, clock: FakeClock, setting: Setting) -> None:
        self.world = world
        self.clock = clock
        self.loop = SteeredLoop(clock)
        self._setting = setting
        self._run(self._build())
        targets = [target_on_record(pause.target) for pause in self.journal.reader.pauses()]
        self.publisher.forbidden = set(targets)
        self.running = self.loop.create_task(self.conductor.run(targets))

    async def _build(self) -> None:
        folder, clock = self.world.folder, self.clock
        self.journal = SteeredJournal.open(folder, clock, Sealing(), is_copy=False)
        self.source = SteeredSource(self.world, self.journal, clock)
        self.publisher = SteeredPublisher(self.world, self.journal, self._setting.workers)
        self.conductor = Conductor(self._parts(), _policies(self._setting))

    def _parts(self) -> Parts:
        age = self._setting.retention
        kept = RetentionPolicy(age, age, timedelta(hours=1) if age else age)
        return Parts(
            clock=self.clock,
            source=self.source,
            journal=self.journal,
            feed=self.journal,
            catalog=self.journal.reader,
            publisher=self.publisher,
            projections=[
                View("audit", self.world),
                View("filing", self.world, after="audit"),
                View("verdicts", self.world, after="filing"),
            ],
            listeners=[],
            new_id=self.world.claims.next_id,
            read=_read,
            jitter=lambda: 0.5,
            housekeeping=Housekeeping(
                self.journal,
                self.journal.reader,
                SteeredTidying(self.world),
                self.clock,
                kept,
                self.journal,
            ),
            notices=NoticeBoard(self.journal),
        )

    # Steps.

    def turn(self) -> None:
        """Let everything that is ready run once, or else commit what waits."""
        if self.is_ready or not self.journal.is_asked:
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        else:
            self.journal.commit()
        if self.running.done() and not self.running.cancelled():
            self.running.result()

    @property
    def is_ready(self) -> bool:
        """Whether anything can run at this moment."""
        timers = self.loop._scheduled  # type: ignore[attr-defined] # asyncio tells nobody
        due = timers and timers[0]._when <= self.loop.time()
        return bool(self.loop._ready or due)  # type: ignore[attr-defined] # as above

    def go_on(self, pauses: int = 4) -> None:
        """Go on until nothing happens any more; let so many short pauses pass."""
        self._settle()
        for _ in range(pauses):
            self.clock.advance(_SHORT_SECONDS)
            self._settle()

    def _settle(self) -> None:
        for _ in range(_MOST_TURNS):
            if not self.is_ready and not self.journal.is_asked:
                return
            self.turn()
        raise AssertionError("the loops never come to rest")

    def spawn(self, request: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        """Start something that an operator asked for."""
        return self.loop.create_task(request)

    def ask(self, request: Coroutine[object, object, _T]) -> _T:
        """Do what an operator asks for, to its end."""
        task = self.spawn(request)
        self.go_on()
        return task.result()

    # Ends.

    def die(self, folder: Path) -> World:
        """Leave behind what a killed process leaves; nothing later reaches it."""
        folder.mkdir()
        for path in self.world.folder.glob(f"{FILE_NAME}*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, folder / path.name)
        shutil.copytree(self.world.folder / "keys", folder / "keys")
        survivors = replace(copy.deepcopy(self.world), folder=folder)
        self.end()
        return survivors

    def stop(self) -> World:
        """End in order: grace, then what still runs goes back."""
        self.conductor.stop()
        self.go_on()
        for _ in range(10):
            self.clock.advance(GRACE.total_seconds())
            self.go_on()
        assert self.running.done(), "the daemon does not stop"
        self.end()
        return self.world

    def end(self) -> None:
        """Drop everything as it is."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self._run(_ended(left))
        self.journal.let_go()
        self.loop.close()

    def _run(self, work: Coroutine[object, object, None]) -> None:
        self.loop.run_until_complete(work)


async def _ended(tasks: set[asyncio.Task[object]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _policies(setting: Setting) -> Policies:
    return Policies(
        intake=RULES,
        work=WorkPolicy(
            setting.workers,
            timedelta(seconds=30),
            RetryPolicy(
                setting.max_attempts, timedelta(seconds=1), max_crashes=setting.max_crashes
            ),
        ),
        waiting=WaitingPolicy(
            capacity=setting.capacity, max_wait=setting.max_wait, supersede=setting.supersede
        ),
        breaker=BreakerPolicy(),
        grace=GRACE,
        longest_pause=setting.longest_pause,
    )


def _read(body: bytes) -> Intent | Fault:
    reading = read_intent(body, RULES)
    return reading.faults[0] if isinstance(reading, Unreadable) else reading
