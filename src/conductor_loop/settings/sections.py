"""What each component wants to know of the settings, in its own words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from conductor_loop import __version__
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.handoff.layout import Layout, open_layout
from conductor_loop.adapters.handoff.watch import FolderSettings
from conductor_loop.adapters.journal.data_keys import Sealing
from conductor_loop.adapters.journal.database import to_microseconds
from conductor_loop.conductor.backlog import WaitingPolicy
from conductor_loop.conductor.daemon import Policies
from conductor_loop.conductor.housekeeping import RetentionPolicy
from conductor_loop.conductor.work import WorkPolicy
from conductor_loop.core.breaker import BreakerPolicy
from conductor_loop.core.faults import Fault
from conductor_loop.core.identity import UlidSequence
from conductor_loop.core.intent import Intent
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.core.settlement import RetryPolicy, longest_course
from conductor_loop.core.verdict import Service
from conductor_loop.disk import Modes
from conductor_loop.settings import Settings
from conductor_loop.settings.tracing import are_traces_on


def folder_settings(settings: Settings) -> FolderSettings:
    """What the source is told of the handoff folder."""
    return FolderSettings(
        debounce=settings.debounce,
        period=settings.period,
        max_bytes=settings.max_file_size,
        once=settings.once,
        intake_rate=settings.intake_rate,
        owner_rate=settings.owner_rate,
        burst=settings.intake_burst,
    )


def layout_of(settings: Settings, *, has_journal: bool = True) -> Layout:
    """Open the folders, making those that are missing. Raises CannotStart."""
    state_dir = _state_dir(settings)
    return open_layout(settings.handoff, state_dir, modes(settings), has_journal=has_journal)


def _state_dir(settings: Settings) -> Path | None:
    """Where state goes when that is not within the handoff folder; None when it is."""
    inside = settings.handoff / ".conductor"
    return None if settings.state_dir.absolute() == inside.absolute() else settings.state_dir


def modes(settings: Settings) -> Modes:
    """Permissions of what is there for others."""
    return Modes(settings.file_mode, settings.dir_mode)


def policies(settings: Settings, rules: IntakeRules) -> Policies:
    """What operators decided for the loops."""
    retry = RetryPolicy(settings.max_attempts, settings.retry_backoff)
    deadlines = longest_course(retry, settings.timeout + settings.grace)
    return Policies(
        intake=rules,
        work=WorkPolicy(
            settings.worker_count(),
            settings.timeout,
            retry,
        ),
        waiting=WaitingPolicy(
            max_wait=settings.max_wait,
            supersede=settings.supersede,
            namespace_rate=settings.namespace_rate,
            burst=settings.intake_burst,
        ),
        breaker=BreakerPolicy(
            deadlines=deadlines.total_seconds(),
            first_probe=settings.retry_backoff.total_seconds(),
        ),
        grace=settings.grace,
        longest_pause=settings.timeout if settings.once else None,
    )


def retention(settings: Settings) -> RetentionPolicy:
    """How long final intents are kept."""
    return RetentionPolicy(settings.retention, settings.failed_retention, settings.cleanup_interval)


def sealing(settings: Settings) -> Sealing:
    """Whether and with which keys the journal is sealed."""
    return Sealing(
        settings.encryption_enabled,
        settings.kek_file,
        settings.data_key_age,
        settings.data_key_uses,
    )


def service(settings: Settings) -> Service:
    """What every verdict says of this daemon."""
    return Service(
        conductor_version=__version__,
        mode=settings.mode.value,
        porch_path=settings.porch,
        config_sha256=settings.digest(),
        is_traced=are_traces_on(settings, os.environ),
    )


def reader(rules: IntakeRules) -> Callable[[bytes], Intent | Fault]:
    """Reads an intent again under the rules of now, as a retry does."""

    def read(body: bytes) -> Intent | Fault:
        intent = read_intent(body, rules)
        return intent.faults[0] if isinstance(intent, Unreadable) else intent

    return read


def new_id(clock: SystemClock) -> Callable[[], str]:
    """Gives out ids that rise."""
    ids = UlidSequence()
    return lambda: ids.next(
        to_microseconds(clock.now()) // 1000, int.from_bytes(os.urandom(10), "big")
    )
