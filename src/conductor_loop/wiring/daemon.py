"""A daemon from settings: every part made, given what it needs, and run to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.control_socket import serve_control
from conductor_loop.adapters.journal.writer import SqliteJournal
from conductor_loop.adapters.own_limits import raise_descriptor_limit
from conductor_loop.adapters.pressure import give_back, resident_bytes
from conductor_loop.adapters.systemd.notify import service_manager
from conductor_loop.conductor.control import Control, Sight, target_on_record
from conductor_loop.conductor.daemon import Conductor, Hindrance, Parts
from conductor_loop.conductor.housekeeping import Housekeeping
from conductor_loop.conductor.restraint import Memory, Restraint
from conductor_loop.core.faults import ConductorError, NoRoom
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Pause
from conductor_loop.operations.traces import exporting_traces, require_tracing
from conductor_loop.operations.vitals import Daemon, Observer
from conductor_loop.ports import Listener, Projection
from conductor_loop.projections.filing import Filing
from conductor_loop.projections.journal_log import JournalLog
from conductor_loop.projections.meters import Meters
from conductor_loop.projections.tally import Tally
from conductor_loop.projections.tidying import Tidying
from conductor_loop.projections.verdicts import Verdicts
from conductor_loop.settings import Settings
from conductor_loop.settings.addressing import address
from conductor_loop.settings.confinement import leave_root_behind
from conductor_loop.settings.intake import intake_rules
from conductor_loop.settings.reloading import Reloading
from conductor_loop.settings.sections import (
    new_id,
    policies,
    reader,
    retention,
    service,
)
from conductor_loop.wiring.adoption import adopting
from conductor_loop.wiring.backups import backing_up
from conductor_loop.wiring.ground import Ground, open_ground
from conductor_loop.wiring.guarding import guarding, watchers
from conductor_loop.wiring.key_renewal import KeyRenewal, renewing_key
from conductor_loop.wiring.lifecycle import (
    keeping_informed,
    read_settings_again,
    stop_on_signals,
    telling,
)
from conductor_loop.wiring.publishers import require_porch
from conductor_loop.wiring.readiness import checks

_log = logging.getLogger("conductor_loop")


@dataclass(frozen=True, slots=True)
class Report:
    """How a run of the daemon ended."""

    tally: Tally
    gave_up: Hindrance | None
    """What kept `-once` from going on for longer than `-timeout`; intents are kept."""
    trouble: str
    """More about that, in words."""
    pauses: Sequence[Pause]
    """Those in force at the end."""
    was_stopped: bool
    """It ended before all was done."""
    kept: int
    """Intents that wait for the next start; of one that was stopped, files in the folder, too."""
    set_aside: int = 0
    """Intents that are damaged in the journal and have no verdict; they are not run."""
    parked: int = 0
    """Entries of the journal whose files or verdicts could not be written."""


def run(
    settings: Settings,
    listeners: Sequence[Listener] = (),
    reloading: Reloading | None = None,
    early: Sequence[int] = (),
) -> Report:
    """Serve until stopped, or with `-once` until all is final. Raises ConductorError.

    `early`: signals that came before there was a daemon. Without `reloading` the
    settings come from a program, and reading them again changes nothing.
    """
    reloading = reloading or Reloading(settings, lambda: settings, lambda _: None)
    try:
        require_porch(settings)
        raise_descriptor_limit()
        must_be_confined = leave_root_behind(settings)
        # Not as root: it loads what the variables of OpenTelemetry name.
        require_tracing(settings, os.environ)
        return asyncio.run(_serve(settings, reloading, listeners, early, must_be_confined))
    except BaseExceptionGroup as group:
        raise first_cause(group) from group


async def _serve(
    settings: Settings,
    reloading: Reloading,
    listeners: Sequence[Listener],
    early: Sequence[int],
    must_be_confined: bool,
) -> Report:
    clock, tally, meters = SystemClock(), Tally(), Meters()
    observer = Observer(settings, meters.counts)
    async with contextlib.AsyncExitStack() as served:
        ground = await served.enter_async_context(
            open_ground(settings, observer, clock, must_be_confined=must_be_confined)
        )
        verdicts = _verdicts(settings, ground)
        conductor = _conductor(settings, ground, verdicts, clock, (tally, meters, *listeners))
        restraint = _restraint(settings, ground, conductor, clock)
        reloading.tell(adopting(conductor, ground, observer, verdicts, restraint))
        source, journal, layout = ground.source, ground.journal, ground.layout
        checking = partial(checks, conductor, source, journal, restraint, meters.counts.alerts)
        served.callback(observer.attend, None)
        observer.attend(Daemon(conductor, source, journal, layout, checking))
        renewal = KeyRenewal(ground.keys, ground.notices, clock)
        read_again = partial(read_settings_again, reloading, renewal, ground.notices)
        control = Control(
            conductor.steering,
            Sight(observer.checks, observer.look, ground.protections),
            partial(_rotated, ground, clock),
            read_again,
        )
        manager = served.enter_context(telling(service_manager(os.environ, os.getpid())))
        stop_on_signals(conductor, manager, read_again, early)
        async with (
            exporting_traces(settings, os.environ, journal.position(), meters.counts),
            serve_control(Path(layout.state_path), control.obey, ground.notices) as token,
            keeping_informed(manager, conductor, observer.stuck),
            guarding(settings, ground, conductor, restraint, clock, token),
            backing_up(settings, Path(layout.state_path), clock),
            renewing_key(renewal, settings.key_file),
        ):
            _log.info(_greeting(settings))
            # What starting took goes back; what is left lives as long as the process, so that the
            # collector need not look again.
            give_back()
            gc.freeze()
            await _run_to_the_end(conductor, journal)
        return _report(tally, conductor, ground)


def _report(tally: Tally, conductor: Conductor, ground: Ground) -> Report:
    # One that came to its end by itself has no business with files that came later.
    in_folder = ground.source.unclaimed() if conductor.is_stopping else 0
    stalled, blocked = conductor.relay.stalled_by, ground.source.blocked_by
    held_open = shown(ground.source.held_open or b"")
    trouble = {
        Hindrance.OUTAGE: "porch gives no answer",
        Hindrance.ROOM: "the disk is full",
        Hindrance.VIEWS: f"cannot write verdicts or files: {stalled}",
        Hindrance.HANDOFF: f"cannot take files: {blocked}",
        Hindrance.WRITER: f"{held_open} is open for writing",
    }
    return Report(
        tally,
        conductor.gave_up,
        trouble.get(conductor.gave_up, "") if conductor.gave_up else "",
        ground.journal.reader.pauses(),
        conductor.is_stopping,
        len(conductor.backlog) + in_folder,
        ground.journal.reader.count_set_aside(),
        conductor.relay.parked_count,
    )


def _conductor(
    settings: Settings,
    ground: Ground,
    verdicts: Verdicts,
    clock: SystemClock,
    listeners: Sequence[Listener],
) -> Conductor:
    journal, layout, rules = ground.journal, ground.layout, intake_rules(settings)
    tidying = Tidying(layout)
    parts = Parts(
        clock=clock,
        source=ground.source,
        journal=journal,
        feed=journal,
        catalog=journal.reader,
        publisher=ground.publisher,
        projections=_views(settings, ground, verdicts),
        listeners=(JournalLog(), *watchers(settings, ground.notices, clock), *listeners),
        new_id=new_id(clock),
        read=reader(rules),
        jitter=random.random,  # spreads retries; nothing secret hangs on it
        housekeeping=Housekeeping(
            journal, journal.reader, tidying, clock, retention(settings), journal
        ),
        notices=ground.notices,
    )
    return Conductor(parts, policies(settings, rules))


def _restraint(
    settings: Settings, ground: Ground, conductor: Conductor, clock: SystemClock
) -> Restraint:
    memory, backlog = Memory(resident_bytes, give_back), conductor.backlog
    restraint = Restraint(ground.source, memory, lambda: not len(backlog), ground.notices, clock)
    restraint.mark = settings.memory_mark()
    return restraint


def _verdicts(settings: Settings, ground: Ground) -> Verdicts:
    return Verdicts(
        ground.layout,
        ground.journal.reader,
        service(settings),
        ground.keys,
        ground.notices,
        ground.audit.seq_of if ground.audit else _not_audited,
    )


def _views(settings: Settings, ground: Ground, verdicts: Verdicts) -> Sequence[Projection]:
    """The views, the audit log first: a verdict names its record there."""
    first = [ground.audit] if ground.audit else []
    return (*first, Filing(ground.layout, address(settings)), verdicts)


def _rotated(ground: Ground, clock: SystemClock, by: str) -> str:
    keys = ground.keys
    previous, kid = keys.kid, keys.rotate(clock.now(), by)
    ground.notices.report("key_rotated", kid, by=by, previous=previous)
    return kid


def _not_audited(_: int) -> None:
    return None


def _greeting(settings: Settings) -> str:
    doing = "finishing what is in" if settings.once else "watching"
    handoff, out = shown(os.fsencode(settings.handoff)), shown(os.fsencode(settings.out))
    return f"{doing} {handoff}; packages go to {out}"


async def _run_to_the_end(conductor: Conductor, journal: SqliteJournal) -> None:
    pauses = [target_on_record(pause.target) for pause in journal.reader.pauses()]
    try:
        await conductor.run(pauses)
    except BaseExceptionGroup as group:
        if not all(isinstance(error, NoRoom) for error in _leaves(group)):
            raise
        _log.error("ended with a full disk; everything handed over is kept for the next start")


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error worth telling: an expected one first, else whatever it was."""
    causes = list(_leaves(group))
    expected = [error for error in causes if isinstance(error, ConductorError)]
    return (expected or causes)[0]


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
