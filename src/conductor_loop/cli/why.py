"""`conductor-loop why`: the whole history of one intent, each decision with its evidence."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence

from conductor_loop.adapters.journal.database import NoJournal
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.cli.flags import add_settings
from conductor_loop.cli.intents import NoSuchIntent, find_intent
from conductor_loop.cli.terminal import print_json, print_line
from conductor_loop.cli.unclaimed import why_unclaimed
from conductor_loop.core.events import Duplicated
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry, Summary
from conductor_loop.core.states import State
from conductor_loop.core.story import (
    Step,
    Story,
    entry_json,
    moment,
    stands,
    steps,
    summary_json,
    tell,
)
from conductor_loop.core.traces import trace_id
from conductor_loop.settings import Settings
from conductor_loop.settings.addressing import address
from conductor_loop.settings.tracing import are_traces_on

NAME = "why"
HELP = (
    "Tell everything that happened to one intent, oldest first: what was decided and on what\n"
    "evidence. FILE means the newest intent of that name, as it is or is shown, that is no\n"
    "duplicate; duplicates of it are told beside it."
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
    add_settings(parser, "traces")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the history."""
    try:
        reader = open_reader(settings.state_dir, settings.kek_file)
    except NoJournal as error:
        raise why_unclaimed(settings, args.intent) or error from error
    try:
        summary = find_intent(reader, args.intent)
    except NoSuchIntent as error:
        intent_id = args.intent.upper()
        left = reader.noticed_of(intent_id) if is_ulid(intent_id) else ()
        if not left:
            raise why_unclaimed(settings, args.intent) or error from error
        _tell_of_gone(intent_id, left, is_json=args.json)
        return 0
    noticed = reader.noticed_of(summary.intent_id)
    history = sorted((*reader.history(summary.intent_id), *noticed), key=lambda entry: entry.seq)
    trace = trace_id(summary.intent_id) if are_traces_on(settings, os.environ) else ""
    others = [o for o in reader.summaries_of(summary.name) if o.intent_id != summary.intent_id]
    duplicates = [o for o in others if _repeats(reader, o, summary)]
    retried = reader.retried_as(summary.intent_id)
    if args.json:
        print_json(
            {
                **summary_json(summary),
                "retried_as": retried and retried.intent_id,
                "trace_id": trace or None,
                "duplicates": [other.intent_id for other in duplicates],
                "history": [entry_json(entry) for entry in history],
            }
        )
        return 0
    story = tell(summary, history, retried, address(settings))
    for line in _lines(summary, story, others, duplicates, trace):
        print_line(line)
    return 0


def _repeats(reader: JournalReader, other: Summary, summary: Summary) -> bool:
    """Whether another one of its name is a duplicate of this one."""
    if other.state is not State.DUPLICATE:
        return False
    events = [entry.event for entry in reader.history(other.intent_id)]
    return any(isinstance(e, Duplicated) and e.first == summary.intent_id for e in events)


def _lines(
    summary: Summary,
    story: Story,
    others: Sequence[Summary],
    duplicates: Sequence[Summary],
    trace: str,
) -> Iterator[str]:
    yield f"{shown(summary.name)}  {summary.intent_id}"
    yield f"  now        {stands(summary)}"
    yield from (f"  {label:10} {text}" for label, text in story.facts)
    if trace:
        yield f"  trace      {trace}"
    for other in others:
        if other in duplicates:
            again = f"handed over again {moment(other.received_at)}, not run"
            yield f"  duplicate  {other.intent_id}, {again}"
        else:
            yield f"  same name  {other.intent_id} ({other.state.value})"
    yield ""
    yield from _told(story.steps)
    yield from ("", story.remedy) if story.remedy else ()


def _told(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield f"{moment(step.at)}  #{step.seq}  {step.headline}"
        yield from (f"    {line}" for line in step.evidence)


def _tell_of_gone(intent_id: str, noticed: Sequence[Entry], *, is_json: bool) -> None:
    """Of an intent that was discarded, what was noticed of it is all that is left."""
    if is_json:
        print_json({"intent_id": intent_id, "history": [entry_json(entry) for entry in noticed]})
        return
    for line in (f"{intent_id}  is not in the journal any more", "", *_told(steps(noticed))):
        print_line(line)
