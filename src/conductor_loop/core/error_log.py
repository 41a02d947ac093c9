"""The text of `failed/NAME.error.log`, for people: what happened, where, why and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import assert_never

from conductor_loop.core.events import Failed, Failure, FailureKind, Rejected, Run, TimedOut
from conductor_loop.core.faults import Fault
from conductor_loop.core.legible import legible_block, legible_line
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry
from conductor_loop.core.wording import duration_text, rejection_message, timestamp

Failing = Rejected | Failed | TimedOut

_FIRST_LINE = re.compile(rb"Intent ([0-9A-Z]{26}) ")
# What a shell takes as one literal word (POSIX shell, 2.2 Quoting); not a glob, not an option.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*")
_BLAME = {
    FailureKind.PERMANENT: "the intent itself: the same file will fail again",
    FailureKind.TEMPORARY: "temporary, but it lasted through every attempt",
    FailureKind.TIMEOUT: "it ran out of time",
    FailureKind.CRASHED: "the program, or the daemon, ended abnormally",
    FailureKind.ENVIRONMENT: "the environment, for this intent only",
}


def compose_error_log(entry: Entry, address: str = "") -> str:
    """Tell an operator about an intent that was rejected, failed or timed out.

    `address`: the flags by which commands find this daemon, each after a space. Nothing in it
    depends on where the file ends, so it can be written first.
    """
    event = entry.event
    assert isinstance(event, Failing)
    sections = [_what(entry, event), _where(entry, event), _why(event)]
    sections.append(_next_step(entry, event, address))
    if not isinstance(event, Rejected):
        sections += _child_output(event.failure)
    return "\n\n".join(sections) + "\n"


def intent_of(log: bytes) -> str:
    """Read back the id of the intent that an error log is about; empty for a foreign file."""
    match = _FIRST_LINE.match(log)
    return match[1].decode() if match else ""


def _what(entry: Entry, event: Failing) -> str:
    match event:
        case Rejected(faults=faults):
            said = f"was not accepted.\n{legible_line(rejection_message(faults))}"
        case Failed(failure=failure):
            said = f"failed.\n{legible_line(failure.message)}"
        case TimedOut(failure=failure):
            said = f"timed out.\n{legible_line(failure.message)}"
        case _ as never:
            assert_never(never)
    # The id stands first: `intent_of` tells by it whose log this is.
    return f"Intent {entry.intent_id} {said}"


def _where(entry: Entry, event: Failing) -> str:
    assert entry.receipt is not None
    rows = [
        ("file", shown(entry.receipt.name)),
        ("target", str(entry.target) if entry.target else ""),
        ("correlation id", entry.correlation_id),
        ("handed over", _handed_over(entry)),
        ("SHA-256", entry.receipt.digest),
        ("attempt", "" if isinstance(event, Rejected) else _attempt(event.run)),
        ("ended", timestamp(entry.at)),
    ]
    return _titled("Where", _table(rows))


def _handed_over(entry: Entry) -> str:
    assert entry.receipt is not None
    by = f" by {entry.receipt.submitted_by}" if entry.receipt.submitted_by else ""
    return timestamp(entry.receipt.received_at) + by


def _attempt(run: Run | None) -> str:
    if run is None:
        return ""
    return (
        f"{run.attempt}, by worker {run.worker}, started {timestamp(run.started_at)},"
        f" took {duration_text(run.duration)}"
    )


def _why(event: Failing) -> str:
    if isinstance(event, Rejected):
        return _titled("Why", (line for fault in event.faults for line in _fault(fault)))
    failure = event.failure
    rows = [
        ("code", failure.code),
        ("exit code", "" if failure.exit_code is None else str(failure.exit_code)),
        ("signal", "" if failure.signal is None else str(failure.signal)),
        ("reason", _BLAME[failure.kind]),
    ]
    return _titled("Why", _table(rows))


def _fault(fault: Fault) -> Iterator[str]:
    where = legible_line(fault.pointer) or "the whole file"
    yield f"{where}: {legible_line(fault.message)} [{fault.code}]"
    if fault.hint:
        yield f"    hint: {legible_line(fault.hint)}"


def _next_step(entry: Entry, event: Failing, address: str) -> str:
    assert entry.receipt is not None
    lines = []
    if isinstance(event, Rejected):
        lines.append("correct the file and hand it over again, under this or another name")
    else:
        if event.failure.hint:
            lines.append(legible_line(event.failure.hint))
        lines += _again(event.failure, f"conductor-loop retry{address} {_word(entry)}")
    lines.append(f"its whole history:       conductor-loop why{address} {entry.intent_id}")
    return _titled("Next step", lines)


def _again(failure: Failure, retry: str) -> Iterator[str]:
    if failure.kind is FailureKind.PERMANENT:
        yield "correct the file and hand it over again"
        yield f"or, once what refused it was changed:   {retry}"
    else:
        yield f"run it again as it is:   {retry}"
        yield "or correct the file and hand it over again"


def _word(entry: Entry) -> str:
    """Name the intent so that the line can be pasted into a shell as it stands."""
    assert entry.receipt is not None
    text = shown(entry.receipt.name)
    return text if _PLAIN_WORD.fullmatch(text) else str(entry.intent_id)


def _child_output(failure: Failure) -> Iterator[str]:
    for stream, text in (("stdout", failure.stdout), ("stderr", failure.stderr)):
        if text:
            yield f"What it wrote to {stream}\n\n{legible_block(text).rstrip()}"


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for label, text in rows:
        if text:
            yield f"{label + ':':<16}{legible_line(text)}"


def _titled(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])
