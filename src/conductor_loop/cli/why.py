"""`conductor-loop why`: the whole history of one intent, each decision with its evidence."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import msgspec

from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.cli.intents import exact_moment, find_intent, moment, summary_json
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.core.durations import format_duration
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Failed,
    Failure,
    HandedBack,
    Published,
    Quarantined,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.naming import shown
from conductor_loop.core.places import Place, filed_path
from conductor_loop.core.records import Entry, Summary
from conductor_loop.core.states import UNSUCCESSFUL, State
from conductor_loop.settings import Settings

NAME = "why"
HELP = (
    "Tell everything that happened to one intent, oldest first: what was decided and on what\n"
    "evidence. FILE means the newest intent handed over under that name."
)
EXAMPLES = """\
conductor-loop why intent-scale-up-001.json
conductor-loop why 01JD5Z1V8Q6W3N0M4X7T2R9KPB
conductor-loop why intent-scale-up-001.json -json | jq .history
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which intent."""
    parser.add_argument("intent", metavar="FILE|ID", help="a file's name, or an intent's id")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the history."""
    reader = open_reader(settings.state_dir, settings.kek_file)
    summary = find_intent(reader, args.intent)
    history = reader.history(summary.intent_id)
    if args.json:
        print_json({**summary_json(summary), "history": [_entry_json(e) for e in history]})
        return 0
    for line in _story(reader, summary, history):
        print_line(line)
    return 0


def _entry_json(entry: Entry) -> dict[str, object]:
    details = msgspec.to_builtins(entry.event)
    # The receipt stands above already, and its name is bytes.
    details.pop("receipt", None)
    kind = details.pop("type")
    return {"seq": entry.seq, "at": exact_moment(entry.at), "event": kind, **details}


def _story(reader: JournalReader, summary: Summary, history: Sequence[Entry]) -> Iterator[str]:
    yield f"{shown(summary.name)}  {summary.intent_id}"
    yield f"  now        {summary.state.value}"
    yield from _facts(summary)
    for earlier in reader.summaries_of(summary.name):
        if earlier.intent_id != summary.intent_id:
            yield f"  same name  {earlier.intent_id} ({earlier.state.value})"
    yield ""
    for entry in history:
        yield f"{moment(entry.at)}  #{entry.seq}  {_headline(entry.event)}"
        yield from (f"    {line}" for line in _evidence(entry.event))
    yield from _next_step(summary)


def _facts(summary: Summary) -> Iterator[str]:
    if summary.target.name:
        yield f"  target     {summary.target}"
    yield f"  handed over by {summary.submitted_by or 'unknown'}"
    if summary.digest:
        yield f"  SHA-256    {summary.digest}"
    if summary.correlation_id:
        yield f"  correlation {summary.correlation_id}"
    if summary.retry_of:
        yield f"  retry of   {summary.retry_of}"
    if summary.filed:
        path = filed_path(Place(summary.filed), summary.name, summary.intent_id)
        yield f"  file       {shown(path) if path else 'removed, its retention is over'}"


def _headline(event: Event) -> str:
    match event:
        case Admitted(retry_of=str(first), retried_by=by):
            return f"admitted again as a retry of {first}, asked by {by}"
        case Admitted(priority=priority):
            return f"admitted with priority {priority}"
        case Rejected():
            return "rejected"
        case Quarantined():
            return "quarantined"
        case Duplicated(first=first):
            return f"duplicate of {first}: not run, that verdict stands"
        case Started(attempt):
            return f"attempt {attempt} started"
        case Published(run):
            return f"published by {_run(run)}"
        case RetryScheduled(run, _, not_before):
            return f"failed in {_run(run)}; again not before {moment(not_before)}"
        case HandedBack(attempt, cause):
            return f"attempt {attempt} does not count: {cause}"
        case Failed(run=Run() as run):
            return f"failed in {_run(run)}"
        case Failed():
            return "failed"
        case TimedOut(run):
            return f"timed out in {_run(run)}"
        case Skipped(reason):
            return f"skipped: {reason.value}"
        case _:
            return type(event).__name__


def _run(run: Run) -> str:
    return f"attempt {run.attempt}, worker {run.worker}, after {format_duration(run.duration)}"


def _evidence(event: Event) -> Iterator[str]:
    match event:
        case Rejected(faults=faults):
            for fault in faults:
                yield from _fault(fault)
        case Quarantined(fault=fault):
            yield from _fault(fault)
        case Published(_, outputs, unknown, notes):
            yield from (f"{output.path}  {output.sha256}" for output in outputs or ())
            yield from ([f"outputs not listed: {unknown}"] if unknown else [])
            yield from notes
        case RetryScheduled(_, failure) | Failed(failure) | TimedOut(_, failure):
            yield from _failure(failure)
        case HandedBack(failure=Failure() as failure):
            yield from _failure(failure)
        case Skipped(_, by, why, superseded_by):
            yield from (
                w for w in (f"by {superseded_by or by}" if superseded_by or by else "", why) if w
            )
        case _:
            return


def _fault(fault: Fault) -> Iterator[str]:
    yield f"{fault.code}{f' at {fault.pointer}' if fault.pointer else ''}: {fault.message}"
    if fault.hint:
        yield f"hint: {fault.hint}"


def _failure(failure: Failure) -> Iterator[str]:
    exit_code = "" if failure.exit_code is None else f", exit {failure.exit_code}"
    yield f"{failure.code} ({failure.kind.value}{exit_code}): {failure.message}"
    if failure.hint:
        yield f"hint: {failure.hint}"
    for name, text in (("stdout", failure.stdout), ("stderr", failure.stderr)):
        yield from (f"{name} | {line}" for line in text.splitlines()[-20:])


def _next_step(summary: Summary) -> Iterator[str]:
    if summary.state in UNSUCCESSFUL and summary.state not in (State.QUARANTINED, State.REJECTED):
        yield ""
        yield f"to run it again: conductor-loop retry {summary.intent_id}"
    if summary.state is State.REJECTED:
        yield ""
        yield "to have it run: correct the file and hand it over again"
