"""What is logged and traced, and where."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import setting

_LOGS = "logs"


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Logs:
    """What is logged, and where."""

    log_level: LogLevel = setting(
        readers.choice(LogLevel),
        "info",
        _LOGS,
        "least severe line that is written",
        is_live=True,
    )
    log_format: LogFormat | None = setting(
        readers.unless(("auto", ""), readers.choice(LogFormat)),
        "auto",
        _LOGS,
        "form of a log line",
        shown_default="text on a terminal, else json",
    )
    log_file: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _LOGS,
        "where the log goes; opened anew when it was rotated",
        shown_default="stderr",
    )
    traces: bool = setting(
        readers.switch(),
        "false",
        _LOGS,
        "export one OpenTelemetry trace per intent (OTLP, OTEL_* variables say where to);"
        " needs conductor-loop[otel]",
    )
