"""The log: lines that cannot be forged, traces in the log alone, a file that may be rotated."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.cli.logging_setup import (
    JsonLines,
    LogFile,
    TextLines,
    configure_logging,
    log_unexpected,
)
from conductor_loop.core.faults import CannotStart
from conductor_loop.settings import LogLevel, Settings, load_settings

FORGED = 'x\n2024-01-01T00:00:00Z ERROR forged\r\x1b[2J\u202e\u2028"'


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("conductor_loop.test")
    return logger.makeRecord(logger.name, logging.WARNING, "f", 1, message, args, None, extra=extra)


def fail() -> None:
    raise ValueError("bad\nthing")


def with_trace(message: str) -> logging.LogRecord:
    made = record(message)
    try:
        fail()
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Whatever a test sets up globally is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = threading.excepthook, sys.unraisablehook
    switches = ("_srcfile", "logThreads", "logMultiprocessing")
    values = [getattr(logging, name) for name in switches]
    yield
    for name, value in zip(switches, values, strict=True):
        setattr(logging, name, value)
    logging.captureWarnings(capture=False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook, sys.unraisablehook = hooks


def settings(**flags: str) -> Settings:
    return load_settings([(name.replace("_", "-"), value) for name, value in flags.items()], {})


def test_a_json_line_has_the_fields_that_log_systems_know() -> None:
    line = json.loads(JsonLines(traces=True).format(record("%s taken", "intent-a.json")))
    assert line["@timestamp"].endswith("Z")
    assert line["log.level"] == "warn"
    assert line["message"] == "intent-a.json taken"
    assert line["log.logger"] == "conductor_loop.test"
    assert line["ecs.version"]
    assert line["service.name"] == "conductor-loop"
    assert line["event.dataset"] == "conductor-loop.log"
    assert line["process.pid"] == os.getpid()
    assert not any(name.startswith("conductor.") for name in line)
    # ecs-logging's specification wants these first, in this order (github.com/elastic/ecs-logging).
    assert [*line][:3] == ["@timestamp", "log.level", "message"]


def test_facts_of_an_intent_become_fields_of_their_own() -> None:
    facts = {
        "intent.id": "01J",
        "intent.file": b"intent-\xff.json",
        "correlation_id": "scale-1",
        "attempt": 2,
        "nothing": None,
        "empty": "",
    }
    line = json.loads(JsonLines(traces=True).format(record("started", **facts)))
    assert line["conductor.intent.id"] == "01J"
    assert line["file.name"] == "intent-\\xff.json"
    assert line["conductor.correlation_id"] == "scale-1"
    assert line["conductor.attempt"] == 2
    assert not any(name.endswith(("nothing", "empty")) for name in line)
    text = TextLines(traces=True).format(record("started", **facts))
    expected = "intent.id=01J intent.file=intent-\\xff.json correlation_id=scale-1 attempt=2"
    assert text.endswith(f"WARN  started {expected}")


@pytest.mark.parametrize("lines", [JsonLines(traces=True), TextLines(traces=True)])
def test_no_message_and_no_fact_can_begin_a_line_of_its_own(
    lines: JsonLines | TextLines,
) -> None:
    written = lines.format(record("took %s", FORGED, **{"intent.file": FORGED}))
    assert written.isprintable()
    assert "forged" in written


def test_a_value_with_spaces_is_quoted_in_text() -> None:
    text = TextLines(traces=True).format(record("m", **{"intent.file": 'a b="c"'}))
    assert text.endswith('intent.file="a b=\\"c\\""')


def test_a_trace_in_text_stands_on_marked_lines() -> None:
    first, *others = TextLines(traces=True).format(with_trace("failed")).splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("    | ") for line in others)
    assert "ValueError: bad" in others[-2]


def test_a_trace_in_json_is_a_field() -> None:
    line = json.loads(JsonLines(traces=True).format(with_trace("failed")))
    assert line["error.type"] == "ValueError"
    assert line["error.message"] == "bad\nthing"
    assert line["error.stack_trace"].startswith("Traceback")


@pytest.mark.parametrize("lines", [JsonLines(traces=False), TextLines(traces=False)])
def test_without_traces_the_error_is_still_named(lines: JsonLines | TextLines) -> None:
    written = lines.format(with_trace("failed"))
    assert "Traceback" not in written
    assert "failed (ValueError: bad\\" in written


def test_a_message_that_does_not_fit_its_arguments_is_written_anyway() -> None:
    assert "%d ('x',)" in TextLines(traces=True).format(record("%d", "x"))


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    log = LogFile(path)
    log.setFormatter(logging.Formatter("%(message)s"))
    log.handle(record("one"))
    path.rename(tmp_path / "c.log.1")
    log.handle(record("two"))
    path.unlink()
    log.handle(record("three"))
    log.close()
    assert (tmp_path / "c.log.1").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_lines_go_to_standard_error_while_the_file_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(folder / "c.log")
    log.setFormatter(logging.Formatter("%(message)s"))
    folder.rename(tmp_path / "away")
    log.handle(record("one"))
    log.handle(record("two"))
    folder.mkdir()
    log.handle(record("three"))
    log.close()
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith("WARNING: cannot write the log")
    assert told[1:] == ["one", "two"]
    assert (folder / "c.log").read_text() == "three\n"


def test_a_log_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as caught:
        LogFile(tmp_path / "none" / "c.log")
    assert "cannot open the log" in caught.value.message
    assert caught.value.hint


def test_a_folder_in_place_of_the_log_is_told_from_one_that_may_not_be_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(CannotStart) as caught:
        LogFile(tmp_path)
    assert caught.value.hint == "name a file in that folder by -log-file"


def test_a_fifo_that_nobody_reads_is_told_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CannotStart) as caught:
        LogFile(tmp_path / "fifo")
    assert caught.value.hint == "nobody reads that FIFO: start its reader first"


@pytest.mark.usefixtures("untouched_logging")
def test_the_level_decides_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    configure_logging(settings(log_file=str(path), log_level="warn"))
    logging.getLogger("conductor_loop.a").info("quiet")
    logging.getLogger("conductor_loop.a").warning("loud")
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["loud"]


@pytest.mark.usefixtures("untouched_logging")
def test_a_thread_that_dies_leaves_its_trace_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.log"
    configure_logging(settings(log_file=str(path), log_format="text"))
    thread = threading.Thread(target=fail, name="writer")
    thread.start()
    thread.join()
    assert "thread writer died" in path.read_text()
    assert "    | ValueError" in path.read_text()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("untouched_logging")
def test_a_defect_is_one_line_on_the_terminal_and_a_trace_in_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.log"
    configure_logging(settings(log_file=str(path)))
    log_unexpected(RuntimeError("odd"))
    assert "RuntimeError" in json.loads(path.read_text())["error.type"]
    told = capfd.readouterr().err
    assert told.splitlines() == [
        "ERROR: unexpected RuntimeError: odd",
        f"hint: this is a defect; its trace is in {path}",
    ]


@pytest.mark.usefixtures("untouched_logging")
def test_debug_is_the_level_that_shows_traces_everywhere() -> None:
    configure_logging(settings(log_level="debug"))
    formatter = logging.getLogger().handlers[0].formatter
    assert isinstance(formatter, JsonLines | TextLines)
    assert formatter.traces
    assert logging.getLogger().level == logging.DEBUG
    assert settings(log_level="debug").log_level is LogLevel.DEBUG
