"""A distributor from settings: every part made, and run to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.claims import Claims
from conductor_loop.adapters.handoff.copies import Copies
from conductor_loop.adapters.handoff.events import open_hints
from conductor_loop.adapters.handoff.handover import open_handoff
from conductor_loop.adapters.handoff.inbox_identity import identity_of
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.handoff.older_claims import renew_claims
from conductor_loop.adapters.handoff.ordinals import settle_division
from conductor_loop.adapters.handoff.passing_on import Handoffs
from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.conductor.distribution import Distribution
from conductor_loop.core.faults import UsageError
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import confine_distributor, leave_root_to_distribute
from conductor_loop.settings.sections import folder_settings, layout_of
from conductor_loop.wiring.daemon import first_cause

_log = logging.getLogger("conductor_loop.distribution")


def distribute(settings: Settings, handoffs: Sequence[Path]) -> Distribution:
    """Divide the inbox, `-handoff`, until stopped, or with `-once` until it is empty.

    Raises ConductorError.
    """
    folders = _resolved(settings.handoff, handoffs)
    must_be_confined = leave_root_to_distribute(settings, handoffs)
    try:
        return asyncio.run(_distribute(settings, folders, must_be_confined))
    except BaseExceptionGroup as group:
        raise first_cause(group) from group


async def _distribute(
    settings: Settings, folders: Sequence[str], must_be_confined: bool
) -> Distribution:
    clock = SystemClock()
    with contextlib.ExitStack() as open_things:
        layout = open_things.enter_context(layout_of(settings, has_journal=False))
        lock = open_things.enter_context(hold_lock(layout, clock.now()))
        renew_claims(layout)  # before the copies, which count as long as there is no claim
        inbox = identity_of(layout, clock.now())
        copies = Copies(inbox, layout.claimed, settings.max_file_size)
        # Before it is confined: handoffs of before need not be among those of now.
        begun = settle_division(layout, folders, copies)
        confine_distributor(settings, [Path(one) for one in folders], must=must_be_confined)
        hints = open_things.enter_context(contextlib.closing(open_hints()))
        source = FolderSource(layout, lock, hints, clock, folder_settings(settings))
        claims = Claims(layout, clock, settings.max_file_size)
        handoffs = Handoffs(layout, claims, copies, clock, folders)
        distribution = Distribution(source, handoffs, clock, len(folders))
        _log.info("dividing %s among %d handoffs", layout.path, len(folders))
        await _until_stopped(distribution.run(begun))
    return distribution


async def _until_stopped(run: Coroutine[None, None, None]) -> None:
    running = asyncio.ensure_future(run)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, running, number)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _stop(running: asyncio.Future[None], number: signal.Signals) -> None:
    _log.info("stopping on %s", number.name)
    running.cancel()


def _resolved(inbox: Path, handoffs: Sequence[Path]) -> list[str]:
    """The handoffs with links followed this once. Raises CannotStart and UsageError."""
    for handoff in handoffs:
        os.close(open_handoff(handoff))
    folders = [os.path.realpath(handoff) for handoff in handoffs]
    for one in folders:
        if folders.count(one) > 1 or one == os.path.realpath(inbox):
            raise UsageError(
                f"{one} is named twice", hint="the inbox and each handoff are folders of their own"
            )
    return folders
