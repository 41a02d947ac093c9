"""What a daemon stands on: its folders and their lock, journal, keys, audit log and publisher."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    nullcontext,
)
from dataclasses import dataclass
from pathlib import Path

from conductor_loop import __version__
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.events import open_hints
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.handoff.older_claims import renew_claims
from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal
from conductor_loop.adapters.keys.store import Keys, open_keys
from conductor_loop.adapters.porch.orphans import end_leftovers
from conductor_loop.adapters.users import user_name
from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.core.audit.ledger import INNOCENT
from conductor_loop.core.original_state import FILE_NAME as ORIGINAL_STATE
from conductor_loop.core.protection import BUILTIN, PORCH, Protections, details_of
from conductor_loop.core.sandbox import SandboxChoice, is_weaker
from conductor_loop.core.security_events import AUDIT, TOLD_TO
from conductor_loop.operations.pairing import pair
from conductor_loop.operations.vitals import Observer
from conductor_loop.ports import Publisher
from conductor_loop.projections.audit.log import AuditLog, AuditPolicy
from conductor_loop.projections.audit.start import Unkept, look_at_unkept, open_audit
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import confine_daemon
from conductor_loop.settings.sections import folder_settings, layout_of, sealing
from conductor_loop.wiring.lifecycle import serving_http
from conductor_loop.wiring.original import import_original
from conductor_loop.wiring.publishers import make_out, publisher, who_may_replace_porch

_log = logging.getLogger("conductor_loop")
_PORCH = "porch"
"""The fact of the journal that says which porch was run last: its SHA-256, in hex."""
_LAYER = "sandbox"
"""The one that says how far it was confined."""
_KEY_NEWS = {"first": "key_made", "given": "key_given", "replaced": "key_lost"}


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything that is open as long as a daemon runs."""

    layout: Layout
    source: FolderSource
    publisher: Publisher
    journal: SqliteJournal
    notices: NoticeBoard
    keys: Keys
    audit: AuditLog | None
    protections: Protections
    """What was reached by all of this."""


@asynccontextmanager
async def open_ground(
    settings: Settings, observer: Observer, clock: SystemClock, *, must_be_confined: bool
) -> AsyncIterator[Ground]:
    """Open it all, in the order that each needs the other; closed backwards.

    Raises CannotStart, CannotContinue and what else the parts raise.
    """
    async with AsyncExitStack() as opened:
        layout = opened.enter_context(layout_of(settings))
        for note in layout.notes:
            _log.warning(note)
        lock = opened.enter_context(hold_lock(layout, clock.now()))
        renew_claims(layout)  # before the views, which look for claims in their places
        end_leftovers(layout.conductor)  # whatever this daemon is told to publish with
        confined = confine_daemon(settings, Path(layout.state_path), must=must_be_confined)
        make_out(settings)  # what serves HTTP may see it, so it must be there
        # Before anything that may take long: a probe must be answered meanwhile.
        ports = await opened.enter_async_context(serving_http(settings, observer))
        publishing = await opened.enter_async_context(
            publisher(settings, layout, clock, confined=confined)
        )
        protections = _protections(settings, confined, publishing.sandbox, ports)
        journal = open_journal(Path(layout.state_path), clock, sealing(settings))
        opened.push_async_callback(journal.close)
        await pair(layout, journal)
        notices = observer.notices = NoticeBoard(journal)
        _report_start(notices, settings, protections, _unkept(settings, layout, journal))
        _report_modes(notices, layout)
        await _report_porch(notices, journal, publishing.program_sha256)
        for who in who_may_replace_porch(settings):
            notices.report("porch_replaceable", who)
        if not settings.is_builtin:
            await _report_layer(notices, journal, publishing.sandbox)
        await import_original(settings.handoff / ORIGINAL_STATE, journal)
        keys = _keys(settings, layout, clock, notices)
        audit = opened.enter_context(_audit(settings, layout, journal, keys, clock))
        if audit is not None and audit.gap is not None and audit.gap.reason not in INNOCENT:
            _report_cut(notices, audit.gap.after, audit.gap.to)
        hints = opened.enter_context(closing(open_hints()))
        source = FolderSource(layout, lock, hints, clock, folder_settings(settings))
        source.tell_replaced(lambda why: notices.report("folder_replaced", layout.path, why=why))
        yield Ground(layout, source, publishing, journal, notices, keys, audit, protections)


