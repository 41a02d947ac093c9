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

from conductor_loop import __version__
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.control_socket import serve_control
from conductor_loop.adapters.handoff.events import open_hints
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal
from conductor_loop.adapters.keys.store import Keys, open_keys
from conductor_loop.adapters.own_limits import raise_descriptor_limit
from conductor_loop.adapters.systemd.notify import service_manager
from conductor_loop.adapters.users import user_name
from conductor_loop.conductor.control import Control, parse_target
from conductor_loop.conductor.daemon import Conductor, Parts
from conductor_loop.conductor.housekeeping import Housekeeping
from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.core.faults import ConductorError, NoRoom
from conductor_loop.core.original_state import FILE_NAME as ORIGINAL_STATE
from conductor_loop.core.security_events import AUDIT
from conductor_loop.operations.vitals import Daemon, Observer
from conductor_loop.ports import Listener
from conductor_loop.projections.audit.log import AuditLog, AuditPolicy
from conductor_loop.projections.audit.start import open_audit
from conductor_loop.projections.filing import Filing
from conductor_loop.projections.journal_log import JournalLog
from conductor_loop.projections.meters import Meters
from conductor_loop.projections.tally import Tally
from conductor_loop.projections.tidying import Tidying
from conductor_loop.projections.verdicts import Verdicts
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import confine_daemon, leave_root_behind
from conductor_loop.settings.intake import intake_rules
from conductor_loop.settings.reloading import Reloading
from conductor_loop.spare_folders import SpareFolders
from conductor_loop.wiring.backups import backing_up
from conductor_loop.wiring.guarding import guarding, watchers
from conductor_loop.wiring.lifecycle import (
    keeping_informed,
    read_settings_again,
    serving_http,
    stop_on_signals,
    telling,
)
from conductor_loop.wiring.original import import_original
from conductor_loop.wiring.publishers import end_leftovers, publisher, require_porch
from conductor_loop.wiring.readiness import checks
from conductor_loop.wiring.sections import (
    folder_settings,
    layout_of,
    new_id,
    policies,
    reader,
    retention,
    sealing,
    service,
)

_log = logging.getLogger("conductor_loop")


@dataclass(frozen=True, slots=True)
class Report:
    """How a run of the daemon ended."""

    tally: Tally
    gave_up: bool
    """`-once` could not go on for longer than `-timeout`; intents are kept."""
    unfinished: int


def run(
    settings: Settings,
    listeners: Sequence[Listener] = (),
    reloading: Reloading | None = None,
) -> Report:
    """Serve until stopped, or with `-once` until all is final. Raises ConductorError.

    Without `reloading` the settings come from a program, and reading them again changes nothing.
    """
    reloading = reloading or Reloading(settings, lambda: settings, lambda _: None)
    try:
        require_porch(settings)
        raise_descriptor_limit()
        return asyncio.run(_serve(settings, reloading, listeners, leave_root_behind(settings)))
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group


