"""`conductor-loop cancel`: end intents that have not finished, as `skipped`."""

from __future__ import annotations

import argparse

from conductor_loop.adapters.journal.reader import open_reader
from conductor_loop.cli.flags import free_text
from conductor_loop.cli.steering import print_reply, steer
from conductor_loop.cli.terminal import addressed, print_json, print_line, print_warning
from conductor_loop.cli.unclaimed import find_taken, unclaimed
from conductor_loop.conductor.control import parse_target
from conductor_loop.conductor.steering import nothing_to_cancel
from conductor_loop.core.control import Cancel, Reply
from conductor_loop.core.faults import UsageError
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Summary
from conductor_loop.core.states import FINAL, State
from conductor_loop.core.story import summary_json
from conductor_loop.core.wording import counted
from conductor_loop.settings import Settings

NAME = "cancel"
HELP = (
    "End intents that wait or run, for good: their verdict says skipped, cancelled, by whom and\n"
    "why. One intent, all of a target, or with -all everything that was picked up. What waits in\n"
    "the handoff folder is no intent yet and is not cancelled; how many files do is told. FILE is\n"
    "a name as it is or is shown."
)
EXAMPLES = """\
conductor-loop cancel intent-scale-up-001.json -why "wrong cluster"
conductor-loop cancel -target oran-sim/cnf-simulator -dry-run
conductor-loop cancel -all -why "site is being moved"
"""
_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which, and why."""
    parser.add_argument("intent", nargs="?", metavar="FILE|ID", help="one intent")
    parser.add_argument("--target", help="all of this NAMESPACE/TARGET")
    parser.add_argument("--all", action="store_true", help="everything picked up and unfinished")
    parser.add_argument("--dry-run", action="store_true", help="only show what would end")
    parser.add_argument(
        "--why", type=free_text, default="", help="the reason, which the verdict carries"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Cancel."""
    if (args.intent is not None) + (args.target is not None) + args.all != 1:
        raise UsageError("name what to cancel", hint="one of FILE|ID, -target or -all")
    target = parse_target(args.target)
    reader = open_reader(settings.state_dir, settings.kek_file)
    intent_id = ""
    if args.intent is not None:
        hint = "move it away: then no daemon takes it"
        intent_id = find_taken(reader, args.intent, settings, hint=hint).intent_id
    if args.dry_run:
        found = reader.summaries(states=frozenset(State) - FINAL, target=target, limit=_MOST)
        ending = [s for s in found if not s.is_aside and intent_id in ("", s.intent_id)]
        if intent_id and not ending:
            raise nothing_to_cancel(intent_id)
        _show_what_would_end(args, ending)
        status, left = 0, _not_picked_up(settings)
    else:
        reader.close()
        reply = steer(settings, Cancel(intent_id, args.target or "", args.why))
        left = _not_picked_up(settings)
        status = _print_cancelled(reply, left, as_json=args.json)
    if left and not intent_id:
        _warn_of_left(left, settings)
    return status


def _not_picked_up(settings: Settings) -> int:
    return len(unclaimed(settings.handoff))


def _print_cancelled(reply: Reply, left: int, *, as_json: bool) -> int:
    verdicts = ": the verdicts come with its next start" if reply.intent_ids else ""
    return print_reply(
        reply,
        f"cancelled: {len(reply.intent_ids)}",
        as_json=as_json,
        facts={"not_picked_up": left},
        offline=f"no daemon runs here{verdicts}",
    )


def _warn_of_left(left: int, settings: Settings) -> None:
    folder = settings.handoff
    what = counted(
        left,
        f"file in {folder} was not picked up yet and is not cancelled",
        f"files in {folder} were not picked up yet and are not cancelled",
    )
    print_warning(
        addressed(
            f"{what}: move them away; or conductor-loop pause, let a daemon pick them up, and"
            " cancel again"
        )
    )


def _show_what_would_end(args: argparse.Namespace, summaries: list[Summary]) -> None:
    if args.json:
        print_json([summary_json(summary) for summary in summaries])
        return
    for summary in summaries:
        print_line(f"would end {shown(summary.name)}  {summary.intent_id}  {summary.state.value}")
    print_line(f"{len(summaries)} would end; nothing was changed")
