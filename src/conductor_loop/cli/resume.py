"""`conductor-loop resume`: lift a pause."""

from __future__ import annotations

import argparse
from contextlib import closing

from conductor_loop.adapters.journal.reader import open_reader
from conductor_loop.cli.flags import free_text
from conductor_loop.cli.steering import lifting, print_reply, steer
from conductor_loop.cli.terminal import addressed, print_line
from conductor_loop.conductor.control import parse_target
from conductor_loop.core.control import Resume
from conductor_loop.core.faults import UsageError
from conductor_loop.core.story import pause_json
from conductor_loop.settings import Settings

NAME = "resume"
HELP = (
    "Lift a pause: the one of everything, or with -target the one of that target. Each is lifted\n"
    "by itself; what stays paused is told. When porch was replaced under the running daemon, and\n"
    "the daemon said so, lifting the pause of everything accepts the new one, on record with your\n"
    "name; never another than -porch-sha256 pins."
)
EXAMPLES = """\
conductor-loop resume
conductor-loop resume -why "porch upgraded to 1.5"
conductor-loop resume -target oran-sim/cnf-simulator -why "fixed"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    parser.add_argument("--target", help="the NAMESPACE/TARGET that was paused")
    parser.add_argument("--why", type=free_text, default="", help="the reason, for the record")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Resume."""
    _check_target(args.target, settings)
    reply = steer(settings, Resume(args.target or "", args.why))
    accepted = reply.porch_sha256
    if accepted and not args.json:
        print_line(f"accepted: the porch that stands there now, SHA-256 {accepted}")
    done = f"{'resumed' if reply.was_paused else 'was not paused'}: {args.target or 'everything'}"
    # Of those of other targets, nobody asked who named one.
    still = [pause for pause in reply.still_paused if not (args.target and pause.target)]
    facts = {
        "accepted_porch_sha256": accepted or None,
        "was_paused": reply.was_paused,
        "still_paused": list(map(pause_json, still)),
    }
    status = print_reply(reply, done, as_json=args.json, facts=facts)
    for pause in () if args.json else still:
        print_line(addressed(lifting(pause)))
    return status


def _check_target(text: str | None, settings: Settings) -> None:
    try:
        parse_target(text)
    except UsageError:
        # It may have been paused by a version that did not judge names.
        if not text or text not in _paused(settings):
            raise


def _paused(settings: Settings) -> set[str]:
    with closing(open_reader(settings.state_dir, settings.kek_file)) as reader:
        return {pause.target for pause in reader.pauses()}
