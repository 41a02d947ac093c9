"""The only place that names concrete classes: from settings to a running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conductor_loop import __version__
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.control_socket import serve_control
from conductor_loop.adapters.handoff.events import open_hints
from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.adapters.handoff.lock import hold_lock
from conductor_loop.adapters.handoff.source import FolderSource
from conductor_loop.adapters.handoff.watch import FolderSettings
from conductor_loop.adapters.journal.data_keys import Sealing
from conductor_loop.adapters.journal.database import to_microseconds
from conductor_loop.adapters.journal.writer import SqliteJournal, open_journal
from conductor_loop.adapters.keys.store import Keys, open_keys, rotate_own_key
from conductor_loop.adapters.systemd.notify import ServiceManager, service_manager
from conductor_loop.adapters.users import user_name
from conductor_loop.conductor.backlog import Backlog, WaitingPolicy
from conductor_loop.conductor.control import Control, parse_target
from conductor_loop.conductor.daemon import Conductor, Parts, Policies
from conductor_loop.conductor.housekeeping import Housekeeping, RetentionPolicy
from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.conductor.recovery import recover_running
from conductor_loop.conductor.steering import Steering
from conductor_loop.conductor.work import WorkPolicy
from conductor_loop.core.breaker import Breaker, BreakerPolicy
from conductor_loop.core.control import Check, Reply, Request, RotateKey
from conductor_loop.core.events import Noticed
from conductor_loop.core.faults import CannotStart, ConductorError, Fault, NoRoom
from conductor_loop.core.identity import UlidSequence
from conductor_loop.core.intent import Intent
from conductor_loop.core.original_state import (
    FILE_NAME as ORIGINAL_STATE,
)
from conductor_loop.core.original_state import (
    FileState,
    NotOriginalState,
    OriginalStatus,
    file_name,
    read_original_state,
)
from conductor_loop.core.rates import tell_over_rate
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent, reread_intent
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import AUDIT, severity_of
from conductor_loop.core.settlement import RetryPolicy
from conductor_loop.core.verdict import Service
from conductor_loop.ports import Listener, Publisher
from conductor_loop.projections.audit.log import AuditLog, AuditPolicy
from conductor_loop.projections.audit.start import open_audit
from conductor_loop.projections.filing import Filing
from conductor_loop.projections.journal_log import JournalLog
from conductor_loop.projections.tally import Tally
from conductor_loop.projections.tidying import Tidying
from conductor_loop.projections.verdicts import Verdicts
from conductor_loop.settings import Settings
from conductor_loop.settings.intake import intake_rules
from conductor_loop.spare_folders import SpareFolders

if TYPE_CHECKING:
    from conductor_loop.adapters.porch.publisher import PorchSection
    from conductor_loop.adapters.sandbox.choice import SandboxSection

_log = logging.getLogger("conductor_loop")
BUILTIN = "builtin"
_RESUME = "resume with: conductor-loop resume"
_OUTAGE = "the environment fails, not the intents"


@dataclass(frozen=True, slots=True)
class Report:
    """How a run of the daemon ended."""

    tally: Tally
    gave_up: bool
    """`-once` could not go on for longer than `-timeout`; intents are kept."""
    unfinished: int


def run(settings: Settings, listeners: Sequence[Listener] = ()) -> Report:
    """Serve until stopped, or with `-once` until all is final. Raises ConductorError."""
    try:
        return asyncio.run(_serve(settings, listeners))
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group


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


async def _serve(settings: Settings, listeners: Sequence[Listener]) -> Report:
    clock, rules, tally = SystemClock(), intake_rules(settings), Tally()
    _require_porch(settings)
    async with contextlib.AsyncExitStack() as open_things:
        layout = open_things.enter_context(open_layout(settings.handoff, _state_dir(settings)))
        for note in layout.notes:
            _log.warning(note)
        lock = open_things.enter_context(hold_lock(layout, clock.now()))
        publisher = await open_things.enter_async_context(_publisher(settings, layout, clock))
        journal = open_journal(Path(layout.state_path), clock, _sealing(settings))
        open_things.push_async_callback(journal.close)
        notices = NoticeBoard(journal)
        _report_start(notices, settings)
        await _import_original(settings.handoff / ORIGINAL_STATE, journal)
        keys = _keys(settings, layout, clock)
        audit = open_things.enter_context(_audit(settings, layout, journal, keys, clock))
        hints = open_things.enter_context(contextlib.closing(open_hints()))
        spares = SpareFolders(layout.claimed)
        open_things.callback(spares.remove_all)
        source = FolderSource(layout, lock, hints, clock, _folder_settings(settings), spares)
        conductor = Conductor(
            Parts(
                clock=clock,
                source=source,
                journal=journal,
                feed=journal,
                catalog=journal.reader,
                publisher=publisher,
                projections=(
                    *([audit] if audit else []),
                    Filing(layout, spares),
                    Verdicts(
                        layout,
                        journal.reader,
                        _service(settings),
                        keys,
                        notices,
                        audit.seq_of if audit else _not_audited,
                    ),
                ),
                listeners=(JournalLog(), tally, *listeners),
                new_id=_new_id(clock),
                read=_reader(rules),
                jitter=random.random,  # spreads retries; nothing secret hangs on it
                housekeeping=Housekeeping(
                    journal, journal.reader, Tidying(layout), clock, _retention(settings), journal
                ),
                notices=notices,
            ),
            _policies(settings, rules),
        )
        control = Control(
            conductor.steering,
            lambda: _checks(conductor, source, journal),
            lambda by: keys.rotate(clock.now(), by),
        )
        manager = open_things.enter_context(_telling(service_manager(os.environ, os.getpid())))
        _stop_on_signals(conductor, manager)
        async with (
            serve_control(Path(layout.state_path), control.obey, notices),
            _keeping_informed(manager, conductor),
        ):
            # What exists now lives as long as the process: the collector need not look again.
            gc.freeze()
            await _run_to_the_end(conductor, journal)
        return Report(tally, conductor.gave_up, len(conductor.backlog))


@contextlib.contextmanager
def _telling(manager: ServiceManager | None) -> Iterator[ServiceManager | None]:
    """Tell the service manager of the end, whatever it comes from."""
    try:
        yield manager
    finally:
        if manager is not None:
            manager.stopping()
            manager.close()


@asynccontextmanager
async def _keeping_informed(
    manager: ServiceManager | None, conductor: Conductor
) -> AsyncIterator[None]:
    if manager is None:
        yield
        return
    informing = asyncio.create_task(
        manager.keep_informed(lambda: conductor.is_ready, lambda: ""), name="systemd"
    )
    try:
        yield
    finally:
        informing.cancel()


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


async def _run_to_the_end(conductor: Conductor, journal: SqliteJournal) -> None:
    pauses = [parse_target(pause.target) for pause in journal.reader.pauses()]
    try:
        await conductor.run(pauses)
    except BaseExceptionGroup as group:
        if not all(isinstance(error, NoRoom) for error in _leaves(group)):
            raise
        _log.error("ended with a full disk; everything handed over is kept for the next start")


def steer_offline(settings: Settings, request: Request) -> Reply:
    """Carry out a request while no daemon runs: take its lock, do it, let go."""
    if isinstance(request, RotateKey):
        return _rotate_offline(settings)
    return asyncio.run(_steer_offline(settings, request))


async def _steer_offline(settings: Settings, request: Request) -> Reply:
    clock, rules = SystemClock(), intake_rules(settings)
    async with _offline_journal(settings, clock) as journal:
        policies = _policies(settings, rules)
        backlog = Backlog(journal, clock, Breaker(policies.breaker), WaitingPolicy())
        await backlog.restore(await recover_running(journal, journal.reader, policies.work.retry))
        recovered = asyncio.Event()
        recovered.set()
        steering = Steering(
            journal, journal.reader, clock, _new_id(clock), _reader(rules), backlog, None, recovered
        )
        control = Control(steering, list, lambda _: "")  # keys are rotated without a journal
        reply = await control.obey(request, user_name(os.geteuid()))
    return Reply(reply.intent_ids, reply.refusals)


def _rotate_offline(settings: Settings) -> Reply:
    clock = SystemClock()
    with (
        open_layout(settings.handoff, _state_dir(settings)) as layout,
        hold_lock(layout, clock.now()),
    ):
        by = user_name(os.geteuid())
        return Reply(kid=rotate_own_key(Path(layout.state_path), clock.now(), by))


def import_offline(settings: Settings, files: Sequence[FileState], source: str) -> None:
    """Take over what the original had processed; no daemon may run. Raises CannotStart."""

    async def take_over() -> None:
        async with _offline_journal(settings, SystemClock()) as journal:
            await _remember(journal, files, source)

    asyncio.run(take_over())


@asynccontextmanager
async def _offline_journal(settings: Settings, clock: SystemClock) -> AsyncIterator[SqliteJournal]:
    async with contextlib.AsyncExitStack() as open_things:
        layout = open_things.enter_context(open_layout(settings.handoff, _state_dir(settings)))
        open_things.enter_context(hold_lock(layout, clock.now()))
        journal = open_journal(Path(layout.state_path), clock, _sealing(settings))
        open_things.push_async_callback(journal.close)
        yield journal


def _require_porch(settings: Settings) -> None:
    """A porch that is missing stops the start before any folder is made."""
    if settings.porch != BUILTIN:
        from conductor_loop.adapters.porch.publisher import resolve_porch

        resolve_porch(settings.porch)


@asynccontextmanager
async def _publisher(
    settings: Settings, layout: Layout, clock: SystemClock
) -> AsyncIterator[Publisher]:
    if settings.porch == BUILTIN:
        from conductor_loop.adapters.builtin.package_folder import PackageFolder
        from conductor_loop.adapters.builtin.publisher import BuiltinPublisher

        with contextlib.closing(PackageFolder.open(settings.out, layout.state_path)) as folder:
            yield BuiltinPublisher(reread_intent, folder, settings.mode, clock)
        return
    from conductor_loop.adapters.porch.publisher import open_porch

    _make_out(settings.out)
    async with open_porch(_porch(settings, Path(layout.state_path)), layout.state, clock) as porch:
        yield porch


def _make_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"Failed to create output directory {out}: {error.strerror}",
            hint="give -out a folder that the user that runs this may write to",
            code="out_not_usable",
        ) from error


def _porch(settings: Settings, state: Path) -> PorchSection:
    from conductor_loop.adapters.porch.publisher import PorchSection

    return PorchSection(
        porch=settings.porch,
        out=settings.out,
        state=state,
        mode=settings.mode,
        workers=settings.worker_count(),
        grace=settings.grace,
        environment={n: os.environ[n] for n in settings.child_env if n in os.environ},
        sandbox=sandbox_section(settings, state),
        scrub=settings.security_enabled,
    )


def sandbox_section(settings: Settings, state: Path) -> SandboxSection:
    """What the settings say about porch's confinement."""
    from conductor_loop.adapters.sandbox.choice import SandboxSection

    return SandboxSection(
        choice=settings.sandbox_choice(),
        network=settings.sandbox_net,
        limits=settings.child_limits(),
        read=settings.child_read,
        write=settings.child_write,
        closed=(settings.handoff, state),
    )


