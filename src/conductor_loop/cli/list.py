"""`conductor-loop list`: intents and where they stand, newest first; or files left alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from conductor_loop.adapters.journal.database import NoJournal
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.cli.terminal import print_json, print_line, print_table
from conductor_loop.cli.unclaimed import is_served, none_ever_ran, unclaimed
from conductor_loop.conductor.control import parse_target
from conductor_loop.core.faults import UsageError
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Pause, Summary
from conductor_loop.core.states import FINAL, RETRIABLE, UNSUCCESSFUL, State
from conductor_loop.core.story import moment, pause_json, stands, summary_json
from conductor_loop.core.wording import counted, discarding
from conductor_loop.settings import Settings
from conductor_loop.settings.addressing import address

NAME = "list"
HELP = (
    "List intents and where they stand, newest first. Reads only; works beside a daemon.\n"
    "On a terminal a name of more than 40 characters is cut in the middle where rows would not\n"
    "fit, and the ID tells which it is; into a pipe and with -json names are whole."
)
EXAMPLES = """\
conductor-loop list                              # the newest 50
conductor-loop list -failed                      # what needs a person
conductor-loop list -state waiting -target oran-sim/cnf-simulator
conductor-loop list -ignored                     # files in the folder that are no intents, and why
conductor-loop list -paused                      # what is paused, by whom, since when and why
conductor-loop list -json -limit 1000
"""
_MOST, _USUAL = 10_000_000, 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters."""
    parser.add_argument(
        "--state", choices=[s.value for s in State if s is not State.NEW], help="only this state"
    )
    parser.add_argument(
        "--failed", action="store_true", help="only unsuccessful ones that were not retried"
    )
    parser.add_argument("--open", action="store_true", help="only unfinished ones")
    parser.add_argument("--target", help="only this NAMESPACE/TARGET")
    parser.add_argument("--limit", type=_number, help=f"at most so many (default {_USUAL})")
    parser.add_argument("--ignored", action="store_true", help="files left alone instead, and why")
    parser.add_argument("--paused", action="store_true", help="the pauses in force instead")
    parser.add_argument(
        "--json", action="store_true", help="for scripts: an array, or an object with the error"
    )


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST}")
    return int(text)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the list."""
    _refuse_contradictions(args)
    if args.ignored:
        return _list_ignored(settings, args.limit, as_json=args.json)
    try:
        reader = open_reader(settings.state_dir, settings.kek_file)
    except NoJournal as error:
        raise none_ever_ran(settings) or error from error
    if args.paused:
        return _list_pauses(reader.pauses()[: args.limit], as_json=args.json)
    summaries = reader.summaries(
        states=_states(args),
        target=parse_target(args.target),
        unretried=args.failed,
        limit=args.limit or _USUAL,
    )
    if args.json:
        print_json([_fields(reader, summary) for summary in summaries])
        return 0
    if summaries:
        print_table(("RECEIVED", "STATE", "TARGET", "FILE", "ID"), map(_row, summaries), cut="FILE")
    _print_counts(reader, address(settings))
    _print_unclaimed(settings)
    return 0


def _refuse_contradictions(args: argparse.Namespace) -> None:
    """Nothing that was asked for is passed over in silence. Raises UsageError."""
    narrowing = [f"-{name}" for name in ("state", "failed", "open", "target") if vars(args)[name]]
    instead = [f"-{name}" for name in ("ignored", "paused") if vars(args)[name]]
    if len(instead) > 1 or (instead and narrowing):
        raise UsageError(
            f"{instead[0]} is a list of its own and goes with -limit and -json alone",
            hint=f"leave out {', '.join([*instead[1:], *narrowing])}",
        )
    if narrowing and not _states(args):
        raise UsageError(
            f"no intent can be all of {', '.join(narrowing)}", hint="leave out one of them"
        )


def _states(args: argparse.Namespace) -> frozenset[State]:
    """The states that all filters let pass."""
    states = frozenset({State(args.state)}) if args.state else frozenset(State) - {State.NEW}
    if args.failed:
        states &= UNSUCCESSFUL
    if args.open:
        states -= FINAL
    return states


def _fields(reader: JournalReader, summary: Summary) -> dict[str, object]:
    retried = reader.retried_as(summary.intent_id) if summary.state in RETRIABLE else None
    return {**summary_json(summary), "retried_as": retried and retried.intent_id}


def _row(summary: Summary) -> tuple[str, ...]:
    return (
        moment(summary.received_at),
        stands(summary),
        str(summary.target) if summary.target.name else "-",
        shown(summary.name),
        summary.intent_id,
    )


def _print_counts(reader: JournalReader, where: str) -> None:
    counts = reader.counts()
    total = ", ".join(f"{counts[state]} {state.value}" for state in State if state in counts)
    print_line(f"in all: {total}" if counts else "nothing was handed over yet")
    aside = [each.name for each in reader.damaged()]
    if aside:
        print_line(f"damaged: {len(aside)} set aside, not run; {discarding(aside, where)}")
    _print_pauses(reader.pauses())


def _print_pauses(pauses: Sequence[Pause]) -> None:
    for pause in pauses:
        what = pause.target or "everything"
        print_line(f"paused: {what}, by {pause.by} since {moment(pause.at)} {pause.why}".rstrip())


def _print_unclaimed(settings: Settings) -> None:
    """What waits although nobody comes for it; beside a daemon it is about to be taken."""
    names = unclaimed(settings.handoff)
    if names and not is_served(settings):
        files = counted(len(names), "file waits", "files wait")
        print_line(f"{files} in {settings.handoff}; no daemon runs")


def _list_pauses(pauses: Sequence[Pause], *, as_json: bool) -> int:
    if as_json:
        print_json(list(map(pause_json, pauses)))
        return 0
    _print_pauses(pauses)
    if not pauses:
        print_line("nothing is paused")
    return 0


def _list_ignored(settings: Settings, limit: int | None, *, as_json: bool) -> int:
    from conductor_loop.adapters.handoff.scan import list_ignored

    ignored = list_ignored(settings.handoff)[:limit]
    if as_json:
        print_json([{"name": shown(i.name), "why": i.why, "remedy": i.remedy} for i in ignored])
        return 0
    if ignored:
        print_table(("FILE", "WHY", "REMEDY"), [(shown(i.name), i.why, i.remedy) for i in ignored])
    else:
        print_line("nothing in the folder is left alone")
    return 0
