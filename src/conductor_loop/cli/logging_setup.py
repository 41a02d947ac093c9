"""The log of the daemon: one line a record, text for people or JSON for machines.

Code anywhere below logs through `logging.getLogger(__name__)` and gives facts as `extra=`, e.g.
`extra={"intent.id": ..., "intent.file": ..., "correlation_id": ..., "attempt": ...}`.
JSON has the names of the Elastic Common Schema where that has one, and ours under `conductor.`, as
it advises for a project's own ("Custom Fields", "Proper Names"; elastic.co/docs/reference/ecs).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType

from conductor_loop.cli.terminal import (
    print_error,
    print_warning,
    write_all,
    write_standard_error,
)
from conductor_loop.core.faults import CannotStart, ConductorError
from conductor_loop.core.legible import legible_line
from conductor_loop.core.naming import shown
from conductor_loop.core.scrubbing import scrubbed_message, scrubbed_messages
from conductor_loop.core.traces import trace_id
from conductor_loop.settings import LogFormat, LogLevel, Settings
from conductor_loop.settings.tracing import are_traces_on

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}
_NAMES = {"WARNING": "warn", "CRITICAL": "error"}
# What every record carries; anything beyond it was given through `extra=`.
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LOG_MODE = 0o640
_ECS_VERSION = "8.11.0"
_SERVICE = "conductor-loop"
_ECS_NAMES = {
    "intent.file": "file.name",
    **{name: name for name in ("event.action", "event.outcome", "error.code")},
}
"""What facts are called in ECS; every other one is ours."""
# For machines alone: the message tells people the same.
_NOT_IN_TEXT = frozenset({"event.action", "event.outcome"})


def configure_logging(settings: Settings) -> None:
    """Send every record where the settings say. Raises CannotStart when the file cannot be."""
    on_terminal = settings.log_file is None and sys.stderr.isatty()
    shape = settings.log_format or (LogFormat.TEXT if on_terminal else LogFormat.JSON)
    traces = not on_terminal or settings.log_level is LogLevel.DEBUG
    handler: logging.Handler = (
        StandardError() if settings.log_file is None else LogFile(settings.log_file)
    )
    service = os.environ.get("OTEL_SERVICE_NAME") or _SERVICE
    handler.setFormatter(
        JsonLines(traces, service, are_traces_on(settings, os.environ))
        if shape is LogFormat.JSON
        else TextLines(traces)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_log_level(settings)
    # Nothing tells who logged, or in which thread: finding that out is half of a line's cost
    # ("Optimization" in Python's logging HOWTO names these three switches).
    logging._srcfile = None  # noqa: SLF001 - that is its documented name
    logging.logThreads = logging.logMultiprocessing = False
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_died
    sys.unraisablehook = _unraisable


def set_log_level(settings: Settings) -> None:
    """Write from now on what the settings say."""
    logging.getLogger().setLevel(_LEVELS[settings.log_level])


def log_unexpected(error: Exception) -> ConductorError:
    """Put the trace of a defect into the log, and one line that says so on the terminal.

    Returns what was said.
    """
    what = f"unexpected {type(error).__name__}: {error}"
    again = "this is a defect; CONDUCTOR_LOG_LEVEL=debug shows where"
    handlers = logging.getLogger().handlers
    if handlers:
        logging.getLogger("conductor_loop").critical(what, exc_info=error)
        formatter = handlers[0].formatter
        if isinstance(formatter, _Lines) and formatter.traces:
            again = f"this is a defect; its trace is in {handlers[0]}"
    elif os.environ.get("CONDUCTOR_LOG_LEVEL", "").lower() == LogLevel.DEBUG:
        write_standard_error("\n".join(_trace_lines(error)) + "\n")
    print_error(what, again)
    return ConductorError(what, hint=again, code="unexpected")


class _Lines(logging.Formatter):
    """What both forms share."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        self.traces = traces

    def _told(self, record: logging.LogRecord) -> tuple[str, dict[str, str | float]]:
        """The message and the facts of a record, without secrets."""
        facts = {key: _plain(value) for key, value in _extra(record)}
        words = {key: value for key, value in facts.items() if isinstance(value, str)}
        message, *scrubbed = scrubbed_messages([self._message(record), *words.values()])
        return message, facts | dict(zip(words, scrubbed, strict=True))

    def _message(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the text and its arguments do not fit each other
            message = f"{record.msg} {record.args}"
        error = _error_of(record)
        if error is not None and not self.traces:
            message = f"{message} ({type(error).__name__}: {error})"
        return message


class JsonLines(_Lines):
    """One JSON object a line, plain ASCII."""

    def __init__(self, traces: bool, service: str = _SERVICE, is_traced: bool = False) -> None:
        """`is_traced`: each line about an intent names the intent's trace."""
        super().__init__(traces)
        self._is_traced = is_traced
        self._service = {
            "ecs.version": _ECS_VERSION,
            "service.name": service,
            "event.dataset": f"{service}.log",
        }

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        message, facts = self._told(record)
        fields: dict[str, object] = {
            "@timestamp": _time(record, "milliseconds"),
            "log.level": _NAMES.get(record.levelname, record.levelname.lower()),
            "message": message,
            **self._service,
            "process.pid": record.process,
            "log.logger": record.name,
        }
        fields |= {_ecs_name(key): value for key, value in facts.items()}
        if self._is_traced and (intent_id := record.__dict__.get("intent.id")):
            fields["trace.id"] = trace_id(str(intent_id))
        error = _error_of(record)
        if error is not None:
            fields["error.type"] = type(error).__name__
            fields["error.message"] = scrubbed_message(str(error))
            if self.traces:
                fields["error.stack_trace"] = "\n".join(_trace_lines(error))
        return json.dumps(fields)


class TextLines(_Lines):
    """Time, level and message, then what is known as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; a trace follows on lines of its own that no message can imitate."""
        level = _NAMES.get(record.levelname, record.levelname.lower()).upper()
        message, facts = self._told(record)
        parts = [_time(record, "seconds"), level.ljust(5), legible_line(message)]
        parts += [f"{key}={_word(fact)}" for key, fact in facts.items() if key not in _NOT_IN_TEXT]
        line = " ".join(parts)
        error = _error_of(record)
        if error is None or not self.traces:
            return line
        return "\n".join([line, *("    | " + legible_line(one) for one in _trace_lines(error))])


class StandardError(logging.Handler):
    """Standard error, whatever stands for it; when nobody reads it, the daemon goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        write_standard_error(self.format(record) + "\n")

    def __repr__(self) -> str:
        return "the lines above"


_WAYS_TO_OPEN = {
    errno.ENXIO: "nobody reads that FIFO: start its reader first",
    errno.EISDIR: "name a file in that folder by -log-file",
}
_ANOTHER_WAY_TO_OPEN = "make its folder writable, or give -log-file another path"


class LogFile(logging.Handler):
    """A file, opened anew as soon as its name leads elsewhere: it was rotated."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._failing = False
        try:
            self._handle, self._identity = self._opened()
        except OSError as error:
            hint = _WAYS_TO_OPEN.get(error.errno or 0, _ANOTHER_WAY_TO_OPEN)
            raise CannotStart(f"cannot open the log {path}: {error.strerror}", hint=hint) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; while that fails the lines go to standard error instead."""
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        try:
            if _identity(self._path) != self._identity:
                self._reopen()
            write_all(self._handle, line)
        except OSError as error:
            if not self._failing:
                print_warning(f"cannot write the log {self._path}: {error.strerror}")
            self._failing = True
            write_standard_error(line.decode())
        else:
            self._failing = False

    def close(self) -> None:
        """Let the file go."""
        os.close(self._handle)
        super().close()

    def _reopen(self) -> None:
        handle, self._identity = self._opened()
        os.dup2(handle, self._handle, inheritable=False)
        os.close(handle)

    def _opened(self) -> tuple[int, tuple[int, int]]:
        # A FIFO that nobody reads is told (ENXIO, open(2)), not waited for.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(self._path, flags, _LOG_MODE)
        os.set_blocking(handle, True)
        facts = os.fstat(handle)
        return handle, (facts.st_dev, facts.st_ino)

    def __repr__(self) -> str:
        return str(self._path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _time(record: logging.LogRecord, precision: str) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for key, value in record.__dict__.items():
        if key not in _USUAL and value is not None and value != "":
            yield key, value


@cache  # few names, each of them again and again
def _ecs_name(key: str) -> str:
    return _ECS_NAMES.get(key) or f"conductor.{key}"


def _plain(value: object) -> str | float:
    """A number (a bool, too) as it is, anything else as text."""
    if isinstance(value, bytes):
        return shown(value)
    return value if isinstance(value, int | float) else str(value)


def _word(value: object) -> str:
    text = legible_line(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


def _error_of(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _trace_lines(error: BaseException) -> list[str]:
    import traceback

    text = "".join(traceback.format_exception(error)).rstrip()
    return scrubbed_message(text).splitlines()


def _thread_died(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "a thread"
    _log_exception(f"thread {name} died", args.exc_value)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    _log_exception(args.err_msg or "an error that could not be raised", args.exc_value)


def _log_exception(message: str, error: BaseException | None) -> None:
    trace: TracebackType | None = error.__traceback__ if error else None
    info = (type(error), error, trace) if error else None
    logging.getLogger("conductor_loop").error(message, exc_info=info)
