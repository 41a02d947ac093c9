"""The watch that a daemon keeps beside its work: what is noticed, and what is looked at slowly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop.adapters.control_token import ControlToken
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.private_state import put_modes_back
from conductor_loop.conductor.daemon import Conductor
from conductor_loop.conductor.restraint import Restraint
from conductor_loop.core.detection.modes import ModeChanged
from conductor_loop.core.detection.pressure import Level
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.jws import Verifier
from conductor_loop.ports import Clock, Listener, Notices
from conductor_loop.settings import Settings
from conductor_loop.wiring.ground import Ground

if TYPE_CHECKING:
    from conductor_loop.adapters.signed_things import SignedThings
    from conductor_loop.projections.audit.finished import FinishedFiles

_log = logging.getLogger("conductor_loop.guarding")


def watchers(settings: Settings, notices: Notices, clock: Clock) -> Sequence[Listener]:
    """Who listens for what is out of the ordinary; nobody when that is switched off."""
    if not settings.security_enabled:
        return ()
    from conductor_loop.projections.anomalies import Anomalies

    return (Anomalies(notices, clock),)


@asynccontextmanager
async def guarding(
    settings: Settings,
    ground: Ground,
    conductor: Conductor,
    restraint: Restraint,
    clock: Clock,
    token: ControlToken,
) -> AsyncIterator[None]:
    """Keep watch as long as the block lasts."""
    from conductor_loop.conductor.vigil import Vigil

    vigil, layout = Vigil(ground.notices, clock), ground.layout
    folders = [settings.handoff, Path(layout.state_path), settings.out]
    tasks = [
        asyncio.create_task(vigil.watch_levels(lambda: _levels(conductor, folders))),
        asyncio.create_task(vigil.watch_modes(lambda: _modes(layout, token))),
        asyncio.create_task(restraint.run()),
    ]
    if settings.integrity_interval:
        examiner = _examiner(settings, layout, ground.keys)
        tasks += [
            asyncio.create_task(vigil.examine(each, settings.integrity_interval))
            for each in (examiner, _finished_files(layout, ground.keys))
        ]
    if settings.compliance_interval:
        tasks.append(asyncio.create_task(_report(settings, ground, clock)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        # What porch changed as its last act would have the next start refuse the keys.
        if changed := _modes(layout, token):
            vigil.tell_modes(changed)
            with contextlib.suppress(ConductorError):
                await ground.notices.flush()


def _modes(layout: Layout, token: ControlToken) -> Sequence[ModeChanged]:
    """Put back what was changed; who could read the token then knows an old one."""
    try:
        changed = put_modes_back(layout)
    except OSError as error:
        _log.warning("did not put back modes of the state: %s", error)
        return ()
    if changed:
        with contextlib.suppress(OSError):  # a full disk; the old one stays in force
            token.renew()
    return changed


async def _report(settings: Settings, ground: Ground, clock: Clock) -> None:
    from conductor_loop.operations.compliance import keep_report
    from conductor_loop.operations.in_force import said_by_daemon

    itself = said_by_daemon(ground.protections, os.getpid())
    while True:
        await clock.sleep(settings.compliance_interval.total_seconds())
        try:
            await asyncio.to_thread(keep_report, settings, itself)
        except (OSError, ConductorError) as error:
            _log.warning("no compliance report was written: %s", error)


def _examiner(settings: Settings, layout: Layout, keys: Verifier) -> SignedThings:
    from conductor_loop.adapters.signed_things import Places, SignedThings

    out = settings.out if settings.is_builtin else None
    places = Places(Path(layout.path), Path(layout.state_path), settings.kek_file, out)
    return SignedThings(places, keys)


def _finished_files(layout: Layout, keys: Verifier) -> FinishedFiles:
    from conductor_loop.projections.audit.finished import FinishedFiles

    return FinishedFiles(layout.state_path, keys)


def _levels(conductor: Conductor, folders: Sequence[Path]) -> Iterator[Level]:
    from conductor_loop.adapters.pressure import levels

    yield from levels(folders)
    backlog = conductor.backlog
    used = len(backlog)
    yield Level("queue_pressure", "unfinished intents", used / max(1, used + backlog.free))