def _protections(
    settings: Settings, confined: str, sandbox: str, ports: Sequence[str]
) -> Protections:
    return Protections(
        audit=settings.audit_enabled,
        encryption=settings.encryption_enabled,
        security=settings.security_enabled,
        uid=os.geteuid(),
        publisher=BUILTIN if settings.is_builtin else PORCH,
        sandbox=sandbox,
        confined=confined,
        ports=tuple(ports),
    )


def _unkept(settings: Settings, layout: Layout, journal: SqliteJournal) -> Unkept | None:
    """The audit log as it lies there, when it is switched off; None when it is kept."""
    if settings.audit_enabled:
        return None
    return look_at_unkept(layout.state, journal.reader, journal.reader)


def _report_cut(notices: NoticeBoard, told: int, to: int) -> None:
    notices.report("audit_missing", AUDIT, told=str(told), to=str(to))


def _report_start(
    notices: NoticeBoard, settings: Settings, protections: Protections, unkept: Unkept | None
) -> None:
    by = user_name(os.geteuid())
    notices.report(
        "daemon_started",
        by=by,
        version=__version__,
        config_sha256=settings.digest(),
        pid=str(os.getpid()),
        **details_of(protections),
    )
    if unkept is not None:
        # Right after the start that it is about: what the log does not tell is judged by that.
        notices.report("switched_off", AUDIT, by=by, **{TOLD_TO: str(unkept.told_to)})
        if unkept.is_cut:
            notices.report("audit_missing", AUDIT, to=str(unkept.told_to))
    switches = {
        "encryption": settings.encryption_enabled,
        "security": settings.security_enabled,
        "sandbox": settings.sandbox_choice() is not SandboxChoice.NONE,
    }
    for name, is_on in switches.items():
        if not is_on:
            notices.report("switched_off", name, by=by)


def _report_modes(notices: NoticeBoard, layout: Layout) -> None:
    for changed in layout.closed:
        notices.report("state_mode_changed", changed.path, **changed.details())


async def _report_porch(notices: NoticeBoard, journal: SqliteJournal, program: str) -> None:
    """Another porch than the last one is run, and told; -porch-sha256 is for who wants less."""
    before = journal.reader.fact(_PORCH)
    if program in ("", before):
        return
    if before is not None:
        notices.report("porch_other", program, previous=before)
        await notices.flush()  # what is remembered is not told again
    await journal.remember(_PORCH, program)


async def _report_layer(notices: NoticeBoard, journal: SqliteJournal, layer: str) -> None:
    """Porch is less confined than at the last start with one, e.g. by other settings or kernel."""
    before = journal.reader.fact(_LAYER)
    if layer == before:
        return
    if before is not None and is_weaker(layer, before):
        notices.report("hardening_lost", _PORCH, before=before, now=layer)
        await notices.flush()  # what is remembered is not told again
    await journal.remember(_LAYER, layer)


def _keys(settings: Settings, layout: Layout, clock: SystemClock, notices: NoticeBoard) -> Keys:
    by = user_name(os.geteuid())
    keys = open_keys(Path(layout.state_path), clock.now(), by, given=settings.key_file)
    news = keys.recorded
    if news is not None:
        notices.report(_KEY_NEWS[news.reason], news.kid, by=by, previous=news.previous)
    return keys


def _audit(
    settings: Settings, layout: Layout, journal: SqliteJournal, keys: Keys, clock: SystemClock
) -> AbstractContextManager[AuditLog | None]:
    if not settings.audit_enabled:
        return nullcontext()
    policy = AuditPolicy(
        settings.audit_file_size, settings.audit_file_age, settings.audit_retention
    )
    return open_audit(layout.state, journal.reader, journal.reader, keys, clock, policy)
