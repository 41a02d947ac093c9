"""From settings to a process that exports traces, for as long as a daemon runs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from conductor_loop import __version__
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.journal.kek_file import own_kek_file
from conductor_loop.adapters.sandbox import landlock
from conductor_loop.adapters.sandbox.confinement import Confinement, Rule
from conductor_loop.adapters.sandbox.rules import system_rules
from conductor_loop.core.exporting import Exporting, Progress
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.scrubbing import scrubbed_message
from conductor_loop.settings import Settings
from conductor_loop.settings.confinement import trace_certificates
from conductor_loop.settings.tracing import are_traces_on

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from conductor_loop.core.vitals import Counts

_log = logging.getLogger("conductor_loop.traces")
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_DEFAULT_ENDPOINT = "http://localhost:4318"
_SPOKEN = "http/protobuf"
_EXPORTER = "otlp"
# What decides where requests go, besides OTEL_*; in both spellings.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_CERTIFICATES = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
# Whom all programs of this machine trust; in the requests library it goes over a session's own.
_TRUSTED = "REQUESTS_CA_BUNDLE"
_RATIOS = {"traceidratio", "parentbased_traceidratio"}
_NEVER = {"always_off", "parentbased_always_off"}


def require_tracing(settings: Settings, environ: Mapping[str, str]) -> None:
    """What the exporting process would fail for stops the start. Raises CannotStart."""
    if not are_traces_on(settings, environ):
        return
    for complaint in complaints(environ):
        _log.warning("OpenTelemetry goes on without one of its settings: %s", complaint)


def complaints(environ: Mapping[str, str]) -> Sequence[str]:
    """What OpenTelemetry does not understand of its settings; costs a third of a second.

    Raises CannotStart for what it cannot work with.
    """
    from conductor_loop.adapters.trace_process import try_exporting

    _require_library()
    _require_exporter(environ)
    _require_protocol(environ)
    _require_endpoint(environ)
    return try_exporting(_passed_on(environ))


def destination(environ: Mapping[str, str]) -> str:
    """Where traces go."""
    return scrubbed_message(_first(environ, _ENDPOINTS) or _DEFAULT_ENDPOINT)


def _require_library() -> None:
    if not all(_is_installed(module) for module in _NEEDED):
        raise CannotStart(
            "-traces is given, and OpenTelemetry is not installed",
            hint="in a checkout of it: pip install '.[otel]'; or leave -traces out",
            code="otel_missing",
        )


def _require_exporter(environ: Mapping[str, str]) -> None:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or _EXPORTER
    if exporter != _EXPORTER:
        raise CannotStart(
            f"traces are exported by {_EXPORTER}, not by {exporter}",
            hint="leave OTEL_TRACES_EXPORTER out; none turns traces off",
            code="otel_exporter",
        )


def _require_protocol(environ: Mapping[str, str]) -> None:
    protocol = _first(environ, _PROTOCOLS) or _SPOKEN
    if protocol != _SPOKEN:
        raise CannotStart(
            f"traces are exported by {_SPOKEN}, not by {protocol}",
            hint=f"leave {_PROTOCOLS[1]} out, and name the HTTP port of the collector (4318)",
            code="otel_protocol",
        )


def _require_endpoint(environ: Mapping[str, str]) -> None:
    """The library would find out with the first trace, and try again and again."""
    name = next((name for name in _ENDPOINTS if environ.get(name)), "")
    if name and not _is_web_address(environ[name]):
        raise CannotStart(
            f"traces cannot go to {scrubbed_message(environ[name])}: that is no address",
            hint=f"give the whole of it, e.g. {name}={_DEFAULT_ENDPOINT}",
            code="otel_endpoint",
        )


def sampled_share(settings: Settings, environ: Mapping[str, str]) -> float | None:
    """Which share of all traces is kept, as the SDK reads it; None: there are no traces."""
    if not are_traces_on(settings, environ):
        return None
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler in _NEVER:
        return 0.0
    if sampler not in _RATIOS:
        return 1.0
    try:
        return min(1.0, max(0.0, float(environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))))
    except ValueError:
        return 1.0


@asynccontextmanager
async def exporting_traces(
    settings: Settings, environ: Mapping[str, str], position: int, counts: Counts
) -> AsyncIterator[None]:
    """Export what ends behind a seq of the journal, which is open, while the block runs."""
    if not are_traces_on(settings, environ):
        yield
        return
    from conductor_loop.adapters.trace_process import TraceProcess

    def count(progress: Progress) -> None:
        counts.traces_exported += progress.exported
        counts.traces_dropped += progress.dropped
        counts.traces_damaged += progress.damaged

    process = TraceProcess(_exporting(settings, environ, position), _passed_on(environ), count)
    _log.info("traces go to %s", destination(environ))
    running = asyncio.create_task(process.run(), name="traces")
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _exporting(settings: Settings, environ: Mapping[str, str], position: int) -> Exporting:
    state = settings.state_dir.absolute()
    kek = settings.kek_file.absolute() if settings.kek_file else own_kek_file(state)
    journal = [f"{state / FILE_NAME}{end}" for end in ("", "-wal", "-shm")]
    trusted = [str(path) for path in trace_certificates(environ)]
    return Exporting(
        version=__version__,
        state_dir=str(state),
        kek_file=str(settings.kek_file.absolute()) if settings.kek_file else "",
        position=position,
        confinement=_confined(settings, [*trusted, state, kek]),
        sealed_off=_confined(settings, [*trusted, *journal]),
    )


def _confined(settings: Settings, seen: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Words that let it read what it must and connect, and change nothing."""
    from os import fsencode

    if not settings.security_enabled or not landlock.abi():
        return tuple(Confinement().words())
    rules: list[Rule] = [("see", fsencode(path)) for path in seen]
    return tuple(Confinement([*system_rules(), *rules]).words())


def _passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What the exporter may know of the daemon's environment."""
    has_own = bool(_first(environ, _CERTIFICATES))
    return {
        name: text
        for name, text in environ.items()
        if name.startswith("OTEL_")
        or name.upper() in _PROXIES
        or (name == _TRUSTED and not has_own)
    }


def _is_web_address(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port has such a number
        return False


def _first(environ: Mapping[str, str], names: Sequence[str]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor what it is in
        return False
