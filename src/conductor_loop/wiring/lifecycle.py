"""What the world tells a daemon, and what it tells a service manager: begin, stop, end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from conductor_loop.adapters.systemd.notify import ServiceManager
from conductor_loop.conductor.daemon import Conductor
from conductor_loop.core.faults import ConductorError
from conductor_loop.operations.vitals import Observer
from conductor_loop.ports import Notices
from conductor_loop.settings import Settings
from conductor_loop.settings.reloading import Reloading
from conductor_loop.wiring.key_renewal import KeyRenewal

_log = logging.getLogger("conductor_loop")


@contextlib.contextmanager
def telling(manager: ServiceManager | None) -> Iterator[ServiceManager | None]:
    """Tell the service manager of the end, whatever it comes from."""
    try:
        yield manager
    finally:
        if manager is not None:
            manager.stopping()
            manager.close()


@asynccontextmanager
async def keeping_informed(
    manager: ServiceManager | None, conductor: Conductor, stuck: Callable[[], str]
) -> AsyncIterator[None]:
    """Keep the watchdog fed meanwhile, if there is one."""
    if manager is None:
        yield
        return
    informing = asyncio.create_task(
        manager.keep_informed(lambda: conductor.is_ready, stuck), name="systemd"
    )
    try:
        yield
    finally:
        informing.cancel()


def read_settings_again(
    reloading: Reloading, renewal: KeyRenewal, notices: Notices, by: str
) -> tuple[Sequence[str], Sequence[str]]:
    """Read the settings and the key file again for somebody, and put on record what changed.

    Raises SettingsMistaken and KeysUnusable, and then nothing has changed.
    """
    key = renewal.newly_given()
    done = reloading.reload()
    if key is not None:
        renewal.take(key, by)
        done = replace(done, changed=(*done.changed, "key-file"))
    _log.info("settings read again: %s", done.describe())
    if done.changed:
        notices.report(
            "settings_reloaded",
            by=by,
            changed=", ".join(done.changed),
            config_sha256=reloading.running.digest(),
        )
    return done.changed, done.needs_restart


def stop_on_signals(
    conductor: Conductor,
    manager: ServiceManager | None,
    read_again: Callable[[str], object],
    early: Sequence[int] = (),
) -> None:
    """SIGTERM and SIGINT end the work in order, the second one at once; SIGHUP reads again.

    `early`: those that came before.
    """
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
    loop.add_signal_handler(signal.SIGHUP, _hang_up, stop, read_again)
    for number in map(signal.Signals, early):
        if number is signal.SIGHUP:
            _hang_up(stop, read_again)
        else:
            stop(number)


def _hang_up(stop: Callable[[signal.Signals], None], read_again: Callable[[str], object]) -> None:
    """The terminal is gone: so are we. Without one somebody wants the settings read again."""
    if sys.stderr.isatty():
        stop(signal.SIGHUP)
        return
    try:
        read_again("SIGHUP")
    except ConductorError as error:
        _log.error("the settings stay as they were: %s", error.message)


@asynccontextmanager
async def serving_http(settings: Settings, observer: Observer) -> AsyncIterator[Sequence[str]]:
    """Serve HTTP if that is asked for; yields what is listened on, as `serve_http` does."""
    if settings.http is None and not settings.kubernetes:
        yield ()
        return
    from conductor_loop.operations.http import serve_http

    async with serve_http(settings, observer.look, lambda: observer.notices) as ports:
        yield ports
