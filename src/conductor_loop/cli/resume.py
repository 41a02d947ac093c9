"""`conductor-loop resume`: lift a pause."""

from __future__ import annotations

import argparse

from conductor_loop.cli.flags import free_text
from conductor_loop.cli.steering import print_reply, steer
from conductor_loop.cli.terminal import print_line
from conductor_loop.conductor.control import parse_target
from conductor_loop.core.control import Resume
from conductor_loop.settings import Settings

NAME = "resume"
HELP = (
    "Lift a pause: of everything, or with -target the pause of that target. When porch was\n"
    "replaced under the running daemon, and the daemon said so, lifting the pause of everything\n"
    "accepts the new one, on record with your name; never another than -porch-sha256 pins."
)
EXAMPLES = """\
conductor-loop resume
conductor-loop resume -why "porch upgraded to 1.5"
conductor-loop resume -target oran-sim/cnf-simulator -why "fixed"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    parser.add_argument("--target", default="", help="the NAMESPACE/TARGET that was paused")
    parser.add_argument("--why", type=free_text, default="", help="the reason, for the record")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Resume."""
    parse_target(args.target)
    reply = steer(settings, Resume(args.target, args.why))
    accepted = reply.porch_sha256
    if accepted and not args.json:
        print_line(f"accepted: the porch that stands there now, SHA-256 {accepted}")
    done = f"resumed: {args.target or 'everything'}"
    facts = {"accepted_porch_sha256": accepted or None}
    return print_reply(reply, done, as_json=args.json, facts=facts)