def _keys(settings: Settings, layout: Layout, clock: SystemClock) -> Keys:
    by = user_name(os.geteuid())
    return open_keys(Path(layout.state_path), clock.now(), by, given=settings.key_file)


def _audit(
    settings: Settings, layout: Layout, journal: SqliteJournal, keys: Keys, clock: SystemClock
) -> contextlib.AbstractContextManager[AuditLog | None]:
    if not settings.audit_enabled:
        return contextlib.nullcontext()
    policy = AuditPolicy(
        settings.audit_file_size, settings.audit_file_age, settings.audit_retention
    )
    return open_audit(layout.state, journal, journal.reader, keys, clock, policy)


def _not_audited(_: int) -> None:
    return None


def _folder_settings(settings: Settings) -> FolderSettings:
    return FolderSettings(
        debounce=settings.debounce,
        period=settings.period,
        max_bytes=settings.max_file_size,
        once=settings.once,
        intake_rate=settings.intake_rate,
        owner_rate=settings.owner_rate,
        burst=settings.intake_burst,
    )


def _state_dir(settings: Settings) -> Path | None:
    inside = settings.handoff / ".conductor"
    return None if settings.state_dir.absolute() == inside.absolute() else settings.state_dir


def _policies(settings: Settings, rules: IntakeRules) -> Policies:
    return Policies(
        intake=rules,
        work=WorkPolicy(
            settings.worker_count(),
            settings.timeout,
            RetryPolicy(settings.max_attempts, settings.retry_backoff),
        ),
        waiting=WaitingPolicy(
            max_wait=settings.max_wait,
            supersede=settings.supersede,
            namespace_rate=settings.namespace_rate,
            burst=settings.intake_burst,
        ),
        breaker=BreakerPolicy(first_probe=settings.retry_backoff.total_seconds()),
        grace=settings.grace,
        longest_pause=settings.timeout if settings.once else None,
    )


