"""What commands do while no daemon runs: take its lock, do it, let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import msgspec

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.journal.database import FILE_NAME, require_journal
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal
from conductor_loop.adapters.keys.store import rotate_own_key
from conductor_loop.conductor.backlog import Backlog, WaitingPolicy
from conductor_loop.conductor.control import Control, Sight
from conductor_loop.conductor.recovery import recover_running
from conductor_loop.conductor.steering import Refused, Steering
from conductor_loop.core.breaker import Breaker
from conductor_loop.core.control import Reply, Request, RotateKey
from conductor_loop.core.events import Noticed
from conductor_loop.core.original_state import FileState
from conductor_loop.core.protection import Protections
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import severity_of
from conductor_loop.operations.pairing import require_pair
from conductor_loop.projections.audit.start import require_newest
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import step_down
from conductor_loop.settings.intake import intake_rules
from conductor_loop.settings.sections import layout_of, new_id, policies, reader, sealing
from conductor_loop.wiring.original import remember


def steer_offline(settings: Settings, request: Request) -> Reply:
    """Carry out a request while no daemon runs: take its lock, do it, let go.

    Raises CannotStart where no daemon ever ran: most likely it runs elsewhere.
    """
    require_journal(settings.state_dir / FILE_NAME)
    if isinstance(request, RotateKey):
        return asyncio.run(_rotate_offline(settings, step_down(settings)))
    return asyncio.run(_steer_offline(settings, request, step_down(settings)))


async def _steer_offline(settings: Settings, request: Request, by: str) -> Reply:
    clock, rules = SystemClock(), intake_rules(settings)
    async with _offline_journal(settings, clock) as journal:
        decided = policies(settings, rules)
        backlog = Backlog(journal, clock, Breaker(decided.breaker), WaitingPolicy())
        await backlog.restore(await recover_running(journal, journal.reader, decided.work.retry))
        recovered = asyncio.Event()
        recovered.set()
        steering = Steering(
            journal, journal.reader, clock, new_id(clock), reader(rules), backlog, None, recovered
        )
        control = Control(
            steering,
            Sight(list, _nothing_runs, Protections()),
            lambda _: "",  # keys are rotated above
            lambda _: ((), ()),  # nothing runs that could read its settings again
        )
        reply = await control.obey(request, by)
    return msgspec.structs.replace(reply, pid=0)


def _nothing_runs() -> NoReturn:
    raise Refused("no daemon runs", hint="conductor-loop list shows what its journal says")


async def _rotate_offline(settings: Settings, by: str) -> Reply:
    clock = SystemClock()
    async with _offline_journal(settings, clock) as journal:
        kid = rotate_own_key(settings.state_dir, clock.now(), by)
        severity = severity_of("key_rotated")
        await journal.record([Record(None, Noticed("key_rotated", severity, kid, by=by))])
    return Reply(kid=kid)


def import_offline(settings: Settings, files: Sequence[FileState], source: str) -> None:
    """Take over what the original had processed; no daemon may run. Raises CannotStart."""

    by = step_down(settings)

    async def take_over() -> None:
        async with _offline_journal(settings, SystemClock()) as journal:
            await remember(journal, files, source, by)

    asyncio.run(take_over())


@asynccontextmanager
async def _offline_journal(settings: Settings, clock: SystemClock) -> AsyncIterator[SqliteJournal]:
    async with contextlib.AsyncExitStack() as open_things:
        layout = open_things.enter_context(layout_of(settings))
        open_things.enter_context(hold_lock(layout, clock.now()))
        journal = open_journal(Path(layout.state_path), clock, sealing(settings))
        open_things.push_async_callback(journal.close)
        require_newest(layout.state, journal.reader)
        require_pair(layout, journal)
        for changed in layout.closed:  # opening it closed them, so the daemon will find nothing
            code, details = "state_mode_changed", changed.details()
            told = Noticed(code, severity_of(code), changed.path, details)
            await journal.record([Record(None, told)])
        yield journal
