"""Whether there are traces: one answer for verdicts, logs, commands, the page and the exporter."""

from __future__ import annotations

from collections.abc import Mapping

from conductor_loop.settings.model import Settings


def are_traces_on(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether they are asked for; OpenTelemetry's own switches turn them off everywhere.

    Values as in its "Environment Variable Specification": `true` alone disables, in any case.
    """
    return settings.traces and not switched_off_by(environ)


def switched_off_by(environ: Mapping[str, str]) -> str:
    """The switch of OpenTelemetry that turns traces off, as it was set; empty when none does."""
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        if environ.get(name, "").strip().lower() == value:
            return f"{name}={value}"
    return ""