def _retention(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(settings.retention, settings.failed_retention, settings.cleanup_interval)


def _sealing(settings: Settings) -> Sealing:
    return Sealing(
        settings.encryption_enabled,
        settings.kek_file,
        settings.data_key_age,
        settings.data_key_uses,
    )


def _service(settings: Settings) -> Service:
    return Service(
        conductor_version=__version__,
        mode=settings.mode.value,
        porch_path=settings.porch,
        config_sha256=settings.digest(),
    )


def _reader(rules: IntakeRules) -> Callable[[bytes], Intent | Fault]:
    def read(body: bytes) -> Intent | Fault:
        intent = read_intent(body, rules)
        return intent.faults[0] if isinstance(intent, Unreadable) else intent

    return read


def _new_id(clock: SystemClock) -> Callable[[], str]:
    ids = UlidSequence()
    return lambda: ids.next(
        to_microseconds(clock.now()) // 1000, int.from_bytes(os.urandom(10), "big")
    )


def _checks(conductor: Conductor, source: FolderSource, journal: SqliteJournal) -> list[Check]:
    breaker, backlog = conductor.backlog.breaker, conductor.backlog
    stalled = conductor.relay.stalled_by
    parked = conductor.relay.parked_count
    damaged = len(journal.reader.damaged())
    whole = not journal.is_incomplete
    return [
        Check("intake", conductor.is_ready, "" if conductor.is_ready else "starting or stopping"),
        _handoff_check(source),
        Check("not-paused", not backlog.paused, _RESUME if backlog.paused else ""),
        Check("porch", not breaker.is_open, _OUTAGE if breaker.is_open else ""),
        Check("room", backlog.free > 0, "" if backlog.free > 0 else _crowd(backlog)),
        Check("rates", ok=True, message=_rates(source, backlog)),
        Check("disk", not journal.lacks_room, "full" if journal.lacks_room else ""),
        Check("views", stalled is None, str(stalled or "")),
        Check("nothing-damaged", not damaged, f"{damaged} set aside, not run" if damaged else ""),
        Check("journal-whole", whole, "" if whole else "rows are missing; restore a backup"),
        Check("nothing-parked", parked == 0, f"{parked} set aside" if parked else ""),
    ]


def _rates(source: FolderSource, backlog: Backlog) -> str:
    folder = source.state()
    return tell_over_rate(folder.is_over_rate, folder.over_rate, backlog.over_rate())


def _crowd(backlog: Backlog) -> str:
    """Who fills the queue, when it is full."""
    counts = Counter(item.target for item in backlog.waiting())
    for target, most in counts.most_common(1):
        return f"{len(backlog)} unfinished, {most} of them of {target}; more wait in the folder"
    return f"{len(backlog)} are running"


def _handoff_check(source: FolderSource) -> Check:
    if source.blocked_by is not None:
        return Check("handoff", ok=False, message=str(source.blocked_by))
    served = source.state().is_served
    return Check("handoff", served, "" if served else "the folder was replaced or is gone")


def _stop_on_signals(conductor: Conductor, manager: ServiceManager | None) -> None:
    loop = asyncio.get_running_loop()
    asked = False

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            # The journal makes this safe; children end with their spawner's pipe.
            os._exit(128 + number)
        asked = True
        _log.info("stopping on %s; once more ends at once", number.name)
        if manager is not None:
            manager.stopping()
        conductor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, _hang_up, stop)


