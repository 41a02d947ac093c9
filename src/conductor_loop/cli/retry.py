"""`conductor-loop retry`: run unsuccessful intents again, as new ones."""

from __future__ import annotations

import argparse

from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.cli.flags import free_text
from conductor_loop.cli.steering import few, print_reply, steer
from conductor_loop.cli.terminal import print_line
from conductor_loop.cli.unclaimed import find_taken
from conductor_loop.core.control import Reply, Retry
from conductor_loop.core.faults import UsageError
from conductor_loop.core.states import State
from conductor_loop.settings import Settings

NAME = "retry"
HELP = (
    "Run a failed, timed out or skipped intent again. A final state never changes: a new intent\n"
    "is made from the same bytes, which names the old one and enters last. Refused when a newer\n"
    "intent of the target exists, unless forced: it would undo that one. FILE is a name as it is\n"
    "or is shown."
)
EXAMPLES = """\
conductor-loop retry intent-scale-up-001.json
conductor-loop retry -failed                     # everything that failed or timed out
conductor-loop retry 01JD5Z1V8Q6W3N0M4X7T2R9KPB -force -why "the newer one was a mistake"
"""
_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which, and why."""
    parser.add_argument("intents", nargs="*", metavar="FILE|ID", help="one or more, by name or id")
    parser.add_argument("--failed", action="store_true", help="all that failed or timed out")
    parser.add_argument("--force", action="store_true", help="even over a newer intent")
    parser.add_argument("--why", type=free_text, default="", help="the reason, for the record")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Retry."""
    if bool(args.intents) == args.failed:
        raise UsageError("name what to retry", hint="FILE|ID … or -failed, one of the two")
    reader = open_reader(settings.state_dir, settings.kek_file)
    if args.failed:
        ids = _failed(reader)
    else:
        ids = [find_taken(reader, word, settings).intent_id for word in args.intents]
    reader.close()
    if not ids and args.json:
        return print_reply(Reply(), "", as_json=True)
    if not ids:
        print_line("nothing failed that was not retried already")
        return 0
    reply = steer(settings, Retry(tuple(ids), args.force, args.why))
    return print_reply(reply, f"retried as {few(reply.intent_ids)}", as_json=args.json)


def _failed(reader: JournalReader) -> list[str]:
    """Oldest first, so that they keep their order; each once, and not what was retried."""
    states = {State.FAILED, State.TIMED_OUT}
    failed = reader.summaries(states=states, unretried=True, limit=_MOST)
    return [summary.intent_id for summary in reversed(failed)]
