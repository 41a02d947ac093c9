"""From settings to a process that answers HTTP, for as long as a daemon runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from conductor_loop import __version__
from conductor_loop.adapters.http_process import HttpProcess, listen
from conductor_loop.adapters.http_tokens import token_digests, unusable
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.journal.kek_file import own_kek_file
from conductor_loop.adapters.sandbox import landlock
from conductor_loop.adapters.sandbox.confinement import Confinement, Rule
from conductor_loop.adapters.sandbox.rules import system_rules
from conductor_loop.core.addresses import Address
from conductor_loop.core.vitals import Listening, Role, Serving, Vitals
from conductor_loop.ports import Notices
from conductor_loop.settings import Settings
from conductor_loop.settings.tracing import are_traces_on

# Rights come from capabilities too, which count for the effective user alone.
_EFFECTIVE = os.access in os.supports_effective_ids
_log = logging.getLogger("conductor_loop.http")


@asynccontextmanager
async def serve_http(
    settings: Settings, look: Callable[[], Vitals], notices: Callable[[], Notices | None]
) -> AsyncIterator[Sequence[str]]:
    """Serve what the settings ask for while the block runs. Raises CannotStart.

    Yields what is listened on, each as `ROLE SCHEME://ADDRESS`.

    The sockets are opened here, once, so that a port is known and kept whatever happens to the
    process. `notices` gives the notice board once there is one.
    """
    _require_secrets(settings)
    with contextlib.ExitStack() as sockets:
        opened = list(_listening(settings, sockets))
        listening = [each for each, _ in opened]
        process = HttpProcess(_serving(settings, listening), look, notices)
        running = asyncio.create_task(process.run(), name="http")
        try:
            yield [where for _, where in opened]
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def _require_secrets(settings: Settings) -> None:
    """What the process would fail for stops the start."""
    if settings.http is None:
        return
    if settings.http_token_file is not None:
        token_digests(str(settings.http_token_file))
    for file in (settings.http_cert, settings.http_key, settings.http_client_ca):
        if file is not None and not os.access(file, os.R_OK, effective_ids=_EFFECTIVE):
            raise unusable(str(file), "it cannot be read", "check its path and its owner")


def _listening(
    settings: Settings, sockets: contextlib.ExitStack
) -> Iterator[tuple[Listening, str]]:
    is_plain = settings.http_cert is None
    for role, address in _addresses(settings):
        opened = sockets.enter_context(contextlib.closing(listen(address)))
        plain = is_plain or role is not Role.PAGE
        port = opened.getsockname()[1]
        url = f"{'http' if plain else 'https'}://{Address(address.host, port)}"
        _log.info("%s on %s", role.value, url)
        yield Listening(opened.fileno(), role, plain), f"{role.value} {url}"


def _addresses(settings: Settings) -> Iterator[tuple[Role, Address]]:
    if settings.http is not None:
        yield Role.PAGE, settings.http
    if settings.kubernetes:
        everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  the kubelet
        yield Role.PROBES, Address(everywhere, settings.probe_port)
        yield Role.METRICS, Address(everywhere, settings.metrics_port)


def _serving(settings: Settings, listening: Sequence[Listening]) -> Serving:
    rate = settings.http_rate
    state, secrets = settings.state_dir.absolute(), list(_secret_folders(settings))
    kek = settings.kek_file.absolute() if settings.kek_file else own_kek_file(state)
    return Serving(
        listening=tuple(listening),
        version=__version__,
        handoff=str(settings.handoff.absolute()),
        out=str(settings.out.absolute()),
        state_dir=str(state),
        kek_file=str(settings.kek_file.absolute()) if settings.kek_file else "",
        token_file=_text(settings.http_token_file),
        certificate=_text(settings.http_cert),
        key=_text(settings.http_key),
        client_ca=_text(settings.http_client_ca),
        hosts=_hosts(settings),
        rate_count=rate.count if rate else 0,
        rate_seconds=rate.seconds if rate else 0,
        confinement=_confined(
            settings,
            [*secrets, _packages(settings), ("see", os.fsencode(state)), ("see", os.fsencode(kek))],
        ),
        sealed_off=sealed_off(settings),
        is_traced=are_traces_on(settings, os.environ),
    )


def sealed_off(settings: Settings) -> tuple[str, ...]:
    """Words for when the journal is open: of the state no more than that may be read."""
    journal = settings.state_dir.absolute() / FILE_NAME
    files = [os.fsencode(f"{journal}{end}") for end in ("", "-wal", "-shm")]
    rules = [*_secret_folders(settings), _packages(settings)]
    return _confined(settings, [*rules, *(("see", file) for file in files)])


def _packages(settings: Settings) -> Rule:
    return "see", os.path.realpath(os.fsencode(settings.out))


def _hosts(settings: Settings) -> tuple[str, ...]:
    own = (settings.http.host.lower(),) if settings.http else ()
    return tuple(dict.fromkeys((*own, *settings.http_hosts)))


def _secret_folders(settings: Settings) -> Iterator[Rule]:
    """A mounted Secret is renewed by swapping a link beside its files, so the folder is open."""
    files = (
        settings.http_token_file,
        settings.http_cert,
        settings.http_key,
        settings.http_client_ca,
    )
    for file in files:
        if file is not None:
            yield "see", os.fsencode(file.absolute().parent)


def _confined(settings: Settings, rules: Sequence[Rule]) -> tuple[str, ...]:
    """Words that let it read what it must, and neither write nor connect anywhere."""
    if not settings.security_enabled or not landlock.abi():
        return tuple(Confinement().words())
    return tuple(Confinement([*system_rules(), *rules], tcp=False).words())


def _text(path: Path | None) -> str:
    return str(path.absolute()) if path else ""