def _hang_up(stop: Callable[[signal.Signals], None]) -> None:
    """The terminal is gone: so are we. Without one it is logrotate's habit: nothing to do."""
    if sys.stderr.isatty():
        stop(signal.SIGHUP)
    else:
        _log.info("SIGHUP: a rotated log is noticed without it, settings are read at start")


async def _import_original(path: Path, journal: SqliteJournal) -> None:
    """Once: what the original had processed is not run again."""
    if journal.reader.fact("imported") is not None:
        return
    try:
        state = read_original_state(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, NotOriginalState) as error:
        raise CannotStart(
            f"{path} was left by the original and cannot be read: {error}",
            hint="mend it, or move it away to have everything in the folder run",
            code="original_state_unreadable",
        ) from error
    await _remember(journal, state.files, str(path))
    _log.info("took over %d files from the original's state", len(state.files))


async def _remember(journal: SqliteJournal, files: Sequence[FileState], source: str) -> None:
    processed = [f for f in files if f.status is OriginalStatus.PROCESSED]
    rows = [(file_name(f), f.sha256, to_microseconds(f.processed_at)) for f in processed]
    await journal.remember_imported(rows, source)
    told = {"count": str(len(rows))}
    by = user_name(os.geteuid())
    event = Noticed("state_imported", severity_of("state_imported"), source, told, by)
    await journal.record([Record(None, event)])