async def _serve(
    settings: Settings,
    reloading: Reloading,
    listeners: Sequence[Listener],
    must_be_confined: bool,
) -> Report:
    clock, rules, tally, meters = SystemClock(), intake_rules(settings), Tally(), Meters()
    observer, boards = Observer(settings, meters.counts), list[NoticeBoard]()
    async with contextlib.AsyncExitStack() as open_things:
        layout = open_things.enter_context(layout_of(settings))
        for note in layout.notes:
            _log.warning(note)
        lock = open_things.enter_context(hold_lock(layout, clock.now()))
        end_leftovers(settings, layout)
        confine_daemon(settings, Path(layout.state_path), must=must_be_confined)
        # Before anything that may take long: a probe must be answered meanwhile.
        await open_things.enter_async_context(serving_http(settings, observer, boards))
        publishing = await open_things.enter_async_context(publisher(settings, layout, clock))
        journal = open_journal(Path(layout.state_path), clock, sealing(settings))
        open_things.push_async_callback(journal.close)
        notices = NoticeBoard(journal)
        boards.append(notices)
        _report_start(notices, settings)
        await import_original(settings.handoff / ORIGINAL_STATE, journal)
        keys = _keys(settings, layout, clock, notices)
        audit = open_things.enter_context(_audit(settings, layout, journal, keys, clock))
        hints = open_things.enter_context(contextlib.closing(open_hints()))
        spares = SpareFolders(layout.claimed)
        open_things.callback(spares.remove_all)
        source = FolderSource(layout, lock, hints, clock, folder_settings(settings), spares)
        conductor = Conductor(
            Parts(
                clock=clock,
                source=source,
                journal=journal,
                feed=journal,
                catalog=journal.reader,
                publisher=publishing,
                projections=(
                    *([audit] if audit else []),
                    Filing(layout, spares),
                    _verdicts(settings, layout, journal, keys, notices, audit),
                ),
                listeners=(
                    JournalLog(),
                    tally,
                    meters,
                    *watchers(settings, notices, clock),
                    *listeners,
                ),
                new_id=new_id(clock),
                read=reader(rules),
                jitter=random.random,  # spreads retries; nothing secret hangs on it
                housekeeping=Housekeeping(
                    journal, journal.reader, Tidying(layout), clock, retention(settings), journal
                ),
                notices=notices,
            ),
            policies(settings, rules),
        )
        checking = partial(checks, conductor, source, journal, meters.counts.alerts)
        open_things.callback(observer.attend, None)
        observer.attend(Daemon(conductor, source, journal, layout, checking))
        control = Control(
            conductor.steering,
            observer.checks,
            lambda by: _rotated(keys, clock, notices, by),
            read_again := partial(read_settings_again, reloading, notices),
        )
        manager = open_things.enter_context(telling(service_manager(os.environ, os.getpid())))
        stop_on_signals(conductor, manager, read_again)
        async with (
            serve_control(Path(layout.state_path), control.obey, notices),
            keeping_informed(manager, conductor, observer.stuck),
            guarding(settings, layout, conductor, keys, notices, clock),
            backing_up(settings, Path(layout.state_path), clock),
        ):
            # What exists now lives as long as the process: the collector need not look again.
            gc.freeze()
            await _run_to_the_end(conductor, journal)
        return Report(tally, conductor.gave_up, len(conductor.backlog))


def _report_start(notices: NoticeBoard, settings: Settings) -> None:
    notices.report(
        "daemon_started",
        by=user_name(os.geteuid()),
        version=__version__,
        config_sha256=settings.digest(),
        pid=str(os.getpid()),
        uid=str(os.geteuid()),
    )
    switches = {AUDIT: settings.audit_enabled, "encryption": settings.encryption_enabled}
    for name, is_on in {**switches, "security": settings.security_enabled}.items():
        if not is_on:
            notices.report("switched_off", name, by=user_name(os.geteuid()))


_KEY_NEWS = {"first": "key_made", "given": "key_given", "replaced": "key_lost"}


def _keys(settings: Settings, layout: Layout, clock: SystemClock, notices: NoticeBoard) -> Keys:
    by = user_name(os.geteuid())
    keys = open_keys(Path(layout.state_path), clock.now(), by, given=settings.key_file)
    news = keys.recorded
    if news is not None:
        notices.report(_KEY_NEWS[news.reason], news.kid, by=by, previous=news.previous)
    return keys


def _rotated(keys: Keys, clock: SystemClock, notices: NoticeBoard, by: str) -> str:
    previous, kid = keys.kid, keys.rotate(clock.now(), by)
    notices.report("key_rotated", kid, by=by, previous=previous)
    return kid


def _audit(
    settings: Settings, layout: Layout, journal: SqliteJournal, keys: Keys, clock: SystemClock
) -> contextlib.AbstractContextManager[AuditLog | None]:
    if not settings.audit_enabled:
        return contextlib.nullcontext()
    policy = AuditPolicy(
        settings.audit_file_size, settings.audit_file_age, settings.audit_retention
    )
    return open_audit(layout.state, journal, journal.reader, keys, clock, policy)


def _verdicts(
    settings: Settings,
    layout: Layout,
    journal: SqliteJournal,
    keys: Keys,
    notices: NoticeBoard,
    audit: AuditLog | None,
) -> Verdicts:
    seq_of = audit.seq_of if audit else _not_audited
    return Verdicts(layout, journal.reader, service(settings), keys, notices, seq_of)


def _not_audited(_: int) -> None:
    return None


async def _run_to_the_end(conductor: Conductor, journal: SqliteJournal) -> None:
    pauses = [parse_target(pause.target) for pause in journal.reader.pauses()]
    try:
        await conductor.run(pauses)
    except BaseExceptionGroup as group:
        if not all(isinstance(error, NoRoom) for error in _leaves(group)):
            raise
        _log.error("ended with a full disk; everything handed over is kept for the next start")


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error worth telling: an expected one first, else whatever it was."""
    causes = list(_leaves(group))
    expected = [error for error in causes if isinstance(error, ConductorError)]
    return (expected or causes)[0]


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
